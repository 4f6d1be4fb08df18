"""The way of a branch: its flow, else one server of its next hop after the other (RFC 3263 §4.3).

Servers that fail are remembered for the requests that follow, which try them last.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from natkit.errors import MalformedMessage
from natkit.locate import Target
from natkit.machine import Failure, Path, Transport
from natkit.sip import Response, SipUri
from natkit.sip.flows import Flows
from natkit.sip.kinds import CALL_ID, MAX_BREADTH, RETRY_AFTER
from sip_proxy.desk import Desk
from sip_proxy.events import OpenFlow, ProxyResult
from sip_proxy.forking import Branch, BranchState
from sip_proxy.forwarding import forwarded
from sip_proxy.gateways import Gateways
from sip_proxy.lost_flows import LostFlows
from sip_proxy.secure import may_use
from sip_proxy.servers import find_servers
from sipdns.failover import Failover
from sipdns.outliers import Outliers

__all__ = ["Hops", "targets_in"]

LARGEST_DATAGRAM: Final = 1300
"""Bytes; a longer request goes by TCP (RFC 3261 §18.1.1)."""

UNAVAILABLE: Final = 503

Send = Callable[[Branch, Path, float], None]
GiveUp = Callable[[Branch, Response | None, float], None]


class Hops:
    """Finds paths for branches: ``send`` gets each, ``give_up`` is called when there is no more.

    What ``give_up`` gets is the response that stands for the branch's last failure.
    """

    def __init__(
        self,
        desk: Desk,
        flows: Flows,
        lost: LostFlows,
        gateways: Gateways,
        send: Send,
        give_up: GiveUp,
    ) -> None:
        self._desk = desk
        self._flows = flows
        self._lost = lost
        self._gateways = gateways
        self._outliers = Outliers(desk.settings.outliers)
        self._send = send
        self._give_up = give_up

    def configure(self) -> None:
        """Go by the desk's settings as they are now."""
        self._outliers.configure(self._desk.settings.outliers)

    # ── from the first to the last ──────────────────────────────────────────────────────────────

    def seek(self, branch: Branch, now: float) -> None:
        """Find the way of a branch that has not begun, or has turned to another contact."""
        contact = branch.contact
        branch.failover = None
        if not self._takes_seat(branch, now):
            self._next(branch, 503, now)
            return
        if contact.flow is not None:
            if self._is_usable(contact.flow) and may_use(contact.flow, branch.request.uri):
                self._send(branch, contact.flow, now)
                return
            if contact.needs_flow:
                self._next(branch, 430, now)  # RFC 5626 §5.3.1
                return
        if not isinstance(branch.next_hop, SipUri):
            self._next(branch, 404, now)
            return
        find_servers(self._desk, branch.next_hop, partial(self._found, branch), now)

    def answered(self, branch: Branch, response: Response, now: float) -> None:
        """The server that was tried last gave this final response, and it counts."""
        if branch.failover is not None:
            branch.failover.answered(response.status, now, retry_after=_retry_after(response))
        if branch.contact.gateway is not None:
            if response.status == UNAVAILABLE:
                self._blame(branch)
            else:
                self._gateways.answered(branch.contact.gateway)

    def failed(self, branch: Branch, response: Response, now: float) -> None:
        """A response of the server that was tried last asks for another: go on."""
        self.answered(branch, response, now)
        if response.status == 430:
            branch.failover = None  # RFC 5626 §5.3.1: another flow, not another server
        self._next(branch, response, now)

    def timed_out(self, branch: Branch, response: Response | None, now: float) -> None:
        """The server that was tried last is silent: go on."""
        if branch.failover is not None:
            branch.failover.timed_out(now)
        self._blame(branch)
        self._next(branch, response, now)

    def lost(self, branch: Branch, now: float) -> None:
        """The path to the server that was tried last is gone, which is a 503 (§16.9): go on."""
        status = 503
        if branch.failover is not None:
            branch.failover.unreachable(now)
            self._blame(branch)
        else:
            status = 430
        self._next(branch, status, now)

    def stands_for(self, branch: Branch, status: int) -> Response:
        """A response of ours in place of one of the branch."""
        return Response.to(branch.fork.incoming.request, status, tag=self._desk.new_tag())

    def leave_seat(self, branch: Branch) -> None:
        """The branch is no call at its gateway, or will be none."""
        if branch.seat is not None:
            self._gateways.leave(branch.seat)
            branch.seat = None

    def _takes_seat(self, branch: Branch, now: float) -> bool:
        """Whether the gateway of a branch, if it is one's, may carry one call more."""
        name = branch.contact.gateway
        if name is None or not branch.fork.is_invite:
            return True
        call_id = branch.request.headers.get(CALL_ID) or ""
        branch.seat = self._gateways.seat(name, call_id, now)
        return branch.seat is not None

    def _blame(self, branch: Branch) -> None:
        if branch.contact.gateway is not None:
            self._gateways.failed(branch.contact.gateway)

    # ── one after the other ─────────────────────────────────────────────────────────────────────

    def _found(self, branch: Branch, found: ProxyResult | Failure, now: float) -> None:
        if branch.is_over:
            return
        identity = self._desk.identity
        reachable = [
            target
            for target in targets_in(found)
            if identity.listener_for(target.transport, target.address) is not None
        ]
        branch.failover = Failover(reachable, outliers=self._outliers)
        self._next(branch, 503, now)

    def _next(self, branch: Branch, failure: Response | int | None, now: float) -> None:
        """Go on after ``failure``: a response, or the status of one that would stand for it."""
        branch.fallback = None
        origin = branch.contact.origin
        if _status_of(failure) == 430 and origin is not None:
            self._lost.failed(origin, now)
        if branch.is_cancelled or branch.fork.is_answered:
            self._leave(branch, failure, now)
            return
        branch.state = BranchState.SEEKING
        target = None if branch.failover is None else branch.failover.next_target(now)
        if target is not None:
            self._try(branch, target, now)
        elif branch.others:
            self.leave_seat(branch)
            contact = branch.others.popleft()
            branch.contact = contact
            breadth = branch.request.headers.get(MAX_BREADTH)
            branch.request, branch.next_hop = forwarded(branch.fork.request, contact, breadth)
            self.seek(branch, now)
        else:
            self._leave(branch, failure, now)

    def _leave(self, branch: Branch, failure: Response | int | None, now: float) -> None:
        stands = self.stands_for(branch, failure) if isinstance(failure, int) else failure
        self._give_up(branch, stands, now)

    def _try(self, branch: Branch, target: Target, now: float) -> None:
        if self._is_for_tcp(branch, target):
            # If TCP is refused, UDP it is (§18.1.1).
            branch.fallback = target
            self._connect(branch, replace(target, transport=Transport.TCP), now)
        elif target.transport is Transport.UDP:
            self._send_by_udp(branch, target, now)
        else:
            self._connect(branch, target, now)

    def _send_by_udp(self, branch: Branch, target: Target, now: float) -> None:
        listener = self._desk.identity.listener_for(Transport.UDP, target.address)
        if listener is None:
            self.lost(branch, now)
        else:
            self._send(branch, Path(Transport.UDP, listener.address, target.address), now)

    def _connect(self, branch: Branch, target: Target, now: float) -> None:
        path = self._flows.find(target)
        if path is not None:
            self._send(branch, path, now)
            return
        self._desk.ask(
            lambda number: OpenFlow(number, target), partial(self._opened, branch, target), now
        )

    def _opened(
        self, branch: Branch, target: Target, opened: ProxyResult | Failure, now: float
    ) -> None:
        if isinstance(opened, Path):
            self._flows.made(target, opened)
        if branch.is_over:
            return
        fallback, branch.fallback = branch.fallback, None
        if isinstance(opened, Path):
            self._send(branch, opened, now)
        elif fallback is not None:
            self._send_by_udp(branch, fallback, now)
        else:
            self.lost(branch, now)

    def _is_usable(self, flow: Path) -> bool:
        if flow.transport.is_reliable:
            return flow in self._flows
        return self._desk.identity.has(flow)

    def _is_for_tcp(self, branch: Branch, target: Target) -> bool:
        """Whether a request for UDP is too long for it, and can go by TCP."""
        return (
            target.transport is Transport.UDP
            and self._desk.identity.listener_for(Transport.TCP, target.address) is not None
            and len(bytes(branch.request)) > LARGEST_DATAGRAM
        )


def _status_of(failure: Response | int | None) -> int | None:
    return failure.status if isinstance(failure, Response) else failure


def targets_in(found: ProxyResult | Failure) -> list[Target]:
    """The servers that FindServers gave; none when it failed."""
    if isinstance(found, Failure) or not isinstance(found, tuple | list):
        return []
    return [one for one in found if isinstance(one, Target)]


def _retry_after(response: Response) -> float | None:
    try:
        field = response.headers.get(RETRY_AFTER)
    except MalformedMessage:
        return None
    return None if field is None else float(field.seconds)
