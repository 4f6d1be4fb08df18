"""``[policy]`` and ``[limits]``: what allocations may do, and how many there may be of all."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from natkit.errors import MisuseError
from natkit.server.config.tables import Table
from natkit.server.config.values import Count, Network, Seconds, Switch
from stun_server.config.tables import DEFAULT
from stun_server.config.values import Peers

__all__ = ["Limits", "Policy", "RealmLimits", "RealmPolicy"]


class Policy(Table):
    """What an allocation may do."""

    allow_client: tuple[Network, ...] = ()
    """Networks that clients may come from; when any is named, others are not served."""
    deny_client: tuple[Network, ...] = ()
    """Networks whose clients are not served; the narrowest network that is named decides."""
    allow_peer: tuple[Peers, ...] = ()
    """Networks whose peers may be reached though they are of special purpose, or this server's
    hosts; ``192.0.2.0/24 port 5000-6000`` means some ports alone."""
    deny_peer: tuple[Peers, ...] = ()
    """Networks whose peers may not be reached; the narrowest network that is named decides, of one
    network the narrowest range of ports, of these ``deny_peer``."""
    default_lifetime: Seconds = DEFAULT.default_lifetime
    """Seconds of an allocation whose client asks for no lifetime, or for less."""
    maximum_lifetime: Seconds = DEFAULT.maximum_lifetime
    """Seconds of an allocation at most, from one Refresh to the next."""
    strict_channels: Switch = DEFAULT.strict_channels
    """Whether only the channels of RFC 8656 are bound, 0x4000 to 0x4FFF."""
    strict_permissions: Switch = DEFAULT.strict_permissions
    """Whether a permission ends after 300 seconds though its channel lives."""
    mobility: Switch = DEFAULT.mobility
    """Whether clients take their allocations along to other addresses (RFC 8016)."""
    tcp_relaying: Switch = DEFAULT.tcp_relaying
    """Whether clients on TCP and TLS may have TCP allocations (RFC 6062)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.default_lifetime > self.maximum_lifetime:
            raise MisuseError("default_lifetime is above maximum_lifetime")
        return self


class RealmLimits(Table):
    """How many of everything a realm's users may have."""

    allocations: Count = DEFAULT.allocations
    """Allocations at once, of all users."""
    allocations_per_user: Count = DEFAULT.allocations_per_user
    """Allocations at once, of one user."""
    permissions_per_allocation: Count = DEFAULT.permissions_per_allocation
    """Permissions at once, of one allocation."""
    channels_per_allocation: Count = DEFAULT.channels_per_allocation
    """Channels at once, of one allocation."""
    peer_connections_per_user: Count = DEFAULT.peer_connections_per_user
    """TCP connections between relayed addresses and peers (RFC 6062) of one user."""
    peer_connections_per_allocation: Count = DEFAULT.peer_connections_per_allocation
    """Such connections of one allocation."""
    unbound_connections_per_allocation: Count = DEFAULT.unbound_connections_per_allocation
    """Such connections of one allocation that the client has not bound yet."""
    permissions_per_user: Count = DEFAULT.permissions_per_user
    """Permissions of one user's allocations together."""
    channels_per_user: Count = DEFAULT.channels_per_user
    """Channels of one user's allocations together."""
    bandwidth_per_user: Count | None = None
    """Bytes of data a second that are relayed each way, for one user; none: no limit."""


class Limits(RealmLimits):
    """How many of everything."""

    packets_per_source: Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)] = (
        DEFAULT.packets_per_source
    )
    """UDP packets a second from clients without an allocation, by source: an IPv4 /24, an IPv6 /56.
    The rest is dropped."""
    answer_burst: Annotated[int, Field(ge=1_000, le=1_000_000_000, strict=True)] = (
        DEFAULT.answer_burst
    )
    """Bytes that such a source is sent within a minute, beyond twice the bytes that came from it,
    before it has proven its address."""
    permissions: Count = DEFAULT.permissions
    """Permissions of all clients together."""
    channels: Count = DEFAULT.channels
    """Channels of all clients together."""
    bandwidth: Count | None = None
    """Bytes of data a second that are relayed each way, for all users together; none: no limit."""
    connections: Count = 5_000
    """Connections at once over TCP, TLS and DTLS."""
    connections_per_source: Count = 256
    """Connections at once from one IPv4 address or one IPv6 /64."""
    connection_idle: Seconds = 30
    """Seconds after which a silent connection without an allocation is closed."""
    peer_connections: Count = DEFAULT.peer_connections
    """TCP connections between relayed addresses and peers (RFC 6062), in all."""
    peer_connection_idle: Seconds = 3_600
    """Seconds after which a TCP connection of a peer is cut if nothing passed on it."""
    drain: Annotated[int, Field(ge=0, strict=True)] = 60
    """Seconds that allocations are given to end by themselves when the server is to stop."""


class RealmPolicy(Policy):
    """What an allocation of a realm may do; what is not said here is as in [policy]."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        # The values that count are those of both tables, so they are checked together.
        return self
