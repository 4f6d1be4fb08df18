"""Flows of phones that do not keep them open themselves are kept open from here.

A phone behind a NAT that knows nothing of RFC 5626 is reached by the flow of its registration, as
long as the NAT remembers it.  Over a connection a double CRLF does: TCP acknowledges it, and finds
out when nobody does.  Over UDP it takes an OPTIONS, for many NATs count only what leaves (RFC 4787
REQ-6): the answer does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from natkit.errors import MalformedMessage, MisuseError
from natkit.keepalive import PING, spread
from natkit.machine import Path, Transmit, Transport
from natkit.sip import HeaderField, NameAddress, Request, SipUri, Via, parse_absolute_uri
from natkit.sip.kinds import CALL_ID, CSEQ, FROM, MAX_FORWARDS, TO, VIA, CSeq
from natkit.sip.registry import BRANCH_COOKIE
from natkit.sip.transactions import (
    ResponseReceived,
    TimedOut,
    TransactionEnded,
    TransactionEvent,
    TransactionId,
)
from natkit.timers import TimerQueue
from sip_proxy.desk import Desk
from sip_proxy.location import Binding, LostFlow
from sip_proxy.lost_flows import LostFlows
from sip_proxy.nat import Ask, NatSettings
from sip_proxy.targets import Origin

__all__ = ["FarEnd"]

MOST_ADDRESSES: Final = 100
"""Addresses of record of one such flow that are taken away with it."""

_HAVE_PINGS: Final = (Transport.WS, Transport.WSS)
"""A WebSocket's own pings keep it open (RFC 7118 §6)."""


@dataclass(slots=True)
class _Kept:
    contact: str
    bindings: dict[str, LostFlow] = field(default_factory=dict)
    until: float = 0.0
    missed: int = 0
    asked: TransactionId | None = None


class FarEnd:
    """Sends on flows by a wheel of timers; all inputs come from the proxy."""

    def __init__(self, desk: Desk, lost: LostFlows, unix_offset: float) -> None:
        self._desk = desk
        self._lost = lost
        self._offset = unix_offset
        self._flows: dict[Path, _Kept] = {}
        self._asked: dict[TransactionId, Path] = {}
        self._timers: TimerQueue[Path] = TimerQueue()
        self._transmits: list[Transmit] = []

    def __len__(self) -> int:
        return len(self._flows)

    @property
    def _settings(self) -> NatSettings:
        return self._desk.settings.nat

    # ── which flows ─────────────────────────────────────────────────────────────────────────────

    def registered(
        self, address_of_record: str, flow: Path, bindings: Sequence[Binding], now: float
    ) -> None:
        """A REGISTER that came by ``flow`` left these bindings."""
        if self._settings.keep_alive is Ask.NOTHING and not self._flows:
            return
        bound = [one for one in bindings if one.flow == flow and self._is_to_be_kept(one)]
        kept = self._flows.get(flow)
        if not bound:
            if kept is not None and kept.bindings.pop(address_of_record, None) is not None:
                self._forget_if_empty(flow, kept)
            return
        if kept is None:
            if len(self._flows) >= self._settings.largest_count:
                return
            kept = self._flows[flow] = _Kept(bound[0].contact)
            # The first one anywhere within an interval: phones come back all at once at times.
            self._timers.set(flow, now + spread(self._interval(flow), self._desk.random, 0.0))
        kept.contact = bound[0].contact
        kept.missed = 0
        kept.until = max(kept.until, *[one.expires_at for one in bound])
        if len(kept.bindings) < MOST_ADDRESSES or address_of_record in kept.bindings:
            kept.bindings[address_of_record] = LostFlow(bound[0].path[0], bound[0].contact)

    def disconnected(self, flow: Path) -> None:
        """A connection ended."""
        if self._flows.pop(flow, None) is not None:
            self._timers.cancel(flow)

    def _is_to_be_kept(self, binding: Binding) -> bool:
        settings, flow = self._settings, binding.flow
        if settings.keep_alive is Ask.NOTHING or flow is None or not binding.path:
            return False
        # By RFC 5626 §4.4 the phone itself keeps its flows open.
        if flow.transport in _HAVE_PINGS or binding.is_outbound:
            return False
        return settings.everybody or binding.needs_flow

    def _forget_if_empty(self, flow: Path, kept: _Kept) -> None:
        if not kept.bindings:
            self._flows.pop(flow, None)
            self._timers.cancel(flow)

    # ── what is sent ────────────────────────────────────────────────────────────────────────────

    def handle_timer(self, now: float) -> None:
        """Time has passed."""
        for flow in self._timers.pop_due(now):
            kept = self._flows[flow]
            is_over = kept.until <= now + self._offset
            if is_over or self._settings.keep_alive is Ask.NOTHING:
                del self._flows[flow]
                continue
            self._timers.set(flow, now + spread(self._interval(flow), self._desk.random))
            if self._settings.keep_alive is Ask.CRLF or flow.transport.is_reliable:
                self._transmits.append(Transmit(PING, flow))
            elif kept.asked is None:
                self._ask(flow, kept, now)

    def next_deadline(self) -> float | None:
        """When to call ``handle_timer``."""
        return self._timers.next_deadline()

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        taken, self._transmits = self._transmits, []
        return taken

    def _interval(self, flow: Path) -> float:
        settings = self._settings
        is_stream = flow.transport.is_reliable
        return settings.connection_interval if is_stream else settings.interval

    def _ask(self, flow: Path, kept: _Kept, now: float) -> None:
        request = self._options(flow, kept)
        if request is None:
            return
        try:
            kept.asked = self._desk.transactions.send(request, flow, now)
        except MisuseError:
            return  # no room: the next one may go
        self._asked[kept.asked] = flow

    def _options(self, flow: Path, kept: _Kept) -> Request | None:
        listener = self._desk.identity.listener_of(flow)
        try:
            target = parse_absolute_uri(kept.contact)
        except MalformedMessage:
            return None
        if listener is None or not isinstance(target, SipUri):
            return None
        branch = f"{BRANCH_COOKIE}{self._desk.random(8).hex()}"
        port = listener.address.port
        ourselves = NameAddress(SipUri.build(listener.host, port=port))
        fields = [
            HeaderField.of(VIA, Via.of(flow.transport, listener.host, branch, port=port)),
            HeaderField.of(MAX_FORWARDS, 1),
            HeaderField.of(FROM, ourselves.with_tag(self._desk.new_tag())),
            HeaderField.of(TO, NameAddress(target)),
            HeaderField.of(CALL_ID, self._desk.random(12).hex()),
            HeaderField.of(CSEQ, CSeq(1, "OPTIONS")),
        ]
        return Request.build("OPTIONS", target, fields)

    # ── what comes back ─────────────────────────────────────────────────────────────────────────

    def took(self, event: TransactionEvent, now: float) -> bool:
        """Deal with what a transaction tells, if it is one of ours."""
        if not self._asked:
            return False
        match event:
            case ResponseReceived(transaction) if transaction in self._asked:
                self._answered(transaction)
            case TimedOut(transaction) if transaction in self._asked:
                self._timed_out(transaction, now)
            case TransactionEnded(transaction) if transaction in self._asked:
                kept = self._flows.get(self._asked.pop(transaction))
                if kept is not None and kept.asked == transaction:
                    kept.asked = None
            case _:
                return False
        return True

    def _answered(self, transaction: TransactionId) -> None:
        # Whatever the phone says, it is there.  Its transaction lasts some seconds more (timer K).
        kept = self._flows.get(self._asked[transaction])
        if kept is not None:
            kept.missed = 0
            kept.asked = None

    def _timed_out(self, transaction: TransactionId, now: float) -> None:
        flow = self._asked[transaction]
        kept = self._flows.get(flow)
        if kept is None:
            return
        kept.missed += 1
        if kept.missed >= self._settings.misses:
            self.disconnected(flow)
            for address_of_record, lost in kept.bindings.items():
                self._lost.failed(Origin(address_of_record, lost), now)
