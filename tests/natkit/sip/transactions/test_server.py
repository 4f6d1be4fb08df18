import pytest

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.machine import Path, Transport
from natkit.sip import Request, Response, ResponseAddress, SentBy, Via
from natkit.sip.kinds import VIA
from natkit.sip.transactions import (
    AckMissing,
    AckReceived,
    BadRequest,
    Dropped,
    NoRoomForRequest,
    PathLost,
    RequestReceived,
    SipTiming,
    TransactionEnded,
)
from tests.natkit.sip.transactions.messages import HERE, TCP, THERE, UDP, Bench, request

NO_TRYING = SipTiming(trying_after=None)


def opened(bench: Bench, message: Request, path: Path = UDP) -> RequestReceived:
    bench.receive(message, path)
    (event,) = bench.events()
    assert isinstance(event, RequestReceived)
    return event


def respond(bench: Bench, event: RequestReceived, status: int, tag: str = "b") -> None:
    bench.layer.respond(event.transaction, Response.to(event.request, status, tag=tag), bench.now)


class TestInvite:
    def test_one_that_waits_gets_a_100_after_200_ms(self) -> None:
        bench = Bench()
        opened(bench, request("INVITE"))
        assert bench.sending_times(10.0) == [0.2]

    def test_one_that_is_answered_gets_none(self) -> None:
        bench = Bench()
        respond(bench, opened(bench, request("INVITE")), 180)
        bench.sent()
        assert bench.sending_times(10.0) == []

    def test_a_short_one_with_the_branch_of_a_long_one_gets_no_long_response(self) -> None:
        bench = Bench(NO_TRYING)
        long = request("INVITE")
        headers = long.headers
        for number in range(30):
            headers = headers.append(VIA, Via.of(Transport.UDP, "hop.example", f"z9hG4bK{number}"))
        event = opened(bench, Request("INVITE", long.uri_text, headers))
        respond(bench, event, 180)
        bench.sent()
        bench.receive(request("INVITE"))
        assert bench.sent() == []
        (dropped,) = bench.events()
        assert isinstance(dropped, Dropped)

    def test_one_that_comes_again_gets_the_last_provisional_response_again(self) -> None:
        bench = Bench(NO_TRYING)
        event = opened(bench, request("INVITE"))
        bench.receive(request("INVITE"))
        assert bench.sent() == []
        respond(bench, event, 180)
        respond(bench, event, 183)
        bench.sent()
        bench.receive(request("INVITE"))
        assert bench.sent_lines() == ["SIP/2.0 183 Session Progress"]
        assert bench.events() == []

    def test_a_rejection_is_sent_again_until_its_ack(self) -> None:
        bench = Bench(NO_TRYING)
        event = opened(bench, request("INVITE"))
        respond(bench, event, 486)
        bench.sent()
        assert bench.sending_times(8.0) == [0.5, 1.5, 3.5, 7.5]
        bench.receive(request("ACK", to_tag="b"))
        assert bench.sending_times(12.9) == []
        assert bench.events() == []
        bench.sending_times(13.0)
        assert bench.events() == [TransactionEnded(event.transaction)]

    def test_it_is_sent_every_t2_at_most_until_timer_h(self) -> None:
        bench = Bench(NO_TRYING)
        event = opened(bench, request("INVITE"))
        respond(bench, event, 486)
        bench.sent()
        times = [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
        assert bench.sending_times(100.0) == times
        assert bench.events() == [
            AckMissing(event.transaction),
            TransactionEnded(event.transaction),
        ]

    def test_over_tcp_a_rejection_is_sent_once_and_its_ack_ends_it(self) -> None:
        bench = Bench(NO_TRYING)
        event = opened(bench, request("INVITE", transport=Transport.TCP), TCP)
        respond(bench, event, 486)
        bench.sent()
        assert bench.sending_times(20.0) == []
        bench.receive(request("ACK", transport=Transport.TCP, to_tag="b"), TCP)
        assert bench.events() == [TransactionEnded(event.transaction)]

    def test_a_2xx_is_its_user_s_to_send_again_and_timer_l_ends_it(self) -> None:
        bench = Bench(NO_TRYING)
        event = opened(bench, request("INVITE"))
        respond(bench, event, 200)
        bench.receive(request("INVITE"))
        respond(bench, event, 200)
        assert bench.sent_lines() == ["SIP/2.0 200 OK"] * 2
        assert bench.sending_times(31.9) == []
        bench.sending_times(32.0)
        assert bench.events() == [TransactionEnded(event.transaction)]

    def test_the_ack_of_a_2xx_is_its_user_s(self) -> None:
        bench = Bench(NO_TRYING)
        respond(bench, opened(bench, request("INVITE")), 200)
        bench.receive(request("ACK", branch="z9hG4bKother", to_tag="b"))
        bench.receive(request("ACK", to_tag="b"))
        assert [type(event) for event in bench.events()] == [AckReceived, AckReceived]

    @pytest.mark.parametrize("first", [200, 486])
    def test_nothing_but_a_2xx_after_a_2xx_follows_a_final_response(self, first: int) -> None:
        bench = Bench(NO_TRYING)
        event = opened(bench, request("INVITE"))
        respond(bench, event, first)
        with pytest.raises(MisuseError, match="after a final response"):
            respond(bench, event, 487)

    def test_a_cancel_names_the_invite_that_it_is_about(self) -> None:
        bench = Bench(NO_TRYING)
        invite = opened(bench, request("INVITE"))
        cancel = opened(bench, request("CANCEL"))
        assert cancel.cancels == invite.transaction
        stray = opened(bench, request("CANCEL", branch="z9hG4bKother"))
        assert stray.cancels is None


class TestOtherRequests:
    def test_one_that_comes_again_waits_with_the_first(self) -> None:
        bench = Bench()
        opened(bench, request("OPTIONS"))
        bench.receive(request("OPTIONS"))
        assert bench.events() == []
        assert bench.sending_times(100.0) == []

    def test_one_that_comes_again_gets_the_last_response_until_timer_j(self) -> None:
        bench = Bench()
        event = opened(bench, request("OPTIONS"))
        respond(bench, event, 200)
        bench.receive(request("OPTIONS"))
        assert bench.sent_lines() == ["SIP/2.0 200 OK"] * 2
        bench.sending_times(32.0)
        assert bench.events() == [TransactionEnded(event.transaction)]

    def test_over_tcp_the_final_response_ends_it(self) -> None:
        bench = Bench()
        event = opened(bench, request("OPTIONS", transport=Transport.TCP), TCP)
        respond(bench, event, 200)
        assert bench.events() == [TransactionEnded(event.transaction)]


class TestMatching:
    def test_the_same_branch_of_another_sender_is_another_transaction(self) -> None:
        bench = Bench()
        opened(bench, request("OPTIONS"))
        opened(bench, request("OPTIONS", sent_by=Address("192.0.2.3", 5060)))

    def test_the_default_port_is_the_same_sender(self) -> None:
        bench = Bench()
        opened(bench, request("OPTIONS"))
        text = bytes(request("OPTIONS")).replace(b"192.0.2.2:5060", b"192.0.2.2")
        bench.layer.receive(text, UDP, 0.0)
        assert bench.events() == []

    def test_without_the_cookie_fields_are_compared_as_in_rfc_2543(self) -> None:
        bench = Bench(NO_TRYING)
        event = opened(bench, request("INVITE", branch="old"))
        bench.receive(request("INVITE", branch="old"))
        assert bench.events() == []
        opened(bench, request("INVITE", branch="old", number=2))
        respond(bench, event, 486)
        bench.receive(request("ACK", branch="old", to_tag="b"))
        bench.sending_times(5.0)
        assert TransactionEnded(event.transaction) in bench.events()

    def test_an_ack_of_rfc_2543_to_another_answer_is_not_the_rejection_s(self) -> None:
        bench = Bench(NO_TRYING)
        event = opened(bench, request("INVITE", branch="old"))
        respond(bench, event, 486, tag="b")
        bench.receive(request("ACK", branch="old", to_tag="another"))
        (ack,) = bench.events()
        assert isinstance(ack, AckReceived)


class TestPaths:
    def test_the_topmost_via_tells_where_the_request_came_from(self) -> None:
        bench = Bench()
        path = Path(Transport.UDP, HERE, Address("198.51.100.7", 40000))
        event = opened(bench, request("OPTIONS"), path)
        via = event.request.headers.first(VIA)
        assert via is not None
        assert (str(via.received), via.rport) == ("198.51.100.7", 40000)
        respond(bench, event, 200)
        (transmit,) = bench.layer.transmits()
        assert transmit.path == path

    def test_without_rport_the_answer_goes_to_the_port_of_sent_by(self) -> None:
        bench = Bench()
        path = Path(Transport.UDP, HERE, Address("198.51.100.7", 40000))
        bench.layer.receive(bytes(request("OPTIONS")).replace(b";rport", b""), path, 0.0)
        (event,) = bench.events()
        assert isinstance(event, RequestReceived)
        respond(bench, event, 200)
        (transmit,) = bench.layer.transmits()
        assert transmit.path.remote == Address("198.51.100.7", 5060)

    def test_an_answer_whose_stream_ended_asks_for_another_way(self) -> None:
        bench = Bench()
        event = opened(bench, request("OPTIONS", transport=Transport.TCP), TCP)
        bench.layer.disconnected(TCP, 1.0)
        assert bench.events() == []
        respond(bench, event, 200)
        (lost,) = bench.events()
        assert isinstance(lost, PathLost)
        assert lost.destination == ResponseAddress(
            Transport.TCP, THERE, fallback=SentBy(Transport.TCP, "192.0.2.2", 5060)
        )
        assert bench.sent() == []
        again = Path(Transport.TCP, HERE, THERE)
        bench.layer.move(event.transaction, again)
        assert bench.sent_lines() == ["SIP/2.0 200 OK"]

    def test_an_answer_to_what_is_over_goes_nowhere(self) -> None:
        bench = Bench()
        event = opened(bench, request("OPTIONS"))
        bench.layer.abandon(event.transaction)
        respond(bench, event, 200)
        assert bench.sent() == []


class TestBadInput:
    @pytest.mark.parametrize(
        "data", [b"", b"\x00\x01", b"INVITE\r\n\r\n", b"OPTIONS sip:a SIP/2.0\r\nFrom: x\r\n\r\n"]
    )
    def test_what_is_no_message_is_dropped(self, data: bytes) -> None:
        bench = Bench()
        bench.layer.receive(data, UDP, 0.0)
        (event,) = bench.events()
        assert isinstance(event, Dropped)
        assert bench.sent() == []

    def test_a_request_with_a_fault_is_to_be_answered_without_a_transaction(self) -> None:
        bench = Bench()
        data = bytes(request("OPTIONS")).replace(b"CSeq: 1 OPTIONS", b"CSeq: 1 INVITE")
        bench.layer.receive(data, UDP, 0.0)
        (event,) = bench.events()
        assert isinstance(event, BadRequest)
        assert len(bench.layer) == 0
        bench.layer.respond_to(event.request, Response.to(event.request, 400), event.path)
        assert bench.sent_lines() == ["SIP/2.0 400 Bad Request"]

    def test_an_ack_with_a_fault_is_dropped(self) -> None:
        bench = Bench()
        data = bytes(request("ACK")).replace(b"CSeq: 1 ACK", b"CSeq: 1 INVITE")
        bench.layer.receive(data, UDP, 0.0)
        (event,) = bench.events()
        assert isinstance(event, Dropped)

    def test_beyond_the_bound_a_request_is_told_and_not_kept(self) -> None:
        bench = Bench(largest_count=1)
        opened(bench, request("OPTIONS"))
        bench.receive(request("OPTIONS", branch="z9hG4bKsecond"))
        (event,) = bench.events()
        assert isinstance(event, NoRoomForRequest)
        assert len(bench.layer) == 1
