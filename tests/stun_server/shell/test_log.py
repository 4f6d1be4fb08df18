"""Lines of the log: one an event, a bounded number about what strangers do."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog
from structlog.testing import capture_logs

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.relay.plane import Counters
from natkit.server import log
from natkit.stun.registry import Method, StunError
from stun_server.connection_events import (
    PeerConnected,
    PeerConnectionClosed,
    PeerConnectionRefused,
)
from stun_server.events import AllocationClosed, CloseReason, PeerRefused, RequestRefused
from stun_server.policy import PeerPolicy
from stun_server.shell.log import REFUSALS_PER_SECOND, EventLog

CLIENT = Path(Transport.UDP, Address("192.0.2.1", 3478), Address("198.51.100.1", 5000))


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def refused(code: int = StunError.UNAUTHENTICATED) -> RequestRefused:
    return RequestRefused(CLIENT, Method.ALLOCATE, code, "wrong password", "alice")


def test_a_flood_of_refusals_is_counted_in_full_and_logged_in_part() -> None:
    with capture_logs() as lines:
        events = EventLog(structlog.get_logger())
        for _ in range(1000):
            events.write(refused(), 10.5)
        assert len(lines) == REFUSALS_PER_SECOND
        events.write(refused(), 11.0)
    assert lines[-2]["event"] == "refusals not logged"
    assert lines[-2]["count"] == 1000 - REFUSALS_PER_SECOND
    assert lines[-1]["event"] == "request refused"
    assert events.counts["requests refused with 401"] == 1001


def test_a_refused_request_says_who_what_and_why() -> None:
    with capture_logs() as lines:
        EventLog(structlog.get_logger()).write(refused(), 1.0)
    assert lines == [
        {
            "event": "request refused",
            "log_level": "info",
            "method": "allocate",
            "user": "alice",
            "client": "198.51.100.1:5000",
            "transport": "udp",
            "code": 401,
            "reason": "wrong password",
        }
    ]


def test_an_allocation_that_ends_says_whose_it_was_and_what_it_relayed() -> None:
    relayed = Address("192.0.2.1", 50000)
    closed = AllocationClosed(7, CLIENT, relayed, CloseReason.DELETED, "alice")
    with capture_logs() as lines:
        EventLog(structlog.get_logger(), 2).write(closed, 1.0, Counters(3, 300, 4, 400))
    assert lines == [
        {
            "event": "allocation closed",
            "log_level": "info",
            "session": "2-7",
            "user": "alice",
            "reason": "deleted",
            "to_peers": 3,
            "bytes_to_peers": 300,
            "to_clients": 4,
            "bytes_to_clients": 400,
        }
    ]


def test_a_name_that_a_stranger_claims_does_not_steer_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    events = EventLog(log.configure("info", as_json=False))
    events.write(replace(refused(), username="\x1b[2J\u202etoor"), 1.0)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.removesuffix("\n").isprintable()


def test_connections_to_peers_are_of_the_session_that_other_lines_name() -> None:
    peer = Address("192.0.2.9", 80)
    facts = (
        PeerConnected(7, 0x2000001, peer, attempted=False),
        PeerConnectionRefused(7, peer, "too many"),
        PeerConnectionClosed(7, 0x2000001, peer, bound=True),
    )
    with capture_logs() as lines:
        for fact in facts:
            EventLog(structlog.get_logger(), 2).write(fact, 1.0)
    assert [line["session"] for line in lines] == ["2-7"] * 3


def test_a_stale_nonce_is_routine_and_only_counted() -> None:
    with capture_logs() as lines:
        events = EventLog(structlog.get_logger())
        events.write(refused(StunError.STALE_NONCE), 1.0)
    assert lines == []
    assert events.counts["requests refused with 438"] == 1


def test_a_refused_peer_says_the_rule_and_how_to_allow_it() -> None:
    rule = PeerPolicy(()).refusal(Address("10.1.2.3", 80))
    assert rule is not None
    with capture_logs() as lines:
        events = EventLog(structlog.get_logger())
        events.write(PeerRefused(7, Address("10.1.2.3", 9), rule), 1.0)
    (line,) = lines
    assert line["session"] == "0-7"
    assert line["rule"] == "10.0.0.0/8 (private use, RFC 1918)"
    assert line["to_allow"] == "--allow-peer 10.0.0.0/8"


@pytest.mark.parametrize("as_json", [True, False])
def test_each_event_is_one_line_of_the_level_that_was_asked_for(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    logger = log.configure("info", as_json=as_json)
    logger.debug("too much")
    logger.info("an event", session=3)
    logging.getLogger("natkit.aio").log(logging.WARNING + 5, "of the %s", "library")
    (own, library) = capsys.readouterr().err.splitlines()
    if as_json:
        assert {**json.loads(own), "timestamp": ""} == {
            "event": "an event",
            "level": "info",
            "session": 3,
            "timestamp": "",
        }
        assert {**json.loads(library), "timestamp": ""} == {
            "event": "of the library",
            "level": "warning",
            "logger": "natkit.aio",
            "timestamp": "",
        }
    else:
        assert "an event" in own
        assert "session=3" in own
        assert "of the library" in library


@pytest.mark.parametrize("as_json", [True, False])
def test_an_internal_error_is_logged_with_its_place(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    logger = log.configure("info", as_json=as_json)
    try:
        raise ZeroDivisionError("a bug")
    except ZeroDivisionError:
        logger.exception("internal error")
    printed = capsys.readouterr().err
    assert "ZeroDivisionError: a bug" in printed
    assert "test_log.py" in printed
    assert not as_json or printed.count("\n") == 1


def test_below_the_level_events_are_counted_without_a_line() -> None:
    log.set_level("warning")
    with capture_logs() as lines:
        events = EventLog(structlog.get_logger())
        for _ in range(2 * REFUSALS_PER_SECOND):
            events.write(refused(), 10.5)
        events.write(refused(), 11.0)
    assert lines == []
    assert events.counts["requests refused with 401"] == 2 * REFUSALS_PER_SECOND + 1


def test_the_level_changes_for_loggers_that_are_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    logger = log.configure("info", as_json=True)
    events = EventLog(logger)
    logger.info("first")
    log.set_level("error")
    events.follow_level()
    logger.warning("unseen")
    logging.getLogger("natkit").warning("unseen")
    events.write(refused(), 1.0)
    log.set_level("debug")
    events.follow_level()
    logger.debug("second")
    events.write(refused(), 2.0)
    seen = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert seen == ["first", "second", "request refused"]
    assert events.counts["requests refused with 401"] == 2
