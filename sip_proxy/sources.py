"""Which messages are looked at, by where they come from and by what sends them.

Before anything is read of a message: a source that sends too many is not heard
(:mod:`natkit.server.limits`: what a source is, and the table of fixed size), nor is a program that
says by its User-Agent that it searches for open servers.  Over UDP, where sources can be forged,
what a challenge is longer than its request is paid for too.
"""

from dataclasses import dataclass
from typing import Final

from natkit.address import IPNetwork
from natkit.errors import MisuseError
from natkit.machine import Path, RandomBytes, Transport
from natkit.server.limits import SourceLimits, SourceRates
from natkit.server.networks import NetworkTable

__all__ = ["SourceSettings", "Sources"]

_HEAD_ENDS: Final = b"\r\n\r\n"
_AGENT: Final = b"\r\nuser-agent"
_LINE_ENDS: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """What is heard.

    ``messages``: of one source in a second, 0 for any number; ``unlimited`` are the networks whose
    messages are not counted.  ``challenge_burst``: bytes a minute that challenges to one source
    over UDP may be longer than what asked for them.  ``scanners``: messages whose User-Agent has
    one of these in it, whatever the case of letters, get no answer.
    """

    messages: int = 1_000
    unlimited: tuple[IPNetwork, ...] = ()
    challenge_burst: int = 128 << 10
    scanners: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.messages < 0 or self.challenge_burst < 0:
            raise MisuseError("messages and bytes of a source are 0 or more")
        if not all(each.strip() and each.isprintable() for each in self.scanners):
            raise MisuseError("the name of a scanner is some printable text")


class Sources:
    """Judges what comes in; ``scanned`` counts the messages of scanners."""

    def __init__(self, settings: SourceSettings, random: RandomBytes) -> None:
        self.scanned = 0
        self._limits = SourceLimits(_rates(settings), random)
        self.configure(settings)

    def configure(self, settings: SourceSettings) -> None:
        """Go by other settings from now on."""
        self._limits.rates = _rates(settings)
        self._is_limited = settings.messages > 0
        self._unlimited = NetworkTable([(each, True) for each in settings.unlimited])
        self._scanners = tuple(each.strip().lower().encode("utf-8") for each in settings.scanners)

    @property
    def flooded(self) -> int:
        """Messages that were not heard since their source sent too many."""
        return self._limits.packets_dropped

    @property
    def unchallenged(self) -> int:
        """Challenges that were not sent since they would have amplified a flood."""
        return self._limits.answers_dropped

    def hears(self, data: bytes, path: Path, now: float) -> bool:
        """Whether a message is looked at; it is counted."""
        if (
            self._is_limited
            and not self._limits.admits_all(1, now)
            and not self._is_unlimited(path)
            and not self._limits.admits_counted(path.remote.packed)
        ):
            return False
        if self._scanners and self._is_scan(data):
            self.scanned += 1
            return False
        return True

    def may_challenge(self, path: Path, received: int, sent: int, now: float) -> bool:
        """Whether who sent ``received`` bytes, and has proven nothing, may be sent ``sent``."""
        return (
            path.transport is not Transport.UDP
            or self._is_unlimited(path)
            or self._limits.may_answer(path.remote.packed, received, sent, now)
        )

    def has_proven_itself(self, path: Path, received: int, now: float) -> None:
        """``received`` bytes prove that a source is no forged one: they pay for its challenge."""
        if path.transport is Transport.UDP:
            self._limits.earn(path.remote.packed, received, now)

    def _is_unlimited(self, path: Path) -> bool:
        return bool(self._unlimited) and any(self._unlimited.around(path.remote.packed))

    def _is_scan(self, data: bytes) -> bool:
        end = data.find(_HEAD_ENDS)
        head = data[: end if end >= 0 else len(data)].lower()
        start = head.find(_AGENT)
        if start < 0:
            return False
        stop = head.find(_LINE_ENDS, start + len(_LINE_ENDS))
        agent = head[start : stop if stop >= 0 else len(head)]
        return any(scanner in agent for scanner in self._scanners)


def _rates(settings: SourceSettings) -> SourceRates:
    return SourceRates(settings.messages, settings.challenge_burst)
