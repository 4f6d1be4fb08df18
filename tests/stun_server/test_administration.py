"""What crosses sockets is what was said, and what several workers say adds up."""

from dataclasses import replace

import pytest

from natkit.machine import Transport
from natkit.server.reports import DRAIN, RELOAD, Drain, Reload
from stun_server.administration import (
    SESSIONS,
    STATUS,
    AllocationCount,
    CertificateStatus,
    Descriptors,
    ListenerStatus,
    Phase,
    Session,
    Status,
    StoreStatus,
    Traffic,
    WorkerStatus,
    session_id,
    session_place,
)
from stun_server.combining import combined

FIRST = Status(
    version="0.1",
    started=1000.5,
    phase=Phase.SERVING,
    plane="userspace",
    plane_reason="asked for",
    event_loop="uvloop",
    realms=("example.org",),
    listeners=(ListenerStatus(Transport.UDP, "192.0.2.1:3478"),),
    workers=(WorkerStatus(0, 17, 1000.5, 3, Descriptors(9, 1024)),),
    sessions=3,
    allocations=(
        AllocationCount(Transport.TCP, 6, 1),
        AllocationCount(Transport.UDP, 4, 2),
    ),
    relayed=Traffic(1, 2, 3, 4),
    bindings=5,
    refusals={401: 2, 486: 1},
    peers_refused=7,
    dropped={"no channel": 1},
    counts={"malformed messages": 1},
    connections=2,
    store=StoreStatus("sqlite"),
    certificates=(CertificateStatus(("example.org", "www.example.org"), 2e9),),
)
SECOND = replace(
    FIRST,
    started=1002.0,
    phase=Phase.DRAINING,
    workers=(WorkerStatus(1, 18, 1002.0, 1, Descriptors(8, 1024), restarts=1),),
    sessions=1,
    allocations=(AllocationCount(Transport.UDP, 4, 1),),
    relayed=Traffic(10, 20, 30, 40),
    refusals={401: 1, 508: 4},
    counts={},
    store=StoreStatus("sqlite", "the disk is full"),
    drain=Drain(1100.0, 1160.0, 1),
)
SESSION = Session(
    id="1-17",
    user="ann",
    realm="example.org",
    client="198.51.100.7:40000",
    transport=Transport.TLS,
    relayed=("192.0.2.1:50000", "[2001:db8::1]:50000"),
    since=1000.0,
    expires=1600.0,
    permissions=1,
    channels=0,
    traffic=Traffic(bytes_to_peers=2**40),
)


def test_what_turns_into_json_and_back_is_the_same() -> None:
    assert STATUS.validate_json(STATUS.dump_json(SECOND)) == SECOND
    assert SESSIONS.validate_json(SESSIONS.dump_json((SESSION,))) == (SESSION,)
    assert DRAIN.validate_json(DRAIN.dump_json(Drain(1.0, 2.0, 3))) == Drain(1.0, 2.0, 3)
    reload = Reload(None, ("log.level",), ("listeners.listen",))
    assert RELOAD.validate_json(RELOAD.dump_json(reload)) == reload


def test_the_status_of_one_worker_is_its_own() -> None:
    assert combined([FIRST]) == FIRST


def test_the_statuses_of_workers_add_up() -> None:
    both = combined([FIRST, SECOND])
    assert both.started == 1000.5
    assert both.workers == FIRST.workers + SECOND.workers
    assert both.sessions == 4
    assert both.allocations == (
        AllocationCount(Transport.TCP, 6, 1),
        AllocationCount(Transport.UDP, 4, 3),
    )
    assert both.relayed == Traffic(11, 22, 33, 44)
    assert both.refusals == {401: 3, 486: 1, 508: 4}
    assert both.bindings == 10
    # Each address once, though each worker listens on it.
    assert both.listeners == FIRST.listeners


def test_one_worker_that_drains_or_lost_the_store_says_so_for_all() -> None:
    both = combined([FIRST, SECOND])
    assert both.phase is Phase.DRAINING
    assert not both.is_ready
    assert both.drain == SECOND.drain
    assert both.store.failure == "the disk is full"


def test_a_session_is_named_by_its_worker_and_its_number() -> None:
    assert session_place(session_id(3, 17)) == (3, 17)


@pytest.mark.parametrize("text", ["", "17", "-17", "3-", "a-1", "1-2-3", "٣-1", "1--2"])
def test_other_texts_name_no_session(text: str) -> None:
    assert session_place(text) is None
