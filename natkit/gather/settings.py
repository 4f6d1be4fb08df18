"""What a user chooses of a gatherer: which servers, which addresses, and what is told of them."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from natkit.address import Address, Family, IPNetwork
from natkit.errors import MisuseError
from natkit.ice.parameters import DEFAULT_PACING
from natkit.stun.authentication import TokenCredential
from natkit.stun.transaction import DEFAULT_TIMING, Timing
from natkit.stun.uri import Scheme, ServerUri

__all__ = [
    "BOTH_FAMILIES",
    "MOST_SERVERS",
    "GatherSettings",
    "HostAddress",
    "Policy",
    "PortRange",
    "Rewrite",
    "RewriteMode",
    "StunServer",
    "TurnServer",
]

MOST_SERVERS: Final = 32
"""STUN and TURN servers in all: each is asked from every address and for every component."""

BOTH_FAMILIES: Final = frozenset(Family)


class Policy(StrEnum):
    """Which candidates are gathered."""

    ALL = "all"
    RELAY = "relay"
    """Relayed ones alone: the peer learns no address of this host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAddress:
    """An address of this host, as its shell read it from the system.

    ``is_default``: the system sends from it to the rest of the internet.  ``temporary`` (RFC 8981),
    ``deprecated`` and ``tentative`` (RFC 4862) are None where the system does not tell.
    """

    interface: str
    host: str
    is_default: bool = False
    temporary: bool | None = None
    deprecated: bool | None = None
    tentative: bool | None = None
    published: str | None = None
    """What peers are told in place of the address: a name that multicast DNS resolves."""

    @property
    def family(self) -> Family:
        """The address family of ``host``."""
        return Family.IPV6 if ":" in self.host else Family.IPV4

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """The address as an :mod:`ipaddress` object."""
        return ipaddress.ip_address(self.host)


@dataclass(frozen=True, slots=True)
class StunServer:
    """A server that tells our reflexive address: a ``stun:`` URI.

    It is asked over UDP from the very sockets that data will use, which a ``stuns:`` server cannot
    be: MisuseError for that.
    """

    uri: str

    def __post_init__(self) -> None:
        scheme = ServerUri.parse(self.uri).scheme
        if scheme is Scheme.STUNS:
            raise MisuseError(
                f"'{self.uri}' is asked over TLS, which shows no address of UDP; stun:"
            )
        if scheme.is_turn:
            raise MisuseError(f"'{self.uri}' is a TURN server's: it needs a name and a password")


@dataclass(frozen=True, slots=True)
class TurnServer:
    """A server that relays: a ``turn:`` or ``turns:`` URI, and who we are there.

    ``token`` takes the place of name and password (RFC 7635).
    """

    uri: str
    username: str = ""
    password: str = field(default="", repr=False)
    token: TokenCredential | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        uri = ServerUri.parse(self.uri)
        if not uri.scheme.is_turn:
            raise MisuseError(f"'{self.uri}' is a STUN server's, which takes no name and password")
        if not self.username and self.token is None:
            raise MisuseError(f"'{self.uri}' needs a user name, or an access token")


@dataclass(frozen=True, slots=True)
class PortRange:
    """The local ports that sockets may have, ends included."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last <= 65535:
            raise MisuseError(f"ports {self.first} to {self.last} are no range within 1 to 65535")

    def __len__(self) -> int:
        return self.last - self.first + 1


class RewriteMode(StrEnum):
    """What a 1:1 NAT's external address does to the host candidate."""

    REPLACE = "replace"
    """It is told in place of the host's own."""
    ADD = "add"
    """It is told beside it, as a server-reflexive candidate."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A 1:1 NAT in front of this host, as clouds have them: ports stay, ``external`` is seen.

    ``local`` is the network whose addresses it is for; by default all of the same family.
    """

    external: str
    local: IPNetwork | None = None
    mode: RewriteMode = RewriteMode.ADD

    def __post_init__(self) -> None:
        family = Address.of(self.external, 0).family
        if self.local is not None and (self.local.version == 6) != (family is Family.IPV6):
            raise MisuseError(f"{self.external} and {self.local} are of two families")

    def concerns(self, host: str) -> bool:
        """Whether ``host`` is seen as the external address."""
        address = Address(host, 0)
        if address.family is not Address(self.external, 0).family:
            return False
        return self.local is None or address.ip in self.local


def _any_interface(name: str) -> bool:  # noqa: ARG001 - a filter's signature
    return True


def _any_address(address: HostAddress) -> bool:  # noqa: ARG001 - a filter's signature
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class GatherSettings:
    """All in seconds; MisuseError for what cannot be."""

    servers: tuple[StunServer | TurnServer, ...] = ()
    """All are asked side by side."""

    policy: Policy = Policy.ALL

    families: frozenset[Family] = BOTH_FAMILIES
    """Of host and reflexive candidates, and of relayed addresses."""

    interface_filter: Callable[[str], bool] = _any_interface
    """Whether an interface is used, by its name."""

    address_filter: Callable[[HostAddress], bool] = _any_address
    """Whether one of this host's addresses is used."""

    loopback: bool = False
    """Use loopback addresses too, which RFC 8445 §5.1.1.1 forbids: for peers on one host."""

    ports: PortRange | None = None
    """Of the host candidates; any by default."""

    rewrites: tuple[Rewrite, ...] = ()
    """The first that concerns an address holds for it."""

    tcp: bool = False
    """Gather active and passive TCP candidates too (RFC 6544)."""

    port_mapping: bool = False
    """Have the default gateway map a port for each host candidate (PCP, NAT-PMP, UPnP)."""

    relay_from: Address | None = None
    """The local address, port 0 for any, from which TURN servers are asked; the system's choice."""

    pacing: float = DEFAULT_PACING
    """Between the beginnings of two transactions with servers (RFC 8445 §14)."""

    timing: Timing = DEFAULT_TIMING
    """Of a Binding request."""

    head_start: float = 1.0
    """Before the next address of one server is tried beside one that has not answered."""

    grace: float | None = 0.5
    """How long the other STUN servers are waited for after one answered from the same socket.

    None: each is waited for, as when what is wanted is a diagnosis.
    """

    mapping_patience: float = 4.0
    """How long a gateway may take to map a port: most that do not answer at once speak nothing."""

    limit: float = 10.0
    """Gathering ends that long after it began, whatever is still silent."""

    release_unused: bool = False
    """Close sockets and give back relays that no pair needs any more (RFC 8445 §8.3).

    It spares servers, and leaves a later restart with less to choose from.
    """

    keepalive: float = 15.0
    """Between Binding requests that keep reflexive addresses until checks do (§5.1.1.4)."""

    def __post_init__(self) -> None:
        if len(self.servers) > MOST_SERVERS:
            raise MisuseError(f"{len(self.servers)} STUN and TURN servers; {MOST_SERVERS} at most")
        times = (self.pacing, self.head_start, self.mapping_patience, self.limit, self.keepalive)
        if min(*times, self.grace or 1.0) <= 0:
            raise MisuseError("a time of a gatherer is more than 0 seconds")
        if not self.families:
            raise MisuseError("a gatherer needs an address family")
