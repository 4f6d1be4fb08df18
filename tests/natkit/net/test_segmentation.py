import errno
import random
import socket
from collections.abc import Callable, Iterator

import pytest

from natkit.address import Address
from natkit.net import libc, linux_batch, sockaddr
from natkit.net.batch import CAPACITY, DatagramBatch, Endpoint, Packet, datagram_batch
from natkit.net.segmentation import (
    LARGEST_SEGMENT,
    LONGEST_RUN,
    MOST_SEGMENTS,
    can_segment,
    run_starts,
)

pytestmark = pytest.mark.skipif(not libc.HAVE_MMSG, reason="Linux")

HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class Rig:
    """Two receivers, a socket to send from, and what it asked of the kernel."""

    def __init__(self, family: socket.AddressFamily) -> None:
        self.batch: DatagramBatch = datagram_batch()
        self.sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(3)]
        for sock in self.sockets:
            sock.bind((HOSTS[family], 0))
            sock.settimeout(5)
        self.endpoint = Endpoint(self.sockets[0])
        self.receivers = self.sockets[1:]
        self.names = [sockaddr.pack(Address(*sock.getsockname()[:2])) for sock in self.receivers]

    def packets(self, *sizes: int, receiver: int = 0) -> list[Packet]:
        """Packets of these sizes, each filled with its place."""
        made = []
        for place, size in enumerate(sizes):
            start = self.batch.starts[place]
            self.batch.buffer[start : start + size] = bytes([place]) * size
            made.append((start, size, self.names[receiver]))
        return made

    def received(self, count: int, receiver: int = 0) -> list[tuple[int, int]]:
        """Place and size of each of so many."""
        data = [self.receivers[receiver].recv(65_535) for _ in range(count)]
        assert all(len(set(each)) == 1 for each in data)
        return [(each[0], len(each)) for each in data]


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = Rig(socket.AddressFamily(request.param))
    yield rig
    for sock in rig.sockets:
        sock.close()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many messages each call of the kernel had."""
    calls: list[int] = []

    def counted(descriptor: int, headers: libc.Headers, count: int, flags: int) -> int:
        calls.append(count)
        return libc.sendmmsg(descriptor, headers, count, flags)

    monkeypatch.setattr(linux_batch, "sendmmsg", counted)
    return calls


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has the kernel refuse the next call with an error, and take those that follow."""

    def refuse(error: int) -> None:
        real, refused = libc.sendmmsg, iter([True])

        def once(descriptor: int, headers: libc.Headers, count: int, flags: int) -> int:
            return -1 if next(refused, False) else real(descriptor, headers, count, flags)

        monkeypatch.setattr(linux_batch, "sendmmsg", once)
        monkeypatch.setattr(linux_batch, "last_error", lambda: error)

    return refuse


def test_this_kernel_cuts_datagrams() -> None:
    assert can_segment()


def test_datagrams_alike_leave_as_one_message_and_arrive_as_they_were(
    rig: Rig, calls: list[int]
) -> None:
    assert not rig.batch.send(rig.endpoint, rig.packets(*[172] * CAPACITY))
    assert calls == [1]
    assert rig.received(CAPACITY) == [(place, 172) for place in range(CAPACITY)]


def test_a_run_ends_where_size_or_receiver_changes(rig: Rig, calls: list[int]) -> None:
    sizes = [*[10] * 12, *[20] * 6, 10, 0, 0]
    packets = rig.packets(*sizes, 10)
    packets[-1] = (*packets[-1][:2], rig.names[1])
    assert not rig.batch.send(rig.endpoint, packets)
    assert calls == [6]
    assert [rig.receivers[0].recv(100) for _ in sizes] == [
        bytes([place]) * size for place, size in enumerate(sizes)
    ]
    assert rig.received(1, receiver=1) == [(len(sizes), 10)]


def test_runs_too_short_to_gain_by_are_left_alone(rig: Rig, calls: list[int]) -> None:
    assert not rig.batch.send(rig.endpoint, rig.packets(10, 10, 20, 20))
    assert calls == [4]
    assert rig.received(4) == [(0, 10), (1, 10), (2, 20), (3, 20)]


def test_a_batch_after_one_of_runs_has_nothing_left_of_them(rig: Rig) -> None:
    assert not rig.batch.send(rig.endpoint, rig.packets(50, 50, 50, 60, 60, 60))
    assert len(rig.received(6)) == 6
    assert not rig.batch.send(rig.endpoint, rig.packets(1, 2, 3))
    assert rig.received(3) == [(0, 1), (1, 2), (2, 3)]
    assert not rig.batch.send(rig.endpoint, rig.packets(7, 8, 8, 8, 8, 8))
    assert rig.received(6) == [(0, 7), *((place, 8) for place in range(1, 6))]


@pytest.mark.parametrize("error", [errno.EINVAL, errno.EIO, errno.EMSGSIZE])
def test_a_way_that_takes_no_runs_gets_each_datagram_by_itself_from_then_on(
    rig: Rig, refusing: Callable[[int], None], error: int
) -> None:
    refusing(error)
    assert not rig.batch.send(rig.endpoint, rig.packets(*[100] * 5))
    assert rig.received(5) == [(place, 100) for place in range(5)]
    assert not rig.endpoint.segments


def test_an_error_of_an_earlier_datagram_says_nothing_about_runs(
    rig: Rig, refusing: Callable[[int], None]
) -> None:
    refusing(errno.ECONNREFUSED)
    assert not rig.batch.send(rig.endpoint, rig.packets(*[100] * 5))
    assert rig.received(5) == [(place, 100) for place in range(5)]
    assert rig.endpoint.segments


def test_where_the_socket_takes_no_runs_none_are_tried(rig: Rig, calls: list[int]) -> None:
    rig.endpoint.segments = False
    assert not rig.batch.send(rig.endpoint, rig.packets(*[100] * 5))
    assert calls == [5]
    assert len(rig.received(5)) == 5


def test_what_fails_within_runs_is_told_by_its_place(rig: Rig) -> None:
    packets = rig.packets(*[10] * 12)
    nowhere = rig.names[0][:2] + bytes(2) + rig.names[0][4:]
    packets[4:8] = [(*packet[:2], nowhere) for packet in packets[4:8]]
    assert list(rig.batch.send(rig.endpoint, packets)) == [4, 5, 6, 7]
    assert rig.received(8) == [(place, 10) for place in (0, 1, 2, 3, 8, 9, 10, 11)]


def test_no_run_is_longer_than_the_kernel_takes() -> None:
    names = [bytes(16)] * 200
    longest = run_starts([LARGEST_SEGMENT] * 200, names)
    ends = [*longest[1:], 200]
    assert max(b - a for a, b in zip(longest, ends, strict=True)) == LONGEST_RUN // LARGEST_SEGMENT
    assert run_starts([8] * 200, names) == [0, MOST_SEGMENTS, 2 * MOST_SEGMENTS, 192]


def test_what_may_not_fit_a_link_is_no_part_of_a_run() -> None:
    assert run_starts([LARGEST_SEGMENT + 1] * 3, [bytes(16)] * 3) == [0, 1, 2]


def test_random_batches_arrive_as_they_were(rig: Rig) -> None:
    chosen = random.Random(8_656)
    for _ in range(100):
        sizes = [chosen.choice([1, 172, 172, LARGEST_SEGMENT]) for _ in range(CAPACITY)]
        packets = [
            (start, size, rig.names[chosen.random() < 0.3])
            for start, size, _ in rig.packets(*sizes)
        ]
        assert not rig.batch.send(rig.endpoint, packets)
        for receiver, name in enumerate(rig.names):
            expected = [(place, size) for place, (_, size, to) in enumerate(packets) if to == name]
            assert rig.received(len(expected), receiver) == expected
