"""Which messages are looked at, by where they come from and by what sends them.

Before anything is read of a message: a source that sends too many is not heard
(:mod:`natkit.server.limits`: what a source is, and the table of fixed size), nor is a program that
says by its User-Agent that it searches for open servers.  While much comes, those who have proven
who they are go first: all others together are heard so often a second.  Over UDP, where sources can
be forged, what a challenge is longer than its request is paid for too.
"""

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from natkit.address import IPNetwork
from natkit.errors import MisuseError
from natkit.machine import Path, RandomBytes, Transport
from natkit.server.limits import SourceLimits, SourceRates
from natkit.server.networks import NetworkTable

__all__ = ["SourceSettings", "Sources"]

KNOWN: Final = 3_600.0
"""Seconds for which a source is no stranger: phones register again within that time."""

RENEWED: Final = 600.0
"""Seconds after which that time begins again, and not before: it costs something."""

MOST_KNOWN: Final = 65_536
"""Sources that are known; of more, those that proved themselves the longest ago are forgotten."""

LOOPBACK: Final = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
"""Programs of the same machine, which no flood from elsewhere can pretend to be."""

_HEAD_ENDS: Final = b"\r\n\r\n"
_AGENT: Final = b"\r\nuser-agent"
_LINE_ENDS: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """What is heard.

    ``messages``: of one source in a second, 0 for any number; ``strangers``: of all those together
    that have proven nothing in the last hour, beyond half of ``messages``, which is everybody's.
    ``unlimited`` are the networks whose messages are not counted.  ``challenge_burst``: bytes a
    minute that challenges to one source over UDP may be longer than what asked for them.
    ``scanners``: messages whose User-Agent has one of these in it, whatever the case of letters,
    get no answer.
    """

    messages: int = 1_000
    strangers: int = 1_000
    unlimited: tuple[IPNetwork, ...] = LOOPBACK
    challenge_burst: int = 128 << 10
    scanners: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if min(self.messages, self.strangers, self.challenge_burst) < 0:
            raise MisuseError("messages and bytes of a source are 0 or more")
        if not all(each.strip() and each.isprintable() for each in self.scanners):
            raise MisuseError("the name of a scanner is some printable text")


class Sources:
    """Judges what comes in.

    ``scanned`` counts the messages of scanners, ``crowded_out`` those of strangers that there was
    no time for.  Networks of ``trusted`` are not counted either.
    """

    def __init__(
        self,
        settings: SourceSettings,
        random: RandomBytes,
        trusted: tuple[IPNetwork, ...] = (),
    ) -> None:
        self.scanned = 0
        self.crowded_out = 0
        self._known: OrderedDict[bytes, float] = OrderedDict()
        self._second = -1
        self._strangers = 0
        self._limits = SourceLimits(_rates(settings), random)
        self.configure(settings, trusted)

    def configure(self, settings: SourceSettings, trusted: tuple[IPNetwork, ...] = ()) -> None:
        """Go by other settings from now on."""
        self._limits.rates = _rates(settings)
        self._is_limited = settings.messages > 0
        self._most_strangers = settings.strangers
        self._unlimited = NetworkTable([(each, True) for each in (*settings.unlimited, *trusted)])
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
            and not self._admits(path.remote.packed, now)
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

    def meet(self, path: Path, now: float) -> None:
        """Whoever is there is no stranger: it answered what only it could know."""
        prefix = _prefix(path.remote.packed)
        known = self._known
        if known.get(prefix, now) <= now + KNOWN - RENEWED:
            known[prefix] = now + KNOWN
            known.move_to_end(prefix)
            if len(known) > MOST_KNOWN:
                known.popitem(last=False)

    def has_proven_itself(self, path: Path, received: int, now: float) -> None:
        """``received`` bytes prove that a source is no forged one: they pay for its challenge."""
        self.meet(path, now)
        if path.transport is Transport.UDP:
            self._limits.earn(path.remote.packed, received, now)

    def _admits(self, host: bytes, now: float) -> bool:
        if not self._limits.admits_counted(host):
            return False
        if self._known.get(_prefix(host), now) > now:
            return True
        if int(now) != self._second:
            self._second, self._strangers = int(now), 0
        self._strangers += 1
        if self._strangers > self._most_strangers:
            self.crowded_out += 1
            return False
        return True

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


def _prefix(host: bytes) -> bytes:
    """What sources share that can be forged together (:mod:`natkit.server.limits`)."""
    return host[:3] if len(host) == 4 else host[:7]


def _rates(settings: SourceSettings) -> SourceRates:
    return SourceRates(settings.messages, settings.challenge_burst)
