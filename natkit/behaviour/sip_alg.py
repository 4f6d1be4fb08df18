"""Whether something on the way rewrites SIP messages: an application level gateway.

A SIP server copies Via, From and Call-ID into its response as it got them (RFC 3261 §8.2.6.2), and
says in the Via where it saw the request come from (§18.2.1, RFC 3581 §4).  What comes back changed
was changed on the way.  The request has this host's inside address in the Via, which gateways
replace on the way out, and its outside address in From and Call-ID, which those replace on the way
back that undo what they did.
"""

from dataclasses import dataclass
from typing import Final

from natkit.address import Address
from natkit.behaviour.findings import Fact
from natkit.behaviour.steps import Answer, Ask, Heard, Open, Say, Script
from natkit.errors import MalformedMessage
from natkit.machine import Transport
from natkit.sip import NameAddress, Request, Response, SipUri, Via, parse_message
from natkit.sip.headers import HeaderField
from natkit.sip.kinds import CALL_ID, CONTACT, CSEQ, FROM, MAX_FORWARDS, TO, VIA, CSeq
from natkit.sip.registry import BRANCH_COOKIE

__all__ = ["SipAlgFinding", "addresses_in_payload", "sip_alg"]

CHECKS: Final = 4
"""Things that are compared: the Via, where it was received from, From, Call-ID."""


@dataclass(frozen=True, slots=True)
class SipAlgFinding:
    """Whether messages to one SIP server are rewritten."""

    server: Address
    rewrites: Fact


def sip_alg(
    local_host: str, server: Address, stun_server: Address, token: str
) -> Script[SipAlgFinding]:
    """Ask a SIP server by OPTIONS over UDP, and compare what comes back with what was sent.

    ``stun_server`` shows the outside address; ``token`` is unguessable, and of hexadecimal digits.
    Silence shows nothing: the server may not answer OPTIONS, or a gateway may swallow them.
    """
    local = yield Open(Address(local_host, 0))
    if not isinstance(local, Address):
        return SipAlgFinding(server, Fact.unknown("no socket"))
    seen = yield Ask(local, stun_server)
    outside = seen.mapped if isinstance(seen, Answer) else None
    if outside is None:
        return SipAlgFinding(server, Fact.unknown(f"{stun_server} does not answer"))
    request = _request(server, local, outside, token)
    heard = yield Say(local, server, bytes(request), token.encode("ascii"))
    if not isinstance(heard, Heard):
        line = f"{server} does not answer SIP; a gateway that swallows it looks the same"
        return SipAlgFinding(server, Fact.unknown(line))
    try:
        response = parse_message(heard.data)
        if not isinstance(response, Response):
            return SipAlgFinding(server, Fact.unknown(f"{server} sends the request back"))
        return SipAlgFinding(server, _compare(request, response, outside))
    except MalformedMessage as error:
        return SipAlgFinding(server, Fact.unknown(f"{server} does not answer in SIP: {error}"))


def _request(server: Address, local: Address, outside: Address, token: str) -> Request:
    def uri(address: Address, user: str | None = None) -> SipUri:
        return SipUri.build(address.host.partition("%")[0], user=user, port=address.port)

    here = NameAddress(uri(outside, "natkit"))
    return Request.build(
        "OPTIONS",
        uri(server),
        [
            HeaderField.of(VIA, Via.of(Transport.UDP, local, f"{BRANCH_COOKIE}{token}")),
            # Whoever gets it answers it: it is for nobody behind (RFC 3261 §11.2).
            HeaderField.of(MAX_FORWARDS, 0),
            HeaderField.of(FROM, here.with_tag(token[:8])),
            HeaderField.of(TO, NameAddress(uri(server))),
            HeaderField.of(CONTACT, NameAddress(uri(local, "natkit"))),
            HeaderField.of(CALL_ID, f"{token}@{outside.host}"),
            HeaderField.of(CSEQ, CSeq(1, "OPTIONS")),
        ],
    )


def _compare(request: Request, response: Response, outside: Address) -> Fact:
    changed: list[str] = []
    same = 0
    sent, back = request.headers.first(VIA), response.headers.first(VIA)
    if sent is None or back is None:
        return Fact.unknown("a response without a Via")
    if (back.host, back.port) == (sent.host, sent.port):
        same += 1
    else:
        was, now = f"{sent.host}:{sent.port}", f"{back.host}:{back.port}"
        changed.append(f"the Via that was sent as {was} came back as {now}")
    received = back.received
    if received is not None and str(received) != outside.host:
        changed.append(f"it was received from {received}, and not from {outside.host}")
    else:
        # A server that says nothing of it breaks RFC 3581, and shows nothing.
        same += received is not None
    for name, before, after in (
        (FROM.name, _uri(request.headers.get(FROM)), _uri(response.headers.get(FROM))),
        (CALL_ID.name, request.headers.get(CALL_ID), response.headers.get(CALL_ID)),
    ):
        if before == after:
            same += 1
        else:
            changed.append(f"{name} was {before}, and came back as {after}")
    if changed:
        return Fact(holds=True, confidence=1.0, evidence=tuple(changed))
    line = f"{same} of {CHECKS} things that gateways rewrite came back as they were sent"
    return Fact(holds=False, confidence=same / CHECKS, evidence=(line,))


def _uri(named: NameAddress | None) -> str:
    return "" if named is None else str(named.uri)


def addresses_in_payload(answers: list[tuple[Address, Address, Address | None]]) -> Fact:
    """Whether addresses are rewritten wherever they stand in a packet (RFC 5780 §3.6).

    Of each STUN server the address that it saw: obfuscated, and plain where it says that too.
    """
    told = [(server, mapped, plain) for server, mapped, plain in answers if plain is not None]
    if not told:
        return Fact.unknown("no server says its answer plainly as well (MAPPED-ADDRESS)")
    for server, mapped, plain in told:
        if plain != mapped:
            line = f"{server} saw {mapped}, and the same in plain bytes came here as {plain}"
            return Fact(holds=True, confidence=1.0, evidence=(line,))
    line = f"plain and obfuscated addresses of {len(told)} servers agree"
    return Fact(holds=False, confidence=1.0, evidence=(line,))
