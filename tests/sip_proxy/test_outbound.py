"""Flows that phones keep open, as the proxy that is their registrar too has them (RFC 5626)."""

import pytest

from natkit.machine import ClosePath, Transport
from natkit.sip import HeaderField
from natkit.sip.kinds import CONTACT, FLOW_TIMER, RECORD_ROUTE, REQUIRE, SUPPORTED
from sip_proxy.outbound import OutboundSettings
from tests.simnet.network import Network
from tests.sip_proxy.world import (
    DOMAIN,
    INSTANCE,
    UNIX,
    Call,
    Phone,
    ProxyHost,
    Ringing,
    dialog_of_callee,
    settings,
)

BOB = f"sip:bob@{DOMAIN}"
OTHER_INSTANCE = "<urn:uuid:00000000-0000-1000-8000-000a95a0e129>"


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 180)
    phone.respond(ringing, 200)


def flow_timer(call: Call) -> int | None:
    return call.responses[-1].headers.get(FLOW_TIMER)


def count_of(proxy: ProxyHost) -> int:
    return len(proxy.location.find(BOB, proxy.network.now + UNIX))


class TestFlowTimer:
    def test_is_told_for_a_connection(self, network: Network) -> None:
        ProxyHost(network, settings())
        bob = Phone(network, "bob", "192.0.2.11", transport=Transport.TCP)
        call = bob.register_flow(1)
        network.run_for(1.0)
        assert flow_timer(call) == 120
        assert call.responses[-1].headers.get_all(REQUIRE) == ("outbound",)

    def test_is_not_told_over_datagrams(self, network: Network) -> None:
        ProxyHost(network, settings())
        call = Phone(network, "bob", "192.0.2.11").register_flow(1)
        network.run_for(1.0)
        assert flow_timer(call) is None

    def test_is_not_told_to_a_phone_that_does_without_outbound(self, network: Network) -> None:
        proxy = ProxyHost(network, settings())
        bob = Phone(network, "bob", "192.0.2.11", transport=Transport.TCP)
        call = bob.register(HeaderField.of(SUPPORTED, "outbound"))
        network.run_for(1.0)
        assert flow_timer(call) is None
        assert call.responses[-1].headers.get_all(REQUIRE) == ()
        network.run_for(600.0)
        assert count_of(proxy) == 1

    def test_can_be_left_out(self, network: Network) -> None:
        proxy = ProxyHost(network, settings(outbound=OutboundSettings(flow_timer=None)))
        bob = Phone(network, "bob", "192.0.2.11", transport=Transport.TCP)
        call = bob.register_flow(1)
        network.run_for(600.0)
        assert flow_timer(call) is None
        assert count_of(proxy) == 1

    def test_a_connection_that_stays_silent_longer_is_closed_and_its_binding_goes(
        self, network: Network
    ) -> None:
        proxy = ProxyHost(network, settings())
        bob = Phone(network, "bob", "192.0.2.11", transport=Transport.TCP)
        bob.register_flow(1)
        network.run_for(128.0)
        assert count_of(proxy) == 1
        network.run_for(4.0)
        assert count_of(proxy) == 0
        assert bob.shell.paths == ()

    def test_a_connection_with_keep_alives_stays(self, network: Network) -> None:
        proxy = ProxyHost(network, settings())
        bob = Phone(network, "bob", "192.0.2.11", transport=Transport.TCP)
        bob.register_flow(1)
        for _ in range(6):
            network.run_for(100.0)
            bob.shell.call(lambda _: bob.layer.transmit(b"\r\n\r\n", bob.path))
        assert count_of(proxy) == 1

    def test_requests_are_signs_of_life_too(self, network: Network) -> None:
        proxy = ProxyHost(network, settings())
        bob = Phone(network, "bob", "192.0.2.11", transport=Transport.TCP)
        bob.register_flow(1)
        for _ in range(6):
            network.run_for(100.0)
            bob.send("OPTIONS", f"sip:{DOMAIN}")
        assert count_of(proxy) == 1

    def test_nothing_is_left_of_a_connection_that_ended(self, network: Network) -> None:
        proxy = ProxyHost(network, settings())
        bob = Phone(network, "bob", "192.0.2.11", transport=Transport.TCP)
        bob.register_flow(1)
        network.run_for(1.0)
        bob.shell.stop()
        network.run_for(1.0)
        assert len(proxy.machine._watch) == 0
        assert len(proxy.machine._lost) == 0
        assert not [fact for fact in proxy.facts if isinstance(fact, ClosePath)]


class TestFlows:
    def test_a_call_goes_to_the_latest_flow_of_a_phone_alone(self, network: Network) -> None:
        ProxyHost(network, settings())
        flows = [Phone(network, "bob", f"192.0.2.{n}", answers=picks_up) for n in (11, 12)]
        for reg_id, flow in enumerate(flows, 1):
            flow.register_flow(reg_id)
            network.run_for(1.0)
        alice = Phone(network, "alice", "192.0.2.10")
        call = alice.invite(BOB)
        network.run_for(1.0)
        assert call.statuses == [180, 200]
        assert [len(flow.received) for flow in flows] == [0, 1]

    def test_two_phones_with_a_reg_id_each_ring_both(self, network: Network) -> None:
        ProxyHost(network, settings())
        desk, mobile = (Phone(network, "bob", f"192.0.2.{n}") for n in (11, 12))
        desk.register_flow(1)
        mobile.register_flow(1, OTHER_INSTANCE)
        network.run_for(1.0)
        Phone(network, "alice", "192.0.2.10").invite(BOB)
        network.run_for(1.0)
        assert len(desk.ringing) == len(mobile.ringing) == 1

    def test_when_one_flow_is_gone_the_other_is_taken_and_the_binding_goes(
        self, network: Network
    ) -> None:
        proxy = ProxyHost(network, settings())
        older = Phone(network, "bob", "192.0.2.11", answers=picks_up)
        older.register_flow(1)
        network.run_for(1.0)
        newer = Phone(network, "bob", "192.0.2.12", transport=Transport.TCP)
        newer.register_flow(2)
        network.run_for(1.0)
        assert count_of(proxy) == 2
        newer.shell.stop()
        network.run_for(1.0)
        assert count_of(proxy) == 1
        call = Phone(network, "alice", "192.0.2.10").invite(BOB)
        network.run_for(1.0)
        assert call.statuses == [180, 200]

    def test_when_the_connection_ends_before_an_answer_the_other_flow_is_taken(
        self, network: Network
    ) -> None:
        ProxyHost(network, settings())
        older = Phone(network, "bob", "192.0.2.11", answers=picks_up)
        older.register_flow(1)
        network.run_for(1.0)
        newer = Phone(network, "bob", "192.0.2.12", transport=Transport.TCP)
        newer.register_flow(2)
        network.run_for(1.0)
        call = Phone(network, "alice", "192.0.2.10").invite(BOB)
        network.run_for(1.0)
        assert len(newer.ringing) == 1
        newer.shell.stop()
        network.run_for(1.0)
        assert call.statuses == [180, 200]

    def test_a_flow_that_is_silent_is_followed_by_the_next(self, network: Network) -> None:
        ProxyHost(network, settings())
        older = Phone(network, "bob", "192.0.2.11", answers=picks_up)
        older.register_flow(1)
        network.run_for(1.0)
        newer = Phone(network, "bob", "192.0.2.12")
        newer.register_flow(2)
        network.run_for(1.0)
        newer.shell.stop()
        call = Phone(network, "alice", "192.0.2.10").invite(BOB)
        network.run_for(40.0)
        assert call.statuses == [180, 200]

    def test_busy_on_one_flow_is_busy(self, network: Network) -> None:
        ProxyHost(network, settings())
        older, newer = (Phone(network, "bob", f"192.0.2.{n}") for n in (11, 12))
        older.register_flow(1)
        network.run_for(1.0)
        newer.register_flow(2)
        network.run_for(1.0)
        call = Phone(network, "alice", "192.0.2.10").invite(BOB)
        network.run_for(1.0)
        newer.respond(newer.ringing[0], 486)
        network.run_for(1.0)
        assert call.statuses == [486]
        assert older.received == []

    def test_a_new_connection_with_the_same_reg_id_takes_over(self, network: Network) -> None:
        proxy = ProxyHost(network, settings())
        old = Phone(network, "bob", "192.0.2.11", transport=Transport.TCP)
        old.register_flow(1)
        network.run_for(1.0)
        new = Phone(network, "bob", "192.0.2.12", transport=Transport.TCP, answers=picks_up)
        new.register_flow(1)
        network.run_for(1.0)
        # The end of the old one takes nothing with it.
        old.shell.stop()
        network.run_for(1.0)
        assert count_of(proxy) == 1
        call = Phone(network, "alice", "192.0.2.10").invite(BOB)
        network.run_for(1.0)
        assert call.statuses == [180, 200]

    def test_without_any_flow_left_nobody_is_there(self, network: Network) -> None:
        proxy = ProxyHost(network, settings())
        bob = Phone(network, "bob", "192.0.2.11", transport=Transport.TCP)
        bob.register_flow(1)
        network.run_for(1.0)
        # The store has not heard of the end: another proxy wrote it, or it was down.
        bindings = proxy.location.get(BOB)
        bob.shell.stop()
        network.run_for(1.0)
        proxy.location.put(BOB, bindings)
        call = Phone(network, "alice", "192.0.2.10").invite(BOB)
        network.run_for(1.0)
        assert call.statuses == [480]
        assert count_of(proxy) == 0

    @pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
    def test_after_a_restart_a_datagram_still_finds_the_phone(
        self, network: Network, transport: Transport
    ) -> None:
        proxy = ProxyHost(network, settings())
        nat = network.nat("nat", "198.51.100.1")
        bob = Phone(network, "bob", "10.0.0.2", behind=nat, transport=transport, answers=picks_up)
        bob.register_flow(1)
        network.run_for(1.0)
        proxy.shell.stop()
        proxy.start()
        call = Phone(network, "alice", "192.0.2.10").invite(BOB)
        network.run_for(2.0)
        assert call.statuses == ([180, 200] if transport is Transport.UDP else [480])

    def test_after_a_restart_with_another_key_too(self, network: Network) -> None:
        proxy = ProxyHost(network, settings())
        nat = network.nat("nat", "198.51.100.1")
        bob = Phone(network, "bob", "10.0.0.2", behind=nat, answers=picks_up)
        bob.register_flow(1)
        network.run_for(1.0)
        proxy.shell.stop()
        proxy.key = bytes(16)
        proxy.start()
        call = Phone(network, "alice", "192.0.2.10").invite(BOB)
        network.run_for(2.0)
        assert call.statuses == [180, 200]

    def test_addresses_of_one_connection_are_remembered_to_a_bound(self, network: Network) -> None:
        proxy = ProxyHost(network, settings())
        trunk = Phone(network, "trunk", "192.0.2.11", transport=Transport.TCP)
        for number in range(1005):
            contact = HeaderField.of_text("Contact", f"<{trunk.contact}>")
            uri = f"<sip:{number}@{DOMAIN}>"
            trunk.send("REGISTER", f"sip:{DOMAIN}", contact, to=uri)
            if number % 100 == 0:
                network.run_for(2.0)
        network.run_for(2.0)
        assert len(proxy.location) == 1005
        assert len(proxy.machine._lost) == 1000


def test_a_dialog_with_ob_in_its_contact_goes_by_the_flow(network: Network) -> None:
    """RFC 5626 §5.3: requests within the dialog reach who called by the flow that they came by."""
    ProxyHost(network, settings())
    nat = network.nat("nat", "198.51.100.1")
    alice = Phone(network, "alice", "10.0.0.2", behind=nat, transport=Transport.TCP)
    bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
    bob.register()
    network.run_for(1.0)
    contact = HeaderField.of_text("Contact", f"<{alice.contact};ob>")
    call = alice.send("INVITE", BOB, contact)
    network.run_for(1.0)
    alice.acknowledge(call)
    network.run_for(1.0)
    invite = bob.received[-1]
    target = invite.headers.first(CONTACT)
    assert str(target) == f"<{alice.contact};ob>"
    bye = bob.within(dialog_of_callee(bob, invite), "BYE")
    network.run_for(1.0)
    assert bye.statuses == [200]
    assert alice.received[-1].uri_text == f"{alice.contact};ob"


def test_instances_are_told_apart_by_what_they_call_themselves(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    bob = Phone(network, "bob", "192.0.2.11")
    bob.register_flow(1)
    bob.register_flow(1, OTHER_INSTANCE)
    network.run_for(1.0)
    found = proxy.location.find(BOB, network.now + UNIX)
    assert {binding.instance for binding in found} == {INSTANCE, OTHER_INSTANCE}


def test_a_connection_that_ends_while_the_store_is_at_work_leaves_nothing(
    network: Network,
) -> None:
    proxy = ProxyHost(network, settings())
    proxy.update_takes = 2.0
    bob = Phone(network, "bob", "192.0.2.11", transport=Transport.TCP)
    bob.register_flow(1)
    network.run_for(1.0)
    assert count_of(proxy) == 1
    bob.shell.stop()
    network.run_for(5.0)
    assert count_of(proxy) == 0
    assert len(proxy.machine._lost) == 0
    assert len(proxy.machine._watch) == 0
    assert len(proxy.machine._far_end) == 0


class TestWithoutRecordRoute:
    """A proxy that leaves dialogs stays in those that need it."""

    def test_who_is_reached_by_a_flow_alone_is_hung_up_on(self, network: Network) -> None:
        ProxyHost(network, settings(record_route=False))
        nat = network.nat("nat", "198.51.100.1")
        bob = Phone(network, "bob", "10.0.0.2", behind=nat, answers=picks_up)
        bob.register()
        network.run_for(1.0)
        alice = Phone(network, "alice", "192.0.2.10")
        dialog = alice.acknowledge_after(network, alice.invite(BOB))
        assert len(dialog.route) == 2
        assert alice.within_after(network, dialog, "BYE").statuses == [200]

    @pytest.mark.parametrize(("suffix", "count"), [(";ob", 2), ("", 0)])
    def test_who_says_ob_is_reached_by_the_flow_that_it_called_by(
        self, network: Network, suffix: str, count: int
    ) -> None:
        ProxyHost(network, settings(record_route=False))
        alice = Phone(network, "alice", "192.0.2.10", transport=Transport.TCP)
        bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
        bob.register()
        network.run_for(1.0)
        contact = HeaderField.of_text("Contact", f"<{alice.contact}{suffix}>")
        alice.send("INVITE", BOB, contact)
        network.run_for(1.0)
        assert len(bob.received[-1].headers.get_all(RECORD_ROUTE)) == count
