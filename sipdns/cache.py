"""What the DNS has said, kept for exactly as long as it said so.

A Cache does no I/O and reads no clock.  It holds answers and plans, which are immutable: nothing
that becomes of a call (a server that failed, a draw that was made) finds its way into it.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Generic, TypeVar

from sipdns.plan import Plan
from sipdns.records import Answer, Question, Record, Status

__all__ = ["Cache", "CacheStatistics", "Remembered", "lifetime", "shortest_ttl"]

MOST_UNITS: Final = 300_000
"""The default bound, in records (an answer counts as one more than it has): 150,000 addresses, or
all that was asked for 15,000 domains, in some 100 MB.  What was not used for longest goes first."""

LONGEST_LIFETIME: Final = 604_800
"""A week, in seconds: no TTL counts for more (RFC 8767 §4)."""

LONGEST_DENIAL: Final = 10_800
"""Three hours, in seconds: the longest that RFC 2308 §5 found sensible for a denial."""

RECHECK: Final = 30.0
"""Seconds for which a stale answer is used before the DNS is asked again (RFC 8767 §5)."""


def shortest_ttl(records: Iterable[Record]) -> float:
    """For how many seconds a set of records holds; without records, for none."""
    return min((record.ttl for record in records), default=0)


def lifetime(answer: Answer) -> float:
    """For how many seconds an answer may be kept (RFC 1035 §3.2.1, RFC 2308 §5, RFC 8767 §4).

    A denial without an SOA record says nothing of that, and is not kept.
    """
    if answer.status is Status.REFERRAL:
        return 0
    most = LONGEST_LIFETIME if answer.status is Status.RECORDS else LONGEST_DENIAL
    return min(answer.ttl, most)


@dataclass(frozen=True, slots=True)
class Remembered:
    """An answer from the cache: ``age`` seconds old, good until ``expires_at``.

    ``is_stale`` says that its time is over, and that the DNS cannot be reached.
    """

    answer: Answer
    age: float
    expires_at: float
    is_stale: bool = False


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Counted since the cache was made, but for ``entries`` and ``units``, which it holds now."""

    hits: int
    misses: int
    stale: int
    stored: int
    evicted: int
    plans_used: int
    entries: int
    units: int


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Shelf(Generic[K, V]):
    """A table that is bounded in units; what was not used for longest makes room."""

    def __init__(self, most_units: int) -> None:
        self._most = most_units
        self._rows: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.units = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: K) -> V | None:
        row = self._rows.get(key)
        if row is None:
            return None
        self._rows.move_to_end(key)
        return row[0]

    def put(self, key: K, value: V, units: int) -> None:
        self.drop(key)
        if units > self._most:
            return
        self._rows[key] = (value, units)
        self.units += units
        while self.units > self._most:
            _, (_, freed) = self._rows.popitem(last=False)
            self.units -= freed
            self.evicted += 1

    def drop(self, key: K) -> None:
        row = self._rows.pop(key, None)
        if row is not None:
            self.units -= row[1]

    def clear(self) -> None:
        self._rows.clear()
        self.units = 0


@dataclass(slots=True)
class _Entry:
    answer: Answer
    stored_at: float
    expires_at: float
    stale_until: float = field(default=float("-inf"))

    def remembered(self, now: float) -> Remembered:
        is_stale = now >= self.expires_at
        expires_at = self.stale_until if is_stale else self.expires_at
        return Remembered(self.answer, now - self.stored_at, expires_at, is_stale)


class Cache:
    """Answers by question, and plans by what leads to them; for any number of Locators.

    ``most_units`` bounds answers and plans, each; 0 keeps nothing.  ``stale_for`` is for how many
    seconds after its time an answer may still serve when the DNS cannot be reached (RFC 8767 §4
    suggests one to three days).  All ``now`` are seconds of one monotonic clock.
    """

    def __init__(self, *, most_units: int = MOST_UNITS, stale_for: float = 0.0) -> None:
        self._stale_for = stale_for
        # RFC 2308 §5: that a name does not exist holds for all types, so its key is the name.
        self._answers: _Shelf[Question | str, _Entry] = _Shelf(most_units)
        self._plans: _Shelf[tuple[str, str], tuple[Plan, float]] = _Shelf(most_units)
        self._hits = 0
        self._misses = 0
        self._stale = 0
        self._stored = 0
        self._plans_used = 0

    @property
    def statistics(self) -> CacheStatistics:
        """What the cache has been good for."""
        return CacheStatistics(
            hits=self._hits,
            misses=self._misses,
            stale=self._stale,
            stored=self._stored,
            evicted=self._answers.evicted,
            plans_used=self._plans_used,
            entries=len(self._answers),
            units=self._answers.units + self._plans.units,
        )

    def get(self, question: Question, now: float) -> Remembered | None:
        """The answer, if its time is not over, or if :meth:`stale` has said to use it."""
        entry = self._entry(question)
        if entry is None or now >= max(entry.expires_at, entry.stale_until):
            self._misses += 1
            return None
        self._hits += 1
        return entry.remembered(now)

    def put(self, question: Question, answer: Answer, now: float) -> None:
        """Keep an answer that came at ``now``, in place of what was known."""
        gone = answer.status is Status.NO_NAME
        self._answers.drop(question)
        self._answers.drop(question.name)
        seconds = lifetime(answer)
        if seconds <= 0:
            return
        self._stored += 1
        # How the answer came is told by the lookup that asked for it.
        answer = replace(answer, attempts=(), final=-1, seconds=0.0)
        extra = sum(len(records) + 1 for _, records in answer.additional)
        units = 1 + len(answer.records) + len(answer.aliases) + extra
        key = question.name if gone else question
        self._answers.put(key, _Entry(answer, now, now + seconds), units)

    def may_serve_stale(self, question: Question, now: float) -> bool:
        """Whether :meth:`stale` would have an answer."""
        entry = self._entry(question)
        return entry is not None and now < entry.expires_at + self._stale_for

    def stale(self, question: Question, now: float) -> Remembered | None:
        """An answer for when the DNS gives none; :meth:`get` has it too for the next RECHECK s."""
        entry = self._entry(question)
        if entry is None or now >= entry.expires_at + self._stale_for:
            return None
        self._stale += 1
        entry.stale_until = now + RECHECK
        return entry.remembered(now)

    def plan(self, key: tuple[str, str], now: float) -> Plan | None:
        """The plan kept under ``key``, if its time is not over."""
        kept = self._plans.get(key)
        if kept is None:
            return None
        if now >= kept[1]:
            self._plans.drop(key)
            return None
        self._plans_used += 1
        return kept[0]

    def keep_plan(self, key: tuple[str, str], plan: Plan, expires_at: float) -> None:
        """Keep what was found by answers of which the first expires at ``expires_at``."""
        units = 1 + sum(
            1 + len(rank)
            for group in plan.groups
            for candidate in group
            for rank in candidate.ranks
        )
        self._plans.put(key, (plan, expires_at), units)

    def clear(self) -> None:
        """Forget everything but the statistics."""
        self._answers.clear()
        self._plans.clear()

    def _entry(self, question: Question) -> _Entry | None:
        return self._answers.get(question) or self._answers.get(question.name)
