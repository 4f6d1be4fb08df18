"""sipp calls sipp through the proxy, and registers at it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from natkit.machine import Transport
from tests.peering.ports import free_port
from tests.peering.sipp_scenarios import register
from tests.peering.sipp_world import LOOPBACK, Served

pytestmark = pytest.mark.peer("sipp")


@pytest.fixture
async def open_proxy(tmp_path: Path) -> AsyncIterator[Served]:
    served = Served(tmp_path, authenticate=False)
    yield served
    await served.aclose()


@pytest.fixture
async def strict_proxy(tmp_path: Path) -> AsyncIterator[Served]:
    served = Served(tmp_path, authenticate=True)
    yield served
    await served.aclose()


async def test_with_its_password_bob_registers(strict_proxy: Served) -> None:
    port = free_port(LOOPBACK)
    scenario = register(port, password="secret")
    played = await (await strict_proxy.sipp("bob", scenario, port=port, calls=1)).played()
    assert played.exit_status == 0, played.output


async def test_with_another_password_he_does_not(strict_proxy: Served) -> None:
    port = free_port(LOOPBACK)
    scenario = register(port, password="wrong")
    played = await (await strict_proxy.sipp("bob", scenario, port=port, calls=1)).played()
    assert played.exit_status == 1
    assert "401 Unauthorized" in played.output


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
async def test_alice_calls_bob_over_and_over(open_proxy: Served, transport: Transport) -> None:
    bob, alice = free_port(LOOPBACK), free_port(LOOPBACK)
    # sipp's own scenarios call a user at the address of the proxy.
    scenario = register(bob, transport, domain=str(open_proxy.address))
    registered = await open_proxy.sipp(
        "registration", scenario, port=free_port(LOOPBACK), transport=transport, calls=1
    )
    assert (await registered.played()).exit_status == 0
    called = await open_proxy.sipp("bob", "uas", port=bob, transport=transport)
    caller = await open_proxy.sipp(
        "alice", "uac", "-s", "bob", "-r", "20", port=alice, transport=transport
    )
    played = await caller.played()
    assert played.exit_status == 0, played.output
    assert (await called.played()).exit_status == 0
