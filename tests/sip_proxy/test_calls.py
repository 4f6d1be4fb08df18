from collections.abc import Iterator

import pytest

from natkit.machine import Transport
from natkit.sip import HeaderField
from natkit.sip.kinds import FROM, MAX_FORWARDS, RECORD_ROUTE, ROUTE, VIA
from tests.simnet.network import Network
from tests.sip_proxy.world import (
    DOMAIN,
    Phone,
    ProxyHost,
    Ringing,
    dialog_of_callee,
    settings,
)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(7) as made:
        yield made


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 180)
    phone.respond(ringing, 200)


def test_two_phones_register_call_and_hang_up_either_way(network: Network) -> None:
    ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
    for phone in (alice, bob):
        registered = phone.register()
        network.run_for(1.0)
        assert registered.statuses == [200]
    call = alice.invite(bob.uri)
    network.run_for(1.0)
    assert call.statuses == [180, 200]
    dialog = alice.acknowledge(call)
    network.run_for(1.0)
    (ack,) = bob.acks
    assert ack.uri_text == bob.contact
    assert not ack.headers.has(ROUTE)
    bye = alice.within(dialog, "BYE")
    network.run_for(1.0)
    assert bye.statuses == [200]
    assert bob.received[-1].method == "BYE"


def test_who_was_called_can_hang_up_too(network: Network) -> None:
    ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
    bob.register()
    network.run_for(1.0)
    alice.acknowledge_after(network, alice.invite(bob.uri))
    invite = bob.received[-1]
    bye = bob.within(dialog_of_callee(bob, invite), "BYE")
    network.run_for(1.0)
    assert bye.statuses == [200]
    assert alice.received[-1].method == "BYE"


def test_each_request_that_is_forwarded_has_our_via_and_our_record_route(network: Network) -> None:
    ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
    bob.register()
    network.run_for(1.0)
    alice.invite(bob.uri)
    network.run_for(1.0)
    invite = bob.received[-1]
    assert [via.host for via in invite.headers.get_all(VIA)] == ["192.0.2.5", "192.0.2.10"]
    assert invite.headers.get(MAX_FORWARDS) == 69
    assert len(invite.headers.get_all(RECORD_ROUTE)) == 2
    assert invite.uri_text == bob.contact


def test_a_fork_rings_all_phones_and_the_first_that_answers_ends_it(network: Network) -> None:
    ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    desk = Phone(network, "bob", "192.0.2.11")
    mobile = Phone(network, "bob", "192.0.2.12")
    for phone in (desk, mobile):
        phone.register()
    network.run_for(1.0)
    call = alice.invite(desk.uri)
    network.run_for(1.0)
    desk.respond(desk.ringing[0], 180)
    mobile.respond(mobile.ringing[0], 180)
    network.run_for(1.0)
    mobile.respond(mobile.ringing[0], 200)
    network.run_for(1.0)
    assert call.statuses == [180, 180, 200]
    cancel = desk.received[-1]
    assert cancel.method == "CANCEL"
    assert [field.text for field in cancel.headers.fields("Reason")] == [
        'SIP;cause=200;text="Call completed elsewhere"'
    ]
    assert desk.ringing == []


def test_a_lower_q_rings_when_the_higher_one_failed(network: Network) -> None:
    ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    first = Phone(network, "bob", "192.0.2.11")
    second = Phone(network, "bob", "192.0.2.12")
    first.register(parameters=";q=0.9")
    second.register(parameters=";q=0.5")
    network.run_for(1.0)
    call = alice.invite(first.uri)
    network.run_for(1.0)
    assert (len(first.ringing), len(second.ringing)) == (1, 0)
    first.respond(first.ringing[0], 486)
    network.run_for(1.0)
    assert len(second.ringing) == 1
    second.respond(second.ringing[0], 480)
    network.run_for(1.0)
    # §16.7 step 6: any of the lowest class.
    assert call.statuses[-1] in (480, 486)


def test_a_caller_who_gives_up_silences_every_phone(network: Network) -> None:
    ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    phones = [Phone(network, "bob", f"192.0.2.{number}") for number in (11, 12)]
    for phone in phones:
        phone.register()
    network.run_for(1.0)
    call = alice.invite(phones[0].uri)
    network.run_for(1.0)
    for phone in phones:
        phone.respond(phone.ringing[0], 180)
    network.run_for(1.0)
    alice.cancel(call)
    network.run_for(1.0)
    assert [phone.received[-1].method for phone in phones] == ["CANCEL", "CANCEL"]
    assert call.statuses == [180, 180, 487]


def test_a_6xx_ends_the_whole_fork(network: Network) -> None:
    ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    phones = [Phone(network, "bob", f"192.0.2.{number}") for number in (11, 12)]
    for phone in phones:
        phone.register()
    network.run_for(1.0)
    call = alice.invite(phones[0].uri)
    network.run_for(1.0)
    for phone in phones:
        phone.respond(phone.ringing[0], 180)
    network.run_for(1.0)
    phones[0].respond(phones[0].ringing[0], 603)
    network.run_for(1.0)
    assert phones[1].received[-1].method == "CANCEL"
    assert call.statuses[-1] == 603


def test_nobody_is_there(network: Network) -> None:
    ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    call = alice.invite(f"sip:nobody@{DOMAIN}")
    network.run_for(1.0)
    assert call.statuses == [480]


def test_a_phone_that_never_answers_is_given_up_by_timer_c(network: Network) -> None:
    ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    bob = Phone(network, "bob", "192.0.2.11")
    bob.register()
    network.run_for(1.0)
    call = alice.invite(bob.uri)
    network.run_for(1.0)
    bob.respond(bob.ringing[0], 180)
    network.run_for(180.0)
    assert call.statuses == [180]
    network.run_for(10.0)
    assert bob.received[-1].method == "CANCEL"
    assert call.statuses == [180, 487]


def test_a_phone_that_is_gone_is_a_timeout_for_an_invite_and_silence_for_others(
    network: Network,
) -> None:
    proxy = ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    bob = Phone(network, "bob", "192.0.2.11")
    bob.register()
    network.run_for(1.0)
    bob.shell.stop()
    call = alice.invite(bob.uri)
    message = alice.send("MESSAGE", bob.uri)
    network.run_for(40.0)
    assert call.statuses == [408]
    assert message.statuses == []
    assert message.timed_out
    network.run_for(60.0)
    assert proxy.is_idle


def test_over_tcp_a_phone_is_called_on_the_connection_that_it_registered_by(
    network: Network,
) -> None:
    ProxyHost(network, settings())
    nat = network.nat("nat", "198.51.100.1")
    alice = Phone(network, "alice", "192.0.2.10")
    bob = Phone(network, "bob", "10.0.0.2", behind=nat, transport=Transport.TCP, answers=picks_up)
    bob.register()
    network.run_for(1.0)
    call = alice.invite(bob.uri)
    network.run_for(1.0)
    assert call.statuses == [180, 200]
    dialog = alice.acknowledge(call)
    network.run_for(1.0)
    assert len(bob.acks) == 1
    assert alice.within_after(network, dialog, "BYE").statuses == [200]


def test_a_phone_behind_a_nat_is_called_and_hung_up_on_by_the_flow_of_its_registration(
    network: Network,
) -> None:
    ProxyHost(network, settings())
    nat = network.nat("nat", "198.51.100.1")
    alice = Phone(network, "alice", "192.0.2.10")
    bob = Phone(network, "bob", "10.0.0.2", behind=nat, answers=picks_up)
    bob.register()
    network.run_for(1.0)
    call = alice.invite(bob.uri)
    network.run_for(1.0)
    assert call.statuses == [180, 200]
    dialog = alice.acknowledge(call)
    network.run_for(1.0)
    assert len(bob.acks) == 1
    assert alice.within_after(network, dialog, "BYE").statuses == [200]


def test_a_caller_behind_a_nat_is_hung_up_on(network: Network) -> None:
    ProxyHost(network, settings())
    nat = network.nat("nat", "198.51.100.1")
    alice = Phone(network, "alice", "10.0.0.2", behind=nat)
    bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
    bob.register()
    network.run_for(1.0)
    alice.acknowledge_after(network, alice.invite(bob.uri))
    invite = next(one for one in bob.received if one.method == "INVITE")
    bye = bob.within(dialog_of_callee(bob, invite), "BYE")
    network.run_for(1.0)
    assert bye.statuses == [200]


class TestCredentials:
    def test_a_user_registers_with_the_right_password_only(self, network: Network) -> None:
        proxy = ProxyHost(network, settings(authenticate=True))
        proxy.users["alice", DOMAIN] = "secret"
        alice = Phone(network, "alice", "192.0.2.10")
        first = alice.register()
        network.run_for(1.0)
        assert first.statuses == [401]
        second = alice.authorized(first)
        network.run_for(1.0)
        assert second.statuses == [200]
        alice.password = "wrong"
        third = alice.authorized(first)
        network.run_for(1.0)
        assert third.statuses == [401]

    def test_a_user_calls_after_a_407_and_not_in_another_s_name(self, network: Network) -> None:
        proxy = ProxyHost(network, settings(authenticate=True))
        proxy.users["alice", DOMAIN] = "secret"
        alice = Phone(network, "alice", "192.0.2.10")
        first = alice.invite(f"sip:bob@{DOMAIN}")
        network.run_for(1.0)
        assert first.statuses == [407]
        second = alice.authorized(first)
        network.run_for(1.0)
        assert second.statuses == [480]
        forged = alice.send("INVITE", f"sip:bob@{DOMAIN}", sender=f"<sip:carol@{DOMAIN}>;tag=1")
        network.run_for(1.0)
        third = alice.authorized(forged)
        network.run_for(1.0)
        assert third.statuses == [403]

    def test_strangers_reach_our_users_and_nobody_else(self, network: Network) -> None:
        ProxyHost(network, settings(authenticate=True))
        stranger = Phone(network, "eve", "192.0.2.66")
        sender = "<sip:eve@example.net>;tag=1"
        inward = stranger.send("INVITE", f"sip:bob@{DOMAIN}", sender=sender)
        outward = stranger.send("INVITE", "sip:bob@192.0.2.99", sender=sender)
        network.run_for(1.0)
        assert inward.statuses == [480]
        assert outward.statuses == [403]

    def test_a_route_that_we_did_not_record_opens_nothing(self, network: Network) -> None:
        ProxyHost(network, settings(authenticate=True))
        stranger = Phone(network, "eve", "192.0.2.66")
        forged = HeaderField.of_text("Route", "<sip:AAAA@192.0.2.5:5060;lr>")
        call = stranger.send(
            "INVITE", "sip:bob@192.0.2.99", forged, sender="<sip:eve@example.net>;tag=1"
        )
        network.run_for(1.0)
        assert call.statuses == [403]
        assert call.request.headers.has(FROM)
