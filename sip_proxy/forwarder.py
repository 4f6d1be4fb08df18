"""Forwards requests and their responses: RFC 3261 §16.6 to §16.10, step by step."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from natkit.errors import MalformedMessage, MisuseError
from natkit.locate import Target
from natkit.machine import Failure, Path, Transport
from natkit.sip import HeaderField, Request, Response, SipUri
from natkit.sip.kinds import CONTACT, MAX_BREADTH, REASON, VIA
from natkit.sip.name_address import NameAddress
from natkit.sip.transactions import TransactionId
from natkit.timers import TimerQueue
from sip_proxy.desk import Desk, Incoming
from sip_proxy.events import FindServers, OpenFlow, ProxyResult
from sip_proxy.flows import Flows
from sip_proxy.forking import Branch, BranchState, Fork
from sip_proxy.forwarding import forwarded, recorded, signed
from sip_proxy.loops import branch_for
from sip_proxy.targets import Contact, in_order

__all__ = ["Forwarder"]

LARGEST_DATAGRAM: Final = 1300
"""Bytes; a longer request goes by TCP (RFC 3261 §18.1.1)."""

MOST_TARGETS: Final = 64
"""URIs that one request is tried at: whoever answers with ever new contacts ends there."""

ELSEWHERE: Final = HeaderField.of(REASON, 'SIP;cause=200;text="Call completed elsewhere"')
"""Without it each phone that rang shows a missed call (RFC 3326 §3.1)."""

SendOn = Callable[[Path | None, float], None]


class Forwarder:
    """Holds the response contexts of a proxy."""

    def __init__(self, desk: Desk, flows: Flows) -> None:
        self._desk = desk
        self._flows = flows
        self._forks: dict[TransactionId, Fork] = {}
        self._branches: dict[TransactionId, Branch] = {}
        self._timer_c: TimerQueue[TransactionId] = TimerQueue()

    def __len__(self) -> int:
        return len(self._forks)

    # ── requests ────────────────────────────────────────────────────────────────────────────────

    def forward(
        self, incoming: Incoming, request: Request, contacts: Sequence[Contact], now: float
    ) -> None:
        """Forward ``request``, which came as ``incoming``, to the target set."""
        breadth = request.headers.get(MAX_BREADTH)
        settings = self._desk.settings
        breadth = settings.max_breadth if breadth is None else min(breadth, settings.max_breadth)
        if breadth < 1:
            self._desk.reject(incoming, 440, now)  # RFC 5393 §5.3.3
            return
        fork = Fork(incoming, request, breadth)
        fork.groups.extend(in_order(contacts))
        self._forks[incoming.transaction] = fork
        self._next_group(fork, now)

    def cancel(self, invite: TransactionId, why: Sequence[HeaderField], now: float) -> None:
        """The caller gave up (§16.10)."""
        fork = self._forks.get(invite)
        if fork is None or fork.is_answered:
            return
        fork.is_cancelled = True
        fork.groups.clear()
        for branch in fork.pending:
            self._cancel(branch, why, now)
        self._advance(fork, now)

    def forward_ack(
        self, request: Request, flow: Path | None, fingerprint: str, now: float
    ) -> None:
        """An ACK to a 2xx, which has no transaction (§16.11 without its answer)."""
        copy, hop = forwarded(request, Contact(request.uri), None)

        def send(path: Path | None, at: float) -> None:
            del at
            listener = None if path is None else self._desk.identity.listener_of(path)
            if path is not None and listener is not None:
                ack = signed(copy, listener, branch_for(self._desk.random(8), fingerprint))
                self._desk.transactions.transmit(bytes(ack), path)

        if flow is not None:
            send(flow if self._is_usable(flow) else None, now)
            return
        uri = str(hop)
        self._desk.ask(
            lambda number: FindServers(number, uri),
            lambda found, at: self._path_to(_targets(found), send, at),
            now,
        )

    # ── what transactions tell ──────────────────────────────────────────────────────────────────

    def receive(self, transaction: TransactionId, response: Response, now: float) -> None:
        """A response came (§16.7)."""
        branch = self._branches.get(transaction)
        if branch is None:
            return
        try:
            headers = response.headers.remove_first(VIA)
            if headers.first(VIA) is None:
                return  # step 3: it was for us
        except MalformedMessage:
            return
        upstream = Response(
            response.status, response.reason, headers, response.body, response.version
        )
        if response.status < 200:
            self._provisional(branch, upstream, now)
        elif response.status < 300:
            self._success(branch, upstream, now)
        elif not branch.is_over:
            self._failure(branch, upstream, now)

    def timed_out(self, transaction: TransactionId, now: float) -> None:
        """Timer B or F (§16.8 and RFC 4320): the next server, or the end of a branch."""
        branch = self._branches.get(transaction)
        if branch is not None and not branch.is_over:
            self._try_next(branch, self._local(branch, 408) if branch.fork.is_invite else None, now)

    def path_lost(self, transaction: TransactionId, now: float) -> None:
        """A transport error, which counts as a 503 (§16.9)."""
        branch = self._branches.get(transaction)
        if branch is not None and not branch.is_over:
            self._try_next(branch, self._local(branch, self._lost_status(branch)), now)

    def ended(self, transaction: TransactionId) -> None:
        """A transaction is over."""
        self._branches.pop(transaction, None)
        self._timer_c.cancel(transaction)
        fork = self._forks.pop(transaction, None)
        if fork is not None:
            fork.is_answered = True
            fork.groups.clear()

    def handle_timer(self, now: float) -> None:
        """Timer C (§16.8): a phone rings for ever, or does not answer a CANCEL."""
        for transaction in self._timer_c.pop_due(now):
            branch = self._branches.get(transaction)
            if branch is None or branch.is_over:
                continue
            if branch.state is BranchState.PROCEEDING and not branch.is_cancelled:
                self._cancel(branch, (), now)
            else:
                self._desk.transactions.abandon(transaction)
                branch.finish(self._local(branch, 408))
                self._advance(branch.fork, now)

    def next_deadline(self) -> float | None:
        """When timer C fires next."""
        return self._timer_c.next_deadline()

    # ── responses by their class (§16.7) ────────────────────────────────────────────────────────

    def _provisional(self, branch: Branch, upstream: Response, now: float) -> None:
        if branch.is_over:
            return
        branch.state = BranchState.PROCEEDING
        if branch.is_cancelled:
            self._cancel(branch, (), now)
            return
        if upstream.status == 100:
            return
        self._arm_timer_c(branch, now)
        if not branch.fork.is_answered:
            self._desk.respond(branch.fork.incoming, upstream, now)

    def _success(self, branch: Branch, upstream: Response, now: float) -> None:
        fork = branch.fork
        if not branch.is_over:
            branch.finish(upstream)
        if branch.transaction is not None:
            self._timer_c.cancel(branch.transaction)
        # Of an INVITE each 2xx goes up, after a final response too (step 5).
        self._desk.respond(fork.incoming, upstream, now)
        fork.is_answered = True
        fork.groups.clear()
        if fork.is_invite:
            for other in fork.pending:
                self._cancel(other, (ELSEWHERE,), now)

    def _failure(self, branch: Branch, upstream: Response, now: float) -> None:
        fork = branch.fork
        if branch.transaction is not None:
            self._timer_c.cancel(branch.transaction)
        if upstream.status in (430, 503) and not fork.is_cancelled and not branch.is_cancelled:
            self._try_next(branch, upstream, now)
            return
        branch.finish(upstream)
        if upstream.status >= 600:
            fork.groups.clear()
            for other in fork.pending:
                self._cancel(other, (), now)
        elif 300 <= upstream.status < 400 and self._desk.settings.recurse:
            self._recurse(branch, upstream)
        self._advance(fork, now)

    def _recurse(self, branch: Branch, upstream: Response) -> None:
        """The contacts of a 3xx become targets, and it is no answer any more (step 4)."""
        try:
            named = upstream.headers.get_all(CONTACT)
        except MalformedMessage:
            return
        contacts = [Contact(one.uri) for one in named if isinstance(one, NameAddress)]
        room = max(0, MOST_TARGETS - len(branch.fork.tried))
        fresh = [one for one in contacts if str(one.uri) not in branch.fork.tried][:room]
        if fresh and not branch.fork.is_answered and not branch.fork.is_cancelled:
            branch.response = None
            branch.fork.groups.appendleft(fresh)

    def _advance(self, fork: Fork, now: float) -> None:
        if fork.pending or fork.is_answered:
            return
        if fork.groups and not fork.is_cancelled and not fork.has_global_failure():
            self._next_group(fork, now)
        else:
            self._conclude(fork, now)

    def _conclude(self, fork: Fork, now: float) -> None:
        fork.is_answered = True
        best = fork.best()
        if best is None:
            if fork.is_invite:
                self._desk.reject(fork.incoming, 408, now)
            else:
                # RFC 4320 §4.2: a 408 would come too late, and mislead.
                self._desk.transactions.abandon(fork.incoming.transaction)
        elif best.status == 503:
            # Step 6: this would say that we cannot be used, for any request.
            self._desk.reject(fork.incoming, 500, now, reason="No server of the target answers")
        else:
            self._desk.respond(fork.incoming, best, now)

    # ── targets (§16.6) ─────────────────────────────────────────────────────────────────────────

    def _next_group(self, fork: Fork, now: float) -> None:
        while fork.groups:
            group = [one for one in fork.groups.popleft() if str(one.uri) not in fork.tried]
            if not group:
                continue
            # RFC 5393 §5.3.3: what may not go at once goes after.
            now_, later = group[: fork.breadth], group[fork.breadth :]
            if later:
                fork.groups.appendleft(later)
            share = fork.breadth // len(now_)
            branches: list[Branch] = []
            for contact in now_:
                fork.tried.add(str(contact.uri))
                branches.append(fork.add(contact, *forwarded(fork.request, contact, share)))
            for branch in branches:
                if not branch.is_over:
                    self._seek(branch, now)
            return
        self._conclude(fork, now)

    def _seek(self, branch: Branch, now: float) -> None:
        flow = branch.contact.flow
        if flow is not None:
            if self._is_usable(flow):
                self._send(branch, flow, now)
                return
            if branch.contact.needs_flow:
                # RFC 5626 §5.3.1.
                self._try_next(branch, self._local(branch, 430), now)
                return
        uri = branch.next_hop
        if not isinstance(uri, SipUri):
            self._end(branch, self._local(branch, 404), now)
            return
        text = str(uri)
        self._desk.ask(
            lambda number: FindServers(number, text),
            lambda found, at: self._found(branch, found, at),
            now,
        )

    def _found(self, branch: Branch, found: ProxyResult | Failure, now: float) -> None:
        if not branch.is_over:
            branch.hops.extend(_targets(found))
            self._try_next(branch, self._local(branch, 503), now)

    def _try_next(self, branch: Branch, response: Response | None, now: float) -> None:
        """The next server of a branch or its next flow; without, it ends with ``response``."""
        if branch.is_cancelled or branch.fork.is_answered:
            self._end(branch, response, now)
            return
        branch.state = BranchState.SEEKING
        if branch.hops:
            self._try_hop(branch, branch.hops.popleft(), now)
        elif branch.flows:
            contact = branch.flows.popleft()
            branch.contact = contact
            breadth = branch.request.headers.get(MAX_BREADTH)
            branch.request, branch.next_hop = forwarded(branch.fork.request, contact, breadth)
            self._seek(branch, now)
        else:
            self._end(branch, response, now)

    def _try_hop(self, branch: Branch, target: Target, now: float) -> None:
        if target.transport is Transport.UDP and self._is_for_tcp(branch, target):
            # If TCP is refused, UDP it is (§18.1.1).
            branch.tried_tcp.add(target.address)
            branch.hops.appendleft(target)
            target = replace(target, transport=Transport.TCP)
        listener = self._desk.identity.listener_for(target.transport, target.address)
        if listener is None:
            self._try_next(branch, self._local(branch, 503), now)
        elif target.transport is Transport.UDP:
            self._send(branch, Path(Transport.UDP, listener.address, target.address), now)
        elif (path := self._flows.find(target)) is not None:
            self._send(branch, path, now)
        else:
            self._desk.ask(
                lambda number: OpenFlow(number, target),
                partial(self._opened, branch, target),
                now,
            )

    def _opened(
        self, branch: Branch, target: Target, opened: ProxyResult | Failure, now: float
    ) -> None:
        if isinstance(opened, Path):
            self._flows.made(target, opened)
        if branch.is_over:
            return
        if isinstance(opened, Path):
            self._send(branch, opened, now)
        else:
            self._try_next(branch, self._local(branch, 503), now)

    def _send(self, branch: Branch, path: Path, now: float) -> None:
        desk, fork = self._desk, branch.fork
        listener = desk.identity.listener_of(path)
        inbound = desk.identity.listener_of(fork.incoming.path)
        if listener is None or inbound is None:
            self._try_next(branch, self._local(branch, 503), now)
            return
        request = branch.request
        if desk.settings.record_route:
            request = recorded(
                request,
                (inbound, fork.incoming.path),
                (listener, path),
                desk.tokens,
                reaches_user_agent=branch.contact.flow is not None,
            )
        request = signed(request, listener, branch_for(desk.random(8), fork.incoming.fingerprint))
        try:
            token = desk.transactions.send(request, path, now)
        except MisuseError:
            self._end(branch, self._local(branch, 503), now)
            return
        branch.state = BranchState.CALLING
        branch.path = path
        branch.transaction = token
        self._branches[token] = branch
        self._arm_timer_c(branch, now)

    # ── ends ────────────────────────────────────────────────────────────────────────────────────

    def _end(self, branch: Branch, response: Response | None, now: float) -> None:
        if branch.is_cancelled and response is None:
            response = self._local(branch, 487)
        branch.finish(response)
        self._advance(branch.fork, now)

    def _cancel(self, branch: Branch, why: Sequence[HeaderField], now: float) -> None:
        branch.is_cancelled = True
        if branch.state is BranchState.SEEKING:
            branch.finish(self._local(branch, 487))
        elif branch.state is BranchState.PROCEEDING and branch.transaction is not None:
            try:
                self._desk.transactions.cancel(branch.transaction, now, why)
            except MisuseError:
                # It was sent before, or there is no room: timer C ends the branch.
                pass
            timeout = self._desk.settings.timing.timeout
            self._timer_c.set(branch.transaction, now + timeout)  # §9.1

    def _arm_timer_c(self, branch: Branch, now: float) -> None:
        if branch.fork.is_invite and branch.transaction is not None:
            self._timer_c.set(branch.transaction, now + self._desk.settings.timer_c)

    def _local(self, branch: Branch, status: int) -> Response:
        """A response that stands for one of the branch."""
        return Response.to(branch.fork.incoming.request, status, tag=self._desk.new_tag())

    def _lost_status(self, branch: Branch) -> int:
        return 430 if branch.contact.flow is not None else 503

    def _is_usable(self, flow: Path) -> bool:
        return not flow.transport.is_reliable or flow in self._flows

    def _is_for_tcp(self, branch: Branch, target: Target) -> bool:
        """Whether a request for UDP is too long for it, and TCP was not tried yet."""
        return (
            len(bytes(branch.request)) > LARGEST_DATAGRAM
            and target.address not in branch.tried_tcp
            and self._desk.identity.listener_for(Transport.TCP, target.address) is not None
        )

    def _path_to(self, targets: Sequence[Target], then: SendOn, now: float) -> None:
        """The path to the first of ``targets`` that we have a listener for."""
        for target in targets:
            listener = self._desk.identity.listener_for(target.transport, target.address)
            if listener is None:
                continue
            if target.transport is Transport.UDP:
                then(Path(Transport.UDP, listener.address, target.address), now)
            elif (path := self._flows.find(target)) is not None:
                then(path, now)
            else:
                self._open(target, then, now)
            return
        then(None, now)

    def _open(self, target: Target, then: SendOn, now: float) -> None:
        def opened(path: ProxyResult | Failure, at: float) -> None:
            if isinstance(path, Path):
                self._flows.made(target, path)
                then(path, at)
            else:
                then(None, at)

        self._desk.ask(lambda number: OpenFlow(number, target), opened, now)


def _targets(found: ProxyResult | Failure) -> Sequence[Target]:
    if isinstance(found, Failure) or not isinstance(found, tuple | list):
        return ()
    return [one for one in found if isinstance(one, Target)]
