"""Our client with TCP allocations (RFC 6062) at coturn: out to a peer, and in from one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.aio.secure import Trust
from natkit.aio.turn_tcp import TcpAllocation, allocate_tcp
from natkit.errors import ConnectionAlreadyExists, ConnectionFailed
from tests.certificates import Authority
from tests.peering import coturn
from tests.peering.coturn import Coturn
from tests.peers.test_coturn import LIMIT
from tests.stun_server.shell.test_tcp_relaying import echo, tcp_peer

pytestmark = pytest.mark.peer("coturn")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coturn]:
    files: tuple[Path, Path] = authority.issue("localhost", "127.0.0.1").files
    started = coturn.start(tmp_path_factory.mktemp("coturn"), certificate=files)
    try:
        yield started
    finally:
        started.process.stop()


@asynccontextmanager
async def allocated(
    server: Coturn, authority: Authority, transport: str
) -> AsyncIterator[TcpAllocation]:
    uri = f"turn:{server.address}?transport=tcp" if transport == "tcp" else f"turns:{server.secure}"
    async with allocate_tcp(
        uri,
        username=server.username,
        password=server.password,
        trust=Trust(authority.file),
        timeout=LIMIT,
    ) as relay:
        yield relay


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_we_connect_to_a_peer_through_coturn(
    server: Coturn, authority: Authority, transport: str
) -> None:
    payload = bytes(range(256)) * 400
    async with allocated(server, authority, transport) as relay, tcp_peer(echo) as peer:
        async with asyncio.timeout(LIMIT):
            stream = await relay.connect(peer)
            stream.writer.write(payload)
            assert await stream.reader.readexactly(len(payload)) == payload
            with pytest.raises(ConnectionAlreadyExists):
                await relay.connect(peer)
            await stream.aclose()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_peer_connects_to_us_through_coturn(
    server: Coturn, authority: Authority, transport: str
) -> None:
    async with allocated(server, authority, transport) as relay:
        await relay.permit(Address("127.0.0.1", 0))
        reader, writer = await asyncio.open_connection(*relay.relayed_address)
        async with asyncio.timeout(LIMIT):
            writer.write(b"early")
            async for stream in relay.incoming():
                assert stream.peer == Address(*writer.get_extra_info("sockname"))
                assert await stream.reader.readexactly(5) == b"early"
                stream.writer.write(b"answer")
                assert await reader.readexactly(6) == b"answer"
                await stream.aclose()
                break
        writer.close()


async def test_a_peer_that_refuses_is_told_by_coturn(server: Coturn, authority: Authority) -> None:
    async with allocated(server, authority, "tcp") as relay:
        async with tcp_peer(echo) as gone:
            pass
        await relay.permit(gone)
        with pytest.raises(ConnectionFailed):
            await relay.connect(gone)
