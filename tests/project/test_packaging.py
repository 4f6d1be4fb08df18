"""What packaging/ has is what the server does: flags, paths, and the words of systemd."""

import re
from configparser import RawConfigParser

from typer.main import get_command

from natkit.relay.kernel_ability import CAPABILITIES
from stun_server.config import Config
from stun_server.shell.commands import app
from stun_server.shell.state import SYSTEM_DATA_DIR
from tests.project.tree import ROOT

PACKAGING = ROOT / "packaging"


def unit() -> RawConfigParser:
    parser = RawConfigParser(strict=True)
    # systemd minds the case of its words.
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((PACKAGING / "stun-server.service").read_text())
    return parser


def flags() -> set[str]:
    command = get_command(app)
    found = {option for parameter in command.params for option in parameter.opts}
    for below in getattr(command, "commands", {}).values():
        found |= {option for parameter in below.params for option in parameter.opts}
    return found


def test_the_unit_starts_checks_and_reloads_by_commands_that_there_are() -> None:
    service = unit()["Service"]
    for name in ("ExecStartPre", "ExecStart", "ExecReload"):
        words = service[name].split()
        assert words[:2] == ["/usr/bin/env", "stun-server"]
        assert {word for word in words if word.startswith("--")} <= flags()


def test_the_unit_keeps_its_data_where_the_commands_look_for_it() -> None:
    service = unit()["Service"]
    assert f"/var/lib/{service['StateDirectory']}" == str(SYSTEM_DATA_DIR)
    assert service["ExecReload"].endswith(str(SYSTEM_DATA_DIR))


def test_the_drop_in_for_the_kernel_gives_just_what_the_plane_there_needs() -> None:
    parser = RawConfigParser(strict=True)
    parser.read_string((PACKAGING / "stun-server-kernel.conf").read_text())
    service = parser["Service"]
    for name in ("AmbientCapabilities", "CapabilityBoundingSet"):
        assert set(service[name].split()) == set(CAPABILITIES)
    assert service["SystemCallFilter"] == "bpf"


def test_the_unit_is_told_of_readiness_and_waits_for_a_drain() -> None:
    service = unit()["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 0
    assert int(service["TimeoutStopSec"]) > Config().limits.drain


def test_containers_get_time_to_drain_and_flags_that_there_are() -> None:
    text = (PACKAGING / "kubernetes.yaml").read_text()
    grace = re.search(r"terminationGracePeriodSeconds: (\d+)", text)
    assert grace is not None
    assert int(grace[1]) > Config().limits.drain
    words = re.findall(r"(?<=[\[ \"])--[a-z-]+", text + (PACKAGING / "Containerfile").read_text())
    assert (
        set(words) - {"--from", "--no-cache-dir", "--system", "--uid", "--stop-timeout"} <= flags()
    )
    assert str(SYSTEM_DATA_DIR) in text
