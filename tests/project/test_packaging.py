"""What packaging/ has is what the servers do: flags, paths, and the words of systemd."""

import re
import tomllib
from configparser import RawConfigParser
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.main import get_command

import sip_proxy.config
import stun_server.config
from natkit.relay.kernel_ability import CAPABILITIES
from sip_proxy.shell import commands as sip_commands
from sip_proxy.shell import state as sip_state
from stun_server.shell import commands as stun_commands
from stun_server.shell import state as stun_state
from tests.project.tree import ROOT

PACKAGING = ROOT / "packaging"


@dataclass(frozen=True)
class Server:
    """One of the two."""

    name: str
    app: typer.Typer
    data_dir: Path
    drain: int

    def unit(self) -> RawConfigParser:
        parser = RawConfigParser(strict=True)
        # systemd minds the case of its words.
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string((PACKAGING / f"{self.name}.service").read_text())
        return parser

    def flags(self) -> set[str]:
        command = get_command(self.app)
        found = {option for parameter in command.params for option in parameter.opts}
        for below in getattr(command, "commands", {}).values():
            found |= {option for parameter in below.params for option in parameter.opts}
        return found


STUN = Server(
    "stun-server",
    stun_commands.app,
    stun_state.SYSTEM_DATA_DIR,
    stun_server.config.Config().limits.drain,
)
SIP = Server(
    "sip-proxy",
    sip_commands.app,
    sip_state.SYSTEM_DATA_DIR,
    sip_proxy.config.Config().limits.drain,
)

each_server = pytest.mark.parametrize("server", [STUN, SIP], ids=lambda server: server.name)


@each_server
def test_the_unit_starts_checks_and_reloads_by_commands_that_there_are(server: Server) -> None:
    service = server.unit()["Service"]
    for name in ("ExecStartPre", "ExecStart", "ExecReload"):
        words = service[name].split()
        assert words[:2] == ["/usr/bin/env", server.name]
        assert {word for word in words if word.startswith("--")} <= server.flags()


@each_server
def test_the_unit_keeps_its_data_where_the_commands_look_for_it(server: Server) -> None:
    service = server.unit()["Service"]
    assert f"/var/lib/{service['StateDirectory']}" == str(server.data_dir)
    assert service["ExecReload"].endswith(str(server.data_dir))


@each_server
def test_the_unit_is_told_of_readiness_and_waits_for_a_drain(server: Server) -> None:
    service = server.unit()["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 0
    assert int(service["TimeoutStopSec"]) > server.drain


def test_the_drop_in_for_the_kernel_gives_just_what_the_plane_there_needs() -> None:
    parser = RawConfigParser(strict=True)
    parser.read_string((PACKAGING / "stun-server-kernel.conf").read_text())
    service = parser["Service"]
    for name in ("AmbientCapabilities", "CapabilityBoundingSet"):
        assert set(service[name].split()) == set(CAPABILITIES)
    assert service["SystemCallFilter"] == "bpf"


def test_containers_get_time_to_drain_and_flags_that_there_are() -> None:
    text = (PACKAGING / "kubernetes.yaml").read_text()
    grace = re.search(r"terminationGracePeriodSeconds: (\d+)", text)
    assert grace is not None
    assert int(grace[1]) > STUN.drain
    words = set(
        re.findall(r"(?<=[\[ \"])--[a-z-]+", text + (PACKAGING / "Containerfile").read_text())
    )
    not_ours = {"--from", "--no-cache-dir", "--system", "--uid", "--stop-timeout", "--target"}
    not_ours |= {"--no-install-recommends"}
    assert words - not_ours <= STUN.flags()
    assert str(STUN.data_dir) in text


def test_the_image_is_built_of_what_a_wheel_is_and_nothing_else() -> None:
    """All of a checkout would be gigabytes, with environments and caches."""
    text = (PACKAGING / "Containerfile").read_text()
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.+) /source\S*$", text, re.MULTILINE)
        for word in line.split()
    }
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = content["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    about = (content["project"]["readme"], *content["project"]["license-files"])
    assert copied == {"pyproject.toml", *about, *packages}
    extras = re.search(r"'/source\[(.+)\]'", text)
    assert extras is not None
    drivers = set(content["project"]["optional-dependencies"]) - {"proxy", "aioice"}
    assert set(extras[1].split(",")) == drivers


@each_server
def test_a_container_of_each_server_keeps_its_data(server: Server) -> None:
    text = (PACKAGING / "Containerfile").read_text()
    (stage,) = re.findall(
        rf"^FROM natkit AS {server.name}\n((?:(?!FROM).*\n)+)", text, re.MULTILINE
    )
    assert f"ENV STATE_DIRECTORY={server.data_dir}\n" in stage
    assert f"VOLUME {server.data_dir}\n" in stage
    assert f'ENTRYPOINT ["{server.name}"]\n' in stage
    # Of both alike: a log that programs read.
    assert "--log-json" in server.flags()
