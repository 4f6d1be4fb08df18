"""The operator's commands against a server that runs, as processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from natkit import __version__
from natkit.aio.turn import allocate
from tests.stun_server.process import PASSWORD, USER, StunServerProcess, stun_server

_COMMAND = "import sys; from stun_server.cli import run; sys.exit(run())"


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "80", **environment},
    )


def state(directory: Path) -> tuple[str, str]:
    return ("--data-dir", str(directory / "state"))


@pytest.fixture(params=["1", "2"], ids=["one process", "two workers"])
def workers(request: pytest.FixtureRequest) -> tuple[str, str]:
    """What an operator sees is the same whether one process serves or a supervisor's workers."""
    return ("--workers", str(request.param))


def uri(server: StunServerProcess) -> str:
    return f"turn:{server.address}?transport=udp"


async def test_status_and_sessions_show_what_is_there_while_it_is(
    tmp_path: Path, workers: tuple[str, str]
) -> None:
    with stun_server(tmp_path, *workers) as server:
        async with allocate(uri(server), username=USER, password=PASSWORD) as relay:
            shown = command("status", *state(tmp_path))
            assert (shown.returncode, shown.stderr) == (0, "")
            lines = shown.stdout.splitlines()
            assert lines[0].startswith(f"stun-server {__version__}  serving  up ")
            facts = dict(line.split(maxsplit=1) for line in lines[1:] if not line.startswith(" "))
            assert facts["sessions"] == "1 (1 UDP IPv4)"
            assert facts["listeners"] == f"udp {server.address}"
            assert max(map(len, lines)) <= 80

            shown = command("sessions", *state(tmp_path))
            assert USER in shown.stdout
            assert str(relay.relayed_address) in shown.stdout

            status = json.loads(command("status", "--json", *state(tmp_path)).stdout)
            assert (status["schema"], status["ready"]) == (1, True)
            assert status["status"]["sessions"] == 1
            sessions = json.loads(command("sessions", "--json", *state(tmp_path)).stdout)
            (session,) = sessions["sessions"]
            assert session["relayed"] == [str(relay.relayed_address)]
            opened = server.lines("allocation opened")[0]
            assert session["id"] == opened["session"]
            assert str(session["id"]) in shown.stdout


async def test_disconnect_ends_a_session(tmp_path: Path, workers: tuple[str, str]) -> None:
    with stun_server(tmp_path, *workers) as server:
        async with allocate(uri(server), username=USER, password=PASSWORD):
            # The client may have its answer before the log has its line.
            server.wait_until(lambda: server.lines("allocation opened"))
            session = str(server.lines("allocation opened")[0]["session"])
            ended = command("disconnect", session, *state(tmp_path))
            assert ended.stdout == f"{session}: ended\n"
            server.wait_until(lambda: server.lines("allocation closed"))
            assert server.lines("allocation closed")[0]["reason"] == "ended by the operator"
            again = command("disconnect", session, *state(tmp_path))
            assert again.returncode == 1
            assert again.stderr.startswith(f"error: there is no session {session}")
            assert command("sessions", *state(tmp_path)).stdout == "no sessions\n"


def test_reload_says_what_it_changed_or_what_is_wrong(
    tmp_path: Path, workers: tuple[str, str]
) -> None:
    file = tmp_path / "server.toml"
    file.write_text("[limits]\nallocations = 10\n")
    with stun_server(tmp_path, "--config", str(file), *workers):
        file.write_text("[limits]\nallocations = 11\n[listeners]\ndscp = 46\n")
        done = command("reload", *state(tmp_path))
        assert done.stdout == (
            "reloaded; changed: listeners.dscp, limits.allocations\n"
            "these count after a restart: listeners.dscp\n"
        )
        file.write_text("[limits]\nallocations = 0\n")
        wrong = command("reload", *state(tmp_path))
        assert wrong.returncode == 1
        assert wrong.stderr.startswith(f"error: nothing was changed: {file}: limits.allocations: ")
        assert wrong.stderr.count("\n") == 1
        report = json.loads(command("reload", "--json", *state(tmp_path)).stdout)
        assert report["reload"]["error"].startswith(f"{file}: ")


async def test_drain_ends_the_server_after_its_last_session(
    tmp_path: Path, workers: tuple[str, str]
) -> None:
    with stun_server(tmp_path, *workers) as server:
        async with allocate(uri(server), username=USER, password=PASSWORD):
            begun = command("drain", "--limit", "100", *state(tmp_path))
            assert begun.stdout.startswith("draining: 1 session left, for 1 min ")
            status = json.loads(command("status", "--json", *state(tmp_path)).stdout)
            assert (status["ready"], status["status"]["phase"]) == (False, "draining")
        assert server.process.wait(30) == 0
    assert not (tmp_path / "state" / "admin.sock").exists()


@pytest.mark.parametrize("name", ["status", "sessions", "drain", "reload"])
def test_without_a_server_it_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "state").mkdir()
    asked = command(name, *state(tmp_path))
    assert asked.returncode == 1
    assert asked.stdout == ""
    assert asked.stderr == f"error: no server runs with the data directory {tmp_path}/state\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_second_signal_ends_a_drain_at_once(
    tmp_path: Path, workers: tuple[str, str], number: signal.Signals
) -> None:
    with stun_server(tmp_path, *workers) as server:
        async with allocate(uri(server), username=USER, password=PASSWORD):
            server.process.send_signal(signal.SIGTERM)
            server.wait_until(
                lambda: len(server.lines("draining")) == (3 if workers[1] == "2" else 1)
            )
            server.process.send_signal(number)
            assert server.process.wait(60) == 0


def test_a_directory_that_is_not_there_is_wrong_use(tmp_path: Path) -> None:
    asked = command("status", *state(tmp_path))
    assert asked.returncode == 2
    assert asked.stderr == f"error: there is no data directory {tmp_path}/state\n"


def test_the_server_of_a_configuration_is_found_without_its_secrets(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text(
        f'data_dir = "{tmp_path}/state"\n[users]\nsecrets = [{{ env = "NOT_SET_HERE" }}]\n'
    )
    with stun_server(tmp_path):
        assert command("status", "--config", str(file)).returncode == 0


def test_a_second_server_of_a_data_directory_serves_and_says_what_it_lacks(tmp_path: Path) -> None:
    with stun_server(tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        with stun_server(other, *state(tmp_path)) as second:
            (line,) = second.lines("no administration")
            assert "admin.sock" in str(line["reason"])
