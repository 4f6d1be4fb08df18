"""The server's state: its allocations, and reserved ports.

Everything that changes an allocation goes through :class:`Allocations`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from natkit.address import Address, Family
from natkit.machine import CloseSocket, Path, Transport
from natkit.stun.registry import StunError
from natkit.timers import TimerQueue
from stun_server import connectivity_test
from stun_server.allocation import Allocation, Channel, Permission, SecondRelayed
from stun_server.answers import Answers
from stun_server.authentication import Account, Credential
from stun_server.bandwidth import Bandwidth
from stun_server.connection_events import ConnectionEvent, StopListening
from stun_server.events import (
    AllocationClosed,
    AllocationRefreshed,
    CloseReason,
    RelayedAddressClosed,
)
from stun_server.external import External
from stun_server.outcome import Refusal
from stun_server.peer_connections import PeerConnections
from stun_server.settings import PortRange, Settings
from stun_server.sharing import Counts, Sharing

SWEEP_INTERVAL = 10.0
"""Seconds between two searches through all allocations for what has expired: they are made when a
limit is reached, which a client can bring about as often as it likes."""

RESERVATION_LIFETIME = 30.0
"""Seconds that a port waits for who holds its token (RFC 8656 §7.2)."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """A bound port without an owner; ``account`` is whose quota it burdens."""

    relayed: Address
    account: Account


Ending = AllocationClosed | RelayedAddressClosed | CloseSocket | ConnectionEvent
"""What the shell is told when something ends."""


class Allocations:
    """Finds allocations by client and by relayed address, and keeps the limits of Settings."""

    def __init__(self, settings: Settings, sharing: Sharing | None = None) -> None:
        self.answers = Answers()
        self.external = External(settings.external, self.is_relayed)
        self._settings = settings
        self._by_id: dict[int, Allocation] = {}
        # One that moves stands here twice (RFC 8016 §3.2), one that lost its client not at all.
        self._by_client: dict[Path, Allocation] = {}
        self._by_relayed: dict[Address, Allocation] = {}
        self._by_tcp_relayed: dict[Address, Allocation] = {}
        self._reservations: dict[bytes, Reservation] = {}
        self._reserved: set[Address] = set()
        self._sharing = sharing or Sharing()
        self.connections = PeerConnections(settings, self._sharing.peer_connections)
        self._holdings = self._sharing.holdings
        self._holdings_of_realms = self._sharing.holdings_of_realms
        self._bandwidth = Bandwidth(settings, self._sharing.buckets)
        self._next_sweep = float("-inf")
        self._last_id = 0
        # Allocations, and reserved ports by their tokens.
        self._expiry: TimerQueue[Allocation | bytes] = TimerQueue()

    def configure(self, settings: Settings) -> None:
        """Keep other limits from now on; what is beyond them already stays."""
        self._settings = settings
        self.connections.configure(settings)
        self.external = External(settings.external, self.is_relayed)
        self._bandwidth.configure(settings)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Allocation]:
        return iter(self._by_id.values())

    def of_id(self, allocation_id: int) -> Allocation | None:
        """The allocation of a number, while it lives."""
        return self._by_id.get(allocation_id)

    def of_client(self, path: Path) -> Allocation | None:
        """The allocation of a 5-tuple."""
        return self._by_client.get(path)

    def of_relayed(self, address: Address) -> Allocation | None:
        """The allocation that owns a relayed UDP address."""
        return self._by_relayed.get(address)

    def of_tcp_relayed(self, address: Address) -> Allocation | None:
        """The allocation that owns a relayed TCP address (RFC 6062)."""
        return self._by_tcp_relayed.get(address)

    def is_relayed(self, address: Address, transport: Transport = Transport.UDP) -> bool:
        """Whether this is a live relayed address of the server, at whichever of its workers.

        ``transport`` is how peers speak to it.
        """
        if transport is Transport.TCP:
            return address in self._by_tcp_relayed or self._sharing.relays_tcp_elsewhere(address)
        return address in self._by_relayed or self._sharing.relays_elsewhere(address)

    def relayed_hosts(self) -> set[str]:
        """The hosts that have live relayed addresses."""
        return {address.host for address in (*self._by_relayed, *self._by_tcp_relayed)}

    def _relayed(self, transport: Transport) -> dict[Address, Allocation]:
        return self._by_tcp_relayed if transport is Transport.TCP else self._by_relayed

    def is_taken(self, address: Address) -> bool:
        """Whether a relayed address is in use or reserved."""
        return (
            address in self._by_relayed
            or address in self._by_tcp_relayed
            or address in self._reserved
            or self._sharing.relays_elsewhere(address)
            or self._sharing.relays_tcp_elsewhere(address)
        )

    # Quotas: what is being opened, open or reserved counts.

    def quota_refusal(
        self, account: Account, count: int, *, in_all: int, limits: Settings
    ) -> Refusal | None:
        """Why a user cannot have ``count`` more allocations, ``in_all`` of them new, if so.

        ``limits`` are those of the user's realm.
        """
        most = limits.allocations_per_user
        if account.username == connectivity_test.NAME:
            most = min(most, connectivity_test.ALLOCATIONS)
        if self._holdings.of(account.name) + count > most:
            return Refusal(
                StunError.ALLOCATION_QUOTA_REACHED,
                f"{account.username} has as many as one user may",
            )
        if self._holdings.in_all() + in_all > self._settings.allocations:
            return Refusal(StunError.INSUFFICIENT_CAPACITY, "the server has as many as it grants")
        if self._holdings_of_realms.of(account.realm) + in_all > limits.allocations:
            return Refusal(StunError.INSUFFICIENT_CAPACITY, "the realm has as many as it may")
        return None

    def hold(self, account: Account, count: int) -> None:
        """Count allocations for a user, before they open."""
        self._holdings.add(account.name, count)
        self._holdings_of_realms.add(account.realm, count)

    def release(self, account: Account, count: int = 1) -> None:
        """Count them no more."""
        self._holdings.add(account.name, -count)
        self._holdings_of_realms.add(account.realm, -count)

    # Allocations.

    def open(
        self,
        client: Path,
        relayed: Address,
        credential: Credential,
        until: float,
        second: Address | None = None,
        peers: Transport = Transport.UDP,
    ) -> Allocation:
        """Create the allocation that was held for this user; each address was held."""
        self._last_id += 1
        allocation = Allocation(self._last_id, client, relayed, credential, until, {}, {}, {}, [])
        allocation.peers = peers
        allocation.rates = self._bandwidth.open(credential.account)
        self._by_id[self._last_id] = allocation
        self._by_client[client] = allocation
        self._relayed(peers)[relayed] = allocation
        if second is not None:
            allocation.second = SecondRelayed(second, until)
            self._relayed(peers)[second] = allocation
        self._expiry.set(allocation, until)
        return allocation

    def refresh(self, allocation: Allocation, until: float, family: int | None = None) -> None:
        """Set when it expires, or its address of ``family`` does: later or earlier than before."""
        second = allocation.second
        if family is None or allocation.relayed.family == family:
            allocation.until = until
        if second is not None and (family is None or second.address.family == family):
            second.until = until
        self._expire_in_time(allocation)

    def shorten(self, allocation: Allocation, until: float) -> Iterator[AllocationRefreshed]:
        """Have what lives longer expire at ``until``."""
        for address, end in allocation.ends():
            if end > until:
                family = address.family if allocation.second is not None else None
                self.refresh(allocation, until, family)
                yield AllocationRefreshed(allocation.allocation_id, until, family)

    def reach(self, allocation: Allocation, path: Path) -> None:
        """What comes on this path is the allocation's, too (RFC 8016 §3.2.2)."""
        self._by_client[path] = allocation

    def unreach(self, allocation: Allocation, path: Path) -> None:
        """What comes on this path is not the allocation's, if it was."""
        if self._by_client.get(path) is allocation:
            del self._by_client[path]

    def close(self, allocation: Allocation, reason: CloseReason, now: float) -> tuple[Ending, ...]:
        """Forget it with all that belongs to it, except for what its requests were answered."""
        self.forget(allocation, now)
        addresses = allocation.relayed_addresses
        second = addresses[1] if len(addresses) == 2 else None
        closed = AllocationClosed(
            allocation.allocation_id,
            allocation.client,
            addresses[0],
            reason,
            allocation.credential.username,
            second,
        )
        connections = self.connections.end_all(allocation.allocation_id, addresses)
        return *connections, closed, *(_closing(allocation, each) for each in addresses)

    def close_family(
        self, allocation: Allocation, family: int, reason: CloseReason, now: float
    ) -> tuple[Ending, ...]:
        """End the relayed address of one family, and the allocation if it has no other.

        Its permissions, channels and connections end with it; those of the other family are not
        touched (RFC 8656 §8.1).
        """
        second = allocation.second
        if second is None:
            return self.close(allocation, reason, now)
        ended = second.address
        if allocation.relayed.family == family:
            ended = allocation.relayed
            allocation.relayed, allocation.until = second.address, second.until
        allocation.second = None
        del self._relayed(allocation.peers)[ended]
        self._expire_in_time(allocation)
        self.release(allocation.credential.account)
        for channel in [
            kept for kept in allocation.channels.values() if kept.peer.family == family
        ]:
            self.unbind(allocation, channel)
        for host in [host for host in allocation.permissions if _family(host) == family]:
            self.forbid(allocation, host)
        return (
            *self.connections.end_all(allocation.allocation_id, (ended,)),
            RelayedAddressClosed(allocation.allocation_id, ended, reason),
            _closing(allocation, ended),
        )

    def _expire_in_time(self, allocation: Allocation) -> None:
        second = allocation.second
        until = allocation.until if second is None else min(allocation.until, second.until)
        self._expiry.set(allocation, until)

    def forget(self, allocation: Allocation, now: float) -> None:
        """Forget it, and leave its relay sockets open."""
        del self._by_id[allocation.allocation_id]
        self.unreach(allocation, allocation.client)
        if allocation.mobile is not None and allocation.mobile.arriving is not None:
            self.unreach(allocation, allocation.mobile.arriving)
        addresses = allocation.relayed_addresses
        for address in addresses:
            del self._relayed(allocation.peers)[address]
        self._expiry.cancel(allocation)
        self.release(allocation.credential.account, len(addresses))
        self._bandwidth.close(allocation.credential.account, allocation.rates)
        name = allocation.credential.account.name
        self._sharing.permissions.add(name, -len(allocation.permissions))
        self._sharing.channels.add(name, -len(allocation.channels))
        self.answers.outlive(allocation.client, allocation.answers, now)

    def restore(self, allocation: Allocation) -> None:
        """Have an allocation again that was forgotten, its client where it was."""
        account = allocation.credential.account
        addresses = allocation.relayed_addresses
        self.hold(account, len(addresses))
        self._by_id[allocation.allocation_id] = allocation
        if allocation.mobile is None or not allocation.mobile.detached:
            self.reach(allocation, allocation.client)
        for address in addresses:
            self._relayed(allocation.peers)[address] = allocation
        self._expire_in_time(allocation)
        allocation.rates = self._bandwidth.open(account)
        # What requests were answered outlived it.
        allocation.answers = []
        self._sharing.permissions.add(account.name, len(allocation.permissions))
        self._sharing.channels.add(account.name, len(allocation.channels))

    def may_expire(self, now: float) -> bool:
        """Whether there may be something for :meth:`close_expired`: a quick look."""
        return self._expiry.may_be_due(now) or self.connections.may_expire(now)

    def close_expired(self, now: float) -> Iterator[Ending]:
        """Close the allocations, the reserved ports and the connections whose time is over."""
        yield from self.connections.end_unbound(now)
        for key in self._expiry.pop_due(now):
            if isinstance(key, Allocation):
                yield from self._close_what_expired(key, now)
            else:
                yield CloseSocket(self.redeem(key))

    def _close_what_expired(self, allocation: Allocation, now: float) -> tuple[Ending, ...]:
        """Close it, or the one of its two addresses whose time is over."""
        if allocation.last_until <= now:
            return self.close(allocation, CloseReason.EXPIRED, now)
        first, second = allocation.relayed_addresses
        ended = first if allocation.until <= now else second
        return self.close_family(allocation, ended.family, CloseReason.EXPIRED, now)

    # Reserved ports.

    def reserve(self, token: bytes, relayed: Address, account: Account, now: float) -> None:
        """Keep a bound port for who presents ``token``; it was held for this user."""
        self._reservations[token] = Reservation(relayed, account)
        self._reserved.add(relayed)
        self._expiry.set(token, now + RESERVATION_LIFETIME)

    def reservation(self, token: bytes) -> Reservation | None:
        """The port that waits for ``token``."""
        return self._reservations.get(token)

    def redeem(self, token: bytes) -> Address:
        """Take a reserved port out, to use it or to close it; nobody's quota counts it any more."""
        reservation = self._reservations.pop(token)
        self._reserved.discard(reservation.relayed)
        self._expiry.cancel(token)
        self.release(reservation.account)
        return reservation.relayed

    def next_deadline(self) -> float | None:
        """When something expires next."""
        expiry, unbound = self._expiry.next_deadline(), self.connections.next_deadline()
        if unbound is None:
            return expiry
        return unbound if expiry is None else min(expiry, unbound)

    # Permissions and channels.  Expired ones stay until they are in the way of new ones.

    def has_room_for_permissions(
        self, allocation: Allocation, hosts: Iterable[str], limits: Settings, now: float
    ) -> bool:
        """Whether permissions for all these hosts fit in the limits of the user's realm."""
        hosts = set(hosts)

        def is_within() -> bool:
            new = len(hosts - allocation.permissions.keys())
            return len(
                allocation.permissions
            ) + new <= limits.permissions_per_allocation and self._is_within(
                self._sharing.permissions,
                allocation,
                new,
                limits.permissions_per_user,
                self._settings.permissions,
            )

        return is_within() or (self._sweep(allocation, now) and is_within())

    def permit(
        self,
        allocation: Allocation,
        host: str,
        until: float,
        *,
        only_relayed: bool,
        ports: tuple[PortRange, ...] = (),
    ) -> Permission:
        """Install or extend a permission; a longer one, of a channel, is never cut short."""
        permission = allocation.permissions.get(host)
        if permission is None:
            permission = allocation.permissions[host] = Permission(until, only_relayed, ports)
            self._sharing.permissions.add(allocation.credential.account.name, 1)
        else:
            permission.until = max(until, permission.until)
            permission.only_relayed, permission.ports = only_relayed, ports
        return permission

    def forbid(self, allocation: Allocation, host: str) -> None:
        """Take a permission away."""
        if allocation.permissions.pop(host, None) is not None:
            self._sharing.permissions.add(allocation.credential.account.name, -1)

    def has_room_for_channel(
        self, allocation: Allocation, number: int, limits: Settings, now: float
    ) -> bool:
        """Whether the channel fits in the limits of the user's realm; one that is bound does."""
        if number in allocation.channels:
            return True

        def is_within() -> bool:
            return len(allocation.channels) < limits.channels_per_allocation and self._is_within(
                self._sharing.channels,
                allocation,
                1,
                limits.channels_per_user,
                self._settings.channels,
            )

        return is_within() or (self._sweep(allocation, now) and is_within())

    @staticmethod
    def _is_within(
        held: Counts, allocation: Allocation, new: int, per_user: int, in_all: int
    ) -> bool:
        name = allocation.credential.account.name
        return held.of(name) + new <= per_user and held.in_all() + new <= in_all

    def _sweep(self, allocation: Allocation, now: float) -> bool:
        """Drop what has expired: of this allocation, and now and then of all.  Always True."""
        swept = [allocation]
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP_INTERVAL
            swept = list(self._by_id.values())
        for each in swept:
            for host in [host for host, kept in each.permissions.items() if kept.until <= now]:
                self.forbid(each, host)
            for channel in [kept for kept in each.channels.values() if kept.until <= now]:
                self.unbind(each, channel)
        return True

    def bind(
        self,
        allocation: Allocation,
        number: int,
        peer: Address,
        until: float,
        *,
        only_relayed: bool,
    ) -> Channel:
        """Bind or extend a channel; number and peer are bound to each other or to nothing live."""
        for stale in (allocation.channels.get(number), allocation.channels_by_peer.get(peer)):
            if stale is not None:
                self.unbind(allocation, stale)
        channel = Channel(number, peer, until, only_relayed)
        allocation.channels[number] = channel
        self._sharing.channels.add(allocation.credential.account.name, 1)
        allocation.channels_by_peer[peer] = channel
        return channel

    def unbind(self, allocation: Allocation, channel: Channel) -> None:
        """Take a channel away."""
        if allocation.channels.pop(channel.number, None) is not None:
            self._sharing.channels.add(allocation.credential.account.name, -1)
        allocation.channels_by_peer.pop(channel.peer, None)

    # What may pass.

    @staticmethod
    def is_permitted(allocation: Allocation, host: str, now: float) -> bool:
        """Whether a permission for this host lives, whichever of its ports it lets through."""
        permission = allocation.permissions.get(host)
        return permission is not None and permission.until > now

    def may_relay(self, allocation: Allocation, peer: Address, now: float) -> bool:
        """Whether a permission lets data pass between the client and this peer now."""
        permission = allocation.permissions.get(peer.host)
        if permission is None or permission.until <= now:
            return False
        return (
            not permission.only_relayed
            or any(first <= peer.port <= last for first, last in permission.ports)
            or self.is_relayed(peer, allocation.peers)
        )


def _family(host: str) -> Family:
    return Address(host, 0).family


def _closing(allocation: Allocation, relayed: Address) -> CloseSocket | StopListening:
    if allocation.peers is Transport.TCP:
        return StopListening(relayed)
    return CloseSocket(relayed)
