"""From one target to the next when a request fails (RFC 3263 §4.3).

::

    failover = Failover(await locator.locate(uri), outliers=outliers)
    while target := failover.next_target(now):
        …                                     # one transaction, with a Via branch of its own
        if not failover.answered(response.status, now):
            break                             # the response is the caller's
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from natkit.errors import MisuseError
from natkit.locate import Target
from sipdns.outliers import Condition, Endpoint, Outliers

__all__ = ["Failover", "Result", "Tried"]

SERVICE_UNAVAILABLE: Final = 503
"""RFC 3261 §21.5.4."""

T = TypeVar("T", bound=Target)


class Result(StrEnum):
    """What became of the request to one target."""

    UNDER_WAY = "under way"
    ANSWERED = "answered"
    """Any final response but 503, or a provisional one: the server is there."""
    UNAVAILABLE = "503"
    TIMEOUT = "timeout"
    """No response at all within the transaction's time."""
    UNREACHABLE = "unreachable"
    """The transport failed: an ICMP error, a refused or broken connection, a failed handshake."""
    ABANDONED = "abandoned"
    """The caller lost interest, which says nothing about the server."""


@dataclass(frozen=True, slots=True)
class Tried(Generic[T]):
    """A target that was tried, and what came of it; ``as_probe``, in spite of former failures."""

    target: T
    result: Result
    as_probe: bool = False


class Failover(Generic[T]):
    """The targets of one transaction, each given once.

    ``targets`` are those of one lookup, all of the transport that it selected: another transport,
    or a NAPTR record of higher order, is no way out of a failure.  ``outliers`` remembers failures
    for other transactions.  ``preferred`` goes first if it is among the targets and nothing is
    known against it: the server that holds the caller's registration, say.

    Of those left, :meth:`next_target` gives the first against which nothing is known, or whose turn
    to be probed has come; then those that failed of late; those that asked for rest, never.
    """

    def __init__(
        self,
        targets: Sequence[T],
        *,
        outliers: Outliers | None = None,
        preferred: Target | None = None,
    ) -> None:
        self._outliers = Outliers() if outliers is None else outliers
        wanted = None if preferred is None else _server(preferred)
        # False sorts first, and all else stays in order.
        self._waiting = sorted(targets, key=lambda one: _server(one) != wanted)
        self._tried: list[Tried[T]] = []

    @property
    def tried(self) -> Sequence[Tried[T]]:
        """All that was tried, in order."""
        return tuple(self._tried)

    @property
    def has_more(self) -> bool:
        """Whether targets are left that were not given; all of them may have asked for rest."""
        return bool(self._waiting)

    def next_target(self, now: float) -> T | None:
        """The next target to send the request to; None when there is none.

        What became of the one before must have been told; MisuseError otherwise.
        """
        if self._tried and self._tried[-1].result is Result.UNDER_WAY:
            raise MisuseError("the request to the last target is still under way")
        second_best: T | None = None
        for target in self._waiting:
            condition = self._outliers.condition(_server(target), now)
            if condition in (Condition.WELL, Condition.PROBE):
                return self._take(target, now, as_probe=condition is Condition.PROBE)
            if condition is Condition.GREY and second_best is None:
                second_best = target
        if second_best is None:
            return None
        return self._take(second_best, now, as_probe=False)

    def rests_until(self, now: float) -> float | None:
        """When the first of the targets that asked for rest may be tried; None without such."""
        times = [
            until
            for server in map(_server, self._waiting)
            if self._outliers.condition(server, now) is Condition.BLACK
            and (until := self._outliers.rests_until(server)) is not None
        ]
        return min(times, default=None)

    def answered(self, status: int, now: float, *, retry_after: float | None = None) -> bool:
        """A response came; whether it is a failure, so that the next target is to be tried.

        Any 503 is one (RFC 3263 §4.3).  ``retry_after`` is the seconds of its Retry-After field,
        which changes only for how long the server is avoided.
        """
        if status != SERVICE_UNAVAILABLE:
            self._outliers.succeeded(self._end(Result.ANSWERED))
            return False
        self._outliers.failed(self._end(Result.UNAVAILABLE), now, retry_after=retry_after)
        return True

    def timed_out(self, now: float, *, after_provisional: bool = False) -> bool:
        """The transaction's time is over; whether that is a failure.

        It is none when there was a provisional response (RFC 3263 §4.3): the server is there.
        """
        if after_provisional:
            self._outliers.succeeded(self._end(Result.ANSWERED))
            return False
        self._outliers.failed(self._end(Result.TIMEOUT), now)
        return True

    def unreachable(self, now: float) -> bool:
        """The transport failed, which is always a failure."""
        self._outliers.failed(self._end(Result.UNREACHABLE), now)
        return True

    def abandon(self) -> None:
        """The caller gave up before anything was known; harmless when nothing is under way."""
        if self._tried and self._tried[-1].result is Result.UNDER_WAY:
            as_probe = self._tried[-1].as_probe
            server = self._end(Result.ABANDONED)
            if as_probe:
                self._outliers.give_up_probe(server)

    def _take(self, target: T, now: float, *, as_probe: bool) -> T:
        self._waiting.remove(target)
        self._tried.append(Tried(target, Result.UNDER_WAY, as_probe))
        if as_probe:
            self._outliers.probe(_server(target), now)
        return target

    def _end(self, result: Result) -> Endpoint:
        if not self._tried or self._tried[-1].result is not Result.UNDER_WAY:
            raise MisuseError("no request is under way")
        last = self._tried[-1]
        self._tried[-1] = Tried(last.target, result, last.as_probe)
        return _server(last.target)


def _server(target: Target) -> Endpoint:
    return target.address, target.transport
