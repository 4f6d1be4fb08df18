"""What is measured of a server besides packets: memory and allocations."""

from dataclasses import dataclass

from benchmarks.cpu import process_seconds, resident_bytes
from benchmarks.relay.servers import RunningServer, new_peer
from benchmarks.relay.turn_client import Client, timed_allocations
from natkit.address import Address

TOGETHER = 32
"""Requests under way at a time where allocations are counted at full speed."""


@dataclass(frozen=True, slots=True)
class Allocating:
    """How a server gives allocations; challenge and answer are counted with each."""

    one_by_one_per_second: float
    together_per_second: float
    server_microseconds: float


def bytes_per_allocation(server: RunningServer, count: int) -> float:
    """What ``count`` allocations with a channel each add to the server's resident memory.

    The first hundredth is not counted: with it come things that are needed once.
    """
    peer = new_peer()
    address = Address(*peer.getsockname())
    clients: list[Client] = []
    try:
        before = 0
        first = count // 100
        for number in range(first + count):
            if number == first:
                before = resident_bytes(server.pid)
            client = server.client()
            clients.append(client)
            client.allocate()
            client.bind_channel(address)
        grown = resident_bytes(server.pid) - before
        for client in clients:
            client.close()
    finally:
        for client in clients:
            client.socket.close()
        peer.close()
    return grown / count


def allocating(server: RunningServer, count: int) -> Allocating:
    """Count allocations a second: one after the other, and several at a time."""
    one_by_one, _ = _allocate_all(server, count, 1)
    together, cpu = _allocate_all(server, count, TOGETHER)
    return Allocating(count / one_by_one, count / together, cpu * 1e6 / count)


def _allocate_all(server: RunningServer, count: int, together: int) -> tuple[float, float]:
    clients = [server.client() for _ in range(count)]
    try:
        cpu = process_seconds(server.pid)
        seconds = timed_allocations(clients, together)
        cpu = process_seconds(server.pid) - cpu
        for client in clients:
            client.close()
    finally:
        for client in clients:
            client.socket.close()
    return seconds, cpu
