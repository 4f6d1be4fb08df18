"""Response contexts: requests that are forwarded, and their responses (RFC 3261 §16.6 to §16.10).

Where a branch goes is the affair of :mod:`sip_proxy.hops`.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from typing import Final

from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import Path
from natkit.sip import HeaderField, Request, Response
from natkit.sip.flows import Flows
from natkit.sip.kinds import CONTACT, MAX_BREADTH, REASON, RETRY_AFTER, VIA, RetryAfter
from natkit.sip.transactions import TransactionId
from natkit.timers import TimerQueue
from sip_proxy.asserted import Asserted
from sip_proxy.branch_failures import BranchFailures
from sip_proxy.contact_rewriting import seen_at
from sip_proxy.desk import Desk, Incoming
from sip_proxy.forking import Branch, BranchState, Fork, Gather
from sip_proxy.forwarding import forwarded, must_be_recorded, recorded, signed
from sip_proxy.gateways import Gateways
from sip_proxy.hops import Hops
from sip_proxy.loops import branch_for
from sip_proxy.lost_flows import LostFlows
from sip_proxy.policies import Policies
from sip_proxy.returning import Returning
from sip_proxy.secure import is_secure
from sip_proxy.targets import Contact, contacts_named, in_order
from sip_proxy.visitors import Visitors

__all__ = ["Forwarder"]

MOST_TARGETS: Final = 64
"""URIs that one request is tried at: whoever answers with ever new contacts ends there."""

FOLLOWED: Final = frozenset({300, 301, 302})
"""Redirections whose contacts may be tried in place of the target.

A 305 names a proxy for it, and a 380 another service (§21.3).
"""

ELSEWHERE: Final = HeaderField.of(REASON, 'SIP;cause=200;text="Call completed elsewhere"')
"""Without it each phone that rang shows a missed call (RFC 3326 §3.1)."""


class Forwarder:
    """Holds the response contexts of a proxy."""

    def __init__(
        self,
        desk: Desk,
        flows: Flows,
        lost: LostFlows,
        gateways: Gateways,
        policies: Policies,
        visitors: Visitors,
        asserted: Asserted,
    ) -> None:
        self._desk = desk
        self._visitors = visitors
        self._asserted = asserted
        self._hops = Hops(desk, flows, lost, gateways, self._send, self._end)
        self._returning = Returning(desk, policies)
        self._failures = BranchFailures(desk, policies, self._ended)
        self._forks: dict[TransactionId, Fork] = {}
        self._branches: dict[TransactionId, Branch] = {}
        self._given_up: set[TransactionId] = set()
        self._timer_c: TimerQueue[TransactionId] = TimerQueue()
        # With servers that say nothing, and that of whoever sent another request than an INVITE.
        self._patience: TimerQueue[TransactionId] = TimerQueue()

    def __len__(self) -> int:
        return len(self._forks)

    # ── requests ────────────────────────────────────────────────────────────────────────────────

    def configure(self) -> None:
        """Go by the desk's settings as they are now."""
        self._hops.configure()

    def forward(
        self,
        incoming: Incoming,
        request: Request,
        groups: Sequence[Sequence[Contact]],
        gather: Gather,
        now: float,
    ) -> None:
        """Forward ``request``, which came as ``incoming``, to one group of contacts after another.

        ``gather`` finds the contacts of targets that a hook names later.
        """
        if incoming.transaction in self._given_up:
            self._desk.reject(incoming, 487, now)
            return
        breadth = request.headers.get(MAX_BREADTH)
        settings = self._desk.settings
        breadth = settings.max_breadth if breadth is None else min(breadth, settings.max_breadth)
        if breadth < 1:
            self._desk.reject(incoming, 440, now)  # RFC 5393 §5.3.3
            return
        fork = Fork(incoming, request, breadth, gather)
        fork.groups.extend(list(group) for group in groups)
        self._forks[incoming.transaction] = fork
        if not fork.is_invite:
            settled_after = self._desk.settings.timing.settled_after
            self._patience.set(incoming.transaction, now + settled_after)
        self._next_group(fork, now)

    def cancel(self, invite: TransactionId, why: Sequence[HeaderField], now: float) -> None:
        """The caller gave up (§16.10)."""
        fork = self._forks.get(invite)
        if fork is None:
            self._given_up.add(invite)  # its targets are still being found
            return
        if fork.is_answered:
            return
        fork.is_cancelled = True
        fork.groups.clear()
        for branch in fork.pending:
            self._cancel(branch, why, now)
        self._advance(fork, now)

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
        came_by = branch.path if branch.transaction == transaction else None
        upstream = self._asserted.returning(upstream, branch.contact, came_by)
        if self._desk.settings.nat.rewrite_contacts and response.status < 300:
            upstream = _outside(branch, upstream)
        if branch.transaction != transaction:
            self._late(transaction, branch, upstream, now)
        elif response.status < 200:
            self._provisional(branch, upstream, now)
        elif response.status < 300:
            self._success(branch, upstream, now)
        elif not branch.is_over:
            self._failure(branch, upstream, now)

    def timed_out(self, transaction: TransactionId, now: float) -> None:
        """Timer B or F (§16.8 and RFC 4320): the next server, or the end of a branch."""
        branch = self._pending(transaction)
        if branch is not None:
            self._hops.timed_out(branch, self._timeout(branch), now)

    def path_lost(self, transaction: TransactionId, now: float) -> None:
        """A transport error, which counts as a 503 (§16.9)."""
        branch = self._pending(transaction)
        if branch is not None:
            self._hops.lost(branch, now)

    def ended(self, transaction: TransactionId) -> None:
        """A transaction is over."""
        branch = self._branches.pop(transaction, None)
        self._given_up.discard(transaction)
        self._timer_c.cancel(transaction)
        self._patience.cancel(transaction)
        fork = self._forks.pop(transaction, None)
        if fork is not None:
            fork.is_answered = True
            fork.groups.clear()
        elif branch is not None and branch.fork.incoming.transaction not in self._forks:
            fork = branch.fork
        if fork is not None:
            # Else it and its branches, which know each other, would wait for the collector.
            fork.branches[:] = [
                one for one in fork.branches if not one.is_over or one.transaction in self._branches
            ]

    def handle_timer(self, now: float) -> None:
        """Timer C (§16.8), and what patience is over."""
        for transaction in self._timer_c.pop_due(now):
            branch = self._pending(transaction)
            if branch is not None:
                self._overdue(transaction, branch, now)
        for transaction in self._patience.pop_due(now):
            branch = self._pending(transaction)
            if branch is None:
                self._say_trying(transaction, now)
            elif branch.state is BranchState.CALLING:
                # Its transaction stays: what it is answered with yet belongs to a call.
                self._hops.timed_out(branch, self._timeout(branch), now)

    def _say_trying(self, transaction: TransactionId, now: float) -> None:
        fork = self._forks.get(transaction)
        if fork is not None and not fork.is_answered:
            trying = Response.to(fork.incoming.request, 100)  # RFC 4320 §4.1
            self._desk.respond(fork.incoming, trying, now)

    def next_deadline(self) -> float | None:
        """When the first of these timers fires."""
        one, other = self._timer_c.next_deadline(), self._patience.next_deadline()
        if one is None or other is None:
            return other if one is None else one
        return min(one, other)

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
        # RFC 4320 §4.1: to others than an INVITE there is no provisional response but 100.
        if branch.fork.is_invite and not branch.fork.is_answered:
            self._returning.back(branch.fork, upstream, now)

    def _success(self, branch: Branch, upstream: Response, now: float) -> None:
        if not branch.is_over:
            self._hops.answered(branch, upstream, now)
            self._finish(branch, upstream)
        if branch.transaction is not None:
            self._timer_c.cancel(branch.transaction)
        self._pass_on_success(branch.fork, upstream, now)

    def _pass_on_success(self, fork: Fork, upstream: Response, now: float) -> None:
        if fork.request.method == "REGISTER":
            upstream = self._visitors.registered(fork.incoming, upstream, now)
        # Of an INVITE each 2xx goes up, after another final response too (step 5).
        if fork.is_invite or not fork.is_answered:
            fork.is_answered = True
            fork.groups.clear()
            self._patience.cancel(fork.incoming.transaction)
            self._returning.back(fork, upstream, now)
        if fork.is_invite:
            for other in fork.pending:
                self._cancel(other, (ELSEWHERE,), now)

    def _late(
        self, transaction: TransactionId, branch: Branch, upstream: Response, now: float
    ) -> None:
        """A server that was given up for its silence answers after all: it has the request."""
        if 200 <= upstream.status < 300:
            self._pass_on_success(branch.fork, upstream, now)
        elif upstream.status < 200 and branch.fork.is_invite:
            self._send_cancel(transaction, (), now)

    def _failure(self, branch: Branch, upstream: Response, now: float) -> None:
        fork = branch.fork
        if branch.transaction is not None:
            self._timer_c.cancel(branch.transaction)
        if upstream.status in branch.contact.failover_on and not branch.is_cancelled:
            self._hops.failed(branch, upstream, now)
            return
        self._hops.answered(branch, upstream, now)
        # RFC 4320 §4.2: no 408 to others than an INVITE.
        is_answer = fork.is_invite or upstream.status != 408
        self._end(branch, upstream if is_answer else None, now)

    def _ended(
        self, branch: Branch, response: Response | None, more: list[list[Contact]], now: float
    ) -> None:
        """A branch is over: with this failure, or with ``more`` targets in place of it."""
        fork = branch.fork
        room = max(0, MOST_TARGETS - len(fork.tried))
        if more and room and not (fork.is_answered or fork.is_cancelled):
            self._finish(branch, None)
            fork.groups.extendleft(reversed([group[:room] for group in more]))
            self._advance(fork, now)
            return
        self._finish(branch, response)
        status = 0 if response is None else response.status
        if status >= 600 or fork.verdict is not None:
            fork.groups.clear()
            for other in fork.pending:
                self._cancel(other, (), now)
        elif response is not None and status in FOLLOWED and self._desk.settings.recurse:
            self._recurse(branch, response)
        self._advance(fork, now)

    def _recurse(self, branch: Branch, upstream: Response) -> None:
        """The contacts of a 3xx become targets, and it is no answer any more (step 4)."""
        fork = branch.fork
        try:
            contacts = contacts_named(upstream.headers.get_all(CONTACT))
            contacts = [
                one for one in contacts if is_secure(one.uri) == is_secure(fork.request.uri)
            ]
        except MalformedMessage:
            return
        room = max(0, MOST_TARGETS - len(fork.tried))
        fresh = [one for one in contacts if str(one.uri) not in fork.tried][:room]
        if fresh and not fork.is_answered and not fork.is_cancelled:
            branch.response = None
            fork.groups.extendleft(reversed(in_order(fresh)))

    def _advance(self, fork: Fork, now: float) -> None:
        if fork.pending or fork.is_answered:
            return
        if fork.groups and not fork.is_cancelled and not fork.has_global_failure():
            self._next_group(fork, now)
        else:
            self._conclude(fork, now)

    def _conclude(self, fork: Fork, now: float) -> None:
        fork.is_answered = True
        self._patience.cancel(fork.incoming.transaction)
        best = fork.best()
        if fork.verdict is not None:
            self._returning.back(fork, fork.verdict, now)
        elif best is None:
            if fork.is_invite:
                self._desk.reject(fork.incoming, 408, now)
            else:
                # RFC 4320 §4.2: a 408 would come too late, and mislead.
                self._desk.transactions.abandon(fork.incoming.transaction)
        elif best.status == 503:
            # Step 6: this would say that we cannot be used, for any request.
            reason = "No server of the target answers"
            self._desk.reject(fork.incoming, 500, now, reason=reason, fields=_rest(fork, now))
        elif best.status == 430 and any(one.contact.origin for one in fork.branches):
            # We keep the bindings: to whoever asks us nobody is there (RFC 5626 §5.3.1).
            self._desk.reject(fork.incoming, 480, now)
        else:
            self._returning.back(fork, best, now)

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
                    self._hops.seek(branch, now)
            return
        self._conclude(fork, now)

    def _send(self, branch: Branch, path: Path, now: float) -> None:
        desk, fork = self._desk, branch.fork
        listener = desk.identity.listener_of(path)
        inbound = desk.identity.listener_of(fork.incoming.path)
        if listener is None or inbound is None:
            self._end(branch, self._hops.stands_for(branch, 503), now)
            return
        request = self._asserted.leaving(branch.request, branch.contact, path)
        if desk.settings.record_route or must_be_recorded(request, branch.contact):
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
            self._end(branch, self._hops.stands_for(branch, 503), now)
            return
        branch.state = BranchState.CALLING
        branch.path = path
        branch.transaction = token
        desk.calls.tried(fork.incoming.transaction, token, request, path, now)
        self._branches[token] = branch
        self._arm_timer_c(branch, now)
        if branch.has_alternative and desk.settings.failover_after is not None:
            self._patience.set(token, now + desk.settings.failover_after)

    # ── ends ────────────────────────────────────────────────────────────────────────────────────

    def _pending(self, transaction: TransactionId) -> Branch | None:
        """The branch whose last transaction this is, while it waits for a final response."""
        branch = self._branches.get(transaction)
        if branch is None or branch.is_over or branch.transaction != transaction:
            return None
        return branch

    def _end(self, branch: Branch, response: Response | None, now: float) -> None:
        self._failures.decide(branch, response, now)

    def _finish(self, branch: Branch, response: Response | None) -> None:
        branch.finish(response)
        if response is None or not 200 <= response.status < 300:
            self._hops.leave_seat(branch)

    def _timeout(self, branch: Branch) -> Response | None:
        if not branch.fork.is_invite:
            return None  # RFC 4320 §4.2
        return self._hops.stands_for(branch, 487 if branch.is_cancelled else 408)

    def _overdue(self, transaction: TransactionId, branch: Branch, now: float) -> None:
        """Timer C: a phone rings for ever, or does not answer a CANCEL (§16.8)."""
        if branch.state is BranchState.PROCEEDING and not branch.is_cancelled:
            self._cancel(branch, (), now)
            return
        self._desk.transactions.abandon(transaction)
        self._end(branch, self._hops.stands_for(branch, 408), now)

    def _cancel(self, branch: Branch, why: Sequence[HeaderField], now: float) -> None:
        branch.is_cancelled = True
        if branch.state is BranchState.SEEKING:
            self._finish(branch, self._hops.stands_for(branch, 487))
        elif branch.state is BranchState.PROCEEDING and branch.transaction is not None:
            self._send_cancel(branch.transaction, why, now)
            timeout = self._desk.settings.timing.timeout
            self._timer_c.set(branch.transaction, now + timeout)  # §9.1

    def _send_cancel(
        self, transaction: TransactionId, why: Sequence[HeaderField], now: float
    ) -> None:
        try:
            self._desk.transactions.cancel(transaction, now, why)
        except MisuseError:
            # It was sent before, or there is no room: timer C ends the branch.
            pass

    def _arm_timer_c(self, branch: Branch, now: float) -> None:
        if not branch.fork.is_invite or branch.transaction is None:
            return
        ring_for = branch.contact.ring_for
        if ring_for is None:
            self._timer_c.set(branch.transaction, now + self._desk.settings.timer_c)
        elif branch.transaction not in self._timer_c:
            self._timer_c.set(branch.transaction, now + ring_for)


def _outside(branch: Branch, upstream: Response) -> Response:
    """A response of who was reached by its flow, as others are to see it."""
    if branch.contact.flow is None or branch.path is None:
        return upstream
    return replace(upstream, headers=seen_at(upstream.headers, branch.path.remote))


def _rest(fork: Fork, now: float) -> list[HeaderField]:
    """When the first of the servers that asked for rest may be tried again (§20.33)."""
    times = [
        until
        for branch in fork.branches
        if branch.failover is not None and (until := branch.failover.rests_until(now)) is not None
    ]
    return [HeaderField.of(RETRY_AFTER, RetryAfter(ceil(min(times) - now)))] if times else []
