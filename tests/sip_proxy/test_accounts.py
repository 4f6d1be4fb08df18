"""The commands on the store of users, as they are typed."""

import asyncio
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from natkit.cli.entry import run
from natkit.server.stores.opening import DATABASE
from natkit.server.stores.sqlite import SqliteStore
from natkit.server.stores.store import UserKeys
from sip_proxy.shell.commands import app
from sip_proxy.shell.users import keys_of

DOMAIN = "example.org"


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    status: int
    output: str
    error: str


class Command(Protocol):
    """Type of the ``command`` fixture."""

    def __call__(self, *arguments: str, typed: str = "", domain: str | None = DOMAIN) -> Done: ...


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Run ``sip-proxy user`` with these arguments, the test's own store and a standard input."""

    def start(*arguments: str, typed: str = "", domain: str | None = DOMAIN) -> Done:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        place = ["--data-dir", str(tmp_path)] + (["--domain", domain] if domain else [])
        status = run(app, "sip-proxy", server=True, arguments=["user", *arguments, *place])
        shown = capsys.readouterr()
        return Done(status, shown.out, shown.err)

    return start


def stored(directory: Path) -> list[UserKeys]:
    async def read() -> list[UserKeys]:
        store = SqliteStore(directory / DATABASE)
        try:
            return list(await store.users(DOMAIN))
        finally:
            await store.aclose()

    return asyncio.run(read())


def test_a_user_is_added_changed_listed_and_removed(command: Command, tmp_path: Path) -> None:
    assert command("add", "ann", typed="secret\n") == Done(0, "ann@example.org: added\n", "")
    assert stored(tmp_path) == [keys_of("ann", DOMAIN, "secret")]
    assert command("add", "ann", typed="other\n").output == "ann@example.org: changed\n"
    assert stored(tmp_path) == [keys_of("ann", DOMAIN, "other")]
    assert command("list").output == "ann\n"
    listed = json.loads(command("list", "--json").output)
    assert (listed["domain"], [each["username"] for each in listed["users"]]) == (DOMAIN, ["ann"])
    assert command("remove", "ann").output == "ann@example.org: removed\n"
    assert stored(tmp_path) == []


def test_hashes_of_another_proxy_stand_in_place_of_the_password(
    command: Command, tmp_path: Path
) -> None:
    ann = keys_of("ann", DOMAIN, "secret")
    assert ann.md5 is not None
    assert ann.sha256 is not None
    assert ann.sha512_256 is not None
    command("add", "old", "--md5", ann.md5.hex())
    command("add", "new", "--sha256", ann.sha256.hex(), "--sha512-256", ann.sha512_256.hex())
    assert stored(tmp_path) == [
        UserKeys("new", None, ann.sha256, ann.sha512_256),
        UserKeys("old", ann.md5, None),
    ]
    listed = json.loads(command("list", "--json").output)["users"]
    assert listed[1] == {"username": "old", "md5": True, "sha256": False, "sha512_256": False}


def test_no_command_shows_a_key(command: Command) -> None:
    command("add", "ann", typed="secret\n")
    shown = command("list", "--json").output
    assert keys_of("ann", DOMAIN, "secret").md5 is not None
    assert "secret" not in shown
    assert all(value is True for value in list(json.loads(shown)["users"][0].values())[1:])


@pytest.mark.parametrize(
    ("arguments", "domain", "said"),
    [
        (("add", "ann"), DOMAIN, "password: the standard input has none"),
        (("add", "ann", "--md5", "ab"), DOMAIN, "--md5: a key has 32 hexadecimal digits"),
        (("add", "a\x07", "--md5", "0" * 32), DOMAIN, "user 'a\\x07': text that OpaqueString"),
        (("add", "ann@example.net"), DOMAIN, "user 'ann@example.net': a name has neither @ nor :"),
        (("remove", "nobody"), DOMAIN, "user 'nobody': not of example.org in the store"),
        (("list",), None, "say of which domain: --domain example.org"),
        (("list",), "no domain", "--domain: 'no domain' is no host name"),
    ],
)
def test_a_mistake_is_one_line(
    command: Command, arguments: tuple[str, ...], domain: str | None, said: str
) -> None:
    done = command(*arguments, domain=domain)
    assert (done.status, done.output) == (2, "")
    assert done.error.startswith(f"error: {said}")
    assert len(done.error.splitlines()) == 1


def test_who_stands_in_the_configuration_is_not_added(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "sip-proxy.toml"
    file.write_text(f'domains = ["{DOMAIN}", "example.net"]\n[users.passwords]\nann = "x"\n')
    done = command("add", "ann", "--config", str(file), typed="secret\n")
    assert done.status == 2
    assert "counts first" in done.error
    assert command("list", "--config", str(file), domain="example.net").status == 0
    other = command("list", "--config", str(file), domain="elsewhere.example")
    assert other.error == (
        "error: --domain: elsewhere.example is none of example.org, example.net\n"
    )


def test_a_configuration_without_a_store_says_so(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "sip-proxy.toml"
    file.write_text(f'domains = ["{DOMAIN}"]\n[users]\nstore = "none"\n')
    done = command("list", "--config", str(file))
    assert (done.status, done.error) == (
        2,
        "error: users.store: the configuration says that there is no store\n",
    )
