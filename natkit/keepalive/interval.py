"""How often to send: at random below a bound, and a bound that is learnt from the NAT."""

from typing import Final

from natkit.errors import MisuseError
from natkit.machine import RandomBytes

LEAST_SHARE: Final = 0.8
"""The shortest interval as a share of the bound (RFC 5626 §4.4)."""

LONGEST_SPREAD: Final = 86_400.0
"""Seconds; a longer bound keeps nothing alive."""

SETTLED: Final = 1.25
"""How many times as long as a survived silence the shortest fatal one may be, to know enough."""

CAUTION: Final = 0.85
"""The share of what was survived that is used once it is known: NATs count in coarse steps."""

_RESOLUTION: Final = 1 << 32


def spread(bound: float, random: RandomBytes, least: float = LEAST_SHARE) -> float:
    """An interval in seconds, at random between ``least`` times ``bound`` and ``bound``.

    RFC 5626 §4.4 has it so, that a crowd of clients does not stay in step.  With ``bound`` 1.2
    times an interval and ``least`` 2/3, it is the 0.8 to 1.2 of RFC 7675 §5.1.
    """
    share = int.from_bytes(random(4), "big") / (_RESOLUTION - 1)
    return bound * (least + (1 - least) * share)


def interval_within(survived: float) -> float:
    """The bound for keep-alives through a NAT that is known to keep a binding so many seconds."""
    return CAUTION * survived


class AdaptiveInterval:
    """Learns how long a NAT keeps a silent binding, from trials of its user's; no clock.

    A trial stays silent for :meth:`trial` seconds on a flow of its own, then finds out whether its
    binding still lets packets in, and tells :meth:`survived` or :meth:`lost`.  A binding that keeps
    its port after it died looks unchanged from outside: only a packet from the other side is
    evidence.  ``shortest`` and ``longest`` bound everything, in seconds.
    """

    __slots__ = ("_fatal", "_longest", "_shortest", "_survived")

    def __init__(self, shortest: float = 10.0, longest: float = 900.0) -> None:
        if not 0 < shortest < longest <= LONGEST_SPREAD:
            raise MisuseError(f"no interval lies between {shortest:g} and {longest:g} s")
        self._shortest = shortest
        self._longest = longest
        self._survived: float | None = None
        self._fatal: float | None = None

    @property
    def bound(self) -> float:
        """The upper bound for keep-alives by what is known so far, in seconds."""
        known = self._shortest if self._survived is None else interval_within(self._survived)
        return min(known, self._longest)

    @property
    def is_settled(self) -> bool:
        """Whether further trials would change little."""
        if self._fatal is None:
            return self._survived is not None and self._survived >= self._longest
        low = self._survived or self._shortest
        return self._fatal <= SETTLED * low or self._fatal <= self._shortest

    @property
    def lifetime(self) -> tuple[float, float | None]:
        """The longest silence that was survived and the shortest that was fatal, in seconds.

        0 and None where there was none.
        """
        return self._survived or 0.0, self._fatal

    def trial(self) -> float:
        """For how many seconds the next trial is to stay silent."""
        if self._survived is None:
            start = 2 * self._shortest if self._fatal is None else self._fatal / 2
            return min(max(start, self._shortest), self._longest)
        if self._fatal is None:
            return min(2 * self._survived, self._longest)
        # The geometric middle: what is asked for is a ratio.
        return float((self._survived * self._fatal) ** 0.5)

    def survived(self, silence: float) -> None:
        """A binding let packets in after ``silence`` seconds."""
        if self._survived is None or silence > self._survived:
            self._survived = silence
        if self._fatal is not None and silence >= self._fatal:
            # The NAT was changed, or what was lost was a packet: the later evidence counts.
            self._fatal = None

    def lost(self, silence: float) -> None:
        """A binding was dead after ``silence`` seconds."""
        if self._fatal is None or silence < self._fatal:
            self._fatal = silence
        if self._survived is not None and silence <= self._survived:
            self._survived = None
