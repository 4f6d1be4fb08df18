"""The commands on the store, as they are typed."""

import asyncio
import io
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from natkit.cli.entry import run
from natkit.server.stores.opening import DATABASE
from natkit.server.stores.sqlite import SqliteStore
from natkit.server.stores.store import UserKeys
from natkit.turn.credentials import Digest, time_limited_password
from stun_server.shell.commands import app
from tests.natkit.server.stores.contract import ANN, REALM


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    status: int
    output: str
    error: str


class Command(Protocol):
    """Type of the ``command`` fixture."""

    def __call__(self, *arguments: str, typed: str = "", options: bool = True) -> Done: ...


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Run ``stun-server`` with these arguments, the test's own store and a standard input."""

    def start(*arguments: str, typed: str = "", options: bool = True) -> Done:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        place = ("--data-dir", str(tmp_path), "--realm", REALM) if options else ()
        status = run(app, "stun-server", server=True, arguments=[*arguments, *place])
        shown = capsys.readouterr()
        return Done(status, shown.out, shown.err)

    return start


def stored(tmp_path: Path) -> list[UserKeys]:
    async def read() -> list[UserKeys]:
        store = SqliteStore(tmp_path / DATABASE)
        try:
            return list(await store.users(REALM))
        finally:
            await store.aclose()

    return asyncio.run(read())


def test_a_user_is_added_changed_listed_and_removed(command: Command, tmp_path: Path) -> None:
    done = command("user", "add", "ann", typed="other\n")
    assert done == Done(0, f"ann: added to realm {REALM}\n", "")
    assert command("user", "add", "ann", typed="secret\n").output.startswith("ann: changed")
    assert stored(tmp_path) == [ANN]
    assert command("user", "list").output == "ann\n"
    assert command("user", "remove", "ann").output == f"ann: removed from realm {REALM}\n"
    assert command("user", "list") == Done(0, "", "")


def test_keys_may_be_given_in_place_of_the_password(command: Command, tmp_path: Path) -> None:
    assert ANN.md5 is not None
    assert ANN.sha256 is not None
    command("user", "add", "old", "--md5", ANN.md5.hex())
    command("user", "add", "new", "--sha256", ANN.sha256.hex())
    assert stored(tmp_path) == [UserKeys("new", None, ANN.sha256), UserKeys("old", ANN.md5, None)]
    listed = json.loads(command("user", "list", "--json").output)
    assert listed == {
        "schema": 1,
        "realm": REALM,
        "users": [
            {"username": "new", "md5": False, "sha256": True},
            {"username": "old", "md5": True, "sha256": False},
        ],
    }


def test_a_password_is_no_option_so_that_no_list_of_processes_has_it(command: Command) -> None:
    done = command("user", "add", "ann", "--password", "hunter2")
    assert done.status == 2
    assert "--password" in done.error


@pytest.mark.parametrize(
    ("arguments", "typed", "line"),
    [
        (("user", "add", "ann"), "", "password: the standard input has none; or give --md5 or"),
        (("user", "add", "ann"), "a\x07b\n", "user 'ann': text that OpaqueString forbids"),
        (("user", "add", "a\x07"), "x\n", "user 'a\\x07': text that OpaqueString forbids"),
        (("user", "add", "ann", "--md5", "abcd"), "", "--md5: a key has 32 hexadecimal digits"),
        (("user", "add", "ann", "--sha256", "x"), "", "--sha256: a key has 64 hexadecimal digits"),
        (("user", "remove", "eve"), "", f"user 'eve': not in realm {REALM} of the store"),
        (("user", "remove", "a\x07"), "", "user 'a\\x07': text that OpaqueString forbids"),
        (("secret", "remove", "abcd"), "", f"no secret of realm {REALM} has the fingerprint 'ab"),
        (("secret", "add", "--given"), "", "secret: the standard input has none; or give no --gi"),
        (("credentials", "ann"), "", f"realm {REALM} has no secret: `stun-server secret add`, or"),
        (("credentials", "--lifetime", "0"), "", "invalid value for '--lifetime'"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    command: Command, arguments: tuple[str, ...], typed: str, line: str
) -> None:
    done = command(*arguments, typed=typed)
    assert (done.status, done.output) == (2, "")
    assert done.error.startswith(f"error: {line}")
    assert len(done.error.splitlines()) == 1


def test_the_configuration_says_which_store_and_which_realm(
    command: Command, tmp_path: Path
) -> None:
    config = tmp_path / "stun.toml"
    config.write_text(
        f'[users]\nrealm = "{REALM}"\nstore = "sqlite:{tmp_path / DATABASE}"\n'
        'passwords = {bob = "his"}\n'
    )
    given = ("--config", str(config))
    assert command("user", "add", "ann", *given, typed="secret\n", options=False).status == 0
    assert stored(tmp_path) == [ANN]
    done = command("user", "add", "bob", *given, typed="secret\n", options=False)
    assert done.status == 2
    assert "stands in" in done.error

    config.write_text('[users]\nstore = "none"\n')
    done = command("user", "list", *given, options=False)
    assert done.error == "error: users.store: the configuration says that there is no store\n"


def test_a_store_that_is_down_is_one_line_and_status_1(command: Command, tmp_path: Path) -> None:
    (tmp_path / DATABASE).mkdir()
    done = command("user", "list")
    assert (done.status, done.output) == (1, "")
    assert done.error == f"error: {tmp_path / DATABASE}: Is a directory\n"


# Secrets and what is made with them.


def test_secrets_are_made_rotated_and_shown_by_their_fingerprints(command: Command) -> None:
    first = command("secret", "add").output.strip()
    assert len(first) >= 32
    done = command("secret", "add", "--given", typed="a secret of ours\n")
    assert "a secret of ours" not in done.output
    fingerprints = command("secret", "list").output.split()
    assert len(set(fingerprints)) == 2
    assert first not in fingerprints
    listed = json.loads(command("secret", "list", "--json").output)
    assert listed["secrets"] == fingerprints
    assert command("secret", "add", "--given", typed="a secret of ours\n").status == 2
    assert command("secret", "remove", fingerprints[1]).status == 0
    assert command("secret", "list").output.split() == fingerprints[:1]


def test_credentials_are_made_with_the_newest_secret(command: Command) -> None:
    command("secret", "add", "--given", typed="old\n")
    command("secret", "add", "--given", typed="new\n")
    before = int(time.time())
    made = json.loads(command("credentials", "ann", "--lifetime", "60", "--json").output)
    expires, _, name = made["username"].partition(":")
    assert name == "ann"
    assert before + 60 <= int(expires) <= time.time() + 60
    assert made["ttl"] == 60
    assert made["password"] == time_limited_password("new", made["username"])
    _, username, _, password = command("credentials", "ann").output.split()
    assert password == time_limited_password("new", username)
    assert "ann" not in command("credentials").output


def test_secrets_of_the_configuration_come_first_and_their_digest_counts(
    command: Command, tmp_path: Path
) -> None:
    command("secret", "add", "--given", typed="stored\n")
    config = tmp_path / "stun.toml"
    config.write_text('[users]\nsecrets = ["first", "second"]\nsecret_digest = "sha256"\n')
    made = json.loads(command("credentials", "ann", "--json", "--config", str(config)).output)
    expected = time_limited_password("first", made["username"], Digest.SHA256)
    assert made["password"] == expected
