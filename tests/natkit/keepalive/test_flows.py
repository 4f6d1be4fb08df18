"""Keep-alives of many flows, by the clock."""

import random
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.keepalive import (
    PING,
    PONG,
    AddressChanged,
    Alive,
    FlowFailed,
    FlowKeeper,
    FlowSilent,
    FlowWatch,
    KeepAliveEvent,
    SendPing,
    Technique,
    technique_for,
)
from natkit.machine import Machine, Path, Transport
from natkit.stun.attributes import ErrorCode, XorMappedAddress
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method, StunError

START: Final = 1000.25
LOCAL: Final = Address("192.168.1.2", 5060)
EDGE: Final = Address("203.0.113.1", 5060)
UDP: Final = Path(Transport.UDP, LOCAL, EDGE)
TCP: Final = Path(Transport.TCP, LOCAL, EDGE)
WSS: Final = Path(Transport.WSS, LOCAL, EDGE)
MAPPED: Final = Address("198.51.100.7", 40000)


def keeper(seed: int = 1) -> FlowKeeper:
    machine = FlowKeeper(random=random.Random(seed).randbytes)
    contract: Machine[KeepAliveEvent, object] = machine
    assert contract.next_event() is None
    return machine


def due(machine: FlowKeeper) -> float:
    deadline = machine.next_deadline()
    assert deadline is not None
    return deadline


def sent(machine: FlowKeeper) -> list[bytes]:
    return [transmit.data for transmit in machine.transmits()]


def events(machine: FlowKeeper) -> list[KeepAliveEvent]:
    return list(iter(machine.next_event, None))


def response(request: bytes, mapped: Address = MAPPED) -> bytes:
    return Message.parse(request).success(XorMappedAddress(mapped)).encode()


# ── CRLF ────────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_gets_a_ping_between_80_and_100_percent_of_its_bound() -> None:
    machine = keeper()
    machine.keep(TCP, Technique.CRLF, 120.0, START)
    assert sent(machine) == []
    assert START + 96.0 <= due(machine) <= START + 120.0
    machine.handle_timer(due(machine))
    assert sent(machine) == [PING]


def test_a_pong_shows_that_the_flow_is_alive_and_starts_the_next_wait() -> None:
    machine = keeper()
    machine.keep(TCP, Technique.CRLF, 120.0, START, at_once=True)
    assert sent(machine) == [PING]
    assert machine.takes(PONG, TCP)
    machine.receive(PONG, TCP, START + 0.5)
    assert events(machine) == [Alive(TCP, 0.5, None)]
    assert START + 96.5 <= due(machine) <= START + 120.5


def test_no_pong_for_ten_seconds_is_a_failed_flow() -> None:
    machine = keeper()
    machine.keep(TCP, Technique.CRLF, 120.0, START, at_once=True)
    assert due(machine) == START + 10.0
    machine.handle_timer(START + 9.999)
    assert events(machine) == []
    machine.handle_timer(START + 10.0)
    (failed,) = events(machine)
    assert isinstance(failed, FlowFailed)
    assert "no answer" in failed.reason
    assert TCP not in machine
    assert machine.next_deadline() is None


def test_a_pong_that_nobody_asked_for_is_nothing() -> None:
    machine = keeper()
    machine.keep(TCP, Technique.CRLF, 120.0, START)
    machine.receive(PONG, TCP, START + 1)
    assert events(machine) == []


def test_a_closed_connection_is_a_failed_flow() -> None:
    machine = keeper()
    machine.keep(TCP, Technique.CRLF, 120.0, START)
    machine.disconnected(TCP, START + 5)
    assert [type(event) for event in events(machine)] == [FlowFailed]
    assert len(machine) == 0


# ── STUN ────────────────────────────────────────────────────────────────────────────────────────


def test_a_udp_flow_gets_a_binding_request_and_learns_its_mapped_address() -> None:
    machine = keeper()
    machine.keep(UDP, Technique.STUN, 29.0, START, at_once=True)
    (request,) = sent(machine)
    message = Message.parse(request)
    assert (message.method, message.message_class) == (Method.BINDING, MessageClass.REQUEST)
    answer = response(request)
    assert machine.takes(answer, UDP)
    machine.receive(answer, UDP, START + 0.1)
    (alive,) = events(machine)
    assert isinstance(alive, Alive)
    assert (alive.path, alive.mapped) == (UDP, MAPPED)
    assert alive.round_trip == pytest.approx(0.1)
    assert START + 23.2 <= due(machine) <= START + 29.2


def test_another_mapped_address_is_told_with_both() -> None:
    machine = keeper()
    machine.keep(UDP, Technique.STUN, 29.0, START, at_once=True)
    machine.receive(response(sent(machine)[0]), UDP, START)
    now = due(machine)
    machine.handle_timer(now)
    events(machine)
    other = Address("198.51.100.7", 40001)
    machine.receive(response(sent(machine)[0], other), UDP, now + 0.1)
    changed, alive = events(machine)
    assert changed == AddressChanged(UDP, MAPPED, other)
    assert isinstance(alive, Alive)
    assert alive.mapped == other
    assert UDP in machine


def test_requests_are_retransmitted_and_given_up_as_any_stun_transaction() -> None:
    machine = keeper()
    machine.keep(UDP, Technique.STUN, 29.0, START, at_once=True)
    times = [START]
    requests = sent(machine)
    while not (told := events(machine)):
        now = due(machine)
        machine.handle_timer(now)
        for data in sent(machine):
            times.append(now)
            requests.append(data)
    # RFC 8489 §6.2.1: at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s, over at 39.5 s.
    assert [time - START for time in times] == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert len(set(requests)) == 1
    (failed,) = told
    assert isinstance(failed, FlowFailed)
    assert now == START + 39.5


def test_an_error_response_ends_the_flow() -> None:
    machine = keeper()
    machine.keep(UDP, Technique.STUN, 29.0, START, at_once=True)
    request = Message.parse(sent(machine)[0])
    machine.receive(request.error(ErrorCode(StunError.BAD_REQUEST)).encode(), UDP, START)
    assert [type(event) for event in events(machine)] == [FlowFailed]


def test_forged_answers_are_ignored() -> None:
    machine = keeper()
    machine.keep(UDP, Technique.STUN, 29.0, START, at_once=True)
    request = Message.parse(sent(machine)[0])
    genuine = request.success(XorMappedAddress(MAPPED)).encode()
    forged = Message.request(Method.BINDING, bytes(12)).success(XorMappedAddress(MAPPED)).encode()
    from_elsewhere = Path(Transport.UDP, LOCAL, Address("203.0.113.99", 5060))
    no_address = request.success().encode()
    for data, path in ((forged, UDP), (genuine, from_elsewhere), (no_address, UDP)):
        machine.receive(data, path, START + 0.1)
        assert events(machine) == []
    machine.receive(genuine, UDP, START + 0.2)
    assert len(events(machine)) == 1


def test_sip_on_the_same_socket_is_the_applications() -> None:
    machine = keeper()
    machine.keep(UDP, Technique.STUN, 29.0, START, at_once=True)
    for data in (b"SIP/2.0 200 OK\r\n\r\n", b"", PING, PONG):
        assert not machine.takes(data, UDP)


# ── WebSocket, and indications ──────────────────────────────────────────────────────────────────


def test_a_websocket_is_pinged_and_its_pong_must_have_the_payload() -> None:
    machine = keeper()
    machine.keep(WSS, Technique.WEBSOCKET, 60.0, START, at_once=True)
    (asked,) = events(machine)
    assert isinstance(asked, SendPing)
    machine.pong(WSS, b"other", START + 1)
    assert events(machine) == []
    machine.pong(WSS, asked.payload, START + 2)
    assert events(machine) == [Alive(WSS, 2.0, None)]


def test_a_websocket_without_pong_is_dead_after_ten_seconds() -> None:
    machine = keeper()
    machine.keep(WSS, Technique.WEBSOCKET, 60.0, START, at_once=True)
    events(machine)
    machine.handle_timer(START + 10)
    assert [type(event) for event in events(machine)] == [FlowFailed]


def test_indications_want_no_answer_and_wait_while_data_is_sent() -> None:
    machine = keeper()
    machine.keep(UDP, Technique.INDICATION, 15.0, START)
    first = due(machine)
    machine.sent(UDP, START + 10)
    assert due(machine) > first
    machine.handle_timer(due(machine))
    (data,) = sent(machine)
    assert Message.parse(data).message_class is MessageClass.INDICATION
    assert events(machine) == []
    assert machine.next_deadline() is not None


# ── many flows, and wrong use ───────────────────────────────────────────────────────────────────


def test_flows_are_kept_apart() -> None:
    machine = keeper()
    paths = [UDP._replace(local=Address("192.168.1.2", port)) for port in range(5000, 5100)]
    for path in paths:
        machine.keep(path, Technique.STUN, 30.0, START)
    machine.stop(paths[0])
    asked: set[Path] = set()
    while due(machine) <= START + 30.0:
        now = due(machine)
        machine.handle_timer(now)
        for transmit in machine.transmits():
            if transmit.path in asked:
                continue
            asked.add(transmit.path)
            machine.receive(response(transmit.data), transmit.path, now)
    assert asked >= set(paths[1:])
    assert all(isinstance(event, Alive) for event in events(machine))


def test_a_new_bound_counts_from_now() -> None:
    machine = keeper()
    machine.keep(TCP, Technique.CRLF, 120.0, START)
    machine.keep(TCP, Technique.CRLF, 10.0, START + 1)
    assert START + 9.0 <= due(machine) <= START + 11.0
    assert len(machine) == 1


@pytest.mark.parametrize(
    ("path", "technique", "bound"),
    [
        (UDP, Technique.CRLF, 29.0),
        (TCP, Technique.STUN, 29.0),
        (TCP, Technique.WEBSOCKET, 29.0),
        (UDP, Technique.STUN, 0.0),
        (UDP, Technique.STUN, float("inf")),
        (UDP, Technique.STUN, float("nan")),
    ],
)
def test_wrong_use_is_refused(path: Path, technique: Technique, bound: float) -> None:
    with pytest.raises(MisuseError):
        keeper().keep(path, technique, bound, START)


def test_each_sip_transport_has_its_keep_alive() -> None:
    assert technique_for(Transport.UDP) is Technique.STUN
    assert technique_for(Transport.TLS) is Technique.CRLF
    assert technique_for(Transport.WSS) is Technique.WEBSOCKET
    with pytest.raises(MisuseError):
        technique_for(Transport.SCTP)


@given(st.binary(max_size=60), st.sampled_from([UDP, TCP, WSS]))
def test_no_bytes_raise_anything(data: bytes, path: Path) -> None:
    machine, watch = keeper(), FlowWatch()
    machine.keep(path, technique_for(path.transport), 29.0, START, at_once=True)
    machine.receive(data, path, START)
    machine.pong(path, data, START)
    watch.receive(data, path, START)


# ── the other side ──────────────────────────────────────────────────────────────────────────────


def test_the_other_side_answers_pings_and_binding_requests() -> None:
    watch = FlowWatch()
    contract: Machine[FlowSilent, object] = watch
    watch.receive(PING, TCP, START)
    (pong,) = watch.transmits()
    assert (pong.data, pong.path) == (PONG, TCP)
    request = Message.request(Method.BINDING, bytes(12)).encode()
    assert watch.takes(request, UDP)
    watch.receive(request, UDP, START)
    (answer,) = contract.transmits()
    assert Message.parse(answer.data).get(XorMappedAddress) == XorMappedAddress(EDGE)


def test_requests_with_unknown_required_attributes_get_420() -> None:
    watch = FlowWatch()
    request = bytes.fromhex("00010004 2112a442 000000000000000000000000 7fff0000".replace(" ", ""))
    watch.receive(request, UDP, START)
    (answer,) = watch.transmits()
    error = Message.parse(answer.data).get(ErrorCode)
    assert error is not None
    assert error.code == StunError.UNKNOWN_ATTRIBUTE


@pytest.mark.parametrize("data", [PONG, b"\r\n\r", b"OPTIONS", b""])
def test_what_is_no_ping_gets_no_pong(data: bytes) -> None:
    watch = FlowWatch()
    watch.receive(data, TCP, START)
    assert watch.transmits() == []


def test_a_flow_that_falls_silent_is_told_once() -> None:
    watch = FlowWatch()
    assert watch.watch(TCP, 130.0, START)
    watch.receive(b"any message", TCP, START + 100)
    watch.handle_timer(START + 130)
    assert watch.next_event() is None
    watch.handle_timer(START + 230)
    assert watch.next_event() == FlowSilent(TCP, 130.0)
    assert len(watch) == 0
    assert watch.next_deadline() is None


def test_the_number_of_watched_flows_is_bounded() -> None:
    watch = FlowWatch(most_flows=2)
    paths = [TCP._replace(remote=Address("203.0.113.1", port)) for port in (1, 2, 3)]
    taken: Callable[[Path], bool] = lambda path: watch.watch(path, 10.0, START)  # noqa: E731 - one line
    assert [taken(path) for path in paths] == [True, True, False]
    assert taken(paths[0])
    watch.disconnected(paths[0], START)
    assert taken(paths[2])
