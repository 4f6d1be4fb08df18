"""Servers that failed of late, so that not every call has to find out by itself.

An Outliers store is shared by all transactions of a program.  It knows addresses, not names: what
the DNS says stays as it is, whatever becomes of the servers.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import Final

from natkit.address import Address
from natkit.machine import Transport

__all__ = ["Condition", "Endpoint", "OutlierLimits", "Outliers"]

Endpoint = tuple[Address, Transport]
"""What fails and recovers as one: the same host may answer over TCP and not over UDP."""

MOST_OUTLIERS: Final = 10_000
"""Servers remembered, some 2 MB.  DNS answers can name ever new addresses that fail, so the one
that failed the longest ago makes room."""


class Condition(Enum):
    """What is known of a server."""

    WELL = "well"
    """Nothing against it."""
    GREY = "grey"
    """It failed: to be tried after all that are well."""
    BLACK = "black"
    """It asked to be left alone (503 with Retry-After, RFC 3261 §21.5.4): not to be tried."""
    PROBE = "probe"
    """Its time is over: one request may try it, at its proper place."""


@dataclass(frozen=True, slots=True)
class OutlierLimits:
    """Times in seconds.

    ``grey`` is for the first failure; each that follows doubles it, up to ``longest_grey``.
    ``longest_black`` cuts a Retry-After short.  ``probe`` is how long one request that tries a
    server keeps the others away: no transaction takes longer (RFC 3261 §17.1: 32 s).
    ``forget`` after its time without a request, a server counts as well again.
    """

    grey: float = 30.0
    longest_grey: float = 600.0
    longest_black: float = 3600.0
    probe: float = 40.0
    forget: float = 600.0


@dataclass(slots=True)
class _Record:
    failures: int
    until: float
    black_until: float
    probing_until: float = float("-inf")


class Outliers:
    """The store.  All ``now`` are seconds of one monotonic clock."""

    def __init__(
        self, limits: OutlierLimits | None = None, *, most_servers: int = MOST_OUTLIERS
    ) -> None:
        self._limits = limits or OutlierLimits()
        self._most = most_servers
        # The one that failed the longest ago stands in front.
        self._records: OrderedDict[Endpoint, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def configure(self, limits: OutlierLimits) -> None:
        """Go by other limits from now on."""
        self._limits = limits

    def condition(self, server: Endpoint, now: float) -> Condition:
        """What is known at ``now``."""
        record = self._records.get(server)
        if record is None:
            return Condition.WELL
        if now < record.black_until:
            return Condition.BLACK
        if now < record.until:
            return Condition.GREY
        if now < record.probing_until:
            return Condition.GREY
        if now >= record.until + self._limits.forget:
            del self._records[server]
            return Condition.WELL
        return Condition.PROBE

    def rests_until(self, server: Endpoint) -> float | None:
        """Until when a server asked to be left alone; None when nothing is known against it."""
        record = self._records.get(server)
        return None if record is None else record.black_until

    def probe(self, server: Endpoint, now: float) -> None:
        """A request is about to try a server whose condition is PROBE; others keep away."""
        record = self._records.get(server)
        if record is not None:
            record.probing_until = now + self._limits.probe

    def give_up_probe(self, server: Endpoint) -> None:
        """That request ended without saying anything about the server."""
        record = self._records.get(server)
        if record is not None:
            record.probing_until = float("-inf")

    def succeeded(self, server: Endpoint) -> None:
        """The server answered: nothing against it any more."""
        self._records.pop(server, None)

    def failed(self, server: Endpoint, now: float, *, retry_after: float | None = None) -> None:
        """The server failed; ``retry_after`` seconds are those that it asked for itself."""
        known = self._records.pop(server, None)
        failures = 1 if known is None else known.failures + 1
        black_until = now if known is None else known.black_until
        limits = self._limits
        if retry_after is None:
            # The exponent is bounded before the power is taken.
            seconds = min(limits.grey * 2.0 ** min(failures - 1, 30), limits.longest_grey)
        else:
            seconds = min(max(retry_after, 0.0), limits.longest_black)
            black_until = max(black_until, now + seconds)
        until = max(now + seconds, black_until)
        self._records[server] = _Record(failures, until, black_until)
        while len(self._records) > self._most:
            self._records.popitem(last=False)
