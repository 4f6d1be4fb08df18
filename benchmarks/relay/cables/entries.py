"""Many allocations in the kernel's tables: what it takes to write and to remove them."""

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path as FilePath
from time import process_time
from typing import Final

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.net import sockaddr
from natkit.net.batch import Endpoint
from natkit.relay.kernel_tables import KernelRelay, TableSizes
from natkit.relay.mirror import Mirror
from natkit.relay.plane import BindingPolicy
from natkit.relay.tables import Allocation, Listener

__all__ = ["Entries", "write_entries"]

CHANNELS: Final = 2
_PORTS: Final = 16_384
_FIRST_PORT: Final = 49_152
_UNTIL: Final = 1e9
_LISTENER: Final = Address("192.0.2.1", 3478)
_PEERS: Final = tuple(Address("203.0.113.7", 40_000 + number) for number in range(CHANNELS))
_MEMORY: Final = re.compile(r"^memlock:\s*(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entries:
    """Microseconds of CPU for an allocation with a permission and channels; bytes are of tables.

    ``bytes_before`` are those of tables for so many in which there are none.
    """

    count: int
    write_microseconds: float
    remove_microseconds: float
    bytes_before: int
    bytes_full: int
    did_not_fit: int


def write_entries(count: int) -> Entries:
    """Load the program with tables for so many, fill them, and empty them."""
    full: list[int] = []
    relay = KernelRelay.load(TableSizes(count + 1, count, CHANNELS * count), at_tc=False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            mirror = Mirror(relay.tables, lambda: full.append(1))
            listener = Listener(Endpoint(sock, sockaddr.IPV4_SIZE), _LISTENER, BindingPolicy())
            mirror.listen(listener, answers_binding=True)
            allocations = [_allocation(number, sock, listener) for number in range(count)]
            before = _table_bytes()
            began = process_time()
            for allocation in allocations:
                mirror.follow(allocation)
            written = process_time() - began
            filled = _table_bytes()
            began = process_time()
            for allocation in allocations:
                mirror.forget(allocation.identifier)
            removed = process_time() - began
        finally:
            relay.close()
    each = 1e6 / count
    return Entries(count, written * each, removed * each, before, filled, len(full))


def _allocation(number: int, sock: socket.socket, listener: Listener) -> Allocation:
    """One whose relay socket is everybody's: the tables know its address alone."""
    client = Address(f"198.51.{number // 250}.{number % 250}", 5_000)
    path = Path(Transport.UDP, _LISTENER, client)
    allocation = Allocation(number, path, sock, _UNTIL, listener)
    relayed = Address(f"192.0.2.{10 + number // _PORTS}", _FIRST_PORT + number % _PORTS)
    allocation.relayed_name = sockaddr.pack(relayed)
    host = sockaddr.host_bytes(sockaddr.pack(_PEERS[0]))
    allocation.permit(host, _UNTIL, 0, only_relayed=False, ports=())
    for index, peer in enumerate(_PEERS):
        allocation.bind(0x4000 + index, sockaddr.pack(peer), _UNTIL, 0, only_relayed=False)
    return allocation


def _table_bytes() -> int:
    """What the kernel says that this process's BPF tables take."""
    total = 0
    for file in FilePath(f"/proc/{os.getpid()}/fdinfo").iterdir():
        try:
            text = file.read_text(encoding="ascii")
        except FileNotFoundError:
            continue
        if "map_type:" in text:
            total += sum(map(int, _MEMORY.findall(text)))
    return total
