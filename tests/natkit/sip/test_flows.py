"""Which connection leads where, and for whom its peer speaks (RFC 5923)."""

from dataclasses import replace

import pytest

from natkit.address import Address
from natkit.locate import Target
from natkit.machine import Path, Transport
from natkit.sip import HeaderField, Request
from natkit.sip.flows import ConnectionReuse, Flows
from natkit.sip.headers import Headers
from natkit.sip.kinds import VIA
from natkit.sip.via import Via

US = Address("192.0.2.5", 5061)
PEER = Address("198.51.100.7", 40001)
ADVERTISED = Address("198.51.100.7", 5061)


def came(transport: Transport, remote: Address = PEER) -> Path:
    return Path(transport, US, remote)


def request(via: str) -> Request:
    return Request("OPTIONS", "sip:example.org", Headers([HeaderField.of(VIA, Via.parse(via))]))


def target(domain: str, transport: Transport = Transport.TLS) -> Target:
    return Target(transport, ADVERTISED, "proxy.example.com", domain)


TLS_VIA = "SIP/2.0/TLS proxy.example.com;alias;branch=z9hG4bK1"


def test_a_connection_that_we_made_is_found_by_address_and_name() -> None:
    flows = Flows()
    path = came(Transport.TLS, ADVERTISED)
    flows.made(target("Example.com."), path)
    assert flows.find(target("example.com")) == path
    assert flows.find(target("example.net")) is None
    assert flows.find(target("example.com", Transport.TCP)) is None
    flows.ended(path)
    assert flows.find(target("example.com")) is None
    assert len(flows) == 0


def test_a_route_that_names_an_address_leads_to_the_connection_that_was_made_there() -> None:
    flows = Flows()
    first, second = came(Transport.TLS, ADVERTISED), Path(Transport.TLS, PEER, ADVERTISED)
    by_address = Target(Transport.TLS, ADVERTISED, ADVERTISED.host, ADVERTISED.host)
    assert flows.find(by_address) is None
    flows.made(target("example.com"), first)
    assert flows.find(by_address) == first
    # It says nothing of other names, ports and transports.
    assert flows.find(target("example.net")) is None
    assert flows.find(replace(by_address, address=PEER, tls_name=PEER.host)) is None
    assert flows.find(replace(by_address, transport=Transport.TCP)) is None
    flows.made(target("example.net"), second)
    assert flows.find(by_address) == second
    flows.ended(first)
    assert flows.find(by_address) == second
    flows.ended(second)
    assert flows.find(by_address) is None
    assert not flows._made_to


def test_a_peer_that_proved_its_domain_is_reached_by_the_connection_that_it_made() -> None:
    flows = Flows()
    path = came(Transport.TLS)
    flows.identified(path, {"example.com", "example.net"})
    flows.advertised(path, request(TLS_VIA))
    for domain in ("example.com", "EXAMPLE.net"):
        assert flows.find(target(domain)) == path
    assert flows.find(target("example.org")) is None
    flows.ended(path)
    assert flows.find(target("example.com")) is None


@pytest.mark.parametrize(
    ("via", "identified", "reuse"),
    [
        # No alias was asked for.
        ("SIP/2.0/TLS proxy.example.com;branch=z9hG4bK1", True, ConnectionReuse()),
        # Nobody knows who it is.
        (TLS_VIA, False, ConnectionReuse()),
        (TLS_VIA, False, ConnectionReuse(tcp=True)),
        # It is switched off.
        (TLS_VIA, True, ConnectionReuse(secure=False)),
        # Another port than that of the target.
        ("SIP/2.0/TLS proxy.example.com:6061;alias;branch=z9hG4bK1", True, ConnectionReuse()),
    ],
)
def test_a_connection_that_came_leads_nowhere_else(
    via: str, identified: bool, reuse: ConnectionReuse
) -> None:
    flows = Flows(reuse)
    path = came(Transport.TLS)
    flows.accepted(path)
    if identified:
        flows.identified(path, {"example.com"})
    flows.advertised(path, request(via))
    assert flows.find(target("example.com")) is None


@pytest.mark.parametrize(
    ("sent_by", "allowed", "found"),
    [
        ("198.51.100.7:5061", True, True),
        ("198.51.100.7:5061", False, False),
        # It says that it is somebody else, as behind a NAT, or to steal another's requests.
        ("198.51.100.8:5061", True, False),
        ("proxy.example.com:5061", True, False),
    ],
)
def test_over_tcp_only_the_very_address_counts_and_by_option(
    sent_by: str, allowed: bool, found: bool
) -> None:
    flows = Flows(ConnectionReuse(tcp=allowed))
    path = came(Transport.TCP)
    flows.accepted(path)
    flows.advertised(path, request(f"SIP/2.0/TCP {sent_by};alias;branch=z9hG4bK1"))
    for port in (5061, 5060):
        wanted = Target(Transport.TCP, Address("198.51.100.7", port), "", "example.com")
        assert (flows.find(wanted) == path) == (found and port == 5061)
    stolen = Target(Transport.TCP, Address("198.51.100.8", 5061), "", "example.com")
    assert flows.find(stolen) is None


def test_a_connection_has_one_alias_and_an_alias_its_latest_connection() -> None:
    flows = Flows()
    first, second = came(Transport.TLS), came(Transport.TLS, Address("198.51.100.7", 40002))
    for path in (first, second):
        flows.identified(path, {"example.com"})
        flows.advertised(path, request(TLS_VIA))
    assert flows.find(target("example.com")) == second
    # The end of the one before takes nothing away.
    flows.ended(first)
    assert flows.find(target("example.com")) == second
    for port in range(6000, 6100):
        via = f"SIP/2.0/TLS proxy.example.com:{port};alias;branch=z9hG4bK1"
        flows.advertised(second, request(via))
    assert flows.find(target("example.com")) is None
    assert len(flows._aliases) == len(flows._alias_of) == 1
    flows.ended(second)
    assert not flows._aliases
    assert not flows._alias_of
    assert not flows._domains
