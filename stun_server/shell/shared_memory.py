"""What the workers of one server agree on at every request: memory that all of them have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from natkit.address import Address
from natkit.machine import Transport
from natkit.relay.rates import TokenBucket
from natkit.server.shared_addresses import SharedAddresses
from natkit.server.shared_counts import SharedCounts
from natkit.server.shared_places import SharedPlaces
from natkit.server.shared_rates import SharedBucket, SharedRates
from stun_server.config import Config
from stun_server.sharing import Pair, Sharing
from stun_server.shell.planes import bandwidths

__all__ = ["Attached", "Descriptors", "SharedMemory"]

# Beyond these the counts of a realm are a worker's own.
_MOST_REALMS = 1024


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Where a worker finds it; ``hosts`` are those of the addresses.

    ``connections`` are clients' by source; the other counts are as in
    :class:`~stun_server.sharing.Sharing`.  ``places`` are those of bandwidths in the kernel.
    """

    hosts: tuple[str, ...]
    udp_addresses: int
    tcp_addresses: int
    connections: int
    holdings: int
    holdings_of_realms: int
    permissions: int
    channels: int
    peer_connections: int
    rates: int
    places: int


class SharedMemory:
    """The supervisor's, which makes it and clears what a dead worker held."""

    def __init__(self, config: Config, hosts: Sequence[str]) -> None:
        workers, limits = config.workers(), config.limits

        def counts(names: int) -> SharedCounts:
            return SharedCounts.create(names=names, workers=workers)

        self._addresses = (SharedAddresses.create(hosts), SharedAddresses.create(hosts))
        # Permissions, channels and connections are held by those who have allocations.
        self._counts = (
            counts(limits.connections),
            counts(limits.allocations),
            counts(_MOST_REALMS),
            *(counts(limits.allocations) for _ in range(3)),
        )
        self._rates = SharedRates.create(names=bandwidths(config), workers=workers)
        self._places = SharedPlaces.create(names=bandwidths(config), workers=workers)
        self._all: tuple[SharedAddresses | SharedCounts | SharedRates | SharedPlaces, ...]
        self._all = (*self._addresses, *self._counts, self._rates, self._places)

    @property
    def descriptors(self) -> Descriptors:
        """What a worker inherits."""
        return Descriptors(
            self._addresses[0].hosts,
            *(each.descriptor for each in self._addresses),
            *(each.descriptor for each in (*self._counts, self._rates, self._places)),
        )

    @property
    def inherited(self) -> tuple[int, ...]:
        """The descriptors alone."""
        return tuple(each.descriptor for each in self._all)

    def forget(self, worker: int) -> None:
        """What a worker held ended with it."""
        for each in self._all:
            each.forget(worker)

    def close(self) -> None:
        """Let go of it."""
        for each in self._all:
            each.close()


@dataclass(frozen=True, slots=True)
class Attached:
    """A worker's view of it."""

    sharing: Sharing
    connections: SharedCounts
    places: SharedPlaces
    addresses: dict[Transport, SharedAddresses]

    @classmethod
    def of(cls, found: Descriptors, worker: int) -> Self:
        """Attach as that worker."""

        def counts(descriptor: int) -> SharedCounts:
            return SharedCounts(descriptor, worker)

        addresses = {
            Transport.UDP: SharedAddresses(found.udp_addresses, found.hosts, worker),
            Transport.TCP: SharedAddresses(found.tcp_addresses, found.hosts, worker),
        }
        sharing = Sharing(
            holdings=counts(found.holdings),
            relays_elsewhere=addresses[Transport.UDP].elsewhere,
            relays_tcp_elsewhere=addresses[Transport.TCP].elsewhere,
            holdings_of_realms=counts(found.holdings_of_realms),
            permissions=counts(found.permissions),
            channels=counts(found.channels),
            peer_connections=counts(found.peer_connections),
            buckets=_Buckets(SharedRates(found.rates, worker)),
        )
        places = SharedPlaces(found.places, worker)
        return cls(sharing, counts(found.connections), places, addresses)

    def opened(self, address: Address, transport: Transport) -> None:
        """This worker relays from that address now."""
        self.addresses[transport].add(address)

    def closed(self, address: Address, transport: Transport) -> None:
        """It does so no more."""
        self.addresses[transport].remove(address)


class _Buckets:
    """The :class:`~stun_server.sharing.Buckets` of all workers."""

    def __init__(self, rates: SharedRates) -> None:
        self._rates = rates

    def open(self, name: str, rate: int, /) -> Pair:
        """Those that all have, or this worker's own where there is no room for more names."""
        return self._rates.open(name, rate) or (TokenBucket(rate), TokenBucket(rate))

    def shut(self, name: str, pair: Pair, /) -> None:
        """They are in use here no more."""
        match pair:
            case (SharedBucket() as to_peers, SharedBucket() as to_clients):
                self._rates.shut(name, (to_peers, to_clients))
            case _:
                pass
