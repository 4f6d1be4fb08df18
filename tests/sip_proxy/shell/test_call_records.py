"""Records of calls in files, and beside places that fail."""

import asyncio
import errno
import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from natkit.errors import ConfigError
from sip_proxy.calls import BranchRecord, CallRecord, Release
from sip_proxy.shell.call_records import KINDS, Recording, recording_at
from sip_proxy.shell.call_records import recording as recording_module
from sip_proxy.shell.call_records.json_lines import JsonLines
from sip_proxy.shell.call_records.recording import LARGEST_WAITING
from sip_proxy.shell.call_records.rows import COLUMNS, TABLE

LIMIT = 20.0


def record(number: int = 0, sender: str = "sip:alice@example.org") -> CallRecord:
    return CallRecord(
        call_id=f"{number}@alice",
        sender=sender,
        receiver="sip:bob@example.org",
        request_uri="sip:bob@example.org",
        user="alice@example.org",
        source="udp:192.0.2.10:5060",
        started=1_700_000_000.0,
        ringing=1_700_000_001.0,
        answered=1_700_000_002.5,
        ended=1_700_000_062.75,
        status=200,
        reason="OK",
        released_by=Release.CALLEE,
        target="sip:bob@192.0.2.11",
        answered_by="udp:192.0.2.11:5060",
        branches=(BranchRecord("sip:bob@192.0.2.11", "udp:192.0.2.11:5060", 200),),
    )


def place(url: str) -> Recording:
    made = recording_at(url)
    assert made is not None
    return made


async def written(recording: Recording) -> None:
    """Wait until nothing waits."""
    async with asyncio.timeout(LIMIT):
        while len(recording):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.005)


def lines(path: Path) -> list[dict[str, object]]:
    return [
        cast("dict[str, object]", json.loads(line))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


class TestJsonLines:
    async def test_a_record_is_a_line_for_the_file_s_owner_alone(self, tmp_path: Path) -> None:
        file = tmp_path / "calls.jsonl"
        recording = place(f"file:{file}")
        await recording.open()
        recording.put(record(1))
        await written(recording)
        recording.put(record(2, sender="sip:a\nb\udcff@example.org"))
        await recording.aclose()
        first, second = lines(file)
        assert first == json.loads(json.dumps(record(1).described()))
        assert (first["duration"], first["released_by"]) == (60.25, "callee")
        assert second["call_id"] == "2@alice"
        assert file.stat().st_mode & 0o777 == 0o600
        assert recording.lost == 0

    async def test_it_goes_on_in_another_file_once_the_old_one_was_moved(
        self, tmp_path: Path
    ) -> None:
        file, old = tmp_path / "calls.jsonl", tmp_path / "calls.jsonl.1"
        recording = place(f"file:{file}")
        await recording.open()
        recording.put(record(1))
        await written(recording)
        file.rename(old)
        recording.put(record(2))
        await written(recording)
        file.unlink()
        recording.put(record(3))
        await recording.aclose()
        assert [each["call_id"] for each in lines(old)] == ["1@alice"]
        assert [each["call_id"] for each in lines(file)] == ["3@alice"]

    async def test_what_was_there_stays(self, tmp_path: Path) -> None:
        file = tmp_path / "calls.jsonl"
        for number in range(2):
            recording = place(f"file:{file}")
            await recording.open()
            recording.put(record(number))
            await recording.aclose()
        assert [each["call_id"] for each in lines(file)] == ["0@alice", "1@alice"]

    def test_what_a_full_disk_took_a_part_of_is_undone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "calls.jsonl"
        writer = JsonLines(file)
        asyncio.run(writer.write([record(1)]))
        write = os.write

        def half(descriptor: int, data: bytes) -> int:
            if len(data) < 100:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(descriptor, data[: len(data) // 2])

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", half)
            with pytest.raises(OSError, match="No space left"):
                asyncio.run(writer.write([record(2)]))
        asyncio.run(writer.write([record(3)]))
        assert [each["call_id"] for each in lines(file)] == ["1@alice", "3@alice"]


async def test_sqlite_has_a_row_for_each(tmp_path: Path) -> None:
    file = tmp_path / "calls.sqlite3"
    recording = place(f"sqlite:{file}")
    await recording.open()
    for number in range(1_200):
        recording.put(record(number, sender="sip:a\0\udcff@example.org"))
    await recording.aclose()
    connection = sqlite3.connect(file)
    rows = connection.execute(f"SELECT * FROM {TABLE} ORDER BY id").fetchall()
    names = [each[1] for each in connection.execute(f"PRAGMA table_info({TABLE})")]
    connection.close()
    assert names == ["id", *(name for name, _ in COLUMNS)]
    assert [row[1] for row in rows] == [f"{number}@alice" for number in range(1_200)]
    assert rows[0][2] == "sip:a??@example.org"
    assert json.loads(rows[0][-1]) == record().described()["branches"]
    assert file.stat().st_mode & 0o777 == 0o600


class Failing:
    """A place that fails when it is told to."""

    name = "nowhere"

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.is_down = False

    async def open(self) -> None: ...

    async def write(self, records: Sequence[CallRecord]) -> None:
        await asyncio.sleep(0)
        if self.is_down:
            raise OSError("the place is down")
        self.kept += [each.call_id for each in records]

    async def aclose(self) -> None: ...


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_module, "RETRY_INTERVAL", 0.01)


async def test_what_cannot_be_written_is_written_later_and_in_its_order() -> None:
    told: list[str | None] = []
    writer = Failing()
    recording = Recording(writer, told.append)
    await recording.open()
    recording.put(record(0))
    await written(recording)
    writer.is_down = True
    for number in range(1, 1_500):
        recording.put(record(number))
    async with asyncio.timeout(LIMIT):
        while not told:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
    assert recording.failure == "the place is down"
    writer.is_down = False
    await written(recording)
    assert writer.kept == [f"{number}@alice" for number in range(1_500)]
    assert told == ["the place is down", None]
    assert recording.lost == 0
    await recording.aclose()


async def test_a_place_that_is_down_at_the_start_is_told_before_there_is_a_record() -> None:
    told: list[str | None] = []
    writer = Failing()
    writer.is_down = True
    recording = Recording(writer, told.append)
    await recording.open()
    async with asyncio.timeout(LIMIT):
        while not told:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
    writer.is_down = False
    recording.put(record(0))
    await written(recording)
    await recording.aclose()
    assert (told, writer.kept) == (["the place is down", None], ["0@alice"])


async def test_what_waits_is_bounded_and_what_is_lost_is_counted() -> None:
    writer = Failing()
    writer.is_down = True
    recording = Recording(writer, lambda _: None)
    await recording.open()
    one = record()
    for _ in range(LARGEST_WAITING + 7):
        recording.put(one)
    assert (len(recording), recording.lost) == (LARGEST_WAITING, 7)
    async with asyncio.timeout(LIMIT):
        await recording.aclose()
    assert recording.lost == LARGEST_WAITING + 7


@pytest.mark.parametrize(
    "url", ["", "file:", "file://x", "sqlite", "mysql://x", "calls.jsonl", "none:", "postgresql"]
)
def test_a_place_that_is_none_is_told_with_those_that_are(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        recording_at(url)
    assert KINDS in str(error.value)


@pytest.mark.parametrize("kind", ["file", "sqlite"])
async def test_a_place_that_cannot_be_had_is_told_at_the_start(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        await place(f"{kind}:{tmp_path}/nowhere/calls").open()


def test_no_records_are_kept_where_none_are_wanted() -> None:
    assert recording_at("none") is None
