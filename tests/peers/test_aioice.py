"""aioice's TURN client against our server, over UDP, TCP and TLS."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from aioice import turn

from natkit.address import Address
from stun_server.allocation import CHANNEL_LIFETIME, PERMISSION_LIFETIME
from tests.certificates import Authority
from tests.stun_server.place import ALLOW_HERE, HERE, SERVER
from tests.stun_server.process import (
    PASSWORD,
    USER,
    StunServerProcess,
    stun_server,
)

SCALE = 50

pytestmark = pytest.mark.peer("aioice")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StunServerProcess]:
    directory = tmp_path_factory.mktemp("stun-server")
    issued = Authority(directory).issue(SERVER)
    files = ("--certificate", str(issued.chain), "--key", str(issued.key))
    listen = ("--listen", f"{SERVER}:0", "--listen", f"tls:{SERVER}:0")
    with stun_server(directory, *listen, *files, *ALLOW_HERE) as running:
        yield running


def way(server: StunServerProcess, transport: str) -> tuple[Address, str, bool | ssl.SSLContext]:
    """The server's address, aioice's name of the transport, and what it makes TLS with."""
    address = server.addresses(transport)[0]
    if transport != "tls":
        return address, transport, False
    roots = server.log_file.with_name("Test-Root.pem")
    return address, "tcp", ssl.create_default_context(cafile=str(roots))


class Receiver(asyncio.DatagramProtocol):
    """Keeps what the relay delivers."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.put_nowait((data, addr))


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_aioice_allocates_and_relays_both_ways(
    server: StunServerProcess, transport: str
) -> None:
    opened = server.from_now_on("allocation opened")
    closed = server.from_now_on("allocation closed")
    address, carrier, security = way(server, transport)
    relay, protocol = await turn.create_turn_endpoint(
        Receiver,
        server_addr=address,
        username=USER,
        password=PASSWORD,
        ssl=security,
        transport=carrier,
    )
    assert isinstance(protocol, Receiver)
    relayed = relay.get_extra_info("sockname")
    # The answer goes out before the line does.
    await asyncio.to_thread(server.wait_until, opened)
    assert [(line["transport"], line["relayed"]) for line in opened()] == [
        (transport, str(Address(*relayed)))
    ]

    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.setblocking(False)
        peer.bind((HERE, 0))
        for size in (0, 1, 3, 172, 1000):
            data = bytes([size % 251]) * size
            relay.sendto(data, peer.getsockname())
            there = await asyncio.wait_for(loop.sock_recvfrom(peer, 2000), 10)
            assert there == (data, relayed)
            await loop.sock_sendto(peer, data + b"back", relayed)
            back = await asyncio.wait_for(protocol.received.get(), 10)
            assert back == (data + b"back", peer.getsockname())

    relay.close()
    await asyncio.to_thread(server.wait_until, closed)
    assert [line["reason"] for line in closed()] == ["deleted"]


async def arrives(
    data: bytes,
    sender: turn.TurnTransport,
    to: tuple[str, int],
    receiver: Receiver,
    source: tuple[str, int],
    opens: Callable[[], None],
) -> None:
    """Send until it arrives: what comes before the receiver's own permission is dropped."""
    async with asyncio.timeout(20):
        while True:
            opens()
            sender.sendto(data, to)
            try:
                async with asyncio.timeout(0.2):
                    while await receiver.received.get() != (data, source):
                        pass
                    return
            except TimeoutError:
                continue


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_two_aioice_clients_reach_each_other_through_their_relays(
    server: StunServerProcess, transport: str
) -> None:
    ends = [
        await turn.create_turn_endpoint(
            Receiver,
            server_addr=server.address,
            username=USER,
            password=PASSWORD,
            transport=transport,
        )
        for _ in range(2)
    ]
    (relay_a, receiver_a), (relay_b, receiver_b) = ends
    assert isinstance(receiver_a, Receiver)
    assert isinstance(receiver_b, Receiver)
    a, b = (relay.get_extra_info("sockname") for relay in (relay_a, relay_b))
    await arrives(b"from a to b", relay_a, b, receiver_b, a, opens=lambda: relay_b.sendto(b"", a))
    await arrives(b"from b to a", relay_b, a, receiver_a, b, opens=lambda: relay_a.sendto(b"", b))
    relay_a.close()
    relay_b.close()


async def test_aioice_hears_its_peer_past_the_end_of_the_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aioice binds its channel again after 500 s, and never asks for a permission by itself.

    Its time and ours are 50 times shorter here, and all of them alike.
    """
    scaled = (
        "from stun_server import channel_bind, create_permission; "
        f"channel_bind.CHANNEL_LIFETIME = {CHANNEL_LIFETIME / SCALE}; "
        f"channel_bind.PERMISSION_LIFETIME = {PERMISSION_LIFETIME / SCALE}; "
        f"create_permission.PERMISSION_LIFETIME = {PERMISSION_LIFETIME / SCALE}; "
    )
    monkeypatch.setattr(StunServerProcess, "prelude", scaled)
    loop = asyncio.get_running_loop()
    with (
        stun_server(tmp_path, *ALLOW_HERE) as server,
        socket.socket(type=socket.SOCK_DGRAM) as peer,
    ):
        relay, protocol = await turn.create_turn_endpoint(
            Receiver,
            server_addr=server.address,
            username=USER,
            password=PASSWORD,
            channel_refresh_time=500 // SCALE,
        )
        assert isinstance(protocol, Receiver)
        peer.setblocking(False)
        peer.bind((HERE, 0))
        relayed = relay.get_extra_info("sockname")
        began = loop.time()
        # Beyond a permission's end, and beyond the first channel's.
        while loop.time() < began + 1.25 * CHANNEL_LIFETIME / SCALE:
            relay.sendto(b"there", peer.getsockname())
            assert await asyncio.wait_for(loop.sock_recvfrom(peer, 2000), 10) == (b"there", relayed)
            await loop.sock_sendto(peer, b"back", relayed)
            back = await asyncio.wait_for(protocol.received.get(), 10)
            assert back == (b"back", peer.getsockname())
            await asyncio.sleep(0.3)
        relay.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_wrong_password_is_an_error_at_aioices_end(
    server: StunServerProcess, transport: str
) -> None:
    with pytest.raises(Exception, match="401"):
        await turn.create_turn_endpoint(
            Receiver,
            server_addr=server.address,
            username=USER,
            password="wrong",
            transport=transport,
        )
