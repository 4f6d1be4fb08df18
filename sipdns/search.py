"""What a URI asks of the DNS: TARGET, port, and the transports that may be used (RFC 3263 §4)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.name

from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import Transport
from natkit.sip import Scheme, SipUri
from natkit.sip.grammar import domain_name, excerpt, numeric_host
from natkit.sip.via import SentBy
from natkit.stun.uri import ServerUri
from sipdns.decisions import Decision, Step, Verdict
from sipdns.services import (
    DEFAULT_TRANSPORTS,
    SIP_SERVICES,
    STUN_SERVICES,
    TURN_SERVICES,
    Service,
)

__all__ = ["Search", "read_uri", "search_for", "search_for_response", "search_for_server"]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?!\d+(?:$|[;?]))")
"""A scheme; ``host:5060`` has none."""

_HOST: Final = re.compile(r"[^:;?]*")
_MADDR: Final = re.compile(r"(?i)(;maddr=)([^;?]*)")

_SERVER_SCHEMES: Final = ("stun", "stuns", "turn", "turns")

# RFC 3261 §26.2.2: sips demands TLS on each hop, over the protocol that transport= names.
_SECURED: Final = {
    Transport.TCP: Transport.TLS,
    Transport.TLS: Transport.TLS,
    Transport.SCTP: Transport.TLS_SCTP,
    Transport.TLS_SCTP: Transport.TLS_SCTP,
    Transport.WS: Transport.WSS,
    Transport.WSS: Transport.WSS,
}


@dataclass(frozen=True, slots=True)
class Search:
    """A lookup to be made.

    ``target`` is a domain name, or the text of an address when ``is_numeric``.  ``services`` are
    the ways that both the URI and we allow, most preferred first; with none there is nothing to
    look for, and ``decisions`` say why.  ``default`` is for when the DNS names no transport.
    ``every_transport`` wants the targets of each service, one after the other, not only those of
    the one that the DNS puts first.  ``source`` is what the target was read from, in words.
    """

    uri: str
    target: str
    is_numeric: bool
    port: int | None
    services: tuple[Service, ...]
    transport_is_given: bool
    default: Service | None
    transport_rfc: str
    address_rfc: str
    tls_name: str
    decisions: tuple[Decision, ...]
    every_transport: bool = False
    source: str = "URI"


def read_uri(text: str, transports: Sequence[Transport] = DEFAULT_TRANSPORTS) -> Search:
    """Read what a user or a message names.

    That is a ``sip:``, ``sips:``, ``stun:``, ``stuns:``, ``turn:`` or ``turns:`` URI, or a domain:
    ``example.org``, ``alice@example.org`` and ``example.org:5060`` are taken as ``sip:`` URIs.
    International domain names become A-labels.  MisuseError for anything else.
    """
    found = _SCHEME.match(text)
    scheme = found[1].lower() if found else "sip"
    if scheme == "tel":
        raise MisuseError(
            f"{excerpt(text)} names a number, not a domain; "
            "give the domain that serves it: sip:+NUMBER@DOMAIN;user=phone"
        )
    if scheme in _SERVER_SCHEMES:
        return search_for_server(ServerUri.parse(_with_a_labels(text)), transports)
    if scheme not in ("sip", "sips"):
        raise MisuseError(f"{excerpt(text)} is not a sip:, sips:, stun: or turn: URI")
    written = text if found else f"sip:{text}"
    try:
        uri = SipUri.parse(_with_a_labels(written))
    except MalformedMessage as error:
        raise MisuseError(str(error)) from error
    guessed = None
    if not found:
        reason = f"no scheme given, so it is read as {uri}"
        guessed = Decision(Step.TARGET, text, Verdict.CHOSEN, reason, "RFC 3261 §19.1.1")
    return search_for(uri, transports, guessed)


def search_for(
    uri: SipUri, transports: Sequence[Transport], guessed: Decision | None = None
) -> Search:
    """The lookup that a parsed URI asks for; MisuseError for one that contradicts itself."""
    host = uri.maddr or uri.host
    address = numeric_host(host)
    target = domain_name(host) if address is None else str(address)
    if address is None:
        _check_name(target)
    given = _given_transport(uri)
    allowed = _allowed(uri, given, transports)
    decisions = [] if guessed is None else [guessed]
    reason = f"maddr stands in for the host {uri.host}" if uri.maddr else "the host of the URI"
    decisions.append(Decision(Step.TARGET, target, Verdict.CHOSEN, reason, "RFC 3263 §4"))
    if not allowed:
        decisions.append(_nothing_allowed(uri, transports))
    own = numeric_host(uri.host)
    return Search(
        uri=str(uri),
        target=target,
        is_numeric=address is not None,
        port=uri.port,
        services=tuple(allowed),
        transport_is_given=given is not None,
        default=_default(allowed, secure=uri.is_secure),
        transport_rfc="RFC 3263 §4.1",
        address_rfc="RFC 3263 §4.2",
        tls_name=domain_name(uri.host) if own is None else str(own),
        decisions=tuple(decisions),
    )


def search_for_server(uri: ServerUri, transports: Sequence[Transport]) -> Search:
    """The lookup that a STUN or TURN server's URI asks for (RFC 8489 §8.1, RFC 5928 §3)."""
    host = domain_name(uri.host)
    if not uri.is_address:
        _check_name(host)
    services = TURN_SERVICES if uri.scheme.is_turn else STUN_SERVICES
    wire = None if uri.transport is None else uri.wire_transport
    allowed = [
        services[transport]
        for transport in dict.fromkeys(transports)
        if transport in services
        and transport.is_secure == uri.scheme.is_secure
        and wire in (None, transport)
    ]
    rfc = "RFC 5928 §3" if uri.scheme.is_turn else "RFC 8489 §8.1"
    decisions = [Decision(Step.TARGET, host, Verdict.CHOSEN, "the host of the URI", rfc)]
    if not allowed:
        reason = f"the transports to use are {', '.join(transports) or 'none'}"
        asked = str(wire or uri.scheme)
        decisions.append(Decision(Step.TRANSPORT, asked, Verdict.PASSED_OVER, reason, rfc))
    return Search(
        uri=str(uri),
        target=host,
        is_numeric=uri.is_address,
        port=uri.port,
        services=tuple(allowed),
        transport_is_given=wire is not None,
        default=_default(allowed, secure=uri.scheme.is_secure),
        transport_rfc=rfc,
        address_rfc=rfc,
        tls_name=host,
        decisions=tuple(decisions),
        # RFC 5928 §3: a client tries all until a server grants an allocation.
        every_transport=uri.scheme.is_turn,
    )


def search_for_response(sent_by: SentBy) -> Search:
    """The lookup of a response's way back (RFC 3263 §5): by SRV where no port is given.

    The transport is that of the request, which no NAPTR record can change.
    """
    address = numeric_host(sent_by.host)
    target = domain_name(sent_by.host) if address is None else str(address)
    if address is None:
        _check_name(target)
    rfc = "RFC 3263 §5"
    service = SIP_SERVICES[sent_by.transport]
    reason = "the sent-by of the topmost Via"
    return Search(
        uri=_written(sent_by),
        target=target,
        is_numeric=address is not None,
        port=sent_by.port,
        services=(service,),
        transport_is_given=True,
        default=service,
        transport_rfc=rfc,
        address_rfc=rfc,
        tls_name=target,
        decisions=(Decision(Step.TARGET, target, Verdict.CHOSEN, reason, rfc),),
        source="Via",
    )


def _given_transport(uri: SipUri) -> Transport | str | None:
    """The transport that the URI demands, as a plain text when it is none that we know."""
    if uri.transport is None:
        return None
    try:
        named = Transport(uri.transport)
    except ValueError:
        return uri.transport
    if named is Transport.DTLS:
        return uri.transport
    if uri.scheme is Scheme.SIP:
        return named
    if named not in _SECURED:
        raise MisuseError(
            f"{excerpt(str(uri))}: a sips: URI cannot ask for {named} (RFC 3261 §19.1.1)"
        )
    return _SECURED[named]


def _allowed(
    uri: SipUri, given: Transport | str | None, transports: Sequence[Transport]
) -> list[Service]:
    return [
        SIP_SERVICES[transport]
        for transport in dict.fromkeys(transports)
        if transport in SIP_SERVICES
        and (given is None or transport == given)
        and (transport.is_secure or not uri.is_secure)
    ]


def _default(allowed: Sequence[Service], *, secure: bool) -> Service | None:
    """UDP, or TLS over TCP (RFC 3263 §4.1, RFC 8489 §8.1); our first choice when we lack that."""
    wanted = Transport.TLS if secure else Transport.UDP
    first = allowed[0] if allowed else None
    return next((service for service in allowed if service.transport is wanted), first)


def _nothing_allowed(uri: SipUri, transports: Sequence[Transport]) -> Decision:
    ours = ", ".join(transports) or "none"
    if uri.transport is not None:
        reason = f"the URI asks for it, and the transports to use are {ours}"
        return Decision(Step.TRANSPORT, uri.transport, Verdict.PASSED_OVER, reason, "RFC 3263 §4.1")
    reason = f"sips: needs a secure transport, and the transports to use are {ours}"
    return Decision(Step.TRANSPORT, "sips", Verdict.PASSED_OVER, reason, "RFC 3261 §26.2.2")


def _with_a_labels(text: str) -> str:
    """The URI with international domain names in A-labels (RFC 5890); others as they came."""
    if text.isascii():
        return text
    start = text.rfind("@") + 1 or text.index(":") + 1
    found = _HOST.match(text, start)
    host = found[0] if found else ""
    rest = _MADDR.sub(lambda maddr: maddr[1] + _a_labels(maddr[2]), text[start + len(host) :])
    return text[:start] + _a_labels(host) + rest


def _a_labels(host: str) -> str:
    if host.isascii():
        return host
    try:
        return dns.name.from_text(host, idna_codec=dns.name.IDNA_2008_UTS_46).to_text(
            omit_final_dot=True
        )
    except (dns.exception.DNSException, UnicodeError) as error:
        raise MisuseError(f"{excerpt(host)} is not a domain name: {error}") from error


def _written(sent_by: SentBy) -> str:
    """The sent-by as it stands in a Via."""
    port = "" if sent_by.port is None else f":{sent_by.port}"
    return f"SIP/2.0/{sent_by.transport.upper()} {sent_by.host}{port}"


def _check_name(name: str) -> None:
    try:
        dns.name.from_text(name)
    except dns.exception.DNSException as error:
        raise MisuseError(f"{excerpt(name)} is not a domain name: {error}") from error
