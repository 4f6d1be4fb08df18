"""OPTIONS that ask after gateways (RFC 3261 §11.1)."""

from dataclasses import dataclass
from typing import Final

from natkit.errors import MisuseError
from natkit.machine import Path
from natkit.sip import HeaderField, Headers, NameAddress, Request, Response, Scheme
from natkit.sip.flows import Flows
from natkit.sip.kinds import CALL_ID, CONTENT_LENGTH, CSEQ, FROM, MAX_FORWARDS, TO, CSeq
from natkit.sip.registry import BRANCH_COOKIE, INITIAL_MAX_FORWARDS
from natkit.sip.transactions import TransactionId
from natkit.timers import TimerQueue
from sip_proxy.desk import Desk
from sip_proxy.first_path import FirstPath
from sip_proxy.forwarding import signed
from sip_proxy.gateways import Gateway, Gateways, Probing
from sip_proxy.keeping import Keeping
from sip_proxy.record_route import uri_of
from sip_proxy.settings import Listener

__all__ = ["Probes"]

JITTER: Final = 0.1
"""Part of the interval by which each probe comes sooner or later."""

UNAVAILABLE: Final = 503


@dataclass(frozen=True, slots=True)
class _Asked:
    """Of which gateway, by which path, and when."""

    name: str
    path: Path
    at: float


class Probes:
    """Sends them, each gateway's at its own times, and tells Gateways what comes back.

    With ``probing`` None it sends none.  Calls that the gateways count are looked after here too.
    """

    def __init__(
        self,
        desk: Desk,
        flows: Flows,
        keeping: Keeping,
        gateways: Gateways,
        probing: Probing | None,
    ) -> None:
        self._desk = desk
        self._first_path = FirstPath(desk, flows)
        self._keeping = keeping
        self._gateways = gateways
        self._due: TimerQueue[str] = TimerQueue()
        self._overdue: TimerQueue[TransactionId] = TimerQueue()
        self._asked: dict[TransactionId, _Asked] = {}
        self.configure(probing)

    def configure(self, probing: Probing | None) -> None:
        """Ask after the gateways that there are now, like this from now on."""
        self._probing = probing or Probing()
        self._due.clear()
        self._has_begun = probing is None or not len(self._gateways)

    # ── time ────────────────────────────────────────────────────────────────────────────────────

    def handle_timer(self, now: float) -> None:
        """Send what is due, and give up what is overdue."""
        if not self._has_begun:
            self._begin(now)
        for name in self._due.pop_due(now):
            self._due.set(name, now + self._probing.interval * (1 + JITTER * self._draw(-1.0)))
            self._probe(self._gateways.state(name).gateway, now)
        for transaction in self._overdue.pop_due(now):
            asked = self._asked.pop(transaction)
            self._desk.transactions.abandon(transaction)
            # The next one goes by another connection, if it is this one that is dead.
            self._keeping.unanswered(asked.path, asked.at)
            self._gateways.failed(asked.name)
        self._gateways.handle_timer(now)

    def next_deadline(self) -> float | None:
        """When that is; long ago at the very beginning."""
        if not self._has_begun:
            return 0.0
        soonest = self._gateways.next_deadline()
        for timers in (self._due, self._overdue):
            deadline = timers.next_deadline()
            if deadline is not None and (soonest is None or deadline < soonest):
                soonest = deadline
        return soonest

    def _begin(self, now: float) -> None:
        self._has_begun = True
        for state in self._gateways.states():
            # Spread over one interval from the start.
            self._due.set(state.gateway.name, now + self._probing.interval * self._draw(0.0))

    def _draw(self, least: float) -> float:
        """A number from ``least`` to 1."""
        return least + (1 - least) * int.from_bytes(self._desk.random(4), "big") / 2**32

    # ── what comes back ─────────────────────────────────────────────────────────────────────────

    def __contains__(self, transaction: TransactionId) -> bool:
        return transaction in self._asked

    def receive(
        self,
        transaction: TransactionId,
        response: Response,
        now: float,  # noqa: ARG002 - as the Forwarder's
    ) -> None:
        """A response to one of them."""
        if response.status < 200:
            return
        name = self._end(transaction)
        if response.status == UNAVAILABLE:
            self._gateways.failed(name)
        else:
            self._gateways.answered(name, by_probe=True)

    def timed_out(self, transaction: TransactionId, now: float) -> None:  # noqa: ARG002 - likewise
        """Nobody answered one of them."""
        self._gateways.failed(self._end(transaction))

    def path_lost(self, transaction: TransactionId, now: float) -> None:  # noqa: ARG002 - likewise
        """The stream of one of them ended."""
        self._gateways.failed(self._end(transaction))

    def _end(self, transaction: TransactionId) -> str:
        self._overdue.cancel(transaction)
        return self._asked.pop(transaction).name

    # ── sending ─────────────────────────────────────────────────────────────────────────────────

    def _probe(self, gateway: Gateway, now: float) -> None:
        self._first_path.find(gateway.uri, lambda path, at: self._send(gateway, path, at), now)

    def _send(self, gateway: Gateway, path: Path | None, now: float) -> None:
        listener = None if path is None else self._desk.identity.listener_of(path)
        if path is None or listener is None:
            self._gateways.failed(gateway.name)
            return
        request = signed(self._options(gateway, listener), listener, self._branch())
        try:
            transaction = self._desk.transactions.send(request, path, now)
        except MisuseError:
            return  # so busy that there is no room: that says nothing about the gateway
        self._asked[transaction] = _Asked(gateway.name, path, now)
        self._overdue.set(transaction, now + self._probing.patience)

    def _options(self, gateway: Gateway, listener: Listener) -> Request:
        ours = NameAddress(uri_of(listener, Scheme.SIP))
        fields = [
            HeaderField.of(MAX_FORWARDS, INITIAL_MAX_FORWARDS),
            HeaderField.of(FROM, ours.with_tag(self._desk.new_tag())),
            HeaderField.of(TO, NameAddress(gateway.uri)),
            HeaderField.of(CALL_ID, f"{self._desk.new_tag()}@{listener.host.strip('[]')}"),
            HeaderField.of(CSEQ, CSeq(1, "OPTIONS")),
            HeaderField.of(CONTENT_LENGTH, 0),
        ]
        return Request("OPTIONS", str(gateway.uri), Headers(fields))

    def _branch(self) -> str:
        return f"{BRANCH_COOKIE}{self._desk.random(8).hex()}"
