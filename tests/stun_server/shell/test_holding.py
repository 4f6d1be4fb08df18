"""The kernel's plane follows the interfaces of its host, which is a network namespace here."""

import asyncio
from collections.abc import Iterator

import pytest
import structlog

from natkit.server.log import Logger
from stun_server.config import Config
from stun_server.config.reading import validated
from stun_server.shell import planes
from tests.natkit.relay.cabled import inside
from tests.natkit.relay.hooks import runs_program
from tests.natkit.relay.kernel_modes import ON_CABLES
from tests.netlab.namespaces import Lab, lab
from tests.stun_server.shell.test_running import until

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

PATIENCE = 60
INSIDE, OUTSIDE = "10.1.0.1", "10.2.0.1"
FAR = {"inside": "10.1.0.2/24", "outside": "10.2.0.2/24 fd02::2/64"}
NEAR = {"inside": f"{INSIDE}/24", "outside": f"{OUTSIDE}/24 fd02::1/64"}


class World:
    """A host with two interfaces that serve, and the plane that is held there."""

    def __init__(self, made: Lab) -> None:
        self._lab = made
        self.host, self.far = made.host("server"), made.host("far")
        for name in NEAR:
            self.lay(name)

    def lay(self, name: str) -> None:
        """The cable of an interface."""
        self._lab.cable((self.host, name, NEAR[name]), (self.far, name, FAR[name]))

    def bear(self, name: str) -> None:
        """Have an interface its addresses again, and up."""
        for address in NEAR[name].split():
            flags = ("nodad",) if ":" in address else ()
            self.host.configure("address", "replace", address, "dev", name, *flags)
        self.host.configure("link", "set", name, "up")

    def runs_on(self, name: str) -> bool:
        """Whether the system shows a program there."""
        return runs_program(self.host, name)


@pytest.fixture(name="world")
def two_interfaces(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(planes, "_SETTLING", 0.02)
    with lab() as made:
        yield World(made)


def config() -> Config:
    return validated(
        {
            "listeners": {"relay_plane": "kernel", "relay_ipv4": INSIDE, "relay_ipv6": "fd02::1"},
            "limits": {"allocations": 16},
        }
    )


async def follow(world: World) -> None:
    logger: Logger = structlog.get_logger()
    choice, holding = planes.hold(config(), (), logger)
    assert holding is not None
    told = asyncio.Queue[str]()
    holding.on_change = told.put_nowait

    async def becomes(reason: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while await told.get() != reason:
                pass
        assert holding.reason == reason

    try:
        ip = world.host.configure
        both = f"inside {ON_CABLES}, outside {ON_CABLES}"
        assert (choice.name, choice.reason) == ("kernel", both)
        # Removed, and made anew.
        ip("link", "delete", "outside")
        await becomes(f"inside {ON_CABLES}")
        world.lay("outside")
        await becomes(both)
        assert world.runs_on("outside")
        # Another name.
        ip("link", "set", "outside", "down")
        ip("link", "set", "outside", "name", "other")
        await becomes(f"inside {ON_CABLES}, other {ON_CABLES}")
        ip("link", "set", "other", "name", "outside")
        world.bear("outside")
        await becomes(both)
        # Somewhere else with its number, where the program must not run on, and back.
        ip("link", "set", "outside", "netns", world.far.namespace, "name", "guest")
        await becomes(f"inside {ON_CABLES}")
        assert not runs_program(world.far, "guest")
        back = ("netns", world.host.namespace, "name", "outside")
        world.far.configure("link", "set", "guest", *back)
        world.bear("outside")
        await becomes(both)
        assert world.runs_on("outside")
        # An address that moves to an interface of another kind.
        ip("address", "delete", f"{INSIDE}/24", "dev", "inside")
        ip("link", "add", "bridge", "type", "bridge")
        ip("address", "add", f"{INSIDE}/24", "dev", "bridge")
        await becomes(f"{both}, bridge {ON_CABLES}")
        for name in ("bridge", "outside", "inside"):
            ip("link", "delete", name)
        await becomes(f"user space for now: {planes.NO_INTERFACE}")
        assert holding.relay.tables.devices() == []
    finally:
        holding.close()


def test_interfaces_that_come_and_go_or_change_have_the_program_while_they_serve(
    world: World,
) -> None:
    with inside(world.host), structlog.testing.capture_logs() as lines:
        asyncio.run(follow(world))
    assert {line["log_level"] for line in lines} == {"info"}


async def learn_another_mac(world: World) -> list[str]:
    logger: Logger = structlog.get_logger()
    _, holding = planes.hold(config(), (), logger)
    assert holding is not None
    told: list[str] = []
    holding.on_change = told.append
    try:
        world.host.configure("address", "add", "10.1.0.77/24", "dev", "inside")
        world.host.configure("link", "set", "inside", "address", "02:00:00:00:00:77")
        tables = holding.relay.tables
        mac = bytes.fromhex("020000000077")
        await until(lambda: any(mac in device for device in tables.devices()))
    finally:
        holding.close()
    return told


def test_another_hardware_address_is_known_and_no_news(world: World) -> None:
    with inside(world.host):
        assert asyncio.run(learn_another_mac(world)) == []
