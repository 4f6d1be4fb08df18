"""The OPTIONS transaction of the probe, by its own clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.machine import Path, Transmit, Transport
from natkit.sip import HeaderField, Request, Response, parse_message
from natkit.sip.kinds import CSEQ, SERVER, VIA, CSeq
from sipdns.probe_options import OptionsAnswered, OptionsFailed, OptionsProbe

HERE = Address("192.0.2.1", 40000)
THERE = Address("192.0.2.9", 5060)
UDP = Path(Transport.UDP, HERE, THERE)
TCP = Path(Transport.TCP, HERE, THERE)


def started(path: Path = UDP, limit: float = 32.0) -> tuple[OptionsProbe, Request]:
    probe = OptionsProbe(path, "example.org", random=bytes, limit=limit)
    probe.start(100.0)
    (sent,) = probe.transmits()
    assert sent.path == path
    request = parse_message(sent.data)
    assert isinstance(request, Request)
    return probe, request


def run_to_end(probe: OptionsProbe) -> list[float]:
    """Let time pass until the probe wants none; when it sent, counted from its start."""
    times = []
    while (deadline := probe.next_deadline()) is not None:
        probe.handle_timer(deadline)
        times += [deadline - 100.0 for _ in probe.transmits()]
    return times


def answered(request: Request, status: int = 200) -> bytes:
    return bytes(Response.to(request, status, tag="t", fields=[HeaderField.of(SERVER, "x")]))


def test_the_request_is_one_that_every_server_answers() -> None:
    _, request = started()
    request.check()
    assert request.method == "OPTIONS"
    assert request.uri_text == "sip:example.org"
    via = request.headers.first(VIA)
    assert via is not None
    assert via.names_transaction
    assert via.wants_rport
    assert [field.name for field in request.headers] == [
        "Via", "Max-Forwards", "From", "To", "Call-ID", "CSeq", "Contact", "User-Agent",
        "Content-Length",
    ]  # fmt: skip


@pytest.mark.parametrize("host", ["2001:db8::1", "fe80::1%eth0"])
def test_an_ipv6_address_stands_in_brackets(host: str) -> None:
    path = Path(Transport.UDP, Address(host, 40000), Address("2001:db8::9", 5060))
    _, request = started(path)
    via = request.headers.first(VIA)
    assert via is not None
    assert via.host == f"[{host.partition('%')[0]}]"


def test_over_udp_it_is_sent_again_by_timer_e_and_given_up_by_timer_f() -> None:
    probe, _ = started()
    assert run_to_end(probe) == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    event = probe.next_event()
    assert event == OptionsFailed("no answer within 32 s, asked 11 times", 11)
    assert probe.next_event() is None


def test_a_limit_ends_it_earlier_and_none_makes_it_longer() -> None:
    probe, _ = started(limit=4.0)
    assert run_to_end(probe) == [0.5, 1.5, 3.5]
    longest, _ = started(limit=1000.0)
    run_to_end(longest)
    assert longest.next_event() == OptionsFailed("no answer within 32 s, asked 11 times", 11)


def test_over_a_stream_it_is_sent_once() -> None:
    probe, _ = started(TCP, limit=5.0)
    assert run_to_end(probe) == []
    assert probe.next_event() == OptionsFailed("no answer within 5 s", 1)


def test_a_final_response_ends_it() -> None:
    probe, request = started()
    probe.handle_timer(100.5)
    assert probe.transmits() == [Transmit(bytes(request), UDP)]
    probe.receive(answered(request, 404), UDP, 100.75)
    event = probe.next_event()
    assert isinstance(event, OptionsAnswered)
    assert (event.response.status, event.round_trip, event.sent) == (404, 0.75, 2)
    assert probe.next_deadline() is None
    probe.receive(answered(request), UDP, 101.0)
    probe.disconnected(UDP, 102.0)
    probe.handle_timer(200.0)
    assert (probe.next_event(), probe.transmits()) == (None, [])


def test_a_provisional_response_slows_it_down_only() -> None:
    probe, request = started()
    probe.receive(answered(request, 100), UDP, 100.1)
    assert probe.next_event() is None
    assert run_to_end(probe)[:3] == [0.5, 4.5, 8.5]


def test_what_is_no_response_to_it_is_passed_over() -> None:
    probe, request = started(limit=4.0)
    other = OptionsProbe(UDP, "example.org", random=lambda n: b"\1" * n)
    other.start(0.0)
    stranger = parse_message(other.transmits()[0].data)
    assert isinstance(stranger, Request)
    probe.receive(answered(stranger), UDP, 101.0)
    probe.receive(bytes(request), UDP, 101.0)
    probe.receive(answered(request), UDP._replace(remote=Address("192.0.2.8", 5060)), 101.0)
    of_invite = Request(
        request.method,
        request.uri_text,
        request.headers.replace(CSEQ, CSeq(1, "INVITE")),
    )
    probe.receive(answered(of_invite), UDP, 101.0)
    for keep_alive in (b"\r\n", b"\r\n\r\n"):
        probe.receive(keep_alive, UDP, 101.0)
    assert probe.next_event() is None
    for garbage in (b"HTTP/1.1 200 OK\r\n\r\n", b"SIP/2.0 2x0\r\n\r\n", bytes(40)):
        probe.receive(garbage, UDP, 101.0)
    run_to_end(probe)
    event = probe.next_event()
    assert isinstance(event, OptionsFailed)
    assert event.reason.endswith("asked 4 times; it sent 3 messages that are not SIP")


def test_a_stream_that_ends_ends_it() -> None:
    probe, _ = started(TCP)
    probe.disconnected(UDP, 100.5)
    assert probe.next_event() is None
    probe.disconnected(TCP, 101.0)
    assert probe.next_event() == OptionsFailed("it closed the connection", 1)
    assert probe.next_deadline() is None


@given(st.binary(max_size=300), st.integers(0, 2000))
def test_any_bytes_leave_it_as_it_was(data: bytes, position: int) -> None:
    probe, request = started()
    answer = answered(request)
    probe.receive(data, UDP, 100.1)
    probe.receive(answer[:position] + data + answer[position:], UDP, 100.2)
    probe.receive(answered(request), UDP, 100.3)
    event = probe.next_event()
    assert isinstance(event, OptionsAnswered)
