"""Datagram sockets under the driver, on the real loopback."""

import asyncio
import errno
import itertools
import socket
from collections.abc import AsyncIterator

import pytest

from natkit.address import Address
from natkit.aio.driver import Driver
from natkit.aio.system_errors import is_address_in_use
from natkit.aio.udp import DatagramSockets, bind_udp, source_address
from natkit.errors import UnreachableError
from natkit.machine import CloseSocket, Failure, OpenSocket, Path, Transmit, Transport
from tests.natkit.aio.machines import Answered, Event, Heard, Inbox, Result, Scripted

HOSTS = ("127.0.0.1", "::1")


class End:
    """A machine on sockets of its own."""

    def __init__(self, machine: Scripted) -> None:
        self.machine = machine
        self.inbox = Inbox()
        self.sockets = DatagramSockets()
        self.driver: Driver[Event, Result] = Driver(machine, self.inbox, datagrams=self.sockets)


@pytest.fixture
async def end() -> AsyncIterator[End]:
    """A machine that sends every message back in capitals."""
    made = End(Scripted(reply=bytes.upper))
    yield made
    await made.driver.aclose()


def plain_socket(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((host, 0))
    return sock


def address_of(sock: socket.socket) -> Address:
    return Address(*sock.getsockname()[:2])


async def receive(sock: socket.socket) -> bytes:
    async with asyncio.timeout(20):
        return await asyncio.get_running_loop().sock_recv(sock, 65536)


@pytest.mark.parametrize("host", HOSTS)
async def test_a_datagram_arrives_with_its_exact_path_and_is_answered(end: End, host: str) -> None:
    local = end.sockets.open(Address(host, 0))
    assert local.port != 0
    with plain_socket(host) as peer:
        peer.sendto(b"hello", local)
        assert await receive(peer) == b"HELLO"
        assert end.inbox.events == [Heard(b"hello", Path(Transport.UDP, local, address_of(peer)))]


async def test_a_machine_opens_its_socket_by_a_request_and_closes_it(end: End) -> None:
    end.driver.run(end.machine.emit(OpenSocket(1, Address("127.0.0.1", 0))))
    (answered,) = end.inbox.events
    assert isinstance(answered, Answered)
    assert isinstance(answered.result, Address)
    local = answered.result
    with pytest.raises(UnreachableError, match=f"cannot bind UDP {local}: address already in use"):
        bind_udp(local)
    end.driver.run(end.machine.emit(CloseSocket(local)))
    bind_udp(local).close()


async def test_what_was_sent_before_a_socket_closes_still_leaves(end: End) -> None:
    local = end.sockets.open(Address("127.0.0.1", 0))
    with plain_socket("127.0.0.1") as peer:
        path = Path(Transport.UDP, local, address_of(peer))

        def farewell(_: float) -> None:
            end.machine.outgoing.append(Transmit(b"bye", path))
            end.machine.events.append(CloseSocket(local))

        end.driver.run(farewell)
        assert await receive(peer) == b"bye"


async def test_a_taken_address_is_a_failure_that_says_so(end: End) -> None:
    with plain_socket("127.0.0.1") as holder:
        taken = address_of(holder)
        end.driver.run(end.machine.emit(OpenSocket(1, taken)))
    (answered,) = end.inbox.events
    assert answered == Answered(
        1, Failure(f"cannot bind UDP {taken}: address already in use", address_in_use=True)
    )


async def test_an_address_of_another_machine_is_a_failure(end: End) -> None:
    # RFC 5737: nobody has it.
    end.driver.run(end.machine.emit(OpenSocket(1, Address("192.0.2.1", 0))))
    (answered,) = end.inbox.events
    assert answered == Answered(
        1, Failure("cannot bind UDP 192.0.2.1:0: cannot assign requested address")
    )


async def test_a_thousand_datagrams_all_arrive_in_order(end: End) -> None:
    local = end.sockets.open(Address("127.0.0.1", 0))
    with plain_socket("127.0.0.1") as peer:
        for first in range(0, 1000, 100):
            for number in range(first, first + 100):
                peer.sendto(b"n%d" % number, local)
            await end.inbox.wait(first + 100)
    heard = [each.data for each in end.inbox.events if isinstance(each, Heard)]
    assert heard == [b"n%d" % number for number in range(1000)]


async def test_a_flood_on_one_socket_leaves_the_loop_to_others(end: End) -> None:
    local = end.sockets.open(Address("127.0.0.1", 0))
    progress: list[int] = []
    loop = asyncio.get_running_loop()
    with plain_socket("127.0.0.1") as peer:
        for number in range(200):
            peer.sendto(b"%d" % number, local)

        def look() -> None:
            progress.append(len(end.inbox.events))
            if progress[-1] < 200:
                loop.call_soon(look)

        look()
        await end.inbox.wait(200)
    steps = {after - before for before, after in itertools.pairwise(progress)}
    assert max(steps) <= 64


async def test_icmp_errors_neither_raise_nor_stop_the_socket(end: End) -> None:
    local = end.sockets.open(Address("127.0.0.1", 0))
    with plain_socket("127.0.0.1") as gone:
        nobody = address_of(gone)
    with plain_socket("127.0.0.1") as peer:
        end.driver.run(
            end.machine.send(
                *(Transmit(b"lost", Path(Transport.UDP, local, nobody)) for _ in range(3)),
                Transmit(b"kept", Path(Transport.UDP, local, address_of(peer))),
            )
        )
        assert await receive(peer) == b"kept"
        peer.sendto(b"hello", local)
        assert await receive(peer) == b"HELLO"


async def test_a_datagram_that_cannot_be_sent_loses_only_itself(end: End) -> None:
    local = end.sockets.open(Address("127.0.0.1", 0))
    with plain_socket("127.0.0.1") as peer:
        path = Path(Transport.UDP, local, address_of(peer))
        wrong_family = Path(Transport.UDP, local, Address("::1", 9))
        not_ours = Path(Transport.UDP, Address("127.0.0.1", 1), address_of(peer))
        end.driver.run(
            end.machine.send(
                Transmit(bytes(65_530), path),
                Transmit(b"family", wrong_family),
                Transmit(b"socket", not_ours),
                Transmit(b"kept", path),
            )
        )
        assert await receive(peer) == b"kept"


async def test_the_longest_datagram_passes_whole(end: End) -> None:
    local = end.sockets.open(Address("127.0.0.1", 0))
    data = bytes(range(256)) * 255 + b"end"
    with plain_socket("127.0.0.1") as peer:
        peer.sendto(data, local)
        assert await receive(peer) == data.upper()


async def test_a_socket_that_a_datagram_closes_delivers_no_more() -> None:
    closer = End(Scripted())
    local = closer.sockets.open(Address("127.0.0.1", 0))

    def on_event(event: Event) -> None:
        closer.inbox(event)
        closer.driver.run(closer.machine.emit(CloseSocket(local)))

    closer.driver = Driver(closer.machine, on_event, datagrams=closer.sockets)
    with plain_socket("127.0.0.1") as peer:
        for _ in range(10):
            peer.sendto(b"x", local)
        await closer.inbox.wait()
        # What came with it in one batch was dropped: the address is free again, and nothing waits.
        bind_udp(local).close()
        assert len(closer.inbox.events) == 1
    await closer.driver.aclose()


async def test_datagrams_that_came_before_the_driver_wait_for_it() -> None:
    sockets = DatagramSockets()
    local = sockets.open(Address("127.0.0.1", 0))
    inbox = Inbox()
    with plain_socket("127.0.0.1") as peer:
        peer.sendto(b"early", local)
        await asyncio.sleep(0)
        driver: Driver[Event, Result] = Driver(Scripted(), inbox, datagrams=sockets)
        (heard,) = await inbox.wait()
        assert isinstance(heard, Heard)
        assert heard.data == b"early"
        await driver.aclose()


async def test_closing_frees_the_address(end: End) -> None:
    local = end.sockets.open(Address("127.0.0.1", 0))
    await end.driver.aclose()
    bind_udp(local).close()


def test_source_address_is_that_of_the_route_and_nothing_is_sent() -> None:
    assert source_address(Address("127.0.0.1", 3478)) == Address("127.0.0.1", 0)
    assert source_address(Address("::1", 3478)) == Address("::1", 0)


def test_source_address_without_a_route_is_unreachable() -> None:
    with pytest.raises(UnreachableError, match=r"^cannot reach 255\.255\.255\.255:3478: "):
        source_address(Address("255.255.255.255", 3478))


def test_only_a_taken_address_is_in_use() -> None:
    for number in (errno.EADDRINUSE, errno.EACCES):
        error = UnreachableError("x")
        error.__cause__ = OSError(number, "x")
        assert is_address_in_use(error) == (number == errno.EADDRINUSE)
    assert not is_address_in_use(UnreachableError("x"))
