"""Which addresses the processes of one server use at this moment, in memory that they share.

A byte for each port of each host: zero, or one more than the number of the process that has it.
Each process writes only the bytes of addresses that it has bound, so there is nothing to lock.
"""

import mmap
import os
from collections.abc import Sequence
from typing import Self

from natkit.address import Address
from natkit.errors import MisuseError

__all__ = ["MOST_WORKERS", "SharedAddresses"]

MOST_WORKERS = 255
"""What a byte can tell apart."""

_PORTS = 1 << 16


class SharedAddresses:
    """The addresses in use, on ``hosts`` alone and in their order; ``worker`` is this process."""

    def __init__(self, descriptor: int, hosts: Sequence[str], worker: int | None = None) -> None:
        """Attach to what :meth:`create` made; the descriptor is this object's from now on."""
        if worker is not None and not 0 <= worker < MOST_WORKERS:
            raise MisuseError(f"no worker has the number {worker}")
        self.descriptor = descriptor
        self.hosts = tuple(hosts)
        self._own = 0 if worker is None else worker + 1
        self._starts = {host: place * _PORTS for place, host in enumerate(hosts)}
        self._memory = mmap.mmap(descriptor, _size(hosts))

    @classmethod
    def create(cls, hosts: Sequence[str]) -> Self:
        """None in use yet."""
        descriptor = os.memfd_create("natkit-addresses")
        os.ftruncate(descriptor, _size(hosts))
        return cls(descriptor, hosts)

    def add(self, address: Address) -> None:
        """This process uses it now."""
        self._put(address, self._own)

    def remove(self, address: Address) -> None:
        """This process uses it no more."""
        self._put(address, 0)

    def elsewhere(self, address: Address) -> bool:
        """Whether another process uses it."""
        start = self._starts.get(address.host)
        return start is not None and self._memory[start + address.port] not in (0, self._own)

    def forget(self, worker: int) -> None:
        """Clear what a process used that is gone."""
        gone = bytes((worker + 1,))
        place = self._memory.find(gone)
        while place >= 0:
            self._memory[place] = 0
            place = self._memory.find(gone, place + 1)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        os.close(self.descriptor)

    def _put(self, address: Address, value: int) -> None:
        start = self._starts.get(address.host)
        if start is not None:
            self._memory[start + address.port] = value


def _size(hosts: Sequence[str]) -> int:
    return max(1, len(hosts)) * _PORTS
