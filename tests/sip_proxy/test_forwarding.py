"""Each of RFC 3261 §16's steps, where a test of a whole call would not tell."""

from collections.abc import Callable, Iterator
from ipaddress import ip_network

import pytest

from natkit.address import Address
from natkit.locate import Target
from natkit.machine import Transport
from natkit.sip import HeaderField, NameAddress, Request, Via, parse_message
from natkit.sip.headers import Headers
from natkit.sip.kinds import (
    CONTACT,
    MAX_BREADTH,
    MAX_FORWARDS,
    PROXY_REQUIRE,
    RECORD_ROUTE,
    ROUTE,
    SUPPORTED,
    UNSUPPORTED,
    VIA,
)
from sip_proxy.forwarder import MOST_TARGETS
from tests.simnet.endpoint import Endpoint
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, PROXY, Call, Phone, ProxyHost, Ringing, settings

ELSEWHERE = "sip:bob@192.0.2.11"


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(5) as made:
        yield made


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 200)


def rejects(status: int, *fields: HeaderField) -> Callable[[Phone, Ringing], None]:
    def answer(phone: Phone, ringing: Ringing) -> None:
        phone.respond(ringing, status, *fields)

    return answer


def sent(network: Network, call: Call) -> Call:
    """Let a call be answered."""
    network.run_for(1.0)
    return call


def to(address: str, port: int = 5060, transport: Transport = Transport.UDP) -> Target:
    return Target(transport, Address(address, port), "servers.example", "")


class TestValidation:
    def test_max_forwards_0_ends_here(self, network: Network) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        call = alice.invite(ELSEWHERE)
        headers = call.request.headers.replace(MAX_FORWARDS, 0)
        headers = headers.replace_first(VIA, Via.of(Transport.UDP, alice.local, "z9hG4bKother"))
        second = alice.submit(Request("INVITE", ELSEWHERE, headers))
        assert sent(network, second).statuses == [483]

    def test_a_request_without_max_forwards_gets_one(self, network: Network) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
        first = alice.send("OPTIONS", ELSEWHERE)
        headers = first.request.headers.remove(MAX_FORWARDS)
        headers = headers.replace_first(VIA, Via.of(Transport.UDP, alice.local, "z9hG4bKother"))
        alice.submit(Request("OPTIONS", ELSEWHERE, headers))
        network.run_for(1.0)
        assert [one.headers.get(MAX_FORWARDS) for one in bob.received] == [69, 70]

    def test_an_extension_that_we_do_not_know_is_named(self, network: Network) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        wants = HeaderField.of(PROXY_REQUIRE, "path", "teleport")
        call = sent(network, alice.invite(ELSEWHERE, wants))
        assert call.statuses == [420]
        assert call.responses[-1].headers.get_all(UNSUPPORTED) == ("teleport",)

    def test_other_schemes_than_sip_and_tel_are_416(self, network: Network) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        assert sent(network, alice.send("INVITE", "http://example.org/")).statuses == [416]

    def test_a_request_that_comes_back_unchanged_is_a_loop(self, network: Network) -> None:
        proxy = ProxyHost(network, settings())
        # Somebody's DNS leads back to us, under a name that we do not know as ours.
        proxy.servers["loop.example.net"] = (Target(Transport.UDP, PROXY, "loop", ""),)
        alice = Phone(network, "alice", "192.0.2.10")
        assert sent(network, alice.invite("sip:bob@loop.example.net")).statuses == [482]

    def test_a_spiral_is_none(self, network: Network) -> None:
        proxy = ProxyHost(network, settings())
        proxy.servers[DOMAIN] = (Target(Transport.UDP, PROXY, DOMAIN, ""),)
        alice = Phone(network, "alice", "192.0.2.10")
        bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
        bob.register()
        network.run_for(1.0)
        contact = NameAddress.parse(f"<sip:bob@{DOMAIN}>")
        carol = HeaderField.of(CONTACT, contact)
        alice.send("REGISTER", f"sip:{DOMAIN}", carol, to=f"<sip:carol@{DOMAIN}>")
        network.run_for(1.0)
        assert sent(network, alice.invite(f"sip:carol@{DOMAIN}")).statuses == [200]

    def test_a_fault_of_form_is_400(self, network: Network) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        bad = HeaderField.of_text("Route", "<sip:")
        assert sent(network, alice.invite(ELSEWHERE, bad)).statuses == [400]

    def test_a_fault_that_is_found_after_a_lookup_is_400_too(self, network: Network) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        bad = HeaderField.of_text("Max-Breadth", "many")
        assert sent(network, alice.invite(f"sip:bob@{DOMAIN}", bad)).statuses == [400]
        odd = HeaderField.of_text("Supported", "<path>")
        contact = HeaderField.of(CONTACT, NameAddress.parse(f"<{alice.contact}>"))
        register = alice.send("REGISTER", f"sip:{DOMAIN}", contact, odd, to=f"<{alice.uri}>")
        assert sent(network, register).statuses == [400]

    def test_a_phone_on_the_host_that_is_the_domain_is_no_user_of_the_domain(
        self, network: Network
    ) -> None:
        proxy = ProxyHost(network, settings(domains=frozenset({PROXY.host})))
        bob = Endpoint(proxy.host, 5070)
        alice = Phone(network, "alice", "192.0.2.10")
        alice.invite(f"sip:bob@{PROXY.host}:5070")
        network.run_for(0.3)
        invite = parse_message(bob.received[0][0])
        assert isinstance(invite, Request)
        assert invite.uri_text == f"sip:bob@{PROXY.host}:5070"
        for own in (f"sip:bob@{PROXY.host}", f"sip:bob@{PROXY.host}:5060"):
            assert sent(network, alice.invite(own)).statuses == [480]


class TestRoutes:
    def test_a_route_to_another_proxy_is_followed(self, network: Network) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        other = Phone(network, "other", "192.0.2.12", answers=picks_up)
        route = HeaderField.of(ROUTE, NameAddress.parse("<sip:192.0.2.12;lr>"))
        assert sent(network, alice.invite(ELSEWHERE, route)).statuses == [200]
        (invite,) = other.received
        assert invite.uri_text == ELSEWHERE
        assert invite.headers.has(ROUTE)

    @pytest.mark.parametrize("own", [f"<sip:{PROXY};lr>", f"<sip:{DOMAIN};lr>"])
    def test_a_route_to_us_is_taken_off(self, network: Network, own: str) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
        route = HeaderField.of(ROUTE, NameAddress.parse(own))
        assert sent(network, alice.invite(ELSEWHERE, route)).statuses == [200]
        assert not bob.received[0].headers.has(ROUTE)

    def test_a_strict_router_finds_itself_in_the_request_uri(self, network: Network) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        other = Phone(network, "other", "192.0.2.12", answers=picks_up)
        route = HeaderField.of(ROUTE, NameAddress.parse("<sip:192.0.2.12>"))
        assert sent(network, alice.invite(ELSEWHERE, route)).statuses == [200]
        (invite,) = other.received
        assert invite.uri_text == "sip:192.0.2.12"
        assert [str(one.uri) for one in invite.headers.get_all(ROUTE)] == [ELSEWHERE]

    def test_what_a_strict_router_sends_has_its_target_in_the_last_route(
        self, network: Network
    ) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
        route = HeaderField.of(ROUTE, NameAddress.parse(f"<{ELSEWHERE}>"))
        assert sent(network, alice.invite(f"sip:{PROXY};lr", route)).statuses == [200]
        assert bob.received[0].uri_text == ELSEWHERE

    def test_without_record_route_we_leave_the_dialog(self, network: Network) -> None:
        ProxyHost(network, settings(record_route=False))
        alice = Phone(network, "alice", "192.0.2.10")
        bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
        alice.invite(ELSEWHERE)
        network.run_for(1.0)
        assert not bob.received[0].headers.has(RECORD_ROUTE)

    def test_fields_that_we_do_not_touch_keep_their_bytes_and_their_order(
        self, network: Network
    ) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
        odd = b"X-Odd:   kept\r\n\tas  it is\r\n"
        first = alice.send("OPTIONS", ELSEWHERE)
        headers = first.request.headers.replace_first(
            VIA, Via.of(Transport.UDP, alice.local, "z9hG4bKother")
        )
        alice.submit(Request("OPTIONS", ELSEWHERE, Headers([*headers, HeaderField.parse(odd)])))
        network.run_for(1.0)
        kept = bytes(bob.received[-1].headers)
        assert odd in kept
        for name in (b"From", b"To", b"Call-ID", b"CSeq"):
            assert next(one.raw for one in headers if one.raw.startswith(name)) in kept


class TestFailover:
    def test_a_503_leads_to_the_next_server(self, network: Network) -> None:
        proxy = ProxyHost(network, settings())
        proxy.servers["servers.example"] = (to("192.0.2.11"), to("192.0.2.12"))
        alice = Phone(network, "alice", "192.0.2.10")
        full = Phone(network, "full", "192.0.2.11", answers=rejects(503))
        free = Phone(network, "free", "192.0.2.12", answers=picks_up)
        assert sent(network, alice.invite("sip:bob@servers.example")).statuses == [200]
        assert (len(full.received), len(free.received)) == (1, 1)
        branches = [phone.received[0].headers.first(VIA) for phone in (full, free)]
        assert branches[0] != branches[1]

    def test_silence_leads_to_the_next_server(self, network: Network) -> None:
        proxy = ProxyHost(network, settings())
        proxy.servers["servers.example"] = (to("192.0.2.99"), to("192.0.2.12"))
        alice = Phone(network, "alice", "192.0.2.10")
        Phone(network, "free", "192.0.2.12", answers=picks_up)
        call = alice.invite("sip:bob@servers.example")
        network.run_for(34.0)
        assert call.statuses == [200]

    def test_a_connection_that_is_refused_leads_to_the_next_server(self, network: Network) -> None:
        proxy = ProxyHost(network, settings())
        closed = network.host("closed", "192.0.2.11")
        assert closed.name == "closed"
        proxy.servers["servers.example"] = (
            to("192.0.2.11", transport=Transport.TCP),
            to("192.0.2.12"),
        )
        alice = Phone(network, "alice", "192.0.2.10")
        Phone(network, "free", "192.0.2.12", answers=picks_up)
        assert sent(network, alice.invite("sip:bob@servers.example")).statuses == [200]

    def test_when_all_are_full_it_is_500(self, network: Network) -> None:
        proxy = ProxyHost(network, settings())
        proxy.servers["servers.example"] = (to("192.0.2.11"), to("192.0.2.12"))
        alice = Phone(network, "alice", "192.0.2.10")
        for number in (11, 12):
            Phone(network, "full", f"192.0.2.{number}", answers=rejects(503))
        assert sent(network, alice.invite("sip:bob@servers.example")).statuses == [500]

    def test_a_domain_that_does_not_exist_is_500(self, network: Network) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        assert sent(network, alice.invite("sip:bob@nowhere.example")).statuses == [500]

    def test_a_request_too_long_for_a_datagram_goes_by_tcp_and_by_udp_if_that_is_refused(
        self, network: Network
    ) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
        carol = Phone(network, "carol", "192.0.2.12", answers=picks_up)
        carol.shell.listen(Address("192.0.2.12", 5060))
        long = HeaderField.of_text("X-Long", "x" * 1300)
        for phone in (bob, carol):
            call = alice.invite(f"sip:{phone.name}@{phone.local.host}", long)
            assert sent(network, call).statuses == [200]
        transports = [phone.received[0].headers.first(VIA) for phone in (bob, carol)]
        assert [via.transport for via in transports if via] == [Transport.UDP, Transport.TCP]


class TestRedirects:
    CONTACT = HeaderField.of(CONTACT, NameAddress.parse("<sip:bob@192.0.2.12>"))

    def test_a_3xx_is_passed_back(self, network: Network) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        Phone(network, "bob", "192.0.2.11", answers=rejects(302, self.CONTACT))
        call = sent(network, alice.invite(ELSEWHERE))
        assert call.statuses == [302]
        assert call.responses[-1].headers.has(CONTACT)

    def test_it_is_followed_where_that_is_wished(self, network: Network) -> None:
        ProxyHost(network, settings(recurse=True))
        alice = Phone(network, "alice", "192.0.2.10")
        Phone(network, "bob", "192.0.2.11", answers=rejects(302, self.CONTACT))
        Phone(network, "bob", "192.0.2.12", answers=picks_up)
        assert sent(network, alice.invite(ELSEWHERE)).statuses == [200]

    def test_contacts_that_lead_in_a_circle_are_tried_once(self, network: Network) -> None:
        ProxyHost(network, settings(recurse=True))
        alice = Phone(network, "alice", "192.0.2.10")
        back = HeaderField.of(CONTACT, NameAddress.parse(f"<{ELSEWHERE}>"))
        bob = Phone(network, "bob", "192.0.2.11", answers=rejects(302, back))
        assert sent(network, alice.invite(ELSEWHERE)).statuses == [302]
        assert len(bob.received) == 1

    def test_a_peer_that_redirects_to_ever_new_contacts_is_left(self, network: Network) -> None:
        ProxyHost(network, settings(recurse=True))
        alice = Phone(network, "alice", "192.0.2.10")
        bob = Phone(network, "bob", "192.0.2.11")

        def redirect(phone: Phone, ringing: Ringing) -> None:
            another = NameAddress.parse(f"<sip:{len(phone.received)}@192.0.2.11>")
            phone.respond(ringing, 302, HeaderField.of(CONTACT, another))

        bob.answers = redirect
        call = alice.invite(ELSEWHERE)
        network.run_for(30.0)
        assert call.statuses == [302]
        assert len(bob.received) == MOST_TARGETS

    def test_a_redirect_server_answers_with_the_contacts(self, network: Network) -> None:
        ProxyHost(network, settings(redirect=True))
        alice = Phone(network, "alice", "192.0.2.10")
        bob = Phone(network, "bob", "192.0.2.11")
        bob.register()
        network.run_for(1.0)
        call = sent(network, alice.invite(bob.uri))
        assert call.statuses == [302]
        (contact,) = call.responses[-1].headers.get_all(CONTACT)
        assert isinstance(contact, NameAddress)
        assert str(contact.uri) == bob.contact
        assert bob.ringing == []


class TestBreadth:
    def phones(self, network: Network, count: int) -> list[Phone]:
        phones = [Phone(network, "bob", f"192.0.2.{20 + number}") for number in range(count)]
        for phone in phones:
            phone.register()
        network.run_for(1.0)
        return phones

    def test_the_breadth_is_shared_among_the_branches(self, network: Network) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        phones = self.phones(network, 3)
        alice.invite(phones[0].uri, HeaderField.of(MAX_BREADTH, 10))
        network.run_for(1.0)
        assert [phone.received[0].headers.get(MAX_BREADTH) for phone in phones] == [3, 3, 3]

    def test_what_may_not_go_at_once_goes_after(self, network: Network) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        phones = self.phones(network, 3)
        call = alice.invite(phones[0].uri, HeaderField.of(MAX_BREADTH, 1))
        network.run_for(1.0)
        for _ in phones:
            (ringing,) = [phone for phone in phones if phone.ringing]
            ringing.respond(ringing.ringing.pop(), 486)
            network.run_for(1.0)
        assert all(len(phone.received) == 1 for phone in phones)
        assert call.statuses == [486]

    def test_no_breadth_left_is_440(self, network: Network) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        phones = self.phones(network, 1)
        call = alice.invite(phones[0].uri, HeaderField.of(MAX_BREADTH, 0))
        assert sent(network, call).statuses == [440]


class TestChoosing:
    @pytest.mark.parametrize(
        ("statuses", "chosen"),
        [
            ((404, 486), {404, 486}),
            ((404, 302), {302}),
            ((500, 404), {404}),
            ((503, 404), {404}),
            ((486, 401), {401}),
            ((404, 603), {603}),
            ((302, 603), {603}),
            ((503, 500), {500}),
        ],
    )
    def test_the_best_response_of_a_fork_is_chosen(
        self, network: Network, statuses: tuple[int, int], chosen: set[int]
    ) -> None:
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
        for phone, status in zip(phones, statuses, strict=True):
            if phone.ringing:
                phone.respond(phone.ringing[0], status)
        network.run_for(1.0)
        assert call.statuses[:2] == [180, 180]
        assert call.statuses[-1] in chosen

    def test_the_challenges_of_all_branches_go_up_together(self, network: Network) -> None:
        ProxyHost(network, settings())
        alice = Phone(network, "alice", "192.0.2.10")
        phones = [Phone(network, "bob", f"192.0.2.{number}") for number in (11, 12)]
        for number, phone in enumerate(phones):
            text = f'Digest realm="{number}", nonce="n"'
            field = HeaderField.of_text("WWW-Authenticate", text)
            phone.answers = rejects(401, field)
            phone.register()
        network.run_for(1.0)
        call = sent(network, alice.invite(phones[0].uri))
        assert call.statuses == [401]
        assert len(call.responses[-1].headers.fields("WWW-Authenticate")) == 2


def test_options_to_the_proxy_itself_are_answered(network: Network) -> None:
    ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    call = sent(network, alice.send("OPTIONS", f"sip:{PROXY}"))
    assert call.statuses == [200]
    assert "path" in call.responses[-1].headers.get_all(SUPPORTED)


def test_a_cancel_that_is_about_nothing_here_goes_on_without_state(network: Network) -> None:
    """§16.10: whoever forwarded the INVITE, the next one may know it."""
    proxy = ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    cancel = alice.send("CANCEL", ELSEWHERE)
    network.run_for(2.0)
    assert cancel.statuses == []
    assert proxy.machine.load().transactions == 0
    bob = Phone(network, "bob", "192.0.2.11")
    network.run_for(5.0)
    assert cancel.statuses == [481]
    # Sent again it is the same request to him too.
    assert len({one.headers.get_all(VIA)[0].branch for one in bob.received}) == 1


def test_a_cancel_of_who_proves_nothing_gets_no_farther_than_to_our_users(
    network: Network,
) -> None:
    """A CANCEL cannot be challenged (§22.1), and is no way to have us send things to others."""
    ProxyHost(network, settings(authenticate=True, trusted=(ip_network("192.0.2.11"),)))
    bob = Phone(network, "bob", "192.0.2.11")
    victim = Phone(network, "victim", "192.0.2.99")
    bob.register()
    network.run_for(1.0)
    eve = Phone(network, "eve", "192.0.2.66")
    for sender in (f"<sip:alice@{DOMAIN}>;tag=1", "<sip:eve@example.net>;tag=1"):
        to_bob = eve.send("CANCEL", f"sip:bob@{DOMAIN}", sender=sender)
        elsewhere = eve.send("CANCEL", "sip:victim@192.0.2.99", sender=sender)
        network.run_for(1.0)
        assert (to_bob.statuses, elsewhere.statuses) == ([481], [481])
    assert len(bob.received) == 2
    assert victim.received == []


def test_a_cancel_before_any_provisional_response_waits_for_it(network: Network) -> None:
    ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    bob = Phone(network, "bob", "192.0.2.11")
    call = alice.invite(ELSEWHERE)
    network.run_for(0.5)
    alice.cancel(call)
    network.run_for(1.0)
    assert [one.method for one in bob.received] == ["INVITE"]
    bob.respond(bob.ringing[0], 180)
    network.run_for(1.0)
    assert [one.method for one in bob.received] == ["INVITE", "CANCEL"]
    assert call.statuses == [487]
