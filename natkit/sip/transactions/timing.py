"""How long SIP's transactions wait (RFC 3261 §17, table 4; RFC 6026 §7.4)."""

from dataclasses import dataclass
from enum import IntEnum, auto
from typing import Final

from natkit.errors import MisuseError
from natkit.sip.registry import T1, T2, T4

__all__ = ["DEFAULT_TIMING", "LINGERING", "SipTiming", "Timer"]


class Timer(IntEnum):
    """The timers by the letters of RFC 3261 and RFC 6026, and the one of §17.2.1 without one.

    Numbers, because they are looked up by several times for each message.
    """

    A = auto()
    """An INVITE is sent again."""
    B = auto()
    """An INVITE had no response."""
    D = auto()
    """A rejected INVITE's ACK need not be sent again any more."""
    E = auto()
    """Another request is sent again."""
    F = auto()
    """Another request had no final response."""
    G = auto()
    """The final response to an INVITE is sent again."""
    H = auto()
    """No ACK came."""
    I = auto()  # noqa: E741  RFC 3261 §17.2.1's own name
    """ACKs that are sent again have died out."""
    J = auto()
    """Another request is not sent again any more."""
    K = auto()
    """Responses to another request have died out."""
    L = auto()
    """An accepted INVITE is not sent again any more."""
    M = auto()
    """No other fork's 2xx is to come."""
    TRYING = auto()
    """The user of the transaction is slow: 100 is due."""


LINGERING: Final = frozenset({Timer.D, Timer.I, Timer.J, Timer.K, Timer.L, Timer.M})
"""Those that end a transaction which has done its work, and takes in what comes again."""


@dataclass(frozen=True, slots=True)
class SipTiming:
    """What all timers derive from, in seconds."""

    t1: float = T1
    """The estimate of a round trip, and the first interval between transmissions."""

    t2: float = T2
    """The longest interval between transmissions of a response, or of no INVITE."""

    t4: float = T4
    """How long a message may stay in the network."""

    trying_after: float | None = 0.2
    """When an INVITE without an answer gets a 100 (§17.2.1); None: its user sends it."""

    def __post_init__(self) -> None:
        if not 0 < self.t1 <= self.t2 or self.t4 <= 0:
            raise MisuseError(f"{self} can't time a transaction")

    @property
    def timeout(self) -> float:
        """64 times T1: timers B, F, H, J, L and M, and D on unreliable transports at the least."""
        return 64 * self.t1

    @property
    def settled_after(self) -> float:
        """When timer E has come to T2: a request that has no answer by then gets a 100.

        RFC 4320 §4.1; 3.5 s by default.
        """
        interval, passed = self.t1, 0.0
        while interval < self.t2:
            passed += interval
            interval *= 2
        return passed

    @property
    def wait_for_repeated_finals(self) -> float:
        """Timer D on an unreliable transport: the 32 s that the server's timer H may last."""
        return max(32.0 * self.t1 / T1, self.timeout)


DEFAULT_TIMING: Final = SipTiming()
