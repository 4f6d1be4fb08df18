"""What sources of packets may cost a server before they have proven who they are.

A source is a prefix, for whoever forges addresses, or has many, has them side by side: an IPv4 /24,
the least that is routed by itself and so the least that is flooded as one, and an IPv6 /56, which
providers give to one site (RFC 6177 §2).  Sources share a table of fixed size by a hash that is
keyed at the start, so nobody can fill it, or choose whom to share a place with.

Everything here is a machine: no clock, no randomness of its own.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["AMPLIFICATION", "MEMORY", "RENEWAL", "SLOTS", "SourceLimits", "SourceRates"]

SLOTS = 1 << 16
"""Places in the table.  A flood from every source there is spends 1/65,536 of itself on each."""

MEMORY = SLOTS * (4 + 8)
"""Bytes that the tables have, from the start and for ever: 768 KiB."""

AMPLIFICATION = 2
"""Bytes that may be sent to a source for each byte that came from it."""

RENEWAL = 60.0
"""Seconds after which every source has its burst of bytes again, and no other credit."""

_SLOT_BITS = SLOTS.bit_length() - 1
_WORD = (1 << 64) - 1
_IPV4_PREFIX = 3
_IPV6_PREFIX = 7


@dataclass(frozen=True, slots=True)
class SourceRates:
    """What one source may do: packets a second, and bytes beyond what its own bytes pay for."""

    packets: int
    burst: int


class SourceLimits:
    """Counts packets by the second, and bytes both ways by the minute, for each source.

    ``host`` is an IP address in network order, times are monotonic seconds.  ``random`` keys the
    hash.  ``packets_dropped`` and ``answers_dropped`` count what was refused.  Other ``rates`` hold
    from the next second, and the next minute, on.
    """

    def __init__(self, rates: SourceRates, random: Callable[[int], bytes]) -> None:
        self.packets_dropped = 0
        self.answers_dropped = 0
        self.rates = rates
        # Multiply-shift hashing: with a random odd factor two sources meet with 2 / SLOTS at most.
        self._factor = int.from_bytes(random(8), "big") | 1
        self._second = -1
        self._in_second = 0
        # As long as all sources together stay below half the limit of one, none need be told apart;
        # the other half is for each by itself, so that no source ever has more than the limit.
        self._untold = self._each = 0
        self._counts = array("I", [0]) * SLOTS
        self._counted = False
        self._renewed_at = float("-inf")
        self._credits = array("q", [0]) * SLOTS

    def admits_all(self, count: int, now: float) -> bool:
        """Whether ``count`` more packets pass, whatever sources they are from; they are counted.

        If not, :meth:`admits_counted` is to be asked about each.
        """
        if int(now) != self._second:
            self._begin_second(int(now))
        self._in_second += count
        return self._in_second <= self._untold

    def admits_counted(self, host: bytes) -> bool:
        """Whether one of the packets that :meth:`admits_all` just counted passes by itself."""
        if self._in_second <= self._untold:
            return True
        slot = self._slot(host)
        count = self._counts[slot]
        self._counted = True
        if count >= self._each:
            self.packets_dropped += 1
            return False
        self._counts[slot] = count + 1
        return True

    def admits(self, host: bytes, now: float) -> bool:
        """Whether one packet from ``host`` passes."""
        return self.admits_all(1, now) or self.admits_counted(host)

    def may_answer(self, host: bytes, received: int, sent: int, now: float) -> bool:
        """Whether ``received`` bytes may be answered by ``sent`` bytes; if so they are paid for.

        An answer that costs less than its request pays for leaves nothing for others; a request
        that is not answered does.
        """
        cost = sent - AMPLIFICATION * received
        if cost <= 0:
            return True
        slot = self._account(host, now)
        credit = self._credits[slot]
        if credit < cost:
            self._credits[slot] = credit + AMPLIFICATION * received
            self.answers_dropped += 1
            return False
        self._credits[slot] = credit - cost
        return True

    def earn(self, host: bytes, received: int, now: float) -> None:
        """These bytes came from a source that has proven itself: they pay for other answers."""
        self._credits[self._account(host, now)] += AMPLIFICATION * received

    def _begin_second(self, second: int) -> None:
        self._second = second
        self._in_second = 0
        self._untold = self.rates.packets // 2
        self._each = self.rates.packets - self._untold
        if self._counted:
            self._counts = array("I", [0]) * SLOTS
            self._counted = False

    def _account(self, host: bytes, now: float) -> int:
        if now >= self._renewed_at:
            self._renewed_at = now + RENEWAL
            self._credits = array("q", [self.rates.burst]) * SLOTS
        return self._slot(host)

    def _slot(self, host: bytes) -> int:
        prefix = host[:_IPV4_PREFIX] if len(host) == 4 else host[:_IPV6_PREFIX]
        return (int.from_bytes(prefix, "big") * self._factor & _WORD) >> (64 - _SLOT_BITS)
