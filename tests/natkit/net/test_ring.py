import errno
import gc
import mmap
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.net import libc, ring, sockaddr
from natkit.net.batch import Endpoint, datagram_batch
from natkit.net.ring import SendRing, send_ring

CAPACITY = 8
NOWHERE = sockaddr.pack(Address("127.0.0.1", 0))


class Street:
    """Senders and a receiver, and headers for a ring in which each sender has one byte to send."""

    def __init__(self, made: SendRing) -> None:
        self.ring = made
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(9)]
        for sock in self.sockets:
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(5)
        self.target = self.sockets.pop()
        self.name = sockaddr.from_python(self.target.getsockname())
        self.batch = datagram_batch(capacity=CAPACITY)
        self.endpoints = [Endpoint(sock) for sock in self.sockets]

    def send(self, count: int, *bad: int) -> list[tuple[int, int]]:
        """Have as many senders send their places, some of them to nowhere."""
        packets = []
        for place, start in enumerate(self.batch.starts[:count]):
            self.batch.buffer[start] = place
            packets.append((start, 1, NOWHERE if place in bad else self.name))
        self.batch._describe(packets)  # type: ignore[attr-defined]
        names = b"".join([name for _, _, name in packets])
        self.batch._destinations[16][: len(names)] = names  # type: ignore[attr-defined]
        headers = self.batch._outgoing.headers[16]  # type: ignore[attr-defined]
        descriptors = [endpoint.descriptor for endpoint in self.endpoints[:count]]
        return list(self.ring.send(descriptors, headers))

    def received(self, count: int) -> list[int]:
        return [self.target.recv(10)[0] for _ in range(count)]

    @property
    def is_empty(self) -> bool:
        self.target.setblocking(False)
        try:
            self.target.recv(10)
        except BlockingIOError:
            return True
        finally:
            self.target.settimeout(5)
        return False


def rings() -> int:
    """Descriptors of rings that this process has."""
    links = [each.readlink() for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    return sum("io_uring" in str(link) for link in links)


@pytest.fixture
def street() -> Iterator[Street]:
    made = send_ring(CAPACITY, socket.MSG_DONTWAIT) if libc.HAVE_MMSG else None
    if made is None:
        pytest.skip("this system gives no ring")
    street = Street(made)
    yield street
    for sock in (*street.sockets, street.target):
        sock.close()


def test_each_message_leaves_from_its_socket_however_often_the_ring_went_round(
    street: Street,
) -> None:
    for turn in range(50):
        count = turn % CAPACITY + 1
        assert street.send(count) == []
        assert street.received(count) == list(range(count))
    assert street.is_empty


def test_failures_are_told_by_place_and_reason(street: Street) -> None:
    for _ in range(5):
        assert street.send(CAPACITY, 0, 3, 7) == [
            (0, errno.EINVAL),
            (3, errno.EINVAL),
            (7, errno.EINVAL),
        ]
        assert street.received(5) == [1, 2, 4, 5, 6]


def test_every_message_may_fail_for_a_long_time(street: Street) -> None:
    for _ in range(20):
        assert len(street.send(CAPACITY, *range(CAPACITY))) == CAPACITY
    assert street.send(2) == []
    assert street.received(2) == [0, 1]


@pytest.mark.parametrize("taken", [-1, 0, 3])
def test_what_the_system_does_not_take_is_told_and_never_sent_later(
    street: Street, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    real = libc.enter_ring

    def takes_few(descriptor: int, _count: int) -> int:
        return real(descriptor, taken) if taken > 0 else taken

    monkeypatch.setattr(ring, "enter_ring", takes_few)
    untried = range(max(taken, 0), CAPACITY)
    assert street.send(CAPACITY) == [(place, 0) for place in untried]
    monkeypatch.undo()
    assert street.send(2) == []
    assert street.received(max(taken, 0) + 2) == [*range(max(taken, 0)), 0, 1]
    assert street.is_empty


@pytest.mark.skipif(not libc.HAVE_MMSG, reason="Linux")
class TestWithout:
    def test_a_system_that_gives_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ring, "set_up_ring", lambda _: None)
        assert send_ring(CAPACITY, 0) is None

    @pytest.mark.usefixtures("street")
    def test_a_kernel_that_reports_every_success(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = libc.set_up_ring
        made = []

        def old(entries: int) -> libc.RingPlaces | None:
            places = real(entries)
            assert places is not None
            made.append(places.descriptor)
            return replace(places, features=places.features & ~(1 << 11))

        monkeypatch.setattr(ring, "set_up_ring", old)
        assert send_ring(CAPACITY, 0) is None
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(made[0])

    @pytest.mark.usefixtures("street")
    def test_a_process_that_may_open_nothing_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_more(*_: int) -> mmap.mmap:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(ring, "_map", no_more)
        gc.collect()
        before = rings()
        assert send_ring(CAPACITY, 0) is None
        gc.collect()
        assert rings() == before

    def test_a_call_that_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(libc, "_system_call", lambda *_: -1)
        assert libc.set_up_ring(CAPACITY) is None
        assert libc.enter_ring(0, 1) == -1


@pytest.mark.usefixtures("street")
def test_a_ring_that_nobody_needs_any_more_leaves_nothing_open() -> None:
    gc.collect()
    before = rings()
    made = send_ring(CAPACITY, 0)
    assert rings() > before
    del made
    gc.collect()
    assert rings() == before
