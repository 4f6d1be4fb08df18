"""Nobody fills the disk: lines of one kind have a rate, and what is missing is summed up."""

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from natkit.server import log
from natkit.server.log_floods import KINDS, LINES_PER_SECOND, LogFloods

DROPPED = "dropped"
EVERY_LINE = frozenset({"session opened", "session closed"})


class Floods:
    """A processor with a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.summaries: list[tuple[str, int]] = []
        self._floods = LogFloods(self._summarize, lambda: self.now, EVERY_LINE)

    def _summarize(self, _: str, kind: str, count: int) -> None:
        self.summaries.append((kind, count))

    def passed(self, event: str, count: int = 1, method: str = "info", **fields: object) -> int:
        """How many of so many lines pass."""
        return sum(self._passes(event, method, fields) for _ in range(count))

    def _passes(self, event: str, method: str, fields: dict[str, object]) -> bool:
        try:
            self._floods(None, method, {"event": event, **fields})
        except structlog.DropEvent:
            return False
        return True


def test_each_kind_has_its_lines_a_second_and_the_rest_is_summed_up() -> None:
    floods = Floods()
    assert floods.passed("internal error", 1_000) == LINES_PER_SECOND
    assert floods.passed("store down") == 1
    assert floods.summaries == []
    floods.now += 1
    assert floods.passed("internal error") == 1
    assert floods.summaries == [("internal error", 1_000 - LINES_PER_SECOND)]
    floods.now += 1
    assert floods.passed("store down") == 1
    assert len(floods.summaries) == 1


@pytest.mark.parametrize("event", sorted(EVERY_LINE))
def test_what_became_of_sessions_is_all_there(event: str) -> None:
    assert Floods().passed(event, 1_000) == 1_000


def test_who_wants_every_line_gets_every_line() -> None:
    assert Floods().passed("peer permitted", 1_000, "debug") == 1_000


def test_a_librarys_texts_are_one_kind_however_they_differ() -> None:
    floods = Floods()
    passed = sum(floods.passed(f"socket {number}", logger="asyncio") for number in range(1_000))
    assert passed == LINES_PER_SECOND


def test_kinds_without_end_take_no_room_without_end() -> None:
    floods = Floods()
    passed = sum(floods.passed(f"kind {number}") for number in range(10_000))
    assert passed == KINDS + LINES_PER_SECOND
    assert len(floods._floods._lines) == KINDS + 1
    floods.now += 1
    floods.passed("kind 1")
    assert floods.summaries == [("others", 10_000 - passed)]


@pytest.fixture
def _logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, threshold = root.handlers[:], root.level, log.level_now()
    yield
    log._threshold.level = threshold
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging")
async def test_the_sum_is_in_the_log_though_nothing_follows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = log.configure("info", as_json=True)
    lines: list[dict[str, object]] = []
    count = 10 * LINES_PER_SECOND
    for _ in range(count):
        logger.error("internal error")
    async with asyncio.timeout(20):
        while not lines or lines[-1]["event"] != "lines not logged":
            lines += map(json.loads, capsys.readouterr().err.splitlines())
            await asyncio.sleep(0.05)
    written = [line for line in lines if line["event"] == "internal error"]
    missing = [line for line in lines if line["event"] == "lines not logged"]
    # More than one second may have begun on the way.
    assert len(written) + sum(int(str(line["count"])) for line in missing) == count
    assert {line["of"] for line in missing} == {"internal error"}
    assert len(written) < count
