"""Transport addresses: the one type for an IP address and a port."""

import ipaddress
import socket
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple, Self

from natkit.errors import MisuseError

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Family(IntEnum):
    """Address families by the numbers that STUN gives them (RFC 8489 §14.1)."""

    IPV4 = 1
    IPV6 = 2

    @property
    def socket_family(self) -> socket.AddressFamily:
        """``AF_INET`` or ``AF_INET6``."""
        return socket.AF_INET if self is Family.IPV4 else socket.AF_INET6


@lru_cache(maxsize=1024)
def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    # Asked for several times for each message; a reading costs as much as a regular expression.
    return ipaddress.ip_address(host)


class Address(NamedTuple):
    """An IP address and a port.

    ``host`` is the canonical text of a literal (RFC 5952 for IPv6, a zone kept after ``%``), never
    a name, so equal addresses compare and hash equal, and the pair goes to the socket module as it
    is.  Build it by :meth:`of`, :meth:`parse` or :meth:`from_packed`; the bare constructor checks
    nothing.
    """

    host: str
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> Self:
        """Canonicalise ``host``; MisuseError if it is no literal or ``port`` is not 0 to 65535."""
        if not 0 <= port <= 65535:
            raise MisuseError(f"port {port} is not between 0 and 65535")
        try:
            packed = _ip(host).packed
        except ValueError:
            raise MisuseError(f"{host!r} is not an IP address") from None
        # Not str(ip): the same text as from_packed gives, for IPv4-mapped addresses too.
        _, percent, zone = host.partition("%")
        return cls(cls.from_packed(packed, port).host + percent + zone, port)

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Self:
        """Read ``192.0.2.1:3478``, ``[2001:db8::1]:3478`` or, with a default, a bare literal."""
        host, port = split_host_port(text)
        if port is None:
            port = default_port
        if port is None:
            raise MisuseError(f"{text!r} has no port")
        return cls.of(host, port)

    @classmethod
    def from_packed(cls, packed: bytes, port: int) -> Self:
        """From 4 or 16 bytes in network order."""
        family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
        return cls(socket.inet_ntop(family, packed), port)

    @property
    def family(self) -> Family:
        """The address family of ``host``."""
        return Family.IPV6 if ":" in self.host else Family.IPV4

    @property
    def packed(self) -> bytes:
        """The address in network order, 4 or 16 bytes, without zone."""
        if ":" in self.host:
            return socket.inet_pton(socket.AF_INET6, self.host.partition("%")[0])
        return socket.inet_pton(socket.AF_INET, self.host)

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """The address as an :mod:`ipaddress` object."""
        return _ip(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def split_host_port(text: str) -> tuple[str, int | None]:
    """Split ``host``, ``host:port``, ``[v6]`` or ``[v6]:port``; a bare IPv6 literal has no port.

    Raises MisuseError when the port is no number from 0 to 65535 or a bracket is missing.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise MisuseError(f"{text!r} is not of the form [address]:port")
        return host, _port(rest[1:], text) if rest else None
    if text.count(":") > 1:
        return text, None
    host, colon, port = text.partition(":")
    return host, _port(port, text) if colon else None


def _port(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= 65535):
        raise MisuseError(f"{text!r} has no port between 0 and 65535 after the colon")
    return int(digits)
