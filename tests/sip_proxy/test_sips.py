"""``sips:`` on its way: by TLS or not at all (RFC 3261 §16.6, RFC 5630)."""

from collections.abc import Iterator, Sequence

import pytest

from natkit.address import Address
from natkit.locate import Target
from natkit.machine import Failure, Transport
from natkit.sip import HeaderField, NameAddress
from natkit.sip.kinds import CONTACT, RECORD_ROUTE, ROUTE
from sip_proxy.settings import Listener
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, PROXY, Phone, ProxyHost, Ringing, settings

TLS = Address(PROXY.host, 5061)


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 200)


def secure_host(network: Network, **changes: object) -> ProxyHost:
    listeners = (
        Listener(Transport.UDP, PROXY),
        Listener(Transport.TCP, PROXY),
        Listener(Transport.TLS, TLS),
    )
    return ProxyHost(network, settings(listeners=listeners, **changes))


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(47) as made:
        yield made


def note_lookups(proxy: ProxyHost) -> list[str]:
    """The URIs whose servers are asked for from now on."""
    asked: list[str] = []
    find = proxy._find

    def note(text: str) -> Sequence[Target] | Failure:
        asked.append(text)
        return find(text)

    proxy._find = note  # type: ignore[method-assign]
    return asked


def register(network: Network, phone: Phone, contact: str) -> None:
    field = HeaderField.of(CONTACT, NameAddress.parse(f"<{contact}>"))
    call = phone.send("REGISTER", f"sip:{DOMAIN}", field, to=f"<{phone.uri}>")
    network.run_for(1.0)
    assert call.statuses == [200]


def test_a_phone_that_registered_a_sip_contact_is_not_called_for_sips(network: Network) -> None:
    secure_host(network)
    bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
    register(network, bob, bob.contact)
    alice = Phone(network, "alice", "192.0.2.10")
    call = alice.invite(f"sips:bob@{DOMAIN}")
    network.run_for(1.0)
    assert call.statuses == [480]
    warning = call.responses[-1].headers.fields("Warning")
    assert [field.text[:3] for field in warning] == ["380"]
    assert [one.method for one in bob.received] == []


def test_of_two_contacts_the_secure_one_is_called(network: Network) -> None:
    proxy = secure_host(network)
    bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
    register(network, bob, bob.contact)
    register(network, bob, "sips:bob@secure.example")
    # By the connection that a TLS server would be reached by; the simulation does not encrypt.
    carol = Phone(network, "carol", "192.0.2.12", answers=picks_up)
    carol.shell.listen(Address("192.0.2.12", 5061), Transport.TLS)
    target = Target(Transport.TLS, Address("192.0.2.12", 5061), "secure.example", "secure.example")
    proxy.servers["secure.example"] = (target,)
    alice = Phone(network, "alice", "192.0.2.10")
    call = alice.invite(f"sips:bob@{DOMAIN}")
    network.run_for(1.0)
    assert call.statuses == [200]
    (invite,) = carol.received
    assert invite.uri_text == "sips:bob@secure.example"
    recorded = [str(one.uri) for one in invite.headers.get_all(RECORD_ROUTE)]
    assert all(uri.startswith("sips:") for uri in recorded)


def test_a_sips_contact_is_called_for_sip_by_tls_and_with_sip_in_its_uri(network: Network) -> None:
    proxy = secure_host(network)
    carol = Phone(network, "carol", "192.0.2.12", answers=picks_up)
    carol.shell.listen(Address("192.0.2.12", 5061), Transport.TLS)
    target = Target(Transport.TLS, Address("192.0.2.12", 5061), "secure.example", "secure.example")
    proxy.servers["secure.example"] = (target,)
    asked = note_lookups(proxy)
    register(network, carol, "sips:carol@secure.example")
    alice = Phone(network, "alice", "192.0.2.10")
    call = alice.invite(f"sip:carol@{DOMAIN}")
    network.run_for(1.0)
    assert call.statuses == [200]
    assert asked == ["sips:carol@secure.example"]
    assert carol.received[0].uri_text == "sip:carol@secure.example"


def test_a_route_by_sip_is_followed_as_sips_where_the_request_says_sips(network: Network) -> None:
    asked = note_lookups(secure_host(network))
    alice = Phone(network, "alice", "192.0.2.10")
    route = HeaderField.of(ROUTE, NameAddress.parse("<sip:edge.example;lr>"))
    call = alice.invite("sips:bob@example.net", route)
    network.run_for(1.0)
    assert asked == ["sips:edge.example;lr"]
    assert call.statuses == [500]


@pytest.mark.parametrize(
    ("asked", "contact"),
    [("sips:bob@secure.example", "sip:b@192.0.2.12"), ("sip:bob@192.0.2.11", "sips:b@192.0.2.12")],
)
def test_a_redirection_leads_neither_down_nor_up(
    network: Network, asked: str, contact: str
) -> None:
    proxy = secure_host(network, recurse=True)
    field = HeaderField.of(CONTACT, NameAddress.parse(f"<{contact}>"))
    bob = Phone(
        network, "bob", "192.0.2.11", answers=lambda phone, call: phone.respond(call, 302, field)
    )
    bob.shell.listen(Address("192.0.2.11", 5061), Transport.TLS)
    proxy.servers["secure.example"] = (
        Target(Transport.TLS, Address("192.0.2.11", 5061), "secure.example", "secure.example"),
    )
    other = Phone(network, "other", "192.0.2.12", answers=picks_up)
    alice = Phone(network, "alice", "192.0.2.10")
    call = alice.invite(asked)
    network.run_for(1.0)
    assert call.statuses == [302]
    assert other.received == []


def test_a_proxy_without_tls_does_not_know_the_scheme(network: Network) -> None:
    ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    call = alice.invite(f"sips:bob@{DOMAIN}")
    network.run_for(1.0)
    assert call.statuses == [416]
