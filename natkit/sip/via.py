"""Via: the way a request took, and where the response to it goes.

RFC 3261 §18.2, §20.42; RFC 3581 (``rport``); RFC 3263 §5 for names, which the caller resolves.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import Transport
from natkit.sip.grammar import IPAddress, excerpt, numeric_host, read_host
from natkit.sip.registry import BRANCH_COOKIE, DEFAULT_PORTS, SIP_VERSION
from natkit.sip.remembering import remembered
from natkit.sip.values import (
    LWS,
    TOKEN,
    HeaderParameter,
    is_token,
    parameter_of,
    read_number,
    read_parameters,
    write_parameters,
)

__all__ = ["ResponseAddress", "SentBy", "Via", "response_destination"]

LARGEST_PORT: Final = 65535
LARGEST_TTL: Final = 255

_VIA = re.compile(
    rf"{LWS}({TOKEN}){LWS}/{LWS}({TOKEN}){LWS}/{LWS}({TOKEN})[ \t]++"
    rf"(\[[^\]]*+\]|[^ \t;:\[\]]++)(?:{LWS}:{LWS}([0-9]++))?"
)
_TRANSPORTS: Final = {transport.upper(): transport for transport in DEFAULT_PORTS}


@dataclass(frozen=True, slots=True)
class Via:
    """One hop of a request.

    Build one by :meth:`parse` or :meth:`of`; the constructor checks nothing.  ``transport_token``
    and ``host`` are as written, an IPv6 host with its brackets.
    """

    transport_token: str
    host: str
    port: int | None = None
    parameters: tuple[HeaderParameter, ...] = ()
    protocol: str = SIP_VERSION

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one value; MalformedMessage when it does not follow RFC 3261 §25.1."""
        found = _VIA.match(text)
        if found is None:
            raise MalformedMessage(f"{excerpt(text)} is not a Via: SIP/2.0/transport host")
        name, version, transport, host, port = found.groups()
        via = cls(
            transport,
            read_host(host),
            None if port is None else read_number(port, LARGEST_PORT),
            read_parameters(text, found.end()),
            f"{name}/{version}",
        )
        via._check_parameters()
        return via

    @classmethod
    def of(
        cls,
        transport: Transport,
        sent_by: Address | str,
        branch: str,
        *,
        port: int | None = None,
        rport: bool = True,
        alias: bool = False,
    ) -> Self:
        """The Via of a request of ours; by default it asks to be answered at its source.

        ``sent_by`` is an Address, or a host name to which ``port`` belongs.  ``alias`` offers the
        connection for requests of the other side (RFC 5923 §5).  MisuseError when a part cannot
        stand in a Via.
        """
        if isinstance(sent_by, Address):
            host, port = sent_by.host.partition("%")[0], sent_by.port
        else:
            host = sent_by
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        parameters = [HeaderParameter("branch", branch)]
        if rport:
            parameters.append(HeaderParameter("rport"))
        if alias:
            parameters.append(HeaderParameter("alias"))
        try:
            read_host(host)
        except MalformedMessage as error:
            raise MisuseError(str(error)) from error
        via = cls(transport.upper(), host, port, tuple(parameters))
        if (
            transport not in DEFAULT_PORTS
            or not is_token(branch)
            or not 0 <= (port or 0) <= LARGEST_PORT
        ):
            raise MisuseError(f"{excerpt(str(via))} is not a Via of SIP")
        return via

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        parameters = write_parameters(self.parameters)
        return f"{self.protocol}/{self.transport_token} {self.host}{port}{parameters}"

    @property
    def transport(self) -> Transport | None:
        """The transport, or None for a token that names none we know."""
        return _TRANSPORTS.get(self.transport_token.upper())

    @property
    def address(self) -> IPAddress | None:
        """The IP address that ``host`` spells out, or None for a name."""
        return numeric_host(self.host)

    @property
    def branch(self) -> str | None:
        """The branch, which may be that of an older RFC; see :attr:`names_transaction`."""
        return self._text("branch")

    @property
    def names_transaction(self) -> bool:
        """Whether the branch alone tells the transaction (RFC 3261 §17.2.3).

        The cookie with nothing behind it names none (RFC 4475 §3.2.1).
        """
        branch = self.branch or ""
        return len(branch) > len(BRANCH_COOKIE) and branch.startswith(BRANCH_COOKIE)

    @property
    def received(self) -> IPAddress | None:
        """Where the next hop saw the request come from."""
        text = self._text("received")
        return None if text is None else _address(text)

    @property
    def wants_rport(self) -> bool:
        """Whether ``rport`` is present, with or without a value (RFC 3581 §3)."""
        return self._parameter("rport") is not None

    @property
    def rport(self) -> int | None:
        """The port from which the next hop saw the request come, once that hop filled it in."""
        text = self._text("rport")
        return None if not text else int(text)

    @property
    def wants_alias(self) -> bool:
        """Whether the sender takes requests on the connection that this came on (RFC 5923 §5)."""
        return self._parameter("alias") is not None

    @property
    def maddr(self) -> str | None:
        """The host that responses are to be sent to in place of ``host``."""
        return self._text("maddr")

    @property
    def ttl(self) -> int | None:
        """The time-to-live of multicast packets, 0 to 255."""
        text = self._text("ttl")
        return None if text is None else int(text)

    def with_parameters(self, parameters: Sequence[HeaderParameter]) -> Self:
        """The same Via with these parameters."""
        return type(self)(
            self.transport_token, self.host, self.port, tuple(parameters), self.protocol
        )

    def stamped(self, source: Address) -> Self:
        """The topmost Via of a request that arrived from ``source``, as the receiver marks it.

        ``received`` is set where the sender's own claim differs or ``rport`` asks for it, and
        ``rport`` gets its value; what the sender put there itself is overwritten.  RFC 3261
        §18.2.1, RFC 3581 §4.
        """
        ip = source.ip if "%" not in source.host else _address(source.host.partition("%")[0])
        wants_rport = False
        kept: list[HeaderParameter] = []
        for one in self.parameters:
            name = one.name.lower()
            if name == "rport":
                wants_rport = True
                kept.append(HeaderParameter(one.name, str(source.port)))
            elif name != "received":
                kept.append(one)
        if wants_rport or self.address != ip:
            # The grammar has no brackets here (RFC 3261 §25.1 via-received).
            kept.append(HeaderParameter("received", str(ip)))
        return self.with_parameters(kept)

    def _parameter(self, name: str) -> HeaderParameter | None:
        return parameter_of(self.parameters, name)

    def _text(self, name: str) -> str | None:
        found = parameter_of(self.parameters, name)
        return None if found is None else found.text

    def _check_parameters(self) -> None:
        for parameter in self.parameters:
            check = _CHECKS.get(parameter.name.lower())
            if check is not None:
                check(parameter.text)


@dataclass(frozen=True, slots=True)
class SentBy:
    """Find this by RFC 3263 §5.

    With a port, or a literal as ``host``, by the addresses of ``host`` alone; without, by SRV
    records (``_sips._tcp`` for TLS, else ``_sip`` and the transport), then by addresses and
    :attr:`default_port`.
    """

    transport: Transport
    host: str
    port: int | None

    @property
    def default_port(self) -> int:
        """The port where neither ``port`` nor an SRV record names one."""
        return DEFAULT_PORTS[self.transport]


@dataclass(frozen=True, slots=True)
class ResponseAddress:
    """Send the response here; if that fails, ``fallback`` says whom to find, None that it is over.

    ``ttl`` is for a multicast address only.
    """

    transport: Transport
    address: Address
    ttl: int | None = None
    fallback: SentBy | None = None


def response_destination(via: Via) -> ResponseAddress | SentBy:
    """Where the response goes whose topmost Via this is (RFC 3261 §18.2.2, RFC 3581 §4).

    Over a reliable transport the connection on which the request came goes first, and this counts
    once it is gone.  MalformedMessage when no transport of ours has the Via's name.
    """
    transport = via.transport
    if transport is None:
        raise MalformedMessage(f"nothing can be sent over {excerpt(via.transport_token)}")
    port = via.port or DEFAULT_PORTS[transport]
    sent_by = SentBy(transport, via.host, via.port)
    if not transport.is_reliable and via.maddr is not None:
        return _to_maddr(transport, via.maddr, port, via.ttl)
    if via.received is not None:
        if not transport.is_reliable and via.rport:
            port = via.rport
            # RFC 3581 §4: to the source, through the NAT; nothing else would reach the sender.
            return ResponseAddress(transport, Address(_host(via.received), port))
        address = Address(_host(via.received), port)
        return ResponseAddress(transport, address, fallback=sent_by)
    if via.address is not None:
        return ResponseAddress(transport, Address(_host(via.address), port))
    return sent_by


def _to_maddr(
    transport: Transport, maddr: str, port: int, ttl: int | None
) -> ResponseAddress | SentBy:
    ip = numeric_host(maddr)
    if ip is None:
        return SentBy(transport, maddr, port)
    if not ip.is_multicast:
        return ResponseAddress(transport, Address(_host(ip), port))
    return ResponseAddress(transport, Address(_host(ip), port), 1 if ttl is None else ttl)


def _check_branch(text: str) -> None:
    if not is_token(text):
        raise MalformedMessage(f"{excerpt(text)} is not a branch")


def _check_rport(text: str) -> None:
    # It is empty in a request that asks for it.
    if text:
        read_number(text, LARGEST_PORT)


def _check_ttl(text: str) -> None:
    read_number(text, LARGEST_TTL)


@lru_cache(1024)
def _host(ip: IPAddress) -> str:
    return Address.of(str(ip), 0).host


@remembered
def _address(text: str) -> IPAddress:
    # Senders write IPv6 with brackets and without (RFC 5118 §4.5).
    try:
        if "%" in text:
            raise ValueError
        return ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise MalformedMessage(f"{excerpt(text)} is not an IP address") from None


_CHECKS: Final[Mapping[str, Callable[[str], object]]] = {
    "branch": _check_branch,
    "received": _address,
    "rport": _check_rport,
    "maddr": read_host,
    "ttl": _check_ttl,
}
"""What each parameter's value must be (RFC 3261 §25.1, RFC 3581 §3)."""
