"""Registrations in a file: kept once they are acknowledged, whatever becomes of the process."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.errors import ConfigError, MalformedMessage
from natkit.machine import Failure
from sip_proxy.events import Overloaded
from sip_proxy.location import Accepted, Binding, Outcome, Registration
from sip_proxy.location.text import from_text, to_text
from sip_proxy.shell.stores import SqliteLocation
from sip_proxy.shell.stores import sqlite as sqlite_module
from tests.sip_proxy.shell.location_contract import (
    ALICE,
    BOB,
    FLOW,
    HERE,
    NOW,
    LocationContract,
    contacts,
    found,
    outcomes_in_groups,
    registration,
    updated,
)

UNTIL = NOW + 3600
THIRD = "sip:carol@example.org"


class TestSqliteLocation(LocationContract):
    @pytest.fixture
    async def location(self, tmp_path: Path) -> AsyncIterator[SqliteLocation]:
        location = SqliteLocation(tmp_path / "bindings.sqlite", largest_count=1000)
        await location.open()
        yield location
        await location.aclose()


def gone(number: int) -> Registration:
    return registration(number, expires=0)


async def opened(path: Path) -> SqliteLocation:
    location = SqliteLocation(path)
    await location.open()
    return location


async def test_bindings_are_there_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "state" / "bindings.sqlite"
    location = await opened(file)
    kept = await updated(location, ALICE, registration(1))
    assert isinstance(kept, Accepted)
    assert isinstance(await updated(location, BOB, registration(1)), Accepted)
    assert isinstance(await updated(location, BOB, gone(2)), Accepted)
    await location.aclose()
    again = await opened(file)
    assert await found(again, ALICE) == kept.bindings
    assert await found(again, BOB) == ()
    await again.aclose()
    assert file.stat().st_mode & 0o777 == 0o600


async def test_many_at_once_are_written_in_a_few_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "LARGEST_GROUP", 200)
    location = await opened(tmp_path / "bindings.sqlite")
    groups: list[int] = []
    commit = location._commit

    def counted(kept: Mapping[str, str], gone: Sequence[str]) -> None:
        groups.append(len(kept))
        commit(kept, gone)

    monkeypatch.setattr(location, "_commit", counted)
    loop = asyncio.get_running_loop()
    names = [f"sip:{number}@example.org" for number in range(500)]
    outcomes: list[Outcome | Failure] = []
    done = loop.create_future()

    def count(outcome: Outcome | Failure) -> None:
        outcomes.append(outcome)
        if len(outcomes) == len(names):
            done.set_result(None)

    for name in names:
        location.update(name, registration(1), NOW, count)
    assert outcomes == []
    await done
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert groups == [200, 200, 100]
    await location.aclose()
    with sqlite3.connect(tmp_path / "bindings.sqlite") as database:
        assert database.execute("SELECT count(*) FROM bindings").fetchone() == (500,)
    database.close()


async def test_the_outcomes_of_a_group_are_given_together(tmp_path: Path) -> None:
    location = await opened(tmp_path / "bindings.sqlite")
    assert await outcomes_in_groups(location, 50) == [50]


async def test_what_comes_while_the_disk_is_busy_waits_for_more_and_shares_a_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = await opened(tmp_path / "bindings.sqlite")
    groups: list[list[str]] = []
    commit = location._commit
    loop = asyncio.get_running_loop()

    def later(name: str) -> None:
        location.update(name, registration(1), NOW, lambda _: None)

    def followed(kept: Mapping[str, str], gone: Sequence[str]) -> None:
        commit(kept, gone)
        groups.append(list(kept))
        if len(groups) == 1:
            # One comes meanwhile, and one when that might have begun to be written by itself.
            loop.call_soon_threadsafe(later, BOB)
            loop.call_soon_threadsafe(loop.call_later, 0.0, later, THIRD)

    monkeypatch.setattr(location, "_commit", followed)
    monkeypatch.setattr(sqlite_module, "GATHERING", 0.1)
    later(ALICE)
    await location.aclose()
    assert groups == [[ALICE], [BOB, THIRD]]


async def test_what_cannot_be_kept_is_refused_and_not_used(tmp_path: Path) -> None:
    file = tmp_path / "bindings.sqlite"
    location = await opened(file)
    await updated(location, ALICE, registration(1))
    with sqlite3.connect(file) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON bindings BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    failed = await updated(location, ALICE, registration(2, "sip:a@192.0.2.99"))
    assert isinstance(failed, Failure)
    assert "full" in failed.reason
    failures = [location.failure]
    assert await contacts(location, ALICE) == [HERE]
    with sqlite3.connect(file) as database:
        database.execute("DROP TRIGGER full")
    database.close()
    assert isinstance(await updated(location, ALICE, registration(3)), Accepted)
    failures.append(location.failure)
    assert failures == [failed.reason, None]
    await location.aclose()


async def test_a_file_that_another_program_has_locked_is_waited_for_and_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "LOCK_LIMIT", 0.05)
    file = tmp_path / "bindings.sqlite"
    location = await opened(file)
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        failed = await updated(location, ALICE, registration(1))
        assert isinstance(failed, Failure)
        assert "locked" in failed.reason
        database.execute("COMMIT")
    assert isinstance(await updated(location, ALICE, registration(2)), Accepted)
    await location.aclose()


async def test_what_has_expired_leaves_the_file(tmp_path: Path) -> None:
    file = tmp_path / "bindings.sqlite"
    location = await opened(file)
    await updated(location, ALICE, registration(1))
    location.forget_expired(UNTIL)
    await location.aclose()
    again = await opened(file)
    assert await found(again, ALICE) == ()
    await again.aclose()


async def test_a_file_that_is_none_of_ours_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bindings.sqlite"
    file.write_text("This is no database, and long enough to be taken for a damaged one." * 20)
    location = SqliteLocation(file)
    with pytest.raises(ConfigError, match=r"bindings\.sqlite"):
        await location.open()
    await location.aclose()


async def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "bindings.sqlite"
    location = await opened(file)
    await updated(location, ALICE, registration(1))
    await location.aclose()
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    damaged = SqliteLocation(file)
    with pytest.raises(ConfigError, match=r"bindings\.sqlite: .*malformed.*restore it, or remove"):
        await damaged.open()
    await damaged.aclose()


async def test_a_file_that_another_process_has_open_is_not_shared(tmp_path: Path) -> None:
    file = tmp_path / "bindings.sqlite"
    location = await opened(file)
    other = SqliteLocation(file)
    with pytest.raises(ConfigError, match="another process has it open"):
        await other.open()
    await location.aclose()
    await other.open()
    await other.aclose()


async def test_a_file_whose_directory_cannot_be_had_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    location = SqliteLocation(tmp_path / "file" / "bindings.sqlite")
    with pytest.raises(ConfigError, match=r"bindings\.sqlite: (File exists|Not a directory)"):
        await location.open()
    await location.aclose()


async def test_registrations_that_wait_for_the_disk_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "LARGEST_WAITING", 10)
    location = await opened(tmp_path / "bindings.sqlite")
    outcomes: list[Outcome | Failure] = []
    for number in range(11):
        location.update(f"sip:{number}@example.org", registration(1), NOW, outcomes.append)
    assert [type(outcome) for outcome in outcomes] == [Overloaded]
    await location.aclose()
    assert [type(outcome) for outcome in outcomes[1:]] == [Accepted] * 10


WRITER = """
import asyncio, sys
from itertools import count
from pathlib import Path
from sip_proxy.location import ContactChange, Registration
from sip_proxy.shell.stores import SqliteLocation

async def main():
    location = SqliteLocation(Path(sys.argv[1]))
    await location.open()
    change = Registration((ContactChange("sip:a@192.0.2.10", 3600, 1000),), "1", 1)
    for number in count():
        acknowledged = asyncio.get_running_loop().create_future()
        def say(outcome, name=f"sip:{number}@example.org", acknowledged=acknowledged):
            print(name, flush=True)
            acknowledged.set_result(None)
        location.update(f"sip:{number}@example.org", change, 1_700_000_000.0, say)
        if number % 20 == 19:
            await acknowledged

asyncio.run(main())
"""


async def test_a_process_that_is_killed_has_kept_all_that_it_acknowledged(tmp_path: Path) -> None:
    file = tmp_path / "bindings.sqlite"
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(file), stdout=asyncio.subprocess.PIPE
    )
    assert writer.stdout is not None
    acknowledged = [await writer.stdout.readline() for _ in range(300)]
    writer.kill()
    acknowledged += (await writer.stdout.read()).splitlines(keepends=True)
    await writer.wait()
    location = await opened(file)
    # The last line may have been cut.
    names = [line.decode().rstrip() for line in acknowledged if line.endswith(b"\n")]
    assert len(names) >= 300
    for name in names:
        assert await found(location, name), name
    await location.aclose()


@given(
    st.lists(
        st.builds(
            Binding,
            contact=st.text(),
            expires_at=st.floats(0, 1e10),
            q=st.integers(0, 1000),
            call_id=st.text(),
            cseq=st.integers(0, 2**31 - 1),
            updated_at=st.floats(0, 1e10),
            path=st.lists(st.text()).map(tuple),
            flow=st.sampled_from([None, FLOW]),
            instance=st.none() | st.text(),
            reg_id=st.none() | st.integers(1, 9),
            user_agent=st.text(),
        )
    )
)
def test_bindings_pass_through_text_unchanged(bindings: list[Binding]) -> None:
    assert from_text(to_text(bindings)) == tuple(bindings)


@pytest.mark.parametrize("text", ["", "{}x", "[1]", '[{"contact": 1}]', "null", '[{"q": "x"}]'])
def test_other_text_is_malformed(text: str) -> None:
    with pytest.raises(MalformedMessage):
        from_text(text)
