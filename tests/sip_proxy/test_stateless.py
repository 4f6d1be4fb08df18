"""Forwarding without state (RFC 3261 §16.11): nothing is kept, and all finds its way."""

from collections.abc import Callable, Iterator

import pytest

from natkit.address import Address
from natkit.locate import Target
from natkit.machine import Transport
from natkit.sip import HeaderField, Response, SipUri, Via
from natkit.sip.headers import Headers
from natkit.sip.kinds import MAX_FORWARDS, RECORD_ROUTE, VIA
from sip_proxy.route_rules import RouteRule, ToNextHops
from sip_proxy.stateless import steady
from sipdns.targets import RankedTarget
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, PROXY, Phone, ProxyHost, Ringing, settings

ELSEWHERE = "sip:bob@192.0.2.11"


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 180)
    phone.respond(ringing, 200)


def rejects(status: int) -> Callable[[Phone, Ringing], None]:
    def answer(phone: Phone, ringing: Ringing) -> None:
        phone.respond(ringing, status)

    return answer


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(61) as made:
        yield made


class Office:
    """A proxy without state, alice and bob."""

    def __init__(self, network: Network, **changes: object) -> None:
        self.network = network
        self.proxy = ProxyHost(network, settings(**{"stateless": True, **changes}))
        self.alice = Phone(network, "alice", "192.0.2.10")
        self.bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)

    @property
    def held(self) -> int:
        """Transactions that the proxy has."""
        return len(self.proxy.machine._transactions)


def test_a_call_goes_through_and_nothing_is_kept_of_it(network: Network) -> None:
    office = Office(network)
    call = office.alice.invite(ELSEWHERE)
    network.run_for(1.0)
    assert call.statuses == [180, 200]
    assert office.held == 0
    dialog = office.alice.acknowledge(call)
    network.run_for(1.0)
    assert len(office.bob.acks) == 1
    assert office.alice.within_after(network, dialog, "BYE").statuses == [200]
    assert office.held == 0
    assert office.proxy.is_idle


def test_what_is_forwarded_has_our_via_one_hop_less_and_our_record_route(network: Network) -> None:
    office = Office(network)
    office.alice.invite(ELSEWHERE)
    network.run_for(1.0)
    (invite,) = [one for one in office.bob.received if one.method == "INVITE"]
    assert [via.host for via in invite.headers.get_all(VIA)] == [PROXY.host, "192.0.2.10"]
    assert invite.headers.get(MAX_FORWARDS) == 69
    assert len(invite.headers.get_all(RECORD_ROUTE)) == 2


def test_no_100_is_sent_however_long_it_takes(network: Network) -> None:
    office = Office(network)
    office.bob.answers = None
    call = office.alice.invite(ELSEWHERE)
    network.run_for(10.0)
    assert call.responses == []
    # Its retransmissions went on, each as it came, and its callee took them for one.
    assert len(office.bob.ringing) == 1


def test_the_ack_to_a_failure_reaches_who_failed(network: Network) -> None:
    office = Office(network)
    office.bob.answers = rejects(486)
    call = office.alice.invite(ELSEWHERE)
    network.run_for(40.0)
    assert call.statuses == [486]
    # An ACK that is missed or matches nothing would leave bob's transaction, or come up as a stray.
    assert office.bob.acks == []
    assert len(office.bob.layer) == 0


def test_a_cancel_finds_its_invite(network: Network) -> None:
    office = Office(network)
    office.bob.answers = None
    call = office.alice.invite(ELSEWHERE)
    network.run_for(1.0)
    office.bob.respond(office.bob.ringing[0], 180)
    network.run_for(1.0)
    office.alice.cancel(call)
    network.run_for(1.0)
    assert call.statuses == [180, 487]
    assert office.bob.ringing == []


def test_users_are_called_at_the_contact_that_they_prefer(network: Network) -> None:
    office = Office(network)
    other = Phone(network, "bob", "192.0.2.12", answers=picks_up)
    office.bob.register(parameters=";q=0.5")
    other.register(parameters=";q=0.9")
    network.run_for(1.0)
    call = office.alice.invite(f"sip:bob@{DOMAIN}")
    network.run_for(1.0)
    assert call.statuses == [180, 200]
    assert office.bob.received == []


def test_over_tcp_a_response_goes_back_on_the_connection(network: Network) -> None:
    Office(network)
    nat = network.nat("nat", "198.51.100.1")
    carol = Phone(network, "carol", "10.0.0.2", behind=nat, transport=Transport.TCP)
    call = carol.invite(ELSEWHERE)
    network.run_for(1.0)
    assert call.statuses == [180, 200]


def test_a_caller_behind_a_nat_is_answered_through_it(network: Network) -> None:
    office = Office(network)
    nat = network.nat("nat", "198.51.100.1")
    carol = Phone(network, "carol", "10.0.0.2", behind=nat)
    call = carol.invite(ELSEWHERE)
    network.run_for(1.0)
    assert call.statuses == [180, 200]
    assert office.held == 0


def test_credentials_are_asked_for_as_ever(network: Network) -> None:
    office = Office(network, authenticate=True)
    office.proxy.users["alice", DOMAIN] = "secret"
    first = office.alice.invite(ELSEWHERE)
    network.run_for(1.0)
    assert first.statuses == [407]
    second = office.alice.authorized(first)
    network.run_for(1.0)
    assert second.statuses == [180, 200]


def test_strangers_are_relayed_nowhere_not_even_a_cancel(network: Network) -> None:
    office = Office(network, authenticate=True)
    eve = Phone(network, "eve", "192.0.2.66")
    sender = "<sip:eve@example.net>;tag=1"
    invite = eve.send("INVITE", ELSEWHERE, sender=sender)
    cancel = eve.send("CANCEL", ELSEWHERE, sender=sender)
    network.run_for(1.0)
    assert (invite.statuses, cancel.statuses) == ([403], [481])
    assert office.bob.received == []


def test_a_response_that_answers_nothing_of_ours_goes_nowhere(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office(network)
    office.bob.answers = None
    office.alice.invite(ELSEWHERE)
    network.run_for(1.0)
    invite = office.bob.ringing[0].request
    arrived: list[bytes] = []
    monkeypatch.setattr(office.alice.layer, "receive", lambda data, *_: arrived.append(data))

    def answer(headers: Headers) -> None:
        data = bytes(Response(180, "", headers))
        office.bob.shell.call(lambda _: office.bob.layer.transmit(data, office.bob.path))
        network.run_for(1.0)

    genuine = Response.to(invite, 180, tag="b").headers
    ours, alices = genuine.get_all(VIA)
    for spoiled in (
        # To somebody else; for another transaction; with a branch that we never wrote.
        [ours, Via.of(Transport.UDP, Address("192.0.2.77", 5060), alices.branch or "")],
        [ours, Via.of(Transport.UDP, office.alice.local, "z9hG4bKother")],
        [Via.of(Transport.UDP, PROXY, (ours.branch or "").replace("-", "-0", 1)), alices],
    ):
        answer(genuine.replace(VIA, *spoiled))
    assert arrived == []
    answer(genuine)
    assert len(arrived) == 1


def test_a_request_that_comes_back_unchanged_is_a_loop(network: Network) -> None:
    office = Office(network)
    office.proxy.servers["loop.example.net"] = (Target(Transport.UDP, PROXY, "loop", ""),)
    call = office.alice.invite("sip:bob@loop.example.net")
    network.run_for(1.0)
    assert call.statuses == [482]


def test_what_cannot_be_sent_is_500(network: Network) -> None:
    office = Office(network)
    call = office.alice.invite("sip:bob@nowhere.example")
    network.run_for(1.0)
    assert call.statuses == [500]


def test_one_route_may_be_without_state_and_the_others_with_it(network: Network) -> None:
    rule = RouteRule(
        "relay",
        ToNextHops((SipUri.parse("sip:192.0.2.11"),)),
        domains=frozenset({"relay.example"}),
        stateless=True,
    )
    office = Office(network, stateless=False, routes=(rule,))
    office.bob.answers = None
    call = office.alice.invite("sip:bob@relay.example")
    network.run_for(1.0)
    assert office.held == 0
    office.bob.respond(office.bob.ringing[0], 180)
    network.run_for(1.0)
    office.alice.cancel(call)
    network.run_for(1.0)
    assert call.statuses == [180, 487]
    direct = office.alice.invite(ELSEWHERE)
    network.run_for(1.0)
    assert office.held > 0
    office.bob.respond(office.bob.ringing[-1], 486)
    network.run_for(40.0)
    assert direct.statuses == [486]
    assert len(office.bob.layer) == 0


def test_the_same_request_goes_to_the_same_server_and_all_share_by_weight() -> None:
    servers = [
        RankedTarget(Transport.UDP, Address("192.0.2.1", 5060), "a", "", 1, 30),
        RankedTarget(Transport.UDP, Address("192.0.2.2", 5060), "b", "", 1, 10),
        RankedTarget(Transport.UDP, Address("192.0.2.3", 5060), "c", "", 2, 90),
    ]
    firsts = [steady(servers, f"branch {number}")[0].host for number in range(4000)]
    # A quarter of 4,000, and five times the standard deviation.
    assert abs(firsts.count("b") - 1000) < 137
    assert "c" not in firsts
    assert all(steady(servers, "x") == steady(servers[::-1], "x") for _ in range(3))


def test_a_max_forwards_of_0_ends_here(network: Network) -> None:
    office = Office(network)
    call = office.alice.send("OPTIONS", ELSEWHERE, HeaderField.of_text("X-A", "1"))
    headers = call.request.headers.replace(MAX_FORWARDS, 0)
    headers = headers.replace_first(VIA, Via.of(Transport.UDP, office.alice.local, "z9hG4bKo"))
    second = office.alice.submit(type(call.request)("OPTIONS", ELSEWHERE, headers))
    network.run_for(1.0)
    assert second.statuses == [483]


def test_other_settings_count_from_then_on(network: Network) -> None:
    office = Office(network, stateless=False)
    office.bob.answers = None
    office.alice.invite(ELSEWHERE)
    network.run_for(1.0)
    assert office.held > 0
    office.bob.respond(office.bob.ringing[0], 486)
    network.run_for(40.0)
    machine = office.proxy.machine
    office.proxy.shell.call(lambda now: machine.configure(settings(stateless=True), now))
    call = office.alice.invite(ELSEWHERE)
    network.run_for(1.0)
    assert office.held == 0
    office.bob.respond(office.bob.ringing[1], 200)
    network.run_for(1.0)
    assert call.statuses == [200]
