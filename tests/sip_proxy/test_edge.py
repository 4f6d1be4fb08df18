"""An edge proxy before a registrar that is elsewhere (RFC 5626 §5, RFC 3327 §5.2)."""

import pytest

from natkit.address import Address
from natkit.machine import Transport
from natkit.sip import HeaderField, SipUri
from natkit.sip.digest import Algorithm
from natkit.sip.kinds import FLOW_TIMER, PATH, REQUIRE, ROUTE, SERVICE_ROUTE, SUPPORTED, VIA
from sip_proxy.homes import Home
from sip_proxy.outbound import OutboundSettings
from tests.simnet.behaviour import NatBehaviour
from tests.simnet.network import Network
from tests.sip_proxy.world import (
    DOMAIN,
    INSTANCE,
    PROXY,
    UNIX,
    Call,
    Phone,
    ProxyHost,
    Ringing,
    dialog_of_callee,
    listeners_at,
    settings,
)

BOB = f"sip:bob@{DOMAIN}"
HOME = Address("192.0.2.6", 5060)
OUTBOUND = HeaderField.of(SUPPORTED, "outbound", "path")
SERVICE = SipUri.parse(f"sip:{HOME.host}:5060;lr")


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 180)
    phone.respond(ringing, 200)


class Span:
    """Phones, an edge that knows no users, and a home proxy that asks for credentials."""

    def __init__(self, network: Network, **changes: object) -> None:
        self.network = network
        home = Home(DOMAIN, SipUri.parse(f"sip:{HOME}"))
        self.edge = ProxyHost(
            network,
            settings(domains=frozenset(), authenticate=True, homes=(home,), **changes),
            name="edge",
        )
        self.home = ProxyHost(
            network,
            settings(
                listeners=listeners_at(HOME),
                authenticate=True,
                outbound=OutboundSettings(service_route=(SERVICE,)),
            ),
            name="home",
        )
        for user in ("alice", "bob"):
            self.home.users[user, DOMAIN] = "secret"
        nat = network.nat("nat", "198.51.100.1", behaviour=NatBehaviour(lifetime=30.0))
        self.nat = nat

    def phone(self, name: str, address: str, transport: Transport = Transport.UDP) -> Phone:
        """A phone behind the NAT, whose proxy is the edge."""
        return Phone(
            self.network, name, address, behind=self.nat, transport=transport, answers=picks_up
        )

    def register(self, phone: Phone, *fields: HeaderField, flow: int | None = 1) -> Call:
        """Register with the home proxy, through the edge, and with credentials."""
        parameters = "" if flow is None else f';reg-id={flow};+sip.instance="{INSTANCE}"'
        challenged = phone.register(*fields, parameters=parameters)
        self.network.run_for(1.0)
        assert challenged.statuses == [401]
        call = phone.authorized(challenged, Algorithm.SHA_256)
        self.network.run_for(1.0)
        return call

    def bindings(self) -> list[tuple[str, ...]]:
        """The paths of bob's bindings at home."""
        found = self.home.location.find(BOB, self.network.now + UNIX)
        return [binding.path for binding in found]


@pytest.fixture
def span(network: Network) -> Span:
    return Span(network)


def test_the_registrar_gets_our_entry_with_the_flow_and_ob(span: Span) -> None:
    bob = span.phone("bob", "10.0.0.2")
    call = span.register(bob, OUTBOUND)
    assert call.statuses == [200]
    ((entry,),) = span.bindings()
    uri = SipUri.parse(entry)
    assert (uri.host, uri.port) == (PROXY.host, PROXY.port)
    assert uri.has_parameter("ob")
    assert uri.loose_routing
    assert uri.user is not None
    answer = call.responses[-1]
    assert [str(one.uri) for one in answer.headers.get_all(PATH)] == [entry]
    assert answer.headers.get_all(REQUIRE) == ("outbound",)


def test_what_the_registrar_tells_the_phone_passes_as_it_is(span: Span) -> None:
    call = span.register(span.phone("bob", "10.0.0.2"), OUTBOUND)
    told = call.responses[-1].headers.get_all(SERVICE_ROUTE)
    assert [one.uri for one in told] == [SERVICE]


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
@pytest.mark.parametrize("flow", [1, None])
def test_a_call_from_home_reaches_the_phone_by_its_flow(
    span: Span, transport: Transport, flow: int | None
) -> None:
    bob = span.phone("bob", "10.0.0.2", transport)
    assert span.register(bob, OUTBOUND, flow=flow).statuses == [200]
    alice = Phone(span.network, "carol", "192.0.2.10", proxy=HOME)
    call = alice.send(
        "INVITE",
        BOB,
        HeaderField.of_text("Contact", f"<{alice.contact}>"),
        sender="<sip:carol@example.net>;tag=1",
    )
    span.network.run_for(2.0)
    assert call.statuses == [180, 200]
    invite = bob.received[-1]
    assert [via.host for via in invite.headers.get_all(VIA)][:2] == [PROXY.host, HOME.host]
    assert not invite.headers.has(ROUTE)
    dialog = alice.acknowledge(call)
    span.network.run_for(1.0)
    assert len(bob.acks) == 1
    assert alice.within_after(span.network, dialog, "BYE").statuses == [200]
    assert bob.received[-1].method == "BYE"


def test_who_is_called_hangs_up_through_both(span: Span) -> None:
    bob = span.phone("bob", "10.0.0.2")
    span.register(bob, OUTBOUND)
    caller = Phone(span.network, "carol", "192.0.2.10", proxy=HOME)
    contact = HeaderField.of_text("Contact", f"<{caller.contact}>")
    call = caller.send("INVITE", BOB, contact, sender="<sip:carol@example.net>;tag=1")
    span.network.run_for(2.0)
    caller.acknowledge(call)
    span.network.run_for(1.0)
    bye = bob.within(dialog_of_callee(bob, bob.received[-1]), "BYE")
    span.network.run_for(2.0)
    assert bye.statuses == [200]


def test_a_connection_that_ended_is_430_and_nobody_is_there_any_more(span: Span) -> None:
    bob = span.phone("bob", "10.0.0.2", Transport.TCP)
    span.register(bob, OUTBOUND)
    bob.shell.stop()
    span.network.run_for(1.0)
    assert len(span.bindings()) == 1
    caller = Phone(span.network, "carol", "192.0.2.10", proxy=HOME)
    contact = HeaderField.of_text("Contact", f"<{caller.contact}>")
    call = caller.send("INVITE", BOB, contact, sender="<sip:carol@example.net>;tag=1")
    span.network.run_for(2.0)
    assert call.statuses == [480]
    assert span.bindings() == []


def test_two_edges_stand_in_for_each_other(span: Span) -> None:
    other_edge = Address("192.0.2.7", 5060)
    home = Home(DOMAIN, SipUri.parse(f"sip:{HOME}"))
    ProxyHost(
        span.network,
        settings(
            domains=frozenset(),
            authenticate=True,
            homes=(home,),
            listeners=listeners_at(other_edge),
        ),
        name="other edge",
    )
    second = Phone(
        span.network, "bob", "10.0.0.3", behind=span.nat, answers=picks_up, proxy=other_edge
    )
    span.register(second, OUTBOUND, flow=2)
    first = span.phone("bob", "10.0.0.2")
    span.register(first, OUTBOUND, flow=1)
    assert len(span.bindings()) == 2
    span.edge.shell.stop()
    caller = Phone(span.network, "carol", "192.0.2.10", proxy=HOME)
    contact = HeaderField.of_text("Contact", f"<{caller.contact}>")
    call = caller.send("INVITE", BOB, contact, sender="<sip:carol@example.net>;tag=1")
    span.network.run_for(40.0)
    assert call.statuses == [180, 200]
    assert second.received[-1].method == "INVITE"


class TestVisitors:
    def test_calls_go_home_which_asks_for_credentials(self, span: Span) -> None:
        bob = span.phone("bob", "10.0.0.2")
        span.register(bob, OUTBOUND)
        alice = span.phone("alice", "10.0.0.3")
        call = alice.invite(BOB)
        span.network.run_for(2.0)
        assert call.statuses == [407]
        second = alice.authorized(call)
        span.network.run_for(2.0)
        assert second.statuses == [180, 200]

    def test_calls_to_anywhere_go_home_first(self, span: Span) -> None:
        alice = span.phone("alice", "10.0.0.3")
        call = alice.invite("sip:somebody@192.0.2.99")
        span.network.run_for(2.0)
        assert call.statuses == [407]

    def test_a_service_route_that_leads_home_is_followed(self, span: Span) -> None:
        alice = span.phone("alice", "10.0.0.3")
        route = HeaderField.of_text("Route", f"<sip:{PROXY};lr>, <{SERVICE}>")
        call = alice.send("INVITE", "sip:somebody@192.0.2.99", route)
        span.network.run_for(2.0)
        assert call.statuses == [407]

    def test_a_route_that_leads_elsewhere_is_not(self, span: Span) -> None:
        alice = span.phone("alice", "10.0.0.3")
        route = HeaderField.of_text("Route", f"<sip:{PROXY};lr>, <sip:192.0.2.99;lr>")
        call = alice.send("INVITE", BOB, route)
        span.network.run_for(2.0)
        assert call.statuses == [403]

    def test_who_claims_another_domain_is_no_visitor(self, span: Span) -> None:
        eve = span.phone("eve", "10.0.0.3")
        call = eve.send("INVITE", BOB, sender="<sip:eve@example.net>;tag=1")
        to = "<sip:eve@example.net>"
        register = eve.send("REGISTER", "sip:example.net", to=to, sender=f"{to};tag=2")
        span.network.run_for(2.0)
        assert call.statuses == [403]
        assert register.statuses == [403]


class TestPath:
    def test_a_phone_that_does_not_know_path_is_registered_all_the_same(self, span: Span) -> None:
        call = span.register(span.phone("bob", "10.0.0.2"), flow=None)
        assert call.statuses == [200]
        assert not call.responses[-1].headers.has(PATH)
        assert len(span.bindings()) == 1

    def test_or_is_told_that_it_must(self, network: Network) -> None:
        span = Span(network, outbound=OutboundSettings(path_needs_support=True))
        call = span.phone("bob", "10.0.0.2").register()
        network.run_for(1.0)
        assert call.statuses == [421]
        assert call.responses[-1].headers.get_all(REQUIRE) == ("path",)

    def test_who_came_through_another_proxy_gets_no_entry_of_ours(self, span: Span) -> None:
        bob = span.phone("bob", "10.0.0.2")
        via = HeaderField.of_text("Via", "SIP/2.0/UDP 192.0.2.77;branch=z9hG4bK1")
        challenged = bob.register(via, HeaderField.of(SUPPORTED, "path"))
        span.network.run_for(1.0)
        call = bob.authorized(challenged)
        span.network.run_for(1.0)
        assert call.statuses == [200]
        assert span.bindings() == [()]


class TestKeepAlive:
    def test_the_edge_tells_a_connection_its_flow_timer_and_closes_it_when_silent(
        self, span: Span
    ) -> None:
        bob = span.phone("bob", "10.0.0.2", Transport.TCP)
        call = span.register(bob, OUTBOUND)
        assert call.responses[-1].headers.get(FLOW_TIMER) == 120
        span.network.run_for(140.0)
        assert bob.shell.paths == ()

    def test_the_edge_keeps_the_flow_of_a_phone_without_outbound(self, span: Span) -> None:
        bob = span.phone("bob", "10.0.0.2")
        span.register(bob, flow=None)
        assert len(span.edge.machine._far_end) == 1
        span.network.run_for(600.0)
        caller = Phone(span.network, "carol", "192.0.2.10", proxy=HOME)
        contact = HeaderField.of_text("Contact", f"<{caller.contact}>")
        call = caller.send("INVITE", BOB, contact, sender="<sip:carol@example.net>;tag=1")
        span.network.run_for(2.0)
        assert call.statuses == [180, 200]

    def test_until_it_registers_no_more(self, span: Span) -> None:
        bob = span.phone("bob", "10.0.0.2")
        span.register(bob, flow=None)
        challenged = bob.register(expires=0)
        span.network.run_for(1.0)
        bob.authorized(challenged)
        span.network.run_for(1.0)
        assert len(span.edge.machine._far_end) == 0

    def test_a_phone_that_is_gone_is_no_longer_kept(self, span: Span) -> None:
        bob = span.phone("bob", "10.0.0.2")
        span.register(bob, flow=None)
        bob.shell.stop()
        span.network.run_for(300.0)
        assert len(span.edge.machine._far_end) == 0
        # What is registered is the registrar's to say.
        assert len(span.bindings()) == 1
