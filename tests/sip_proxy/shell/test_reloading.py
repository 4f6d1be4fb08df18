"""A configuration that is read again counts as a whole or not at all, and ends no call."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from natkit.machine import Transport
from natkit.server.config.reference import options_of
from sip_proxy.config import Config, load
from sip_proxy.shell.counting_at_once import counts_at_once
from sip_proxy.shell.serving import Server, start
from sip_proxy.shell.state import ephemeral_keys
from tests.sip_proxy.shell.world import LIMIT, agent

FIRST = """
domains = ["example.org"]
[listeners]
listen = ["udp:127.0.0.1:0"]
[users]
store = "none"
authenticate = false
[registrations]
store = "memory"
"""

PASSWORD = FIRST.replace("authenticate = false", 'passwords = { ann = "secret" }')


class Reloadable:
    """A proxy whose configuration is a file that the test writes anew."""

    def __init__(self, server: Server, file: Path, log: list[MutableMapping[str, object]]) -> None:
        self.server = server
        self.file = file
        self._log = log

    def lines(self, event: str) -> list[MutableMapping[str, object]]:
        return [line for line in self._log if line["event"] == event]

    async def reload(self, text: str) -> str | None:
        """Write the file and have it read; what was wrong with it."""
        self.file.write_text(text)
        return (await self.server.administration.reload()).error

    async def register(self, name: str = "ann") -> int:
        """What a phone's REGISTER is answered with."""
        address = self.server.listeners[0].address
        async with agent(name, Transport.UDP, address) as phone:
            return (await phone.register().final()).status


@asynccontextmanager
async def reloadable(directory: Path, text: str = FIRST) -> AsyncIterator[Reloadable]:
    file = directory / "sip-proxy.toml"
    file.write_text(text)
    with capture_logs() as log:
        server = await start(
            load(file),
            ephemeral_keys(),
            structlog.get_logger(),
            directory,
            reread=lambda: load(file),
        )
        try:
            yield Reloadable(server, file, log)
        finally:
            await server.aclose()


async def test_domains_and_users_count_at_once(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as proxy:
        assert await proxy.register() == 200
        assert await proxy.reload(PASSWORD) is None
        assert await proxy.register() == 401
        assert await proxy.reload(FIRST.replace("example.org", "example.net")) is None
        assert await proxy.register() not in (200, 401)
        assert await proxy.reload(FIRST) is None
        assert await proxy.register() == 200


async def test_limits_and_lifetimes_count_at_once(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as proxy:
        least = "[timers]\ntimer_c = 200\n[limits]\nconnections = 1\ndrain = 3\n"
        text = FIRST + "min_expires = 1000\ndefault_expires = 1000\n" + least
        assert await proxy.reload(text) is None
        assert await proxy.register() == 423
        assert proxy.server.proxy.admission.limits.connections == 1
        assert proxy.server.draining.limit == 3.0


async def test_gateways_and_routes_count_at_once(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as proxy:
        text = (
            FIRST
            + '[[gateways]]\nname = "one"\ngroup = "all"\nuri = "sip:192.0.2.9"\n'
            + "[probing]\ninterval = 3600\n"
        )
        assert await proxy.reload(text) is None
        status = await proxy.server.administration.status()
        assert [each.name for each in status.gateways] == ["one"]
        assert await proxy.reload(FIRST) is None
        assert (await proxy.server.administration.status()).gateways == ()


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("nonsense", "is no TOML"),
        ("[limits]\ntransactions = 0\n", "limits.transactions: "),
        ('[hooks]\nfile = "/nowhere.py"\n', "/nowhere.py: "),
        ('[tls]\ntrust = "/nowhere.pem"\n', "/nowhere.pem"),
        ('[[routes]]\nname = "a"\nto = { gateways = ["b"] }\n', "routes"),
    ],
)
async def test_a_mistake_changes_nothing_and_is_named(
    tmp_path: Path, mistake: str, said: str
) -> None:
    async with reloadable(tmp_path) as proxy:
        error = await proxy.reload(PASSWORD + mistake)
        assert error is not None
        assert said in error
        assert proxy.lines("not reloaded")[0]["reason"] == error
        assert await proxy.register() == 200


async def test_what_needs_a_restart_is_named_until_there_is_one(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as proxy:
        proxy.file.write_text(
            FIRST.replace("127.0.0.1:0", "127.0.0.1:5099") + '[log]\nlevel = "error"\n'
        )
        for changed in ({"listeners.listen", "log.level"}, set()):
            report = await proxy.server.administration.reload()
            assert set(report.changed) == changed
            assert report.needs_restart == ("listeners.listen",)
        proxy.file.write_text(FIRST)
        assert (await proxy.server.administration.reload()).needs_restart == ()
        assert proxy.lines("needs a restart")[0]["options"] == ["listeners.listen"]


async def test_users_of_a_store_that_goes_on_are_still_there(tmp_path: Path) -> None:
    async with reloadable(tmp_path, PASSWORD) as proxy:
        before = proxy.server.proxy.users
        assert await proxy.reload(PASSWORD + "[limits]\npending = 5\n") is None
        assert proxy.server.proxy.users is before
        sqlite = PASSWORD.replace('store = "none"', 'store = "sqlite"')
        assert await proxy.reload(sqlite) is None
        assert (await proxy.server.administration.status()).users.failure is None
        assert proxy.server.proxy.users is not before


async def test_a_store_that_cannot_be_opened_changes_nothing(tmp_path: Path) -> None:
    async with reloadable(tmp_path, PASSWORD) as proxy:
        (tmp_path / "no database").write_text("no database" * 100)
        broken = PASSWORD.replace('store = "none"', f'store = "sqlite:{tmp_path}/no database"')
        error = await proxy.reload(broken)
        assert error is not None
        assert "no database" in error
        assert await proxy.register() == 401
        assert proxy.server.config.users.store == "none"


async def test_users_who_are_looked_up_meanwhile_are_still_found(tmp_path: Path) -> None:
    sqlite = PASSWORD.replace('store = "none"', 'store = "sqlite"')
    async with reloadable(tmp_path, sqlite) as proxy:
        before = proxy.server.proxy.users
        found: list[object] = []
        before.find("somebody", "example.org", found.append)
        assert await proxy.reload(PASSWORD) is None
        assert proxy.server.proxy.users is not before
        async with asyncio.timeout(LIMIT):
            while not found:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        assert found == [{}]


def test_every_option_is_known_to_count_at_once_or_after_a_restart() -> None:
    # Named here, so that a new option is decided about.
    assert {option for option in options_of(Config) if not counts_at_once(option)} == {
        "data_dir",
        "listeners.listen",
        "connections.handshake_timeout",
        "connections.websocket_origins",
        "registrations.store",
        "registrations.addresses",
        "calls.records",
        "keys.main",
        "admin.listen",
        "admin.token",
        "admin.hosts",
        "admin.tls",
        "log.json",
    }
