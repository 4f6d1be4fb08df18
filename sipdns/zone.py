"""The records by which a domain publishes its SIP servers (RFC 3263, RFC 2782, RFC 7118)."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.name

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import Transport
from natkit.sip.grammar import domain_name, numeric_host, read_host
from sipdns.diagnosis.record_lines import address_line, naptr_line, srv_line
from sipdns.records import AddressRecord, NaptrRecord, SrvRecord
from sipdns.services import SIP_SERVICES

__all__ = ["LONGEST_TTL", "PublishedServer", "read_domain", "read_server", "zone_lines"]

LONGEST_TTL: Final = 2**31 - 1
"""RFC 2181 §8."""

_RANK: Final = (
    Transport.TLS,
    Transport.TLS_SCTP,
    Transport.WSS,
    Transport.TCP,
    Transport.SCTP,
    Transport.UDP,
    Transport.WS,
)
"""The order that the NAPTR records state: secure before plain, and TCP before UDP, which cannot
carry large requests."""

_STEP: Final = 10
_DEFAULT: Final = 10
_LARGEST: Final = 65535


@dataclass(frozen=True, slots=True)
class PublishedServer:
    """A server: its host name, its addresses, and the port of each transport that it speaks."""

    name: str
    addresses: tuple[str, ...]
    ports: tuple[tuple[Transport, int], ...]
    priority: int = _DEFAULT
    weight: int = _DEFAULT


def read_domain(text: str) -> str:
    """A domain name in the form of records; MisuseError for anything else."""
    try:
        name = domain_name(read_host(text))
        dns.name.from_text(f"_sips._tcp.{name}")
    except (MalformedMessage, dns.exception.DNSException) as error:
        raise MisuseError(f"{text!r} is no domain name for SIP: {error}") from error
    if numeric_host(name) is not None:
        raise MisuseError(f"{text!r} is an address; records belong to a domain")
    return name


def read_server(text: str, domain: str) -> PublishedServer:
    """``NAME=ADDRESS,…,TRANSPORT[:PORT],…[,priority:N][,weight:N]``; MisuseError for other texts.

    NAME belongs to ``domain`` unless it ends in a dot.
    """
    name, equals, rest = text.partition("=")
    if not equals:
        raise MisuseError(f"--server has {text!r}; write NAME=LIST: sip1=192.0.2.1,tls")
    absolute = name if name.endswith(".") else f"{name}.{domain}"
    host = read_domain(absolute)
    addresses: list[str] = []
    ports: dict[Transport, int] = {}
    numbers = {"priority": _DEFAULT, "weight": _DEFAULT}
    for item in rest.split(","):
        word, colon, value = item.strip().partition(":")
        if word.lower() in numbers:
            numbers[word.lower()] = _number(value, 0, item)
        elif word.lower() in SIP_SERVICES:
            service = SIP_SERVICES[Transport(word.lower())]
            port = _number(value, 1, item) if colon else service.default_port
            if service.srv is None and port != service.default_port:
                raise MisuseError(
                    f"--server has {item.strip()!r}: no record tells the port of {word.lower()}, "
                    f"so it must be {service.default_port}"
                )
            ports[service.transport] = port
        else:
            addresses.append(_address(item.strip()))
    _check(text, host, addresses, ports, domain)
    return PublishedServer(
        host,
        tuple(dict.fromkeys(addresses)),
        tuple(ports.items()),
        numbers["priority"],
        numbers["weight"],
    )


def _address(text: str) -> str:
    try:
        ip = Address.of(text, 0).ip
    except MisuseError:
        known = ", ".join(SIP_SERVICES)
        raise MisuseError(
            f"--server has {text!r}, which is neither an address nor one of {known}, priority:N, "
            "weight:N"
        ) from None
    is_mapped = isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None
    if ip.is_multicast or ip.is_unspecified or is_mapped:
        raise MisuseError(f"--server has {text!r}, which is not the address of one host")
    return str(ip)


def _number(text: str, least: int, item: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise MisuseError(f"--server has {item.strip()!r}, which needs a number after the colon")
    if not least <= int(text) <= _LARGEST:
        raise MisuseError(f"--server has {item.strip()!r}: from {least} to {_LARGEST} is possible")
    return int(text)


def _check(
    text: str,
    host: str,
    addresses: Sequence[str],
    ports: dict[Transport, int],
    domain: str,
) -> None:
    if not ports:
        raise MisuseError(f"--server {text!r} names no transport; add udp, tcp or tls")
    inside = host == domain or host.endswith(f".{domain}")
    if inside and not addresses:
        raise MisuseError(f"--server {text!r} names no address of {host}")
    if addresses and not inside:
        raise MisuseError(
            f"--server {text!r}: {host} is not in {domain}, so its addresses are published "
            "elsewhere; leave them out"
        )


def zone_lines(domain: str, servers: Sequence[PublishedServer], ttl: int) -> list[str]:
    """The NAPTR, SRV, A and AAAA records of ``domain``, whole lines with absolute names."""
    spoken = {transport for one in servers for transport, _ in one.ports}
    naptr: list[str] = []
    srv: list[str] = []
    shared: list[str] = []
    for order, transport in enumerate((one for one in _RANK if one in spoken), start=1):
        service = SIP_SERVICES[transport]
        speakers = [
            (one, dict(one.ports)[transport]) for one in servers if transport in dict(one.ports)
        ]
        if service.srv is None:
            # No SRV name is defined for WebSocket (RFC 7118): the flag A leads to one host.
            host = _one_host(transport, [one for one, _ in speakers], domain)
            if host not in {one.name for one in servers}:
                addresses = dict.fromkeys(text for one, _ in speakers for text in one.addresses)
                shared += [address_line(host, AddressRecord(text, ttl)) for text in addresses]
            lead = ("a", host)
        else:
            name = f"{service.srv}.{domain}"
            lead = ("s", name)
            srv += [
                srv_line(name, SrvRecord(one.priority, one.weight, port, one.name, ttl))
                for one, port in speakers
            ]
        record = NaptrRecord(order * _STEP, _DEFAULT, lead[0], service.naptr_text, "", lead[1], ttl)
        naptr.append(naptr_line(domain, record))
    hosts = [
        address_line(one.name, AddressRecord(address, ttl))
        for one in servers
        for address in one.addresses
    ]
    return [*naptr, *srv, *hosts, *shared]


def _one_host(transport: Transport, servers: Sequence[PublishedServer], domain: str) -> str:
    """The host that stands for all servers of a transport without SRV: it has all addresses."""
    if len(servers) == 1:
        return servers[0].name
    outside = [one.name for one in servers if not one.addresses]
    if outside:
        raise MisuseError(
            f"--server names {outside[0]} for {transport} beside others: one host must have the "
            f"addresses of all, and those of {outside[0]} are published elsewhere"
        )
    return f"sip-{transport}.{domain}"
