"""The records by which a domain publishes its SIP servers (RFC 3263, RFC 2782, RFC 7118)."""

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
        return Address.of(text, 0).host
    except MisuseError:
        known = ", ".join(SIP_SERVICES)
        raise MisuseError(
            f"--server has {text!r}, which is neither an address nor one of {known}, priority:N, "
            "weight:N"
        ) from None


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
    for order, transport in enumerate((one for one in _RANK if one in spoken), start=1):
        service = SIP_SERVICES[transport]
        speakers = [
            (one, dict(one.ports)[transport]) for one in servers if transport in dict(one.ports)
        ]
        if service.srv is None:
            # No SRV name is defined for WebSocket (RFC 7118): the flag A leads to each host.
            ranked = sorted(speakers, key=lambda pair: pair[0].priority)
            leads = [("a", one.name) for one, _ in ranked]
        else:
            name = f"{service.srv}.{domain}"
            leads = [("s", name)]
            srv += [
                srv_line(name, SrvRecord(one.priority, one.weight, port, one.name, ttl))
                for one, port in speakers
            ]
        naptr += [
            naptr_line(
                domain,
                NaptrRecord(
                    order * _STEP, rank * _STEP, flag, service.naptr_text, "", replacement, ttl
                ),
            )
            for rank, (flag, replacement) in enumerate(leads, start=1)
        ]
    hosts = [
        address_line(one.name, AddressRecord(address, ttl))
        for one in servers
        for address in one.addresses
    ]
    return [*naptr, *dict.fromkeys(srv), *dict.fromkeys(hosts)]
