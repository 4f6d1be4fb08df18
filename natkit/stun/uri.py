"""STUN and TURN URIs: ``stun:``, ``stuns:``, ``turn:``, ``turns:`` (RFC 7064, RFC 7065)."""

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from natkit.errors import MisuseError
from natkit.machine import Transport
from natkit.stun.registry import DEFAULT_PORT, DEFAULT_TLS_PORT

HOST_LENGTH = 255
"""Characters of a DNS name (RFC 1035 §3.1); also keeps what a user pasted out of error lines."""


class Scheme(StrEnum):
    """The four schemes."""

    STUN = "stun"
    STUNS = "stuns"
    TURN = "turn"
    TURNS = "turns"

    @property
    def is_secure(self) -> bool:
        """Whether the scheme asks for TLS or DTLS."""
        return self in (Scheme.STUNS, Scheme.TURNS)

    @property
    def is_turn(self) -> bool:
        """Whether the scheme asks for a TURN server."""
        return self in (Scheme.TURN, Scheme.TURNS)


_SECURED = {Transport.UDP: Transport.DTLS, Transport.TCP: Transport.TLS}
_EXAMPLES = "stun:stun.example.org, turn:192.0.2.1:3478?transport=tcp"
# The characters of RFC 3986's reg-name; a percent sign stands for two digits that follow it.
_NAME = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+", re.ASCII)
_LOOKS_NUMERIC = re.compile(r"[0-9.]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class ServerUri:
    """A STUN or TURN server as its user names it.

    ``host`` is a domain name or an IP literal without brackets.  ``port`` and ``transport`` are
    None where the URI leaves them out; ``transport`` is ``Transport.UDP`` or ``Transport.TCP``, on
    which :attr:`wire_transport` puts security.
    """

    scheme: Scheme
    host: str
    port: int | None = None
    transport: Transport | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URI; MisuseError, fit for its user, when it is wrong.

        ``stuns:`` with an IP address is refused, for no certificate could prove who answers
        (RFC 8489 §8.1).
        """
        shown = text if len(text) <= HOST_LENGTH else text[:HOST_LENGTH] + "…"
        name, colon, rest = text.partition(":")
        try:
            scheme = Scheme(name.lower())
        except ValueError:
            raise MisuseError(f"{shown!r} is no STUN or TURN URI, like {_EXAMPLES}") from None
        if not colon or not rest:
            raise MisuseError(f"{shown!r} names no server after {name}:")
        if rest.startswith("//"):
            raise MisuseError(f"{shown!r} is written without slashes: {name}:{rest.lstrip('/')}")
        authority, question, query = rest.partition("?")
        if "@" in authority:
            raise MisuseError(f"{shown!r} holds a user name, which no {scheme} URI can carry")
        transport = _parse_query(query, scheme, shown) if question else None
        host, port = _parse_authority(authority, shown)
        if scheme is Scheme.STUNS and _is_address(host):
            raise MisuseError(
                f"{shown!r} needs a domain name, since no certificate proves the address {host}"
            )
        return cls(scheme, host, port, transport)

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address, to be used as it is."""
        return _is_address(self.host)

    @property
    def default_port(self) -> int:
        """The port where neither the URI nor the DNS names one (RFC 8489 §8.1, RFC 8656 §6)."""
        return DEFAULT_TLS_PORT if self.scheme.is_secure else DEFAULT_PORT

    @property
    def wire_transport(self) -> Transport:
        """What to speak when the DNS is not asked: UDP, or TLS over TCP for the secure schemes."""
        if self.scheme.is_secure:
            return _SECURED[self.transport or Transport.TCP]
        return self.transport or Transport.UDP

    def __str__(self) -> str:
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        transport = "" if self.transport is None else f"?transport={self.transport}"
        return f"{self.scheme}:{host}{port}{transport}"


def _parse_query(query: str, scheme: Scheme, shown: str) -> Transport:
    # RFC 7064 §3.1 has no query, RFC 7065 §3.1 only this one.
    if not scheme.is_turn:
        raise MisuseError(f"{shown!r} has a query, which no {scheme} URI can carry")
    name, _, value = query.partition("=")
    if name.lower() != "transport":
        raise MisuseError(f"{shown!r} has a query other than ?transport=udp or ?transport=tcp")
    match value.lower():
        case Transport.UDP.value:
            return Transport.UDP
        case Transport.TCP.value:
            return Transport.TCP
        case _:
            raise MisuseError(f"{shown!r} has a transport other than udp or tcp")


def _parse_authority(authority: str, shown: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        literal, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise MisuseError(f"{shown!r} has no address of the form [IPv6]:port")
        try:
            host = str(ipaddress.IPv6Address(literal.replace("%25", "%")))
        except ValueError:
            raise MisuseError(f"{shown!r} has no IPv6 address in its brackets") from None
        return host, _parse_port(rest[1:], shown)
    if authority.count(":") > 1:
        raise MisuseError(f"{shown!r} needs brackets around an IPv6 address, like [2001:db8::1]")
    host, _, digits = authority.partition(":")
    port = _parse_port(digits, shown)
    if not host.isascii():
        raise MisuseError(f"{shown!r} needs its host in ASCII, as xn--… (RFC 5890)")
    if not _NAME.fullmatch(host) or len(host) > HOST_LENGTH:
        raise MisuseError(f"{shown!r} has no valid host")
    if _LOOKS_NUMERIC.fullmatch(host) and not _is_address(host):
        raise MisuseError(f"{shown!r} has {host!r}, which is no IPv4 address")
    return host, port


def _parse_port(digits: str, shown: str) -> int | None:
    # RFC 3986 §3.2.3 allows an empty port.
    if not digits:
        return None
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) < 65536):
        raise MisuseError(f"{shown!r} has no port between 1 and 65535 after the colon")
    return int(digits)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
