"""Our clients against coturn, over UDP and TCP."""

import asyncio
import subprocess
import sys
from contextlib import AbstractAsyncContextManager

import pytest

from natkit.address import Address
from natkit.aio.stun import binding
from natkit.aio.turn import Allocation, allocate
from natkit.errors import Forbidden, QuotaReached, Unauthenticated
from tests.peering.coturn import Coturn
from tests.peering.plugin import StartCoturn

pytestmark = pytest.mark.peer("coturn")

LIMIT = 20.0
"""Seconds after which a test is taken for hanging; nothing is measured by it."""

transports = pytest.mark.parametrize("transport", ["udp", "tcp"])


def uri(coturn: Coturn, transport: str) -> str:
    return f"turn:{coturn.address}?transport={transport}"


def at(
    coturn: Coturn, transport: str = "udp", *, password: str | None = None
) -> AbstractAsyncContextManager[Allocation]:
    """An allocation of ours at coturn."""
    return allocate(
        uri(coturn, transport),
        username=coturn.username,
        password=coturn.password if password is None else password,
        timeout=LIMIT,
    )


async def exchange(one: Allocation, other: Allocation) -> None:
    """A datagram each way."""
    async with asyncio.timeout(LIMIT):
        await one.send(b"there", other.relayed_address)
        assert await other.receive() == (b"there", one.relayed_address)
        await other.send(b"and back", one.relayed_address)
        assert await one.receive() == (b"and back", other.relayed_address)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_coturn_tells_our_address(coturn: Coturn, tcp: bool) -> None:
    mapped = await binding(coturn.address, tcp=tcp, timeout=LIMIT)
    assert mapped.host == "127.0.0.1"


@transports
async def test_coturn_relays_between_two_of_our_allocations(coturn: Coturn, transport: str) -> None:
    async with at(coturn, transport) as one, at(coturn, transport) as other:
        assert one.relayed_address.port in coturn.relay_ports
        await one.permit(other.relayed_address)
        await other.permit(one.relayed_address)
        await exchange(one, other)
        await one.bind_channel(other.relayed_address)
        await exchange(one, other)
        await other.bind_channel(one.relayed_address)
        await exchange(one, other)


@transports
async def test_a_wrong_password_is_unauthenticated_at_coturn(
    coturn: Coturn, transport: str
) -> None:
    with pytest.raises(Unauthenticated):
        async with at(coturn, transport, password="wrong"):
            pass


async def test_a_peer_that_coturn_denies_is_forbidden(start_coturn: StartCoturn) -> None:
    async with at(start_coturn("--denied-peer-ip=192.0.2.0-192.0.2.255")) as relay:
        with pytest.raises(Forbidden):
            await relay.permit(Address("192.0.2.1", 5000))
        with pytest.raises(Forbidden):
            await relay.bind_channel(Address("192.0.2.1", 5000))


async def test_coturns_quota_is_reached(start_coturn: StartCoturn) -> None:
    coturn = start_coturn("--user-quota=1")
    async with at(coturn):
        with pytest.raises(QuotaReached):
            async with at(coturn):
                pass


async def test_coturns_stale_nonces_are_renewed(start_coturn: StartCoturn) -> None:
    coturn = start_coturn("--stale-nonce=1")
    async with at(coturn) as relay, asyncio.timeout(LIMIT):
        number = 0
        # Each is answered with success in the end, whether or not its nonce was stale.
        while "438" not in coturn.log():
            number += 1
            await relay.permit(Address(f"127.0.1.{number % 250 + 1}", 5000))
            await asyncio.sleep(0.05)
        await relay.permit(Address("127.0.2.1", 5000))


@transports
def test_the_turn_command_finds_that_coturn_relays(coturn: Coturn, transport: str) -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "natkit.cli.main",
            "turn",
            uri(coturn, transport),
            "--user",
            coturn.username,
            "--password",
            coturn.password,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "works both ways" in ended.stdout
