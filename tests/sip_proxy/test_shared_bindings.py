"""Two proxies that share the bindings: each phone is reached through the one that has its flow."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from natkit.address import Address
from natkit.machine import Transport
from natkit.sip import HeaderField, NameAddress, SipUri
from natkit.sip.kinds import ROUTE, TO, VIA
from sip_proxy.location import Binding, BindingTable
from sip_proxy.outbound import OutboundSettings, read_edge
from sip_proxy.settings import Listener
from tests.simnet.network import Network
from tests.sip_proxy.world import (
    DOMAIN,
    UNIX,
    Phone,
    ProxyHost,
    Ringing,
    dialog_of_caller,
    listeners_at,
    settings,
)

FIRST = Address("192.0.2.5", 5060)
SECOND = Address("192.0.2.6", 5060)
BOB = f"sip:bob@{DOMAIN}"


def web(proxy: Address) -> Address:
    """Where a proxy listens for WebSockets."""
    return Address(proxy.host, 8088)


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 180)
    phone.respond(ringing, 200)


@dataclass
class Pair:
    network: Network
    location: BindingTable
    first: ProxyHost
    second: ProxyHost

    def bound(self) -> tuple[str, ...]:
        """The topmost path entries of bob's bindings."""
        found = self.location.find(BOB, self.network.now + UNIX)
        return tuple([binding.path[0] for binding in found if binding.path])


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Network(23) as network:
        location = BindingTable()
        made = [
            ProxyHost(
                network,
                settings(listeners=(*listeners_at(address), Listener(Transport.WS, web(address)))),
                name=f"proxy at {address}",
                location=location,
            )
            for address in (FIRST, SECOND)
        ]
        yield Pair(network, location, *made)


@pytest.fixture
def caller(pair: Pair) -> Phone:
    return Phone(pair.network, "alice", "192.0.2.10", proxy=SECOND)


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
def test_a_phone_behind_a_nat_is_called_through_the_proxy_that_it_registered_at(
    pair: Pair, caller: Phone, transport: Transport
) -> None:
    nat = pair.network.nat("nat", "198.51.100.1")
    bob = Phone(pair.network, "bob", "10.0.0.2", behind=nat, transport=transport, answers=picks_up)
    bob.register()
    pair.network.run_for(1.0)
    call = caller.invite(BOB)
    pair.network.run_for(1.0)
    assert call.statuses == [180, 200]
    invite = bob.received[-1]
    hosts = [via.host for via in invite.headers.get_all(VIA)]
    assert hosts == [FIRST.host, SECOND.host, "192.0.2.10"]
    assert not invite.headers.has(ROUTE)
    dialog = caller.acknowledge(call)
    pair.network.run_for(1.0)
    assert len(bob.acks) == 1
    assert caller.within_after(pair.network, dialog, "BYE").statuses == [200]


def test_the_proxy_that_holds_the_flow_needs_no_hop_to_itself(pair: Pair) -> None:
    nat = pair.network.nat("nat", "198.51.100.1")
    bob = Phone(pair.network, "bob", "10.0.0.2", behind=nat, answers=picks_up)
    bob.register()
    alice = Phone(pair.network, "alice", "192.0.2.10", proxy=FIRST)
    pair.network.run_for(1.0)
    call = alice.invite(BOB)
    pair.network.run_for(1.0)
    assert call.statuses == [180, 200]
    assert [via.host for via in bob.received[-1].headers.get_all(VIA)] == [
        FIRST.host,
        "192.0.2.10",
    ]


def test_a_phone_that_says_where_else_it_listens_is_called_there(pair: Pair, caller: Phone) -> None:
    # It sends from another port than it names, as sipp and some gateways do.
    bob = Phone(pair.network, "bob", "192.0.2.11", answers=picks_up)
    bob.shell.bind(Address("192.0.2.11", 5070))
    contact = HeaderField.of_text("Contact", "<sip:bob@192.0.2.11:5070>")
    bob.send("REGISTER", f"sip:{DOMAIN}", contact, to=f"<{BOB}>")
    pair.network.run_for(1.0)
    assert pair.bound() == ()
    call = caller.invite(BOB)
    pair.network.run_for(1.0)
    assert call.statuses == [180, 200]
    assert bob.received[-1].headers.get_all(VIA)[0].host == SECOND.host


def test_without_the_proxy_of_its_flow_a_phone_is_called_where_it_says_that_it_is(
    pair: Pair, caller: Phone
) -> None:
    bob = Phone(pair.network, "bob", "192.0.2.11", answers=picks_up)
    bob.register()
    pair.network.run_for(1.0)
    assert len(pair.bound()) == 1
    pair.first.shell.stop()
    call = caller.invite(BOB)
    pair.network.run_for(40.0)
    assert call.statuses == [180, 200]
    assert bob.received[-1].headers.get_all(VIA)[0].host == SECOND.host


def test_the_entry_names_the_listener_of_the_flow_and_the_flow(pair: Pair) -> None:
    Phone(pair.network, "bob", "192.0.2.11", transport=Transport.TCP).register()
    pair.network.run_for(1.0)
    (entry,) = pair.bound()
    uri = SipUri.parse(entry)
    assert (uri.host, uri.port, uri.transport) == (FIRST.host, FIRST.port, "tcp")
    assert uri.loose_routing
    assert uri.has_parameter("ob")
    token = pair.first.machine._desk.tokens.read(uri.user or "")
    assert token is not None
    assert (token.path.remote.host, token.is_attached) == ("192.0.2.11", True)


def test_when_the_proxy_of_the_first_flow_is_gone_the_next_flow_is_tried(
    pair: Pair, caller: Phone
) -> None:
    nat = pair.network.nat("nat", "198.51.100.1")
    older = Phone(pair.network, "bob", "10.0.0.2", behind=nat, answers=picks_up, proxy=SECOND)
    older.register_flow(1)
    pair.network.run_for(1.0)
    newer = Phone(pair.network, "bob", "10.0.0.3", behind=nat, transport=Transport.TCP)
    newer.register_flow(2)
    pair.network.run_for(1.0)
    assert len(pair.bound()) == 2
    pair.first.shell.stop()
    call = caller.invite(BOB)
    pair.network.run_for(40.0)
    assert call.statuses == [180, 200]
    assert older.received[-1].method == "INVITE"
    assert newer.received == []


def test_a_430_of_the_other_proxy_leads_to_the_next_flow_and_ends_the_binding(
    pair: Pair, caller: Phone
) -> None:
    nat = pair.network.nat("nat", "198.51.100.1")
    older = Phone(pair.network, "bob", "10.0.0.2", behind=nat, answers=picks_up)
    older.register_flow(1)
    pair.network.run_for(1.0)
    newer = Phone(pair.network, "bob", "10.0.0.3", behind=nat, transport=Transport.TCP)
    newer.register_flow(2)
    pair.network.run_for(1.0)
    # The first proxy is restarted: it has other connections, and the same key.
    pair.first.shell.stop()
    pair.first.start()
    call = caller.invite(BOB)
    pair.network.run_for(2.0)
    assert call.statuses == [180, 200]
    assert len(pair.bound()) == 1


def test_with_no_flow_left_nobody_is_there(pair: Pair, caller: Phone) -> None:
    bob = Phone(pair.network, "bob", "192.0.2.11", transport=Transport.TCP)
    bob.register_flow(1)
    pair.network.run_for(1.0)
    entry = pair.bound()
    bob.shell.stop()
    pair.network.run_for(1.0)
    # The end of the connection ended the binding: the first of the two proxies had it recorded.
    assert len(entry) == 1
    assert pair.bound() == ()
    call = caller.invite(BOB)
    pair.network.run_for(1.0)
    assert call.statuses == [480]


def test_an_edge_of_another_address_is_what_others_are_told(pair: Pair) -> None:
    third = Address("192.0.2.7", 5060)
    edge = read_edge("sip:inner.example.org:5080;transport=tcp")
    configured = settings(listeners=listeners_at(third), outbound=OutboundSettings(edge=edge))
    ProxyHost(pair.network, configured, name="third", location=pair.location)
    bob = Phone(pair.network, "bob", "192.0.2.11", transport=Transport.TCP, proxy=third)
    bob.answers = picks_up
    bob.register()
    pair.network.run_for(1.0)
    (entry,) = pair.bound()
    uri = SipUri.parse(entry)
    assert (uri.host, uri.port, uri.transport) == ("inner.example.org", 5080, "tcp")
    # It knows itself by that name.
    alice = Phone(pair.network, "alice", "192.0.2.12", proxy=third)
    call = alice.invite(BOB)
    routed = alice.send("MESSAGE", bob.contact, HeaderField.of_text("Route", f"<{entry}>"))
    pair.network.run_for(1.0)
    assert call.statuses == [180, 200]
    assert routed.statuses == [200]


class TestTokens:
    def test_a_request_by_our_entry_goes_by_its_flow(self, pair: Pair, caller: Phone) -> None:
        nat = pair.network.nat("nat", "198.51.100.1")
        bob = Phone(pair.network, "bob", "10.0.0.2", behind=nat)
        bob.register()
        pair.network.run_for(1.0)
        (entry,) = pair.bound()
        route = HeaderField.of_text("Route", f"<{entry}>")
        message = caller.send("MESSAGE", bob.contact, route)
        pair.network.run_for(1.0)
        assert message.statuses == [200]

    def test_a_flow_that_is_gone_is_430(self, pair: Pair) -> None:
        bob = Phone(pair.network, "bob", "192.0.2.11", transport=Transport.TCP)
        bob.register()
        pair.network.run_for(1.0)
        (entry,) = pair.bound()
        bob.shell.stop()
        pair.network.run_for(1.0)
        alice = Phone(pair.network, "alice", "192.0.2.10", proxy=FIRST)
        route = HeaderField.of_text("Route", f"<{entry}>")
        message = alice.send("MESSAGE", bob.contact, route)
        pair.network.run_for(1.0)
        assert message.statuses == [430]

    def test_a_token_that_was_changed_is_403(self, pair: Pair) -> None:
        bob = Phone(pair.network, "bob", "192.0.2.11", transport=Transport.TCP)
        bob.register()
        pair.network.run_for(1.0)
        (entry,) = pair.bound()
        scheme, _, rest = entry.partition(":")
        forged = f"{scheme}:{'B' if rest[0] == 'A' else 'A'}{rest[1:]}"
        alice = Phone(pair.network, "alice", "192.0.2.10", proxy=FIRST)
        message = alice.send("MESSAGE", bob.contact, HeaderField.of_text("Route", f"<{forged}>"))
        pair.network.run_for(1.0)
        assert message.statuses == [403]
        assert bob.received == []

    def test_what_comes_by_the_very_flow_of_its_token_is_on_its_way_out(self, pair: Pair) -> None:
        bob = Phone(pair.network, "bob", "192.0.2.11", transport=Transport.TCP)
        bob.register()
        carol = Phone(pair.network, "carol", "192.0.2.12")
        carol.register()
        pair.network.run_for(1.0)
        (entry,) = pair.bound()
        message = bob.send("MESSAGE", carol.uri, HeaderField.of_text("Route", f"<{entry}>"))
        pair.network.run_for(1.0)
        assert message.statuses == [200]
        assert carol.received[-1].method == "MESSAGE"


class TestNoOpenRelay:
    """A token that somebody was given opens no way but its own."""

    @pytest.mark.parametrize(("to_tag", "statuses"), [("", [403]), (";tag=bob", [481])])
    def test_outside_of_a_dialog_a_recorded_route_needs_credentials(
        self, to_tag: str, statuses: list[int]
    ) -> None:
        with Network(5) as network:
            proxy = ProxyHost(network, settings(authenticate=True))
            eve = Phone(network, "eve", "192.0.2.66")
            bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
            victim = Phone(network, "victim", "192.0.2.99", answers=declines_within_dialogs)
            until = UNIX + network.now + 60
            binding = Binding(bob.contact, until, 1000, "1", 1, UNIX)
            proxy.location.put(BOB, (binding,))
            sender = "<sip:eve@example.net>;tag=1"
            contact = HeaderField.of_text("Contact", f"<{eve.contact}>")
            answered = eve.send("INVITE", BOB, contact, sender=sender)
            dialog = eve.acknowledge_after(network, answered)
            routes = [HeaderField.of(ROUTE, route) for route in dialog.route]
            call = eve.send(
                "INVITE",
                victim.contact,
                *routes,
                contact,
                sender=sender,
                to=f"<{victim.contact}>{to_tag}",
            )
            network.run_for(1.0)
            assert call.statuses == statuses
            assert bool(victim.received) == (statuses == [481])


def declines_within_dialogs(phone: Phone, ringing: Ringing) -> None:
    to = ringing.request.headers.get(TO)
    phone.respond(ringing, 481 if to is not None and to.tag is not None else 200)


class TestOneName:
    """Two proxies behind one name, which requests within a dialog may resolve to either of."""

    @pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP, Transport.WS])
    def test_a_request_within_a_dialog_that_comes_to_the_other_goes_by_the_flow_of_the_first(
        self, pair: Pair, transport: Transport
    ) -> None:
        nat = pair.network.nat("nat", "198.51.100.1")
        bob = Phone(
            pair.network,
            "bob",
            "10.0.0.2",
            behind=nat,
            transport=transport,
            answers=picks_up,
            proxy=web(FIRST) if transport is Transport.WS else FIRST,
        )
        bob.register()
        alice = Phone(pair.network, "alice", "192.0.2.10", proxy=FIRST)
        pair.network.run_for(1.0)
        dialog = alice.acknowledge_after(pair.network, alice.invite(BOB))
        other = Phone(pair.network, "alice", "192.0.2.12", proxy=SECOND)
        # As their name stands for both, both take a Route by it for their own.
        dialog.route = tuple(at_second(route) for route in dialog.route)
        bye = other.within_after(pair.network, dialog, "BYE")
        assert bye.statuses == [200]
        vias = [via.host for via in bob.received[-1].headers.get_all(VIA)]
        assert vias[:2] == [FIRST.host, SECOND.host]

    def test_and_so_does_an_ack(self, pair: Pair) -> None:
        nat = pair.network.nat("nat", "198.51.100.1")
        bob = Phone(pair.network, "bob", "10.0.0.2", behind=nat, answers=picks_up)
        bob.register()
        alice = Phone(pair.network, "alice", "192.0.2.10", proxy=FIRST)
        pair.network.run_for(1.0)
        call = alice.invite(BOB)
        pair.network.run_for(1.0)
        dialog = dialog_of_caller(call)
        dialog.route = tuple(at_second(route) for route in dialog.route)
        other = Phone(pair.network, "alice", "192.0.2.12", proxy=SECOND)
        other.transmit(dialog, "ACK", dialog.number)
        pair.network.run_for(1.0)
        assert len(bob.acks) == 1


def at_second(route: NameAddress) -> NameAddress:
    assert isinstance(route.uri, SipUri)
    return NameAddress(replace(route.uri, host=SECOND.host))
