"""A configuration that is read again counts as a whole or not at all, and costs no allocation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from pydantic import BaseModel
from structlog.testing import capture_logs

from natkit.address import Address
from natkit.aio.turn import allocate
from natkit.errors import ErrorResponse
from natkit.server.reloading import changes
from stun_server.config import Config, load
from stun_server.shell.counting_at_once import counts_at_once
from stun_server.shell.serving import start
from stun_server.shell.state import ephemeral_keys
from tests.stun_server.shell.test_running import LIMIT, PASSWORD, USER, Running, plain_peer, until

FIRST = f"""
[listeners]
listen = ["127.0.0.1:0"]
[users]
passwords = {{ {USER} = "{PASSWORD}" }}
store = "none"
[policy]
allow_peer = ["127.0.0.0/8"]
"""


class Reloadable(Running):
    """A server whose configuration is a file that the test writes anew."""

    file: Path

    async def reload(self, text: str) -> str | None:
        """Write the file and have it read; what was wrong with it."""
        self.file.write_text(text)
        return (await self.server.administration.reload()).error


@asynccontextmanager
async def reloadable(directory: Path, text: str = FIRST) -> AsyncIterator[Reloadable]:
    file = directory / "server.toml"
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
            running = Reloadable(server, log)
            running.file = file
            yield running
        finally:
            await server.aclose()


async def refusal(server: Running, user: str = USER, password: str = PASSWORD) -> int | None:
    """The code that an Allocate of this user is refused with, if it is."""
    try:
        async with allocate(server.uri("udp"), username=user, password=password):
            return None
    except ErrorResponse as error:
        return error.code


async def test_users_come_and_go(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as server:
        assert await refusal(server, "bob", "his") == 401
        text = FIRST.replace(f'{USER} = "{PASSWORD}"', 'bob = "his"')
        assert await server.reload(text) is None
        assert await refusal(server, "bob", "his") is None
        assert await refusal(server) == 401


async def test_allocations_of_a_user_that_is_gone_go_on(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with (
        reloadable(tmp_path) as server,
        plain_peer() as peer,
        allocate(server.uri("udp"), username=USER, password=PASSWORD) as relay,
    ):
        there = Address(*peer.getsockname())
        await relay.bind_channel(there)
        text = FIRST.replace(f'{USER} = "{PASSWORD}"', 'bob = "his"')
        assert await server.reload(text) is None
        await relay.send(b"still", there)
        async with asyncio.timeout(LIMIT):
            assert await loop.sock_recv(peer, 2000) == b"still"
        await relay.permit(there)
        assert not server.lines("allocation closed")


async def test_peers_that_are_refused_now_hear_no_more(tmp_path: Path) -> None:
    async with (
        reloadable(tmp_path) as server,
        plain_peer() as peer,
        allocate(server.uri("udp"), username=USER, password=PASSWORD) as relay,
    ):
        there = Address(*peer.getsockname())
        await relay.bind_channel(there)
        text = FIRST.replace('allow_peer = ["127.0.0.0/8"]', "")
        assert await server.reload(text) is None
        assert server.lines("channel revoked")[0]["peer"] == str(there)
        before = server.server.totals()
        await relay.send(b"gone", there)
        await until(lambda: server.server.totals().dropped_no_channel > before.dropped_no_channel)
        assert server.server.totals().packets_to_peers == before.packets_to_peers


async def test_a_realm_is_added_and_taken_away(tmp_path: Path) -> None:
    shop = FIRST.replace("[listeners]\nlisten", "[listeners]\nlisten") + (
        '[realms."shop.example"]\norigins = ["https://shop.example"]\n'
        '[realms."shop.example".users]\npasswords = { ann = "another" }\n'
    )
    async with reloadable(tmp_path) as server:
        assert await server.reload(shop) is None
        status = await server.server.administration.status()
        assert status.realms == ("natkit", "shop.example")
        assert await server.reload(FIRST) is None
        assert (await server.server.administration.status()).realms == ("natkit",)
        assert await refusal(server) is None


async def test_limits_count_at_once(tmp_path: Path) -> None:
    async with (
        reloadable(tmp_path) as server,
        allocate(server.uri("udp"), username=USER, password=PASSWORD),
    ):
        assert await server.reload(FIRST + "[limits]\nallocations_per_user = 1\n") is None
        assert await refusal(server) == 486


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("[limits]\nallocations = 0\n", "limits.allocations: "),
        ("nonsense", "is no TOML"),
        (
            '[realms.a]\norigins = ["https://a"]\n[realms.a.users]\nstore = "no:where"\n',
            "store",
        ),
        ('[realms."natkit"]\norigins = ["https://a"]\n', "this is the realm of [users]"),
        (
            '[[redirects]]\nservers = ["192.0.2.1:3478"]\nlisteners = ["udp:192.0.2.1:1"]\n',
            "is not in listeners.listen",
        ),
    ],
)
async def test_a_mistake_changes_nothing_and_is_named(
    tmp_path: Path, mistake: str, said: str
) -> None:
    async with reloadable(tmp_path) as server:
        text = mistake + FIRST if mistake == "nonsense" else FIRST + mistake
        error = await server.reload(text.replace(f'{USER} = "{PASSWORD}"', 'bob = "his"'))
        assert error is not None
        assert said in error
        assert server.lines("not reloaded")[0]["reason"] == error
        assert await refusal(server) is None
        assert await refusal(server, "bob", "his") == 401


async def test_what_needs_a_restart_is_named(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as server:
        text = FIRST.replace("127.0.0.1:0", "127.0.0.1:3479") + '[log]\nlevel = "error"\n'
        server.file.write_text(text)
        report = await server.server.administration.reload()
        assert set(report.changed) == {"listeners.listen", "log.level"}
        assert report.needs_restart == ("listeners.listen",)
        assert server.lines("needs a restart")[0]["options"] == ["listeners.listen"]


async def test_a_store_that_is_no_longer_used_is_closed_and_one_that_is_goes_on(
    tmp_path: Path,
) -> None:
    sqlite = FIRST.replace('store = "none"', f'store = "sqlite:{tmp_path}/users"')
    async with reloadable(tmp_path, sqlite) as server:
        first = server.server.users.of("natkit")
        assert await server.reload(sqlite + "[limits]\nallocations = 5\n") is None
        assert server.server.users.of("natkit") is first
        assert await server.reload(FIRST) is None
        assert (await server.server.administration.status()).store.name == "none"


def test_what_changed_is_named_by_table_and_option(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text(FIRST)
    one = load(file)
    file.write_text(FIRST.replace("secret", "other") + '[[redirects]]\nservers = ["192.0.2.1:1"]\n')
    assert changes(one, load(file), counts_at_once).changed == ("users.passwords", "redirects")
    assert changes(one, one, counts_at_once).changed == ()


ADMINISTRATION = """
[admin]
token = "of sixteen or more"
[credentials]
token = "of another sixteen"
lifetime = 3600
"""


async def test_what_needs_a_restart_is_named_until_there_is_one(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as server:
        wanted = ("admin.token", "credentials.token", "credentials.lifetime")
        server.file.write_text(FIRST + ADMINISTRATION)
        for changed in (wanted, ()):
            report = await server.server.administration.reload()
            assert (report.changed, report.needs_restart) == (changed, wanted)
        # As it was at the start: there is nothing to restart for.
        server.file.write_text(FIRST)
        report = await server.server.administration.reload()
        assert (report.changed, report.needs_restart) == (wanted, ())
        assert len(server.lines("needs a restart")) == 2


def test_every_option_is_known_to_count_at_once_or_after_a_restart() -> None:
    # Named here, so that a new option is decided about.
    after_a_restart = {
        "data_dir",
        "listeners.listen",
        "listeners.proxy_protocol",
        "listeners.alternate",
        "listeners.workers",
        "listeners.dscp",
        "listeners.relay_plane",
        "log.json",
    }
    assert {
        f"{name}.{field.alias or below}"
        for name, table in Config.model_fields.items()
        if isinstance(table.annotation, type) and issubclass(table.annotation, BaseModel)
        for below, field in table.annotation.model_fields.items()
        if not counts_at_once(f"{name}.{field.alias or below}")
        and name not in {"admin", "credentials", "events"}
    } | {"data_dir"} == after_a_restart
