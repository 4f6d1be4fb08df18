"""A stream between two hosts: what TCP does as far as machines can tell.

Segments cross the links and NATs like all packets, and may be lost, doubled and overtaken.
They are numbered, acknowledged, sent again, and read in order; the bytes come out cut at other
places than they went in.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from random import Random

from natkit.address import Address
from tests.simnet.packet import Packet, Protocol, Segment, SegmentKind
from tests.simnet.simulation import Appointment, Simulation

INITIAL_RTO = 1.0  # RFC 6298 §2, in seconds
ATTEMPTS = 6
"""How often a segment is sent before the connection is broken: 63 s by doubled timeouts."""

TIME_WAIT = 60.0
"""Seconds that an ended stream is remembered, so that late segments don't open it again."""

CHUNK_SIZES = (1, 3, 20, 200, 1200, 1200)
"""What a segment carries at most is drawn from these: no reader may count on where writes end."""

CHUNKS_IN_FLIGHT = 64
"""How many segments may be on their way; the rest waits."""


class StreamState(Enum):
    """From the first SYN to the end."""

    CONNECTING = auto()
    ACCEPTING = auto()
    OPEN = auto()
    ENDED = auto()


class Stream:
    """One end of a connection.

    ``on_open``, ``on_data`` and ``on_end`` are set by the owner, at once.  ``on_end`` is called
    once, for an end that the owner did not ask for, with a line that says what happened.
    """

    def __init__(
        self,
        simulation: Simulation,
        random: Random,
        send: Callable[[Packet], None],
        local: Address,
        remote: Address,
        incarnation: int,
        state: StreamState,
    ) -> None:
        self.local = local
        self.remote = remote
        self.incarnation = incarnation
        self.state = state
        self.on_open: Callable[[], None] = _nothing
        self.on_data: Callable[[bytes], None] = _nothing_with
        self.on_end: Callable[[str], None] = _nothing_with
        self._simulation = simulation
        self._random = random
        self._send = send
        self._buffer = bytearray()
        self._closing = False
        self._pump: Appointment | None = None
        # Sent and not acknowledged; the first one is number `_acknowledged`.
        self._unacknowledged: deque[tuple[SegmentKind, bytes]] = deque()
        self._acknowledged = 0
        self._expected = 0
        self._early: dict[int, Segment] = {}
        self._timer: Appointment | None = None
        self._attempts = 0
        self._forget_at = float("inf")

    def begin(self) -> None:
        """Send the SYN; by the host, once the callbacks can be set."""
        self._queue(SegmentKind.SYN)

    @property
    def is_forgotten(self) -> bool:
        """Whether the host answers further segments as if the stream had never been."""
        return self._forget_at <= self._simulation.now

    # ── the owner's side ────────────────────────────────────────────────────────────────────────

    def write(self, data: bytes) -> None:
        """Send ``data`` after what was written before."""
        if self.state is StreamState.ENDED or self._closing:
            return
        self._buffer += data
        self._pump_soon()

    def close(self) -> None:
        """End the stream after what was written; nothing that arrives is reported any more."""
        if self.state is StreamState.ENDED or self._closing:
            return
        self._closing = True
        self.on_open, self.on_data, self.on_end = _nothing, _nothing_with, _nothing_with
        self._pump_soon()

    def abort(self) -> None:
        """End the stream at once, as a process does that dies with its connections open."""
        if self.state is StreamState.ENDED:
            return
        self.on_open, self.on_data, self.on_end = _nothing, _nothing_with, _nothing_with
        self._emit(SegmentKind.RST, self._acknowledged, b"")
        self._end("aborted", remember=0.0)

    # ── the network's side ──────────────────────────────────────────────────────────────────────

    def receive(self, segment: Segment) -> None:
        """A segment of this incarnation came."""
        if segment.kind is SegmentKind.RST:
            refused = self.state is StreamState.CONNECTING
            self._end("connection refused" if refused else "connection reset", remember=0.0)
            return
        if self.state is StreamState.CONNECTING and segment.kind is not SegmentKind.SYN:
            # Our SYN counts as acknowledged by a SYN alone (RFC 9293 §3.10.7.3).
            return
        if self.state is not StreamState.ENDED:
            self._take_acknowledgement(segment.acknowledged)
        if segment.kind is SegmentKind.ACK:
            return
        if segment.number >= self._expected:
            self._early.setdefault(segment.number, segment)
        while (ready := self._early.pop(self._expected, None)) is not None:
            self._expected += 1
            self._read(ready)
        self._emit(SegmentKind.ACK, 0, b"")

    def _read(self, segment: Segment) -> None:
        if segment.kind is SegmentKind.SYN and self.state is StreamState.CONNECTING:
            self.state = StreamState.OPEN
            self.on_open()
            self._pump_soon()
        elif segment.kind is SegmentKind.DATA:
            self.on_data(segment.data)
        elif segment.kind is SegmentKind.FIN and self.state is not StreamState.ENDED:
            # No half-open streams: the answer to a FIN is a FIN.
            if not self._closing:
                self._emit(SegmentKind.FIN, self._acknowledged + len(self._unacknowledged), b"")
            self._end("closed by the peer")

    def _take_acknowledgement(self, acknowledged: int) -> None:
        progress = False
        while self._acknowledged < acknowledged and self._unacknowledged:
            kind, _ = self._unacknowledged.popleft()
            self._acknowledged += 1
            progress = True
            if kind is SegmentKind.SYN and self.state is StreamState.ACCEPTING:
                self.state = StreamState.OPEN
                self.on_open()
                self._pump_soon()
            elif kind is SegmentKind.FIN:
                self._end("closed")
                return
        if progress:
            self._attempts = 0
            self._arm()
            self._pump_soon()

    # ── sending ─────────────────────────────────────────────────────────────────────────────────

    def _pump_soon(self) -> None:
        # Writes of one moment share segments.
        if self._pump is None:
            self._pump = self._simulation.after(0.0, self._cut)

    def _cut(self) -> None:
        self._pump = None
        if self.state is not StreamState.OPEN:
            return
        while self._buffer and len(self._unacknowledged) < CHUNKS_IN_FLIGHT:
            size = self._random.choice(CHUNK_SIZES)
            chunk = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._queue(SegmentKind.DATA, chunk)
        fin_sent = any(kind is SegmentKind.FIN for kind, _ in self._unacknowledged)
        if self._closing and not self._buffer and not fin_sent:
            self._queue(SegmentKind.FIN)

    def _queue(self, kind: SegmentKind, data: bytes = b"") -> None:
        number = self._acknowledged + len(self._unacknowledged)
        self._unacknowledged.append((kind, data))
        self._emit(kind, number, data)
        if len(self._unacknowledged) == 1:
            self._attempts = 0
            self._arm()

    def _emit(self, kind: SegmentKind, number: int, data: bytes) -> None:
        segment = Segment(kind, self.incarnation, number, self._expected, data)
        self._send(Packet(Protocol.TCP, self.local, self.remote, segment))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._unacknowledged:
            self._timer = self._simulation.after(INITIAL_RTO * 2**self._attempts, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        self._attempts += 1
        if self._attempts >= ATTEMPTS:
            self._end("connection timed out", remember=0.0)
            return
        for offset, (kind, data) in enumerate(self._unacknowledged):
            self._emit(kind, self._acknowledged + offset, data)
        self._arm()

    def _end(self, why: str, *, remember: float = TIME_WAIT) -> None:
        if self.state is StreamState.ENDED:
            return
        self.state = StreamState.ENDED
        self._forget_at = self._simulation.now + remember
        self._unacknowledged.clear()
        self._buffer.clear()
        self._arm()
        self.on_end(why)


def _nothing() -> None:
    pass


def _nothing_with(_: object) -> None:
    pass
