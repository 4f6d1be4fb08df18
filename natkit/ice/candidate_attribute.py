"""The candidate attribute of SDP (RFC 8839 §5.1, RFC 6544 §4.5), to and from candidates."""

import re
from typing import Final

from natkit.address import Address, Family
from natkit.errors import MalformedMessage, MisuseError
from natkit.ice.candidate import Candidate, CandidateType, NamedAddress, TcpType
from natkit.machine import Transport

__all__ = ["LONGEST_ATTRIBUTE", "UnusableCandidate", "parse_candidate", "write_candidate"]

LONGEST_ATTRIBUTE: Final = 2048
"""Characters of a candidate attribute; those of browsers have some 150."""

MOST_EXTENSIONS: Final = 32
"""Of one candidate; browsers send four."""

HIDDEN_PORT: Final = 9
"""Of a related address that is not told (RFC 8839 §5.1)."""

_HIDDEN_HOSTS: Final = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}  # noqa: S104 - not bound to
_PREFIX = re.compile(r"(?:a=)?candidate:", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]{1,10}\Z")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`{|}~0-9A-Za-z]+\Z")
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?\Z")


class UnusableCandidate(MalformedMessage):
    """A candidate that follows the grammar, and is to be ignored (RFC 8839 §5.1).

    Its transport, its type or the form of its address is of an extension that is not known here.
    """


def parse_candidate(text: str) -> Candidate:
    """Read a candidate attribute, with or without ``a=candidate:`` before its value.

    An empty or hidden related address is None, and so is one that is a name.  Raises
    MalformedMessage, and its kind UnusableCandidate for what RFC 8839 §5.1 has us ignore.
    """
    if len(text) > LONGEST_ATTRIBUTE:
        raise MalformedMessage(f"a candidate of {len(text)} characters")
    value = text.strip("\r\n ")
    prefix = _PREFIX.match(value)
    words = value[prefix.end() if prefix else 0 :].split()
    if len(words) < 8 or words[6].lower() != "typ":
        raise MalformedMessage("a candidate has seven fields, and `typ` before the last of them")
    foundation, component, transport, priority, host, port, _, kind, *rest = words
    named = dict(zip(rest[::2], rest[1::2], strict=False))
    if len(rest) > 2 * MOST_EXTENSIONS or len(named) < len(rest) // 2:
        raise MalformedMessage("too many extensions, or one of them twice")
    transport_used = _transport(transport)
    address = _address(host, _port(port))
    related = _related(named.pop("raddr", None), named.pop("rport", None))
    tcp_type = _tcp_type(named.pop("tcptype", None), transport_used)
    try:
        return Candidate(
            foundation=foundation,
            component=_number(component, "component"),
            transport=transport_used,
            priority=_number(priority, "priority"),
            address=address,
            type=_type(kind),
            related=related,
            tcp_type=tcp_type,
            username_fragment=named.pop("ufrag", None),
            generation=_optional_number(named.pop("generation", None), "generation"),
            network_id=_optional_number(named.pop("network-id", None), "network-id"),
            network_cost=_optional_number(named.pop("network-cost", None), "network-cost"),
            extensions=tuple(named.items()),
        )
    except MisuseError as error:
        raise MalformedMessage(str(error)) from error


def write_candidate(candidate: Candidate) -> str:
    """``candidate:`` and its value; what stands after ``a=`` in SDP, and alone in JavaScript."""
    address = candidate.address
    host = address.host.partition("%")[0] if isinstance(address, Address) else address.name
    words = [
        f"candidate:{candidate.foundation}",
        str(candidate.component),
        candidate.transport.upper(),
        str(candidate.priority),
        host,
        str(address.port),
        "typ",
        candidate.type.value,
    ]
    related = candidate.related
    if related is None and candidate.type is not CandidateType.HOST:
        family = address.family if isinstance(address, Address) else Family.IPV4
        related = Address(_HIDDEN_HOSTS[family], HIDDEN_PORT)
    if related is not None:
        words += ["raddr", related.host.partition("%")[0], "rport", str(related.port)]
    optional = (
        ("tcptype", candidate.tcp_type),
        ("generation", candidate.generation),
        ("ufrag", candidate.username_fragment),
        ("network-id", candidate.network_id),
        ("network-cost", candidate.network_cost),
        *candidate.extensions,
    )
    for name, value in optional:
        if value is not None:
            words += [name, str(value)]
    return " ".join(words)


def _number(text: str, what: str) -> int:
    if not _DIGITS.match(text):
        raise MalformedMessage(f"{what} {text[:20]!r} is not a number")
    return int(text)


def _optional_number(text: str | None, what: str) -> int | None:
    return None if text is None else _number(text, what)


def _port(text: str) -> int:
    port = _number(text, "port")
    if port > 0xFFFF:
        raise MalformedMessage(f"port {port} is beyond 65535")
    return port


def _transport(text: str) -> Transport:
    match text.lower():
        case "udp":
            return Transport.UDP
        case "tcp":
            return Transport.TCP
    if not _TOKEN.match(text):
        raise MalformedMessage(f"{text[:20]!r} is no transport")
    raise UnusableCandidate(f"a candidate over {text[:20]}")


def _type(text: str) -> CandidateType:
    try:
        return CandidateType(text.lower())
    except ValueError:
        if not _TOKEN.match(text):
            raise MalformedMessage(f"{text[:20]!r} is no type") from None
        raise UnusableCandidate(f"a candidate of type {text[:20]}") from None


def _tcp_type(text: str | None, transport: Transport) -> TcpType | None:
    if transport is not Transport.TCP:
        return None
    try:
        return TcpType((text or "").lower())
    except ValueError:
        raise UnusableCandidate(f"a TCP candidate with tcptype {(text or '')[:20]!r}") from None


def _address(host: str, port: int) -> Address | NamedAddress:
    literal = _literal(host, port)
    if literal is not None:
        return literal
    # The last label of a name is never a number: that would be an address, gone wrong.
    if len(host) > 253 or not _HOST_NAME.match(host) or host.rpartition(".")[2].isdigit():
        raise MalformedMessage(f"{host[:60]!r} is neither an address nor a name")
    named = NamedAddress(host, port)
    if not named.is_mdns:
        # RFC 8839 §5.1: names other than those need a procedure that both sides know of.
        raise UnusableCandidate(f"the name {host[:60]}, which multicast DNS does not resolve")
    return named


def _related(host: str | None, port: str | None) -> Address | None:
    if host is None or port is None:
        return None
    address = _literal(host, _port(port))
    if address is None or address == Address(_HIDDEN_HOSTS[address.family], HIDDEN_PORT):
        return None
    return address


def _literal(host: str, port: int) -> Address | None:
    if "%" in host:  # a zone means nothing to anybody else
        return None
    try:
        return Address.of(host, port)
    except MisuseError:
        return None
