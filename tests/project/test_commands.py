"""The four commands, as users start them."""

import subprocess
import sys
from pathlib import Path

import pytest

import natkit

COMMANDS = {
    "natkit": "natkit.cli.main",
    "sip-proxy": "sip_proxy.cli",
    "sipdns": "sipdns.cli",
    "stun-server": "stun_server.cli",
}


def start(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the distribution through its entry point, installed or not."""
    script = f"import sys; from {COMMANDS[command]} import run; sys.exit(run())"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    shown = start(command, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"{command} " in shown.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_version_is_that_of_the_distribution(command: str) -> None:
    shown = start(command, "--version")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert natkit.__version__ in shown.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_flag_is_one_line_and_status_2(command: str) -> None:
    shown = start(command, "--no-such-flag")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.startswith("error: ")
    assert "--no-such-flag" in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_the_distribution_installs_the_command(command: str) -> None:
    installed = Path(sys.executable).parent / command
    if not installed.exists():
        pytest.skip("natkit is not installed in this environment; `make test` installs it")
    shown = subprocess.run(
        [installed, "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (shown.returncode, shown.stderr) == (0, "")
