"""What sources of packets may cost a server before they have proven who they are.

A source is a prefix, for whoever forges addresses, or has many, has them side by side: an IPv4 /24,
the least that is routed by itself and so the least that is flooded as one, and an IPv6 /56, which
providers give to one site (RFC 6177 §2).  Sources share a table of fixed size by a hash that is
keyed at the start, so nobody can fill it, or choose whom to share a place with.

Everything here is a machine: no clock, no randomness of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

from natkit.relay.source_memory import NEVER, SLOTS, WORD, SourceMemory, State

__all__ = ["AMPLIFICATION", "MEMORY", "RENEWAL", "SLOTS", "SourceLimits", "SourceRates"]

MEMORY = SLOTS * (8 + 8)
"""Bytes that the tables have, from the start and for ever: 1 MiB."""

AMPLIFICATION = 2
"""Bytes that may be sent to a source for each byte that came from it."""

RENEWAL = 60.0
"""Seconds after which every source has its burst of bytes again, and no other credit."""

_SLOT_BITS = SLOTS.bit_length() - 1
_LOW = (1 << 32) - 1
_NANOSECONDS = 1_000_000_000
_SECOND, _IN_SECOND, _UNTOLD = int(State.SECOND), int(State.IN_SECOND), int(State.UNTOLD)
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
        self._rates = rates
        # Multiply-shift hashing: with a random odd factor two sources meet with 2 / SLOTS at most.
        self._factor = int.from_bytes(random(8), "big") | 1
        self.memory = SourceMemory.own()
        """Where it counts."""
        self._begin()

    @property
    def rates(self) -> SourceRates:
        """What one source may do."""
        return self._rates

    @rates.setter
    def rates(self, rates: SourceRates) -> None:
        self._rates = rates
        self.memory.state[State.PACKETS] = rates.packets

    def keep_in(self, memory: SourceMemory) -> None:
        """Count there from now on, with all others who do; the first of them begins."""
        self.memory = memory
        self._begin()

    def _begin(self) -> None:
        state = self.memory.state
        if not state[State.FACTOR]:
            state[State.FACTOR] = self._factor
            state[State.SECOND] = NEVER
        self._factor = state[State.FACTOR]
        state[State.PACKETS] = self._rates.packets

    def admits_all(self, count: int, now: float) -> bool:
        """Whether ``count`` more packets pass, whatever sources they are from; they are counted.

        If not, :meth:`admits_counted` is to be asked about each.
        """
        # As long as all sources together stay below half the limit of one, none need be told apart;
        # the other half is for each by itself, so that no source ever has more than the limit.
        state = self.memory.state
        if int(now) != state[_SECOND]:
            packets = state[State.PACKETS]
            state[State.UNTOLD] = packets // 2
            state[State.EACH] = packets - packets // 2
            state[_SECOND] = int(now)
            state[_IN_SECOND] = 0
        state[_IN_SECOND] += count
        return state[_IN_SECOND] <= state[_UNTOLD]

    def admits_counted(self, host: bytes) -> bool:
        """Whether one of the packets that :meth:`admits_all` just counted passes by itself."""
        state, counts = self.memory.state, self.memory.counts
        if state[_IN_SECOND] <= state[_UNTOLD]:
            return True
        slot, second = self._slot(host), state[_SECOND] & _LOW
        count = counts[slot]
        if count >> 32 != second:
            count = second << 32
        if count & _LOW >= state[State.EACH]:
            self.packets_dropped += 1
            return False
        counts[slot] = count + 1
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
        slot, credit = self._account(host, now)
        if credit < cost:
            self._owe(slot, credit + AMPLIFICATION * received)
            self.answers_dropped += 1
            return False
        self._owe(slot, credit - cost)
        return True

    def earn(self, host: bytes, received: int, now: float) -> None:
        """These bytes came from a source that has proven itself: they pay for other answers."""
        slot, credit = self._account(host, now)
        self._owe(slot, credit + AMPLIFICATION * received)

    def _account(self, host: bytes, now: float) -> tuple[int, int]:
        """A source's place, and what it is owed."""
        state = self.memory.state
        if now * _NANOSECONDS >= state[State.RENEWED_AT]:
            state[State.BURST] = self._rates.burst
            state[State.WINDOW] = state[State.WINDOW] + 1 & _LOW
            state[State.RENEWED_AT] = int((now + RENEWAL) * _NANOSECONDS)
        slot = self._slot(host)
        credit = self.memory.credits[slot]
        if credit >> 32 != state[State.WINDOW]:
            return slot, state[State.BURST]
        return slot, credit & _LOW

    def _owe(self, slot: int, credit: int) -> None:
        self.memory.credits[slot] = self.memory.state[State.WINDOW] << 32 | min(credit, _LOW)

    def _slot(self, host: bytes) -> int:
        prefix = host[:_IPV4_PREFIX] if len(host) == 4 else host[:_IPV6_PREFIX]
        return (int.from_bytes(prefix, "big") * self._factor & WORD) >> (64 - _SLOT_BITS)
