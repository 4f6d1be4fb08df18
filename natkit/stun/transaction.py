"""One request and its retransmissions (RFC 8489 §6.2)."""

from dataclasses import dataclass

from natkit.errors import MisuseError

ESTIMATE_LIFETIME = 600.0
"""Seconds without a transaction after which an estimate is stale (RFC 8489 §6.2.1)."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When to send again and when to give up, in seconds (RFC 8489 §6.2.1, §6.2.2)."""

    rto: float = 0.5
    """The first interval, and the least that an estimate may make of it."""

    maximum_rto: float = 1.0
    """The most that an estimate may make of the first interval.

    A transaction lasts 79 times the first interval: so it ends in 79 s at most, which is what those
    who refresh something ahead of its end can count on.
    """

    request_count: int = 7
    """Rc: how often the request is sent in all."""

    last_wait: float = 16
    """Rm: how many RTO to wait for an answer to the last one."""

    reliable_timeout: float = 39.5
    """Ti: how long to wait where the transport retransmits."""

    def __post_init__(self) -> None:
        waits = (self.rto, self.last_wait, self.reliable_timeout)
        if min(waits) <= 0 or self.rto > self.maximum_rto or self.request_count < 1:
            raise MisuseError(f"{self} can't time a transaction")


DEFAULT_TIMING = Timing()
"""What RFC 8489 recommends: 39.5 s until a transaction is given up."""


class RoundTripEstimate:
    """The retransmission time-out for one server, as RFC 6298 §2 estimates it.

    Only transactions that were answered without a retransmission count (Karn's algorithm).
    """

    def __init__(self, timing: Timing = DEFAULT_TIMING) -> None:
        self._timing = timing
        self._smoothed: float | None = None
        self._variation = 0.0
        self._updated = 0.0

    def add(self, round_trip: float, now: float) -> None:
        """Take a measured round trip, in seconds, into account."""
        if self._smoothed is None or now - self._updated > ESTIMATE_LIFETIME:
            self._smoothed, self._variation = round_trip, round_trip / 2
        else:
            self._variation += (abs(self._smoothed - round_trip) - self._variation) / 4
            self._smoothed += (round_trip - self._smoothed) / 8
        self._updated = now

    def rto(self, now: float) -> float:
        """The first interval for the next transaction, in seconds."""
        if self._smoothed is None or now - self._updated > ESTIMATE_LIFETIME:
            return self._timing.rto
        estimate = self._smoothed + 4 * self._variation
        return min(max(estimate, self._timing.rto), self._timing.maximum_rto)


class ClientTransaction:
    """When to send one request, and when to give it up.

    The first transmission is due at once; :meth:`take_due` says so, like each later one.
    """

    __slots__ = ("_deadline", "_interval", "_reliable", "_sent", "_timing", "request", "started_at")

    def __init__(
        self,
        request: bytes,
        now: float,
        *,
        reliable: bool,
        timing: Timing = DEFAULT_TIMING,
        rto: float | None = None,
    ) -> None:
        self.request = request
        self.started_at = now
        self._reliable = reliable
        self._timing = timing
        self._interval = timing.rto if rto is None else rto
        self._sent = 0
        self._deadline = now

    @property
    def sent(self) -> int:
        """How often the request was sent."""
        return self._sent

    def next_deadline(self) -> float:
        """When to send again, or to give up, in monotonic seconds."""
        return self._deadline

    def is_over(self, now: float) -> bool:
        """Whether all was sent and the last answer's time has passed."""
        return self._sent >= self._attempts and now >= self._deadline

    def take_due(self, now: float) -> bytes | None:
        """The request if it is to be sent now, or None; doubles the interval to the next one."""
        if now < self._deadline or self._sent >= self._attempts:
            return None
        self._sent += 1
        if self._reliable:
            self._deadline = now + self._timing.reliable_timeout
        elif self._sent == self._attempts:
            first_interval = self._interval / 2 ** (self._sent - 1)
            self._deadline = now + self._timing.last_wait * first_interval
        else:
            self._deadline = now + self._interval
            self._interval *= 2
        return self.request

    @property
    def _attempts(self) -> int:
        return 1 if self._reliable else self._timing.request_count
