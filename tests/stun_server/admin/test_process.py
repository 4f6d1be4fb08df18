"""The pages of a server as operators run it: a process with ``--admin``."""

import signal
import socket
from pathlib import Path

import pytest
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from natkit.address import Address
from natkit.aio.turn import allocate
from tests.peering.ports import free_port
from tests.stun_server.place import ALLOW_HERE, HERE, SERVER
from tests.stun_server.process import PASSWORD, USER, stun_server

DATA = b"x" * 100
MESSAGES = 20


async def fetch(address: Address, path: str) -> tuple[int, str]:
    async with ClientSession() as session, session.get(f"http://{address}{path}") as answer:
        return answer.status, await answer.text()


async def metrics(address: Address) -> dict[tuple[str, str], float]:
    """By name and the values of the labels."""
    status, text = await fetch(address, "/metrics")
    assert status == 200
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_metrics_of_a_session_are_there_while_it_lives(
    tmp_path: Path, workers: str
) -> None:
    admin = Address(SERVER, free_port(HERE))
    with (
        stun_server(tmp_path, "--admin", str(admin), "--workers", workers, *ALLOW_HERE) as server,
        socket.socket(type=socket.SOCK_DGRAM) as peer,
    ):
        peer.bind((HERE, 0))
        peer.settimeout(30)
        there = Address(*peer.getsockname())
        assert (await metrics(admin))["stun_server_sessions", ""] == 0
        uri = f"turn:{server.address}"
        async with allocate(uri, username=USER, password=PASSWORD) as relay:
            await relay.permit(there)
            for _ in range(MESSAGES):
                await relay.send(DATA, there)
                assert peer.recv(2000) == DATA
            found = await metrics(admin)
            assert found["stun_server_sessions", ""] == 1
            assert found["stun_server_relayed_packets_total", "to_peers"] == MESSAGES
            assert found["stun_server_relayed_bytes_total", "to_peers"] == MESSAGES * len(DATA)
            assert found["stun_server_ready", ""] == 1
            assert (
                sum(found["stun_server_worker_sessions", str(n)] for n in range(int(workers))) == 1
            )
            # The user and the peer are nowhere in it.
            labels = {label for _, values in found for label in values.split(",")}
            assert labels.isdisjoint({USER, str(there), there.host, there.port})


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_server_that_drains_is_alive_but_not_ready(tmp_path: Path, workers: str) -> None:
    admin = Address(SERVER, free_port(HERE))
    with stun_server(tmp_path, "--admin", str(admin), "--workers", workers) as server:
        uri = f"turn:{server.address}"
        async with allocate(uri, username=USER, password=PASSWORD):
            assert (await fetch(admin, "/readyz"))[0] == 200
            server.process.send_signal(signal.SIGTERM)
            server.wait_until(lambda: server.lines("draining"))
            status, text = await fetch(admin, "/readyz")
            assert (status, "drains" in text) == (503, True)
            assert (await fetch(admin, "/healthz"))[0] == 200
