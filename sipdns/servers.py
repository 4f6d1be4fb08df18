"""Whom questions are put to: plain nameservers, and those behind TLS or HTTPS."""

import ipaddress
from dataclasses import dataclass
from typing import Final

from natkit.address import Address
from sipdns.records import Carrier

__all__ = ["DOT_PORT", "HttpsServer", "Server", "TlsServer", "first_carrier", "is_trusted"]

DOT_PORT: Final = 853
"""RFC 7858 §3.1."""


@dataclass(frozen=True, slots=True)
class TlsServer:
    """A resolver for DNS over TLS (RFC 7858).

    Its certificate must carry ``name``, or the address where no name is known (RFC 8310 §8).
    """

    address: Address
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.address}#{self.name}" if self.name else str(self.address)


@dataclass(frozen=True, slots=True)
class HttpsServer:
    """A resolver for DNS over HTTPS, by the URL that takes queries (RFC 8484 §4.1)."""

    url: str

    def __str__(self) -> str:
        return self.url


Server = Address | TlsServer | HttpsServer
"""A plain nameserver is its address."""


def first_carrier(server: Server) -> Carrier:
    """How a server is asked at first; a plain one over UDP."""
    match server:
        case TlsServer():
            return Carrier.TLS
        case HttpsServer():
            return Carrier.HTTPS
        case Address():
            return Carrier.UDP


def is_trusted(server: Server) -> bool:
    """Whether nobody can have changed its answers on the way (RFC 4035 §4.9.3).

    Then its word on DNSSEC, the AD bit, is worth something.
    """
    return not isinstance(server, Address) or ipaddress.ip_address(server.host).is_loopback
