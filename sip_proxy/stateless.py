"""Forwards without keeping anything (RFC 3261 §16.11): one target, no failover, no 100.

What a transaction would remember stands in the branch of our Via: the flow that the request came
by, and proof that we wrote it for this very request.  So the same request again, its CANCEL and the
ACK to a failure get the same branch, and a response finds its way back.  A response without proof
goes nowhere, so that nobody can have us send things to others.
"""

import hmac
import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from natkit.errors import MalformedMessage
from natkit.locate import Target
from natkit.machine import Failure, Path
from natkit.sip import Request, Response, SipUri, Via
from natkit.sip.flows import Flows
from natkit.sip.kinds import CALL_ID, CSEQ, FROM, MAX_BREADTH, ROUTE, VIA
from natkit.sip.parties import tag_of
from natkit.sip.registry import BRANCH_COOKIE
from natkit.sip.via import ResponseAddress, response_destination
from sip_proxy.admission import Admitted
from sip_proxy.asserted import Asserted
from sip_proxy.desk import Desk
from sip_proxy.events import ProxyResult
from sip_proxy.first_path import FirstPath
from sip_proxy.flow_tokens import FlowToken
from sip_proxy.forwarding import forwarded, recorded, signed
from sip_proxy.hops import targets_in
from sip_proxy.loops import is_loop, passed_others
from sip_proxy.servers import find_servers
from sip_proxy.targets import Contact
from sipdns.targets import RankedTarget

__all__ = ["Stateless"]

MARK: Final = f"{BRANCH_COOKIE}-"
"""Begins the branches that are made here."""

PROOF_SIZE: Final = 8


class Stateless:
    """``key`` proves the branches."""

    def __init__(self, desk: Desk, flows: Flows, asserted: Asserted, key: bytes) -> None:
        self._desk = desk
        self._flows = flows
        self._key = key
        self._first_path = FirstPath(desk, flows)
        self._asserted = asserted
        self._awaits_until = -math.inf
        self.configure()

    def configure(self) -> None:
        """Go by the desk's settings as they are now."""
        settings = self._desk.settings
        self.is_on = settings.stateless or any(rule.stateless for rule in settings.routes)
        """Whether anything is forwarded so at all."""

    def awaits(self, now: float) -> bool:
        """Whether a response may be one to what was forwarded here."""
        return self.is_on or now < self._awaits_until

    def takes(self, contacts: Sequence[Contact]) -> bool:
        """Whether a request with these targets is forwarded without state, to the first of them."""
        return self._desk.settings.stateless or contacts[0].is_stateless

    # ── requests ────────────────────────────────────────────────────────────────────────────────

    def forward(self, one: Admitted, contact: Contact, now: float) -> None:
        """Forward a request, a CANCEL or an ACK, and forget it."""
        original = one.incoming.request
        path = one.incoming.path
        seen = _seen(original)
        if passed_others(original) and is_loop(original, seen, self._desk.identity):
            self._desk.reject(one.incoming, 482, now)
            return
        token = self._desk.tokens.write(FlowToken(path, is_attached=False))
        via = original.headers.first(VIA)
        if via is None:
            return  # it came with one
        branch = f"{MARK}{self._proof(original, via, token)}-{token}.{seen}"
        breadth = one.request.headers.get(MAX_BREADTH)
        if breadth is None:
            breadth = self._desk.settings.max_breadth
        copy, hop = forwarded(one.request, contact, breadth)

        def send(to: Path | None, at: float) -> None:
            if to is None:
                self._desk.reject(one.incoming, 500, at)
                return
            self._desk.transactions.abandon(one.incoming.transaction)
            self._awaits_until = at + self._desk.settings.timing.timeout
            self._transmit(one, copy, contact, to, branch)

        flow = contact.flow
        if flow is not None and self._is_usable(flow):
            send(flow, now)
        elif isinstance(hop, SipUri) and (flow is None or not contact.needs_flow):

            def found(result: ProxyResult | Failure, at: float) -> None:
                servers = steady(targets_in(result), branch)
                self._first_path.to_first(servers, send, at)

            find_servers(self._desk, hop, found, now)
        else:
            send(None, now)

    def _transmit(
        self, one: Admitted, copy: Request, contact: Contact, path: Path, branch: str
    ) -> None:
        identity = self._desk.identity
        outbound, inbound = identity.listener_of(path), identity.listener_of(one.incoming.path)
        if outbound is None or inbound is None:
            return
        copy = self._asserted.leaving(copy, contact, path)
        if self._desk.settings.record_route:
            copy = recorded(
                copy,
                (inbound, one.incoming.path),
                (outbound, path),
                self._desk.tokens,
                reaches_user_agent=contact.flow is not None,
            )
        self._desk.transactions.transmit(bytes(signed(copy, outbound, branch)), path)

    def _is_usable(self, flow: Path) -> bool:
        if flow.transport.is_reliable:
            return flow in self._flows
        return self._desk.identity.has(flow)

    # ── responses ───────────────────────────────────────────────────────────────────────────────

    def receive(self, response: Response) -> bool:
        """Pass a response back; False when it is none to a request that was forwarded here."""
        try:
            via = response.headers.first(VIA)
            if via is None or not (via.branch or "").startswith(MARK):
                return False
            upstream = response.headers.remove_first(VIA)
            sender = upstream.first(VIA)
            path = None if sender is None else self._way_back(response, via, sender)
        except MalformedMessage:
            return True  # nobody else could do more with it
        if path is not None:
            data = bytes(
                Response(
                    response.status, response.reason, upstream, response.body, response.version
                )
            )
            self._desk.transactions.transmit(data, path)
        return True

    def _way_back(self, response: Response, via: Via, sender: Via) -> Path | None:
        proof, _, rest = (via.branch or "").removeprefix(MARK).partition("-")
        text = rest.partition(".")[0]
        token = self._desk.tokens.read(text)
        expected = self._proof(response, sender, text)
        if token is None or not hmac.compare_digest(proof.encode(), expected.encode()):
            return None
        path = token.path
        if path.transport.is_reliable:
            return path if path in self._flows else None
        destination = response_destination(sender)
        if not isinstance(destination, ResponseAddress):
            return None
        return path._replace(remote=destination.address)

    def _proof(self, message: Request | Response, sender: Via, token: str) -> str:
        """What binds a branch to the request that it was made for, and so to its sender."""
        cseq = message.headers.get(CSEQ)
        parts = (
            sender.branch or "",
            sender.host.lower(),
            str(sender.port),
            str(sender.received),
            str(sender.rport),
            message.headers.get(CALL_ID) or "",
            str(cseq.number if cseq else 0),
            tag_of(message.headers, FROM) or "",
            token,
        )
        text = "\0".join(parts).encode("utf-8", "surrogateescape")
        return blake2b(text, key=self._key[:64], digest_size=PROOF_SIZE).hexdigest()


def steady(servers: Sequence[Target], key: str) -> list[Target]:
    """The servers in an order that is the same for the same request (§16.11).

    The lowest priority stands first; within one, by chance and weight as RFC 2782 has it, but the
    chance is drawn from ``key``.
    """
    return sorted(servers, key=lambda server: (_priority(server), _chance(server, key)))


def _priority(server: Target) -> int:
    return (server.priority or 0) if isinstance(server, RankedTarget) else 0


def _chance(server: Target, key: str) -> float:
    weight = server.weight if isinstance(server, RankedTarget) else None
    digest = blake2b(f"{key}\0{server.transport}\0{server.address}".encode(), digest_size=8)
    drawn = (int.from_bytes(digest.digest(), "big") + 1) / (2**64 + 1)
    return -math.log(drawn) / max(1 if weight is None else weight, 1e-3)


def _seen(request: Request) -> str:
    """What tells a loop, of what a request, its CANCEL and the ACK to its failure have in common.

    It differs where the request's way does (RFC 5393 §4.2.1).
    """
    headers = request.headers
    cseq = headers.get(CSEQ)
    parts = [
        request.uri_text,
        headers.get(CALL_ID) or "",
        str(cseq.number if cseq else 0),
        tag_of(headers, FROM) or "",
        *[field.text for field in headers.fields(ROUTE)],
    ]
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return blake2b(text, digest_size=8).hexdigest()
