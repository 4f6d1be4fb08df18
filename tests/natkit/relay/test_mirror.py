"""The kernel's tables after one permission has changed."""

import random
import socket
from collections.abc import Iterator

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.net import sockaddr
from natkit.net.batch import Endpoint
from natkit.relay.kernel_tables import KernelRelay, KernelTables, TableSizes
from natkit.relay.libbpf import Table
from natkit.relay.mirror import Mirror
from natkit.relay.plane import BindingPolicy
from natkit.relay.tables import Allocation, Listener

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

LISTENER = Address("192.0.2.1", 3478)
CLIENT = Path(Transport.UDP, LISTENER, Address("198.51.100.1", 5000))
HOSTS = tuple(bytes((203, 0, 113, number)) for number in range(1, 13))
CHANNEL = 0x4000


@pytest.fixture(name="relay")
def loaded() -> Iterator[KernelRelay]:
    relay = KernelRelay.load(TableSizes(halves=8, permissions=256, channels=64), at_tc=False)
    yield relay
    relay.close()


@pytest.fixture(name="sock")
def relay_socket() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def one_allocation(sock: socket.socket) -> Allocation:
    listener = Listener(Endpoint(sock, sockaddr.IPV4_SIZE), LISTENER, BindingPolicy())
    return Allocation(1, CLIENT, sock, 1e9, listener)


def content(tables: KernelTables) -> list[dict[bytes, bytes | None]]:
    return [
        {key: table.get(key) for key in table.list_keys()}
        for table in (tables.permissions, tables.channels, *tables.flows)
    ]


def test_the_tables_are_as_if_all_had_been_looked_at(
    relay: KernelRelay, sock: socket.socket
) -> None:
    rng = random.Random(8)
    full: list[int] = []
    mirror = Mirror(relay.tables, lambda: full.append(1))
    allocation = one_allocation(sock)
    mirror.follow(allocation)
    now = 0.0
    for _ in range(300):
        now += rng.random()
        host = rng.choice(HOSTS)
        until = now + rng.uniform(0.1, 8)
        if rng.random() < 0.2:
            peer = sockaddr.pack(Address(socket.inet_ntoa(host), 9))
            allocation.bind(CHANNEL + rng.randrange(4), peer, until, now, only_relayed=False)
            mirror.follow(allocation)
        only_relayed = rng.random() < 0.2
        allocation.permit(host, until, now, only_relayed=only_relayed, ports=())
        mirror.permit(allocation, allocation, host)
        found = content(relay.tables)
        mirror.follow(allocation)
        assert found == content(relay.tables)
    assert not full


def test_one_permission_among_many_is_written_alone(
    relay: KernelRelay, sock: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror(relay.tables, lambda: None)
    allocation = one_allocation(sock)
    for number in range(200):
        allocation.permit(bytes((10, 0, 0, number)), 1e9, 0.0, only_relayed=False, ports=())
    mirror.follow(allocation)
    written: list[bytes] = []
    put = Table.put

    def watched(table: Table, key: bytes, value: bytes) -> bool:
        written.append(key)
        return put(table, key, value)

    monkeypatch.setattr(Table, "put", watched)
    allocation.permit(HOSTS[0], 1e9, 0.0, only_relayed=False, ports=())
    mirror.permit(allocation, allocation, HOSTS[0])
    assert len(written) == 1
