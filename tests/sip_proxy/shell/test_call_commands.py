"""``sip-proxy calls``, ``transactions`` and ``trace``, of calls of a simulated network."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import pytest

from natkit.cli.entry import run
from natkit.server.admin_socket import AdminSocket
from natkit.server.attending import SOCKET
from sip_proxy.shell.call_watch_socket import watch_handlers
from sip_proxy.shell.commands import app
from tests.simnet.network import Network
from tests.sip_proxy.shell.test_call_watch import World


@dataclass(frozen=True)
class Done:
    status: int
    printed: str
    complained: str


class Command(Protocol):
    """Type of the ``command`` fixture."""

    async def __call__(self, *arguments: str) -> Done: ...


@pytest.fixture
async def world(network: Network, tmp_path: Path) -> AsyncIterator[World]:
    made = World(network)
    socket = await AdminSocket.open(tmp_path / SOCKET, watch_handlers(made.watch))
    yield made
    await socket.aclose()


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Run ``sip-proxy`` with these arguments on a terminal of 120 columns."""
    monkeypatch.setenv("COLUMNS", "120")

    async def start(*arguments: str) -> Done:
        every = [*arguments, "--data-dir", str(tmp_path)]
        status = await asyncio.to_thread(run, app, "sip-proxy", server=True, arguments=every)
        shown = capsys.readouterr()
        return Done(status, shown.out, shown.err)

    return start


async def test_calls_are_listed(world: World, command: Command) -> None:
    done = await command("calls")
    assert done.status == 0
    assert world.running in done.printed
    assert world.refused in done.printed
    assert "480 Temporarily " in done.printed
    assert "\nUnavailable " in done.printed
    found = await command("calls", "carol", "--json")
    calls = cast("dict[str, dict[str, list[dict[str, object]]]]", json.loads(found.printed))
    assert [each["call_id"] for each in calls["calls"]["ended"]] == [world.refused]
    assert calls["calls"]["running"] == []
    assert "no calls" in (await command("calls", "nobody at all")).printed


async def test_transactions_are_listed(world: World, command: Command) -> None:
    done = await command("transactions")
    assert done.status == 0
    for shown in ("INVITE", "calling", "to UDP", "198.51.100.11:5060", world.running):
        assert shown in done.printed, shown
    assert "3 of 4" in (await command("transactions", "--limit", "3")).printed
    found = json.loads((await command("transactions", world.running, "--json")).printed)
    assert [each["call_id"] for each in found["transactions"]] == [world.running] * 2
    assert (found["schema"], found["total"]) == (1, 4)
    ended = json.loads((await command("transactions", world.refused, "--json")).printed)
    assert [each["state"] for each in ended["transactions"]] == ["confirmed"]
    assert "no transactions" in (await command("transactions", "nobody at all")).printed


async def test_recorded_call_ids_are_listed_and_found(world: World, command: Command) -> None:
    done = await command("trace", "--find", "carol")
    assert world.refused in done.printed
    assert world.running not in done.printed
    everything = json.loads((await command("trace", "--json", "--limit", "2")).printed)
    assert len(everything["recent"]) == 2
    assert everything["schema"] == 1
    assert "nothing is recorded" in (await command("trace", "--find", "nobody at all")).printed


async def test_a_ladder_is_drawn(world: World, command: Command) -> None:
    done = await command("trace", world.refused)
    assert done.status == 0
    assert done.printed.startswith(f"Call-ID {world.refused}\n")
    assert "- INVITE -" in done.printed
    assert "- 480 Temporarily Unavailable -" in done.printed
    assert "Via:" not in done.printed
    full = await command("trace", world.refused, "--messages")
    assert full.printed.startswith(done.printed)
    assert "\nVia: SIP/2.0/UDP 192.0.2.10:5060" in full.printed
    as_json = json.loads((await command("trace", world.refused, "--json")).printed)
    assert [each["name"] for each in as_json["ladder"]["participants"]] == ["alice", "proxy"]


async def test_a_capture_is_written(world: World, command: Command, tmp_path: Path) -> None:
    file = tmp_path / "call.pcap"
    done = await command("trace", world.refused, "--capture", str(file))
    assert (done.status, done.printed) == (0, f"{file}: written\n")
    assert file.read_bytes() == await world.watch.capture(world.refused)


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["trace", "unknown@call"], 1, "no message of unknown@call is there"),
        (["trace", "unknown@call", "--capture", "x"], 1, "no message of unknown@call is there"),
        (["trace", "--messages"], 2, "name the Call-ID"),
        (["trace", "--capture", "x"], 2, "name the Call-ID"),
        (["calls", "--limit", "0"], 2, "--limit"),
    ],
)
async def test_what_goes_wrong_is_one_line(
    command: Command, arguments: list[str], status: int, said: str
) -> None:
    done = await command(*arguments)
    assert (done.status, done.printed) == (status, "")
    assert done.complained.startswith("error: ")
    assert done.complained.count("\n") == 1
    assert said in done.complained


async def test_without_a_proxy_it_says_so(command: Command, tmp_path: Path) -> None:
    done = await command("calls")
    assert done.status == 1
    assert f"no server runs with the data directory {tmp_path}" in done.complained


async def test_a_capture_that_cannot_be_written_is_a_mistake(
    world: World, command: Command, tmp_path: Path
) -> None:
    done = await command("trace", world.refused, "--capture", f"{tmp_path}/nowhere/x.pcap")
    assert done.status == 2
    assert "No such file or directory" in done.complained
