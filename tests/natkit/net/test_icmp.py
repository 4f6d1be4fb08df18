import errno
import select
import socket
from collections.abc import Iterator

import pytest

from natkit.net import icmp, sockaddr
from natkit.net.batch import Endpoint, datagram_batch
from natkit.net.icmp import IcmpError

pytestmark = pytest.mark.skipif(not icmp.CAN_REPORT, reason="Linux")

FAMILIES = [
    pytest.param(socket.AF_INET, "127.0.0.1", (3, 3), id="ipv4"),
    pytest.param(socket.AF_INET6, "::1", (1, 4), id="ipv6"),
]
FOREVER = 1 << 20


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    for sock in opened:
        sock.close()


def bound(sockets: list[socket.socket], family: socket.AddressFamily, host: str) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sockets.append(sock)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock


def name_of(sock: socket.socket) -> bytes:
    return sockaddr.from_python(sock.getsockname())


def closed_port(family: socket.AddressFamily, host: str) -> bytes:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        return name_of(sock)


@pytest.mark.parametrize(("family", "host", "unreachable"), FAMILIES)
def test_a_closed_port_is_told_with_the_address_that_was_sent_to(
    sockets: list[socket.socket],
    family: socket.AddressFamily,
    host: str,
    unreachable: tuple[int, int],
) -> None:
    sock = bound(sockets, family, host)
    icmp.report(sock)
    closed = closed_port(family, host)
    sock.sendto(b"hello", sockaddr.to_python(closed))
    with select.epoll() as epoll:
        epoll.register(sock, select.EPOLLIN)
        assert epoll.poll(0) == [(sock.fileno(), select.EPOLLERR)]
        assert list(icmp.take(sock, FOREVER)) == [IcmpError(closed, *unreachable, 0)]
        assert epoll.poll(0) == []


def test_a_socket_that_did_not_ask_is_told_nothing(sockets: list[socket.socket]) -> None:
    sock = bound(sockets, socket.AF_INET, "127.0.0.1")
    sock.sendto(b"hello", sockaddr.to_python(closed_port(socket.AF_INET, "127.0.0.1")))
    assert list(icmp.take(sock, FOREVER)) == []


def test_no_more_errors_are_taken_than_was_said(sockets: list[socket.socket]) -> None:
    sock = bound(sockets, socket.AF_INET, "127.0.0.1")
    icmp.report(sock)
    closed = sockaddr.to_python(closed_port(socket.AF_INET, "127.0.0.1"))
    for _ in range(5):
        icmp.send_to(sock, b"hello", closed)
    assert [len(list(icmp.take(sock, 3))) for _ in range(3)] == [3, 2, 0]


@pytest.mark.parametrize(("family", "host", "unreachable"), FAMILIES)
def test_an_error_keeps_no_later_datagram_from_being_sent(
    sockets: list[socket.socket],
    family: socket.AddressFamily,
    host: str,
    unreachable: tuple[int, int],
) -> None:
    sock, peer = (bound(sockets, family, host) for _ in range(2))
    icmp.report(sock)
    closed = sockaddr.to_python(closed_port(family, host))
    for number in range(3):
        icmp.send_to(sock, b"lost", closed)
        icmp.send_to(sock, bytes([number]), sockaddr.to_python(name_of(peer)))
    assert [peer.recv(10) for _ in range(3)] == [b"\0", b"\1", b"\2"]


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("count", [1, 2, 40])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_batch_that_meets_errors_loses_nothing_else(
    sockets: list[socket.socket], portable: bool, count: int, at_once: bool
) -> None:
    sock, peer = (bound(sockets, socket.AF_INET, "127.0.0.1") for _ in range(2))
    icmp.report(sock)
    closed = closed_port(socket.AF_INET, "127.0.0.1")
    batch = datagram_batch(portable=portable)
    endpoint = Endpoint(sock)
    packets = []
    for place in range(count):
        start = batch.starts[place]
        batch.buffer[start : start + 1] = bytes([place])
        packets.append((start, 1, closed if place % 2 else name_of(peer)))
    # The socket has an error already.
    sock.sendto(b"lost", sockaddr.to_python(closed))
    if at_once:
        assert list(batch.send(endpoint, packets)) == []
    else:
        assert all(batch.send_one(endpoint, *packet) for packet in packets)
    assert [peer.recv(10)[0] for _ in range(0, count, 2)] == list(range(0, count, 2))


def test_what_can_never_be_sent_still_fails(sockets: list[socket.socket]) -> None:
    sock = bound(sockets, socket.AF_INET, "127.0.0.1")
    with pytest.raises(OSError, match=r".*") as failed:
        icmp.send_to(sock, bytes(65_508), ("127.0.0.1", 9))
    assert failed.value.errno == errno.EMSGSIZE
