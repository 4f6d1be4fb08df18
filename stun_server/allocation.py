"""An allocation (RFC 8656 §6) with its permissions and channels; allocations.py changes them."""

from dataclasses import dataclass

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.relay.rates import Rates
from stun_server.answers import Answer
from stun_server.authentication import Credential
from stun_server.settings import PortRange
from stun_server.tickets import Mobile

__all__ = [
    "CHANNEL_LIFETIME",
    "PERMISSION_LIFETIME",
    "Allocation",
    "Channel",
    "PerSecond",
    "Permission",
    "SecondRelayed",
]

PERMISSION_LIFETIME = 300.0
"""Seconds (RFC 8656 §9)."""

CHANNEL_LIFETIME = 600.0
"""Seconds (RFC 8656 §12)."""


@dataclass(slots=True)
class Permission:
    """Data may pass between the client and a host; the rest as in PermissionInstalled."""

    until: float
    only_relayed: bool
    ports: tuple[PortRange, ...] = ()


@dataclass(slots=True)
class Channel:
    """A number that stands for a peer (RFC 8656 §12); ``only_relayed`` as in ChannelBound."""

    number: int
    peer: Address
    until: float
    only_relayed: bool


@dataclass(slots=True)
class PerSecond:
    """How often something was done in the second that goes on."""

    second: int = 0
    count: int = 0

    def may_tell(self, now: float, limit: int) -> bool:
        """Whether it may be done once more, of ``limit`` times in a second; it counts as done."""
        if int(now) != self.second:
            self.second, self.count = int(now), 0
        self.count += 1
        return self.count <= limit


@dataclass(slots=True)
class SecondRelayed:
    """The address of the other family that makes an allocation a dual one (RFC 8656 §7.2)."""

    address: Address
    until: float


@dataclass(slots=True, eq=False)
class Allocation:
    """A client and its relayed address, or its two (RFC 8656 §6).

    Each address lives until its own time.  When the first of two ends the second takes its place.
    """

    allocation_id: int
    client: Path
    relayed: Address
    credential: Credential
    until: float
    permissions: dict[str, Permission]
    channels: dict[int, Channel]
    channels_by_peer: dict[Address, Channel]
    answers: list[Answer]
    rates: Rates | None = None
    since: float = 0.0
    mobile: Mobile | None = None
    icmp_told: PerSecond | None = None
    second: SecondRelayed | None = None
    peers: Transport = Transport.UDP

    @property
    def relayed_addresses(self) -> tuple[Address, ...]:
        """The one relayed address, or both."""
        return (self.relayed,) if self.second is None else (self.relayed, self.second.address)

    @property
    def last_until(self) -> float:
        """When the last of its addresses expires."""
        return self.until if self.second is None else max(self.until, self.second.until)

    def ends(self) -> tuple[tuple[Address, float], ...]:
        """Each relayed address, and when it expires."""
        first = (self.relayed, self.until)
        second = self.second
        return (first,) if second is None else (first, (second.address, second.until))

    def relayed_of(self, family: int) -> Address | None:
        """The relayed address of a family, if it has one."""
        return next((each for each in self.relayed_addresses if each.family == family), None)
