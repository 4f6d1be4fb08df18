"""Candidates: what an agent may be reached at, as it knows them itself and as its peer is told."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.machine import Transport

LONGEST_FOUNDATION: Final = 32
"""Characters of a foundation (RFC 8839 §5.1)."""

LAST_COMPONENT: Final = 256
"""Component ids are 1 to 256 (RFC 8445 §13)."""

ACTIVE_PORT: Final = 9
"""What stands for the port of an active TCP candidate, which has none yet (RFC 6544 §4.5)."""

MDNS_SUFFIX: Final = ".local"

_ICE_CHARS = re.compile(r"[A-Za-z0-9+/]+\Z")


class CandidateType(StrEnum):
    """How a candidate was come by, in the words of the SDP attribute (RFC 8839 §5.1)."""

    HOST = "host"
    SERVER_REFLEXIVE = "srflx"
    PEER_REFLEXIVE = "prflx"
    RELAYED = "relay"


class TcpType(StrEnum):
    """Who opens the connection of a TCP candidate (RFC 6544 §4.1)."""

    ACTIVE = "active"
    PASSIVE = "passive"
    SIMULTANEOUS_OPEN = "so"

    @property
    def opposite(self) -> "TcpType":
        """The type that a candidate of the other side has in a pair (RFC 6544 §6.2)."""
        match self:
            case TcpType.ACTIVE:
                return TcpType.PASSIVE
            case TcpType.PASSIVE:
                return TcpType.ACTIVE
            case TcpType.SIMULTANEOUS_OPEN:
                return TcpType.SIMULTANEOUS_OPEN


class NamedAddress(NamedTuple):
    """A host name that stands where an address is to be learnt from mDNS, and the port."""

    name: str
    port: int

    @property
    def is_mdns(self) -> bool:
        """Whether multicast DNS alone may be asked for it: one label before ``.local``."""
        label, _, rest = self.name.lower().rstrip(".").partition(".")
        return bool(label) and f".{rest}" == MDNS_SUFFIX

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A candidate as one agent describes it to another (RFC 8839 §5.1).

    ``related`` is for diagnosis only (§5.1): the base of a reflexive candidate, the mapped address
    of a relayed one.  ``username_fragment`` tells the ICE session that it belongs to (RFC 8838 §9);
    without it a candidate belongs to the one that is current.  ``extensions`` are the further
    names and values of the attribute, kept in order.
    """

    foundation: str
    component: int
    transport: Transport
    priority: int
    address: Address | NamedAddress
    type: CandidateType
    related: Address | None = None
    tcp_type: TcpType | None = None
    username_fragment: str | None = None
    generation: int | None = None
    network_id: int | None = None
    network_cost: int | None = None
    extensions: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.component <= LAST_COMPONENT:
            raise MisuseError(f"component {self.component} is not between 1 and {LAST_COMPONENT}")
        if not 1 <= self.priority < 2**31:
            raise MisuseError(f"priority {self.priority} is not between 1 and 2^31 - 1")
        if len(self.foundation) > LONGEST_FOUNDATION or not _ICE_CHARS.match(self.foundation):
            raise MisuseError(f"foundation {self.foundation!r} is not 1 to 32 ice-chars")
        if self.transport not in (Transport.UDP, Transport.TCP):
            raise MisuseError(f"a candidate over {self.transport}: UDP and TCP have them")
        if (self.tcp_type is not None) != (self.transport is Transport.TCP):
            raise MisuseError("a TCP candidate has a tcptype, and no other has")

    def __str__(self) -> str:
        kind = f" {self.tcp_type}" if self.tcp_type else ""
        return f"{self.type} {self.transport}{kind} {self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCandidate:
    """A candidate of this side, as its gatherer feeds it to the agent.

    ``address`` is where the peer sends to.  ``base`` is what is sent from (RFC 8445 §4), and names
    the socket to the shell: a bound datagram socket; a relayed address, where it stands for its
    TURN allocation; a listening TCP address; for an active TCP candidate the host's address with
    port 0.  Each base belongs to one component of one stream.

    ``local_preference`` ranks candidates of one type and component, 0 to 65535, higher first; the
    agent lowers it where two would be equal.  ``server`` is the STUN or TURN server's address,
    which the foundation depends on; ``via`` is how that was reached.  ``published`` is told to the
    peer in place of ``address``.  ``network`` is a name for diagnosis, that of the interface as
    a rule.
    """

    component: int
    type: CandidateType
    address: Address
    base: Address
    transport: Transport = Transport.UDP
    tcp_type: TcpType | None = None
    local_preference: int = 0xFFFF
    server: Address | None = None
    via: Transport | None = None
    related: Address | None = None
    published: NamedAddress | None = None
    network: str | None = field(default=None, compare=False)
    network_id: int | None = None
    network_cost: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.local_preference <= 0xFFFF:
            raise MisuseError(f"local preference {self.local_preference} is not 0 to 65535")
        if self.type is CandidateType.PEER_REFLEXIVE:
            raise MisuseError("peer-reflexive candidates are found by checks, never gathered")
        if self.address.family is not self.base.family:
            raise MisuseError(f"{self.address} and its base {self.base} differ in family")

    @property
    def told_related(self) -> Address | None:
        """What ``related`` is in the peer's description (RFC 8839 §5.1).

        Where the address is hidden behind a name, the base is hidden too.
        """
        if self.type is CandidateType.HOST:
            return None
        if self.related is not None:
            return self.related
        return self.address if self.type is CandidateType.RELAYED else self.base
