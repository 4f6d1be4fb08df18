"""Which of many networks an address is in, the narrowest first."""

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from natkit.address import IPNetwork

__all__ = ["NetworkTable"]

T = TypeVar("T")


class NetworkTable(Generic[T]):
    """Values by network; a look-up costs one step for each length of prefix that occurs."""

    def __init__(self, entries: Iterable[tuple[IPNetwork, T]]) -> None:
        # By the bytes of an address: the bits to drop, the fewest first, and what is left then.
        levels: dict[int, dict[int, dict[int, list[T]]]] = {4: {}, 16: {}}
        for network, value in entries:
            size = network.max_prefixlen
            shift = size - network.prefixlen
            level = levels[size // 8].setdefault(shift, {})
            level.setdefault(int(network.network_address) >> shift, []).append(value)
        self._levels = {size: sorted(by_shift.items()) for size, by_shift in levels.items()}

    def __bool__(self) -> bool:
        return any(self._levels.values())

    def around(self, host: bytes) -> Iterator[T]:
        """The values of the networks that hold ``host``, an IP address in network order.

        Those of the longest prefix come first, those of one network in the order that they were
        given in.
        """
        number = int.from_bytes(host, "big")
        for shift, level in self._levels[len(host)]:
            yield from level.get(number >> shift, ())
