"""An allocation on its way from one worker to another, because its client's packets go there now.

Clients are spread over the workers by their addresses, so that one that moves (RFC 8016) may meet
another worker than the one that has its allocation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter

from natkit.address import Address
from natkit.machine import Path
from stun_server.allocation import Allocation
from stun_server.allocations import Allocations
from stun_server.authentication import Credential
from stun_server.events import (
    AllocationDetached,
    AllocationOpened,
    AllocationRefreshed,
    ChannelBound,
    PermissionInstalled,
    ServerEvent,
)
from stun_server.settings import PortRange


@dataclass(frozen=True, slots=True)
class PermissionSnapshot:
    """A permission, as in PermissionInstalled."""

    host: str
    until: float
    only_relayed: bool
    ports: tuple[PortRange, ...]


@dataclass(frozen=True, slots=True)
class ChannelSnapshot:
    """A channel, as in ChannelBound."""

    number: int
    peer: Address
    until: float
    only_relayed: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that there is to an allocation but its client, its tickets and its relay sockets.

    Times are monotonic seconds, which the processes of one machine share.
    """

    relayed: Address
    credential: Credential
    since: float
    until: float
    second: tuple[Address, float] | None
    """The relayed address of the other family with its end, of a dual allocation."""
    permissions: tuple[PermissionSnapshot, ...]
    channels: tuple[ChannelSnapshot, ...]

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        ser_json_bytes="base64", val_json_bytes="base64"
    )

    @classmethod
    def of(cls, allocation: Allocation) -> "Snapshot":
        """What another worker needs to go on with this allocation."""
        second = allocation.second
        return cls(
            allocation.relayed,
            allocation.credential,
            allocation.since,
            allocation.until,
            (second.address, second.until) if second is not None else None,
            tuple(
                PermissionSnapshot(host, kept.until, kept.only_relayed, kept.ports)
                for host, kept in allocation.permissions.items()
            ),
            tuple(
                ChannelSnapshot(kept.number, kept.peer, kept.until, kept.only_relayed)
                for kept in allocation.channels.values()
            ),
        )

    @property
    def relayed_addresses(self) -> tuple[Address, ...]:
        """The addresses whose relay sockets go along, in this order."""
        return (self.relayed,) if self.second is None else (self.relayed, self.second[0])

    @classmethod
    def from_json(cls, text: bytes) -> "Snapshot":
        """Read what :meth:`to_json` wrote; ValueError for anything else."""
        return _SNAPSHOT.validate_json(text)

    def to_json(self) -> bytes:
        """For the socket between two workers: it holds the user's keys."""
        return _SNAPSHOT.dump_json(self)


_SNAPSHOT = TypeAdapter(Snapshot)


def adopt(
    snapshot: Snapshot, client: Path, allocations: Allocations
) -> tuple[Allocation, tuple[ServerEvent, ...]]:
    """Go on with an allocation that another worker had, for its client on a new 5-tuple."""
    allocations.hold(snapshot.credential.account, len(snapshot.relayed_addresses))
    second, second_until = snapshot.second or (None, snapshot.until)
    allocation = allocations.open(
        client, snapshot.relayed, snapshot.credential, snapshot.until, second
    )
    allocation.since = snapshot.since
    if second is not None:
        allocations.refresh(allocation, second_until, second.family)
    for host in snapshot.permissions:
        allocations.permit(
            allocation, host.host, host.until, only_relayed=host.only_relayed, ports=host.ports
        )
    for bound in snapshot.channels:
        allocations.bind(
            allocation, bound.number, bound.peer, bound.until, only_relayed=bound.only_relayed
        )
    return allocation, tuple(all_of(allocation))


def all_of(allocation: Allocation) -> Iterator[ServerEvent]:
    """Everything that there is to tell of an allocation that was not here before."""
    number, credential, second = (
        allocation.allocation_id,
        allocation.credential,
        allocation.second,
    )
    yield AllocationOpened(
        number,
        allocation.client,
        allocation.relayed,
        credential.username,
        allocation.until,
        second.address if second is not None else None,
        realm=credential.realm,
    )
    if second is not None:
        yield AllocationRefreshed(number, second.until, second.address.family)
    for host, kept in allocation.permissions.items():
        yield PermissionInstalled(number, host, kept.until, kept.only_relayed, kept.ports)
    for bound in allocation.channels.values():
        yield ChannelBound(number, bound.number, bound.peer, bound.until, bound.only_relayed)
    if allocation.mobile is not None and allocation.mobile.detached:
        yield AllocationDetached(number, allocation.client)
