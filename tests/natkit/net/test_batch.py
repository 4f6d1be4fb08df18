import ctypes
import errno
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.net import libc, linux_batch, sockaddr
from natkit.net.batch import (
    CAPACITY,
    LARGEST_DATAGRAM,
    DatagramBatch,
    DatagramSocket,
    Endpoint,
    datagram_batch,
)

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
KINDS = [
    pytest.param(False, id="mmsg", marks=pytest.mark.skipif(not libc.HAVE_MMSG, reason="Linux")),
    pytest.param(True, id="portable"),
]
LINUX = pytest.mark.skipif(not libc.HAVE_MMSG, reason="Linux")


@pytest.fixture(params=KINDS)
def portable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def batch(portable: bool) -> DatagramBatch:
    return datagram_batch(portable=portable)


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> socket.AddressFamily:
    return socket.AddressFamily(request.param)


class Ports:
    """Opens loopback sockets and closes them all."""

    def __init__(self) -> None:
        self.opened: list[socket.socket] = []

    def __call__(self, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        self.opened.append(sock)
        sock.bind((LOOPBACK[family], 0))
        sock.settimeout(5)
        return sock


@pytest.fixture
def ports() -> Iterator[Ports]:
    ports = Ports()
    yield ports
    for sock in ports.opened:
        sock.close()


def address_of(sock: socket.socket) -> Address:
    host, port = sock.getsockname()[:2]
    return Address(host, port)


def closed_port(ports: Ports) -> Address:
    sock = ports()
    address = address_of(sock)
    sock.close()
    return address


def test_a_batch_arrives_in_order_with_its_senders(
    batch: DatagramBatch, ports: Ports, family: socket.AddressFamily
) -> None:
    receiver = DatagramSocket(ports(family), batch)
    senders = [ports(family), ports(family)]
    sent = []
    for number in range(20):
        sender = senders[number % 2]
        data = bytes([number]) * number
        sender.sendto(data, receiver.local)
        sent.append((data, address_of(sender)))
    assert receiver.receive() == sent
    assert receiver.receive() == []


def test_more_than_a_batch_takes_several(batch: DatagramBatch, ports: Ports) -> None:
    receiver = DatagramSocket(ports(), batch)
    sender = ports()
    for number in range(batch.capacity + 3):
        sender.sendto(bytes([number]), receiver.local)
    assert len(receiver.receive()) == batch.capacity
    assert [data for data, _ in receiver.receive()] == [
        bytes([batch.capacity + extra]) for extra in range(3)
    ]


def test_sending_more_than_a_batch_keeps_order_and_destinations(
    batch: DatagramBatch, ports: Ports, family: socket.AddressFamily
) -> None:
    sender = DatagramSocket(ports(family), batch)
    receivers = [ports(family) for _ in range(3)]
    count = 2 * batch.capacity + 5
    sender.send(
        (number.to_bytes(2, "big"), address_of(receivers[number % 3])) for number in range(count)
    )
    assert sender.unsent == 0
    for index, receiver in enumerate(receivers):
        expected = [number.to_bytes(2, "big") for number in range(index, count, 3)]
        assert [receiver.recv(100) for _ in expected] == expected


def test_one_batch_serves_both_families_in_turn(batch: DatagramBatch, ports: Ports) -> None:
    pairs = [
        (DatagramSocket(ports(family), batch), ports(family))
        for family in (socket.AF_INET, socket.AF_INET6)
    ]
    for round_number in range(3):
        for receiver, sender in pairs:
            data = bytes([round_number]) * 9
            sender.sendto(data, receiver.local)
            assert receiver.receive() == [(data, address_of(sender))]
            receiver.send([(data, address_of(sender))])
            assert sender.recvfrom(100) == (data, receiver.socket.getsockname())


@pytest.mark.parametrize("size", [0, 1, 1_472, 9_000, 65_507])
def test_every_size_that_udp_carries_arrives_whole(
    batch: DatagramBatch, ports: Ports, size: int
) -> None:
    assert batch.datagram_size == LARGEST_DATAGRAM
    left, right = DatagramSocket(ports(), batch), DatagramSocket(ports(), batch)
    data = bytes(index % 251 for index in range(size))
    left.send([(data, right.local)])
    assert right.receive() == [(data, left.local)]


def test_a_datagram_longer_than_a_slot_is_dropped_and_counted(portable: bool, ports: Ports) -> None:
    batch = datagram_batch(datagram_size=100, portable=portable)
    receiver, sender = DatagramSocket(ports(), batch), ports()
    for data in (b"a" * 100, b"b" * 101, b"c" * 5_000, b"d"):
        sender.sendto(data, receiver.local)
    assert [data for data, _ in receiver.receive()] == [b"a" * 100, b"d"]
    assert receiver.truncated == 2


def test_a_slot_is_never_written_past_its_tailroom(portable: bool, ports: Ports) -> None:
    batch = datagram_batch(capacity=3, datagram_size=100, headroom=60, portable=portable)
    endpoint, sender = Endpoint(ports()), ports()
    batch.buffer[:] = b"\xee" * len(batch.buffer)
    for _ in range(3):
        sender.sendto(b"x" * 5_000, address_of(endpoint.socket))
    assert len(batch.receive(endpoint)) == 3
    for start in batch.starts:
        assert batch.buffer[start - 60 : start] == b"\xee" * 60
        assert batch.buffer[start + 101 : start + 104] == b"\xee" * 3


def test_receiving_from_a_later_slot_leaves_the_earlier_ones(
    batch: DatagramBatch, ports: Ports
) -> None:
    first, second, sender = Endpoint(ports()), Endpoint(ports()), ports()
    sender.sendto(b"first", address_of(first.socket))
    sender.sendto(b"second", address_of(second.socket))
    sender.sendto(b"third", address_of(second.socket))
    assert batch.receive(first) == [5]
    assert batch.receive(second, 1) == [6, 5]
    for index, data in enumerate((b"first", b"second", b"third")):
        start = batch.starts[index]
        assert batch.buffer[start : start + len(data)] == data
        assert sockaddr.unpack(batch.sender(first, index)) == address_of(sender)


def test_a_datagram_is_sent_from_where_it_was_received(batch: DatagramBatch, ports: Ports) -> None:
    endpoint, sender, target = Endpoint(ports()), ports(), ports()
    sender.sendto(b"head:body", address_of(endpoint.socket))
    assert batch.receive(endpoint) == [9]
    packet = (batch.starts[0] + 5, 4, sockaddr.pack(address_of(target)))
    assert not batch.send(endpoint, [packet])
    assert target.recv(100) == b"body"


@pytest.mark.parametrize("clients", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_slots_are_sent_back_to_who_they_came_from(
    batch: DatagramBatch,
    ports: Ports,
    family: socket.AddressFamily,
    count: int,
    clients: int,
) -> None:
    endpoint, senders = Endpoint(ports(family)), [ports(family) for _ in range(clients)]
    for number in range(count):
        data = bytes([number]) * 9
        senders[number % clients].sendto(data, address_of(endpoint.socket))
    assert batch.receive(endpoint) == [9] * count
    assert not batch.send_back(endpoint, count, 8)
    for number in range(count):
        assert senders[number % clients].recv(100) == bytes([number]) * 8
    assert batch.receive(endpoint) == []


def test_what_can_not_be_sent_back_is_told_by_its_place(batch: DatagramBatch, ports: Ports) -> None:
    endpoint, sender = Endpoint(ports()), ports()
    for _ in range(3):
        sender.sendto(b"data", address_of(endpoint.socket))
    assert batch.receive(endpoint) == [4] * 3
    batch.names[16][batch.name_slices[16][1]] = sockaddr.pack(Address("127.0.0.1", 0))
    assert list(batch.send_back(endpoint, 3, 4)) == [1]
    assert [sender.recv(10) for _ in range(2)] == [b"data"] * 2


@pytest.fixture(
    params=[pytest.param("ring", marks=LINUX), pytest.param("no ring", marks=LINUX), "portable"]
)
def spreading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> DatagramBatch:
    """A batch that sends from many sockets; on Linux with the help of a ring or without."""
    if request.param == "no ring":
        monkeypatch.setattr(linux_batch, "send_ring", lambda _capacity, _flags: None)
    return datagram_batch(portable=request.param == "portable")


@pytest.mark.parametrize("count", [0, 1, 2, 7, CAPACITY])
def test_each_packet_leaves_from_an_endpoint_of_its_own(
    spreading: DatagramBatch, ports: Ports, family: socket.AddressFamily, count: int
) -> None:
    endpoints, target = [Endpoint(ports(family)) for _ in range(3)], ports(family)
    name = sockaddr.pack(address_of(target))
    packets, senders, expected = [], [], []
    for number, start in enumerate(spreading.starts[:count]):
        spreading.buffer[start : start + 4] = bytes([number]) * 4
        packets.append((start + 1, 3, name))
        # In turn, and then two of one endpoint after another.
        senders.append(endpoints[number % 3 if number < 5 else number // 2 % 3])
        expected.append((bytes([number]) * 3, address_of(senders[-1].socket)))
    assert not spreading.send_from_each(senders, packets)
    got = [target.recvfrom(100) for _ in range(count)]
    assert [(data, Address(*source[:2])) for data, source in got] == expected


def test_what_one_endpoint_can_not_send_is_told_by_its_place(
    spreading: DatagramBatch, ports: Ports
) -> None:
    endpoints, target = [Endpoint(ports()) for _ in range(3)], ports()
    good = sockaddr.pack(address_of(target))
    nowhere = sockaddr.pack(Address("127.0.0.1", 0))
    spreading.buffer[spreading.starts[0]] = 7
    packets = [
        (
            spreading.starts[0],
            65_520 if number == 5 else 1,
            nowhere if number in (1, 2, 6) else good,
        )
        for number in range(9)
    ]
    senders = [endpoints[number // 2 % 3] for number in range(9)]
    assert list(spreading.send_from_each(senders, packets)) == [1, 2, 5, 6]
    sources = [target.recvfrom(10)[1] for _ in range(5)]
    assert sources == [senders[number].socket.getsockname() for number in (0, 3, 4, 7, 8)]
    # What could not be sent is not sent with what comes next.
    assert not spreading.send_from_each(senders, [packets[0]] * 9)
    assert len([target.recv(10) for _ in range(9)]) == 9
    target.setblocking(False)
    with pytest.raises(BlockingIOError):
        target.recv(10)


def test_an_error_of_an_earlier_packet_costs_none_of_another(
    spreading: DatagramBatch, ports: Ports
) -> None:
    sockets, target = [ports() for _ in range(9)], ports()
    for sock in sockets:
        sock.connect(closed_port(ports))
        sock.send(b"to nobody")
        wait_for_icmp_error(sock)
    endpoints = [Endpoint(sock) for sock in sockets]
    packet = (spreading.starts[0], 1, sockaddr.pack(address_of(target)))
    assert not spreading.send_from_each(endpoints, [packet] * 9)
    assert len([target.recv(10) for _ in range(9)]) == 9


def test_an_endpoint_that_is_closed_is_an_error_not_a_loss(
    spreading: DatagramBatch, ports: Ports
) -> None:
    endpoints, target = [Endpoint(ports()) for _ in range(9)], ports()
    packet = (spreading.starts[0], 1, sockaddr.pack(address_of(target)))
    assert not spreading.send_from_each(endpoints, [packet] * 9)
    endpoints[1].socket.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        spreading.send_from_each(endpoints, [packet] * 9)


def test_a_column_is_a_number_of_each_slot(batch: DatagramBatch) -> None:
    column = batch.column("I", 4)
    assert len(column) == batch.capacity
    for index, start in enumerate(batch.starts):
        batch.buffer[start + 4 : start + 8] = index.to_bytes(4, sys.byteorder)
    assert column.tolist() == list(range(batch.capacity))
    column[3] = 7
    assert batch.buffer[batch.starts[3] + 4 : batch.starts[3] + 8] == (7).to_bytes(4, sys.byteorder)
    with pytest.raises(MisuseError, match="8 bytes at 4 are not aligned"):
        batch.column("Q", 4)


def test_more_than_the_capacity_is_never_sent_at_once(portable: bool, ports: Ports) -> None:
    batch = datagram_batch(capacity=2, portable=portable)
    packet = (0, 0, sockaddr.pack(Address("127.0.0.1", 9)))
    with pytest.raises(MisuseError, match="3 packets in a batch of 2"):
        batch.send(Endpoint(ports()), [packet] * 3)


def test_what_can_not_be_sent_is_skipped_and_told_by_its_place(
    batch: DatagramBatch, ports: Ports
) -> None:
    endpoint, target = Endpoint(ports()), ports()
    start = batch.starts[0]
    good = sockaddr.pack(address_of(target))
    # Port 0 and the broadcast address are refused; IPv4 carries no payload this long.
    no_port = sockaddr.pack(Address("127.0.0.1", 0))
    broadcast = sockaddr.pack(Address("255.255.255.255", 9))
    packets = [
        (start, 1, no_port),
        (start, 1, good),
        (start, 65_520, good),
        (start, 2, good),
        (start, 1, broadcast),
    ]
    assert list(batch.send(endpoint, packets)) == [0, 2, 4]
    assert [len(target.recv(10)) for _ in range(2)] == [1, 2]
    assert not batch.send(endpoint, [])
    assert list(batch.send(endpoint, [(start, 1, no_port), (start, 3, good)])) == [0]
    assert len(target.recv(10)) == 3


def test_a_packet_alone_is_sent_like_one_of_a_batch(batch: DatagramBatch, ports: Ports) -> None:
    endpoint, sender, target = Endpoint(ports()), ports(), ports()
    name = sockaddr.pack(address_of(target))
    sender.sendto(b"head:body", address_of(endpoint.socket))
    assert batch.receive(endpoint) == [9]
    assert batch.send_one(endpoint, batch.starts[0] + 5, 4, name)
    assert target.recv(100) == b"body"
    assert not batch.send_one(endpoint, batch.starts[0], 65_520, name)
    endpoint.socket.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        batch.send_one(endpoint, batch.starts[0], 1, name)


def wait_for_icmp_error(sock: socket.socket) -> None:
    """Return once the error is pending: a busy kernel brings it later than the send returns."""
    errors = select.poll()
    errors.register(sock, 0)
    assert errors.poll(20_000) == [(sock.fileno(), select.POLLERR)]


def test_icmp_errors_of_a_connected_socket_do_not_stop_it(
    batch: DatagramBatch, ports: Ports
) -> None:
    sock, peer = ports(), ports()
    nobody = closed_port(ports)
    sock.connect(nobody)
    sock.send(b"to nobody")
    waiting = DatagramSocket(sock, batch)
    wait_for_icmp_error(sock)
    assert waiting.receive() == []
    sock.send(b"to nobody")
    wait_for_icmp_error(sock)
    waiting.send([(b"to nobody", nobody)])
    assert waiting.unsent == 0
    sock.connect(address_of(peer))
    peer.sendto(b"hello", waiting.local)
    assert waiting.receive() == [(b"hello", address_of(peer))]


def test_a_pending_icmp_error_costs_no_datagram_of_the_batch(
    batch: DatagramBatch, ports: Ports
) -> None:
    sock, target = ports(), ports()
    sock.connect(closed_port(ports))
    sock.send(b"to nobody")
    wait_for_icmp_error(sock)
    endpoint = Endpoint(sock)
    for index in range(4):
        batch.buffer[batch.starts[index]] = index
    name = sockaddr.pack(address_of(target))
    assert list(batch.send(endpoint, [(start, 1, name) for start in batch.starts[:4]])) == []
    assert [target.recv(10)[0] for _ in range(4)] == [0, 1, 2, 3]


@pytest.fixture
def sends_until_full(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes both ways of sending let two datagrams go and then find the buffer full.

    Loopback delivers at once, so its send buffers never fill by themselves.
    """
    calls: list[int] = []

    def send_many(_: int, __: int, count: int, ___: int) -> int:
        calls.append(count)
        return 2 if len(calls) == 1 else -1

    def send_one(_: socket.socket, data: memoryview, __: sockaddr.PythonAddress) -> int:
        calls.append(1)
        if len(calls) > 2:
            raise BlockingIOError(errno.EAGAIN, "full")
        return len(data)

    monkeypatch.setattr(linux_batch, "sendmmsg", send_many)
    monkeypatch.setattr(linux_batch, "last_error", lambda: errno.EAGAIN)
    monkeypatch.setattr(socket.socket, "sendto", send_one)
    return calls


def test_a_full_send_buffer_drops_the_rest_without_trying(
    batch: DatagramBatch, ports: Ports, portable: bool, sends_until_full: list[int]
) -> None:
    name = sockaddr.pack(Address("127.0.0.1", 9))
    packets = [(batch.starts[0], size, name) for size in range(5)]
    assert list(batch.send(Endpoint(ports()), packets)) == [2, 3, 4]
    assert sends_until_full == ([1, 1, 1] if portable else [5, 3])


def test_a_closed_socket_is_an_error_not_a_loss(batch: DatagramBatch, ports: Ports) -> None:
    sock = ports()
    endpoint = Endpoint(sock)
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        batch.receive(endpoint)
    packet = (batch.starts[0], 1, sockaddr.pack(Address("127.0.0.1", 9)))
    with pytest.raises(OSError, match="Bad file descriptor"):
        batch.send(endpoint, [packet])


def test_an_address_of_the_other_family_is_misuse(batch: DatagramBatch, ports: Ports) -> None:
    sock = DatagramSocket(ports(), batch)
    with pytest.raises(MisuseError, match=r"can't send to \[::1\]:9"):
        sock.send([(b"data", Address("::1", 9))])


def test_an_oversized_datagram_is_counted_as_unsent(portable: bool, ports: Ports) -> None:
    batch = datagram_batch(datagram_size=100, portable=portable)
    sender, receiver = DatagramSocket(ports(), batch), ports()
    target = address_of(receiver)
    sender.send([(b"x" * 101, target), (b"y" * 100, target)])
    assert receiver.recv(200) == b"y" * 100
    assert sender.unsent == 1


def test_the_socket_is_made_non_blocking(batch: DatagramBatch, ports: Ports) -> None:
    sock = ports()
    sock.setblocking(True)
    wrapped = DatagramSocket(sock, batch)
    assert not sock.getblocking()
    assert wrapped.fileno() == sock.fileno()
    wrapped.close()
    assert sock.fileno() == -1


def test_slots_of_full_size_touch_memory_only_where_datagrams_fall(portable: bool) -> None:
    before = resident_kilobytes()
    batch = datagram_batch(capacity=1_024, portable=portable)
    assert len(batch.buffer) > 64 << 20
    assert resident_kilobytes() - before < 8 << 10


def resident_kilobytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") // 1024


@pytest.mark.skipif(not libc.HAVE_MMSG, reason="Linux's structures")
def test_the_structures_have_the_layout_of_this_platform() -> None:
    expected = {8: 64, 4: 32}[ctypes.sizeof(ctypes.c_void_p)]
    vector = libc.MessageVector(3, {16: 4096, 28: 8192})
    first, second, third = (header.value or 0 for header in vector.headers[28])
    assert third - second == second - first == expected
    name, size = struct.unpack_from("PI", ctypes.string_at(third, expected))
    assert (name, size) == (8192 + 2 * 28, 28)
