"""TLS and DTLS clients of several workers: a new certificate, and the death of one worker."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from natkit.aio.secure import Trust
from natkit.aio.turn import Allocation, allocate
from tests.certificates import Authority
from tests.stun_server.place import ALLOW_HERE, SERVER
from tests.stun_server.process import PASSWORD, USER, StunServerProcess, stun_server
from tests.stun_server.test_workers import CLIENTS, Load, Together, echo, until, worker_of, workers


async def clients(
    together: Together, server: StunServerProcess, transport: str, trust: Trust
) -> dict[int, list[Allocation]]:
    """Allocations by the worker that has each."""
    port = server.addresses(transport)[0].port
    below = {"tls": "tcp", "dtls": "udp"}[transport]
    found: dict[int, list[Allocation]] = {}
    for _ in range(CLIENTS):
        relay = await together.enter(
            allocate(
                f"turns:{SERVER}:{port}?transport={below}",
                username=USER,
                password=PASSWORD,
                trust=trust,
            )
        )
        found.setdefault(worker_of(server, relay), []).append(relay)
    return found


@pytest.mark.parametrize("transport", ["tls", "dtls"])
async def test_a_new_certificate_and_a_workers_death_lose_no_packet_of_the_others(
    tmp_path: Path, transport: str
) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("localhost", SERVER)
    trust = Trust(authority.file)
    listen = ("--listen", f"{transport}:{SERVER}:0")
    files = ("--certificate", str(issued.chain), "--key", str(issued.key))
    with stun_server(tmp_path, *listen, *files, "--workers", "2", *ALLOW_HERE) as server:
        async with Together() as together, echo() as peer:
            found = await clients(together, server, transport, trust)
            assert sorted(found) == [0, 1]
            loads = {
                worker: [Load(relay, peer) for relay in relays] for worker, relays in found.items()
            }
            stops = {worker: asyncio.Event() for worker in loads}
            async with asyncio.TaskGroup() as group:
                tasks = {
                    worker: [group.create_task(load.run(stops[worker])) for load in each]
                    for worker, each in loads.items()
                }
                shown = len(server.lines("certificate"))
                authority.issue("localhost", SERVER, "new.example.org")
                server.process.send_signal(signal.SIGHUP)
                # Each worker has it.
                everybody = loads[0] + loads[1]
                await until(server, everybody, "certificate", shown + 2)
                assert "new.example.org" in str(server.lines("certificate")[-1]["names"])
                stops[1].set()
                await asyncio.gather(*tasks[1])
                os.kill(workers(server)[1], signal.SIGKILL)
                await until(server, loads[0], "worker died", 1)
                await until(server, loads[0], "worker restarted", 1)
                stops[0].set()
