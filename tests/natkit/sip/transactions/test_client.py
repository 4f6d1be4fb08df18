import pytest

from natkit.errors import MisuseError
from natkit.machine import Path
from natkit.sip import HeaderField, Request, Response, parse_message
from natkit.sip.kinds import CSEQ, ROUTE, TO, VIA
from natkit.sip.transactions import (
    Dropped,
    PathLost,
    ResponseReceived,
    TimedOut,
    TransactionEnded,
)
from natkit.sip.transactions.timing import SipTiming
from tests.natkit.sip.transactions.messages import HERE, TCP, UDP, Bench, request


def statuses(bench: Bench) -> list[int]:
    return [
        event.response.status for event in bench.events() if isinstance(event, ResponseReceived)
    ]


def sent_by_us(method: str) -> Request:
    return request(method, sent_by=HERE)


class TestInvite:
    def test_over_udp_it_is_sent_again_at_doubling_intervals_until_timer_b(self) -> None:
        bench = Bench()
        token = bench.layer.send(sent_by_us("INVITE"), UDP, 0.0)
        assert bench.sent_lines() == ["INVITE sip:bob@example.org SIP/2.0"]
        assert bench.sending_times(100.0) == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
        assert bench.events() == [TimedOut(token), TransactionEnded(token)]
        assert len(bench.layer) == 0

    def test_over_tcp_it_is_sent_once(self) -> None:
        bench = Bench()
        bench.layer.send(sent_by_us("INVITE"), TCP, 0.0)
        bench.sent()
        assert bench.sending_times(31.9) == []
        assert bench.events() == []
        bench.sending_times(32.0)
        assert isinstance(bench.events()[0], TimedOut)

    def test_a_provisional_response_ends_retransmission_and_timer_b(self) -> None:
        bench = Bench()
        invite = sent_by_us("INVITE")
        bench.layer.send(invite, UDP, 0.0)
        bench.receive(Response.to(invite, 180))
        bench.sent()
        assert bench.sending_times(1000.0) == []
        assert statuses(bench) == [180]
        assert bench.layer.next_deadline() is None

    def test_a_rejection_is_acknowledged_each_time_and_told_once(self) -> None:
        bench = Bench()
        invite = sent_by_us("INVITE")
        bench.layer.send(invite, UDP, 0.0)
        bench.sent()
        busy = Response.to(invite, 486, tag="b")
        bench.receive(busy)
        bench.receive(busy)
        assert bench.sent_lines() == ["ACK sip:bob@example.org SIP/2.0"] * 2
        assert statuses(bench) == [486]
        bench.sending_times(31.9)
        assert len(bench.layer) == 1
        bench.sending_times(32.0)
        assert len(bench.layer) == 0

    def test_the_ack_of_a_rejection_has_what_section_17_1_1_3_wants(self) -> None:
        bench = Bench()
        invite = sent_by_us("INVITE")
        bench.layer.send(invite, UDP, 0.0)
        bench.sent()
        bench.receive(Response.to(invite, 404, tag="b"))
        ack = parse_message(bench.sent()[0])
        assert isinstance(ack, Request)
        ack.check()
        assert ack.method == "ACK"
        assert ack.headers.get_all(VIA) == invite.headers.get_all(VIA)
        assert ack.headers.fields(ROUTE) == invite.headers.fields(ROUTE)
        to, cseq = ack.headers.get(TO), ack.headers.get(CSEQ)
        assert to is not None
        assert to.tag == "b"
        assert str(cseq) == "1 ACK"

    def test_over_tcp_a_rejection_ends_it_at_once(self) -> None:
        bench = Bench()
        invite = sent_by_us("INVITE")
        bench.layer.send(invite, TCP, 0.0)
        bench.receive(Response.to(invite, 486), TCP)
        assert len(bench.layer) == 0
        assert bench.sent_lines()[-1].startswith("ACK")

    def test_each_2xx_of_each_fork_is_told_until_timer_m(self) -> None:
        bench = Bench()
        invite = sent_by_us("INVITE")
        token = bench.layer.send(invite, UDP, 0.0)
        bench.sent()
        for tag in ("b", "c", "b"):
            bench.receive(Response.to(invite, 200, tag=tag))
        bench.receive(Response.to(invite, 486, tag="d"))
        assert statuses(bench) == [200, 200, 200]
        assert bench.sent() == []
        bench.sending_times(32.0)
        assert bench.events() == [TransactionEnded(token)]

    def test_after_timer_m_a_2xx_belongs_to_nothing(self) -> None:
        bench = Bench()
        invite = sent_by_us("INVITE")
        bench.layer.send(invite, UDP, 0.0)
        bench.receive(Response.to(invite, 200))
        bench.sending_times(32.0)
        bench.events()
        bench.receive(Response.to(invite, 200))
        (dropped,) = bench.events()
        assert isinstance(dropped, Dropped)

    def test_timer_d_grows_with_t1(self) -> None:
        assert SipTiming(t1=1.0).wait_for_repeated_finals == 64.0
        assert SipTiming(t1=0.1, t2=0.4).wait_for_repeated_finals == pytest.approx(6.4)


class TestOtherRequests:
    def test_it_is_sent_again_at_intervals_of_t2_at_most_until_timer_f(self) -> None:
        bench = Bench()
        token = bench.layer.send(sent_by_us("OPTIONS"), UDP, 0.0)
        bench.sent()
        times = [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
        assert bench.sending_times(100.0) == times
        assert bench.events() == [TimedOut(token), TransactionEnded(token)]

    def test_a_provisional_response_slows_it_to_t2_and_timer_f_goes_on(self) -> None:
        bench = Bench()
        options = sent_by_us("OPTIONS")
        token = bench.layer.send(options, UDP, 0.0)
        bench.sent()
        bench.receive(Response.to(options, 100))
        bench.events()
        assert bench.sending_times(100.0) == [0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5]
        assert bench.events() == [TimedOut(token), TransactionEnded(token)]

    def test_the_final_response_is_told_once(self) -> None:
        bench = Bench()
        options = sent_by_us("OPTIONS")
        token = bench.layer.send(options, UDP, 0.0)
        bench.receive(Response.to(options, 200))
        bench.receive(Response.to(options, 200))
        assert statuses(bench) == [200]
        bench.sending_times(5.0)
        assert bench.events() == [TransactionEnded(token)]

    def test_over_tcp_the_final_response_ends_it(self) -> None:
        bench = Bench()
        options = sent_by_us("OPTIONS")
        bench.layer.send(options, TCP, 0.0)
        bench.receive(Response.to(options, 200), TCP)
        assert len(bench.layer) == 0


class TestCancel:
    def test_it_has_the_via_and_the_number_of_the_invite_and_a_transaction_of_its_own(self) -> None:
        bench = Bench()
        invite = sent_by_us("INVITE")
        token = bench.layer.send(invite, UDP, 0.0)
        bench.receive(Response.to(invite, 180))
        bench.sent()
        why = HeaderField.of_text("Reason", 'SIP;cause=200;text="Call completed elsewhere"')
        other = bench.layer.cancel(token, 1.0, [why])
        assert other not in (None, token)
        cancel = parse_message(bench.sent()[0])
        assert isinstance(cancel, Request)
        cancel.check()
        assert cancel.method == "CANCEL"
        assert cancel.headers.get_all(VIA) == invite.headers.get_all(VIA)
        assert list(cancel.headers.fields("Reason")) == [why]
        bench.events()
        bench.receive(Response.to(cancel, 200))
        bench.receive(Response.to(invite, 487))
        told = [event for event in bench.events() if isinstance(event, ResponseReceived)]
        assert [(one.transaction, one.response.status) for one in told] == [
            (other, 200),
            (token, 487),
        ]

    def test_there_is_none_of_what_is_over(self) -> None:
        bench = Bench()
        token = bench.layer.send(sent_by_us("INVITE"), UDP, 0.0)
        bench.layer.abandon(token)
        assert bench.layer.cancel(token, 0.0) is None


class TestPaths:
    def test_a_request_is_lost_with_its_stream(self) -> None:
        bench = Bench()
        token = bench.layer.send(sent_by_us("INVITE"), TCP, 0.0)
        bench.layer.disconnected(TCP, 1.0)
        assert bench.events() == [PathLost(token), TransactionEnded(token)]
        assert bench.layer.next_deadline() is None

    def test_an_answered_one_is_not(self) -> None:
        bench = Bench()
        invite = sent_by_us("INVITE")
        token = bench.layer.send(invite, TCP, 0.0)
        bench.receive(Response.to(invite, 200), TCP)
        bench.events()
        bench.layer.disconnected(TCP, 1.0)
        assert bench.events() == [TransactionEnded(token)]

    def test_another_stream_s_end_is_no_matter(self) -> None:
        bench = Bench()
        bench.layer.send(sent_by_us("INVITE"), TCP, 0.0)
        bench.layer.disconnected(Path(TCP.transport, TCP.local, HERE), 1.0)
        assert bench.events() == []


class TestMisuse:
    def test_an_ack_has_no_transaction(self) -> None:
        with pytest.raises(MisuseError, match="ACK"):
            Bench().layer.send(sent_by_us("ACK"), UDP, 0.0)

    def test_a_branch_is_used_once(self) -> None:
        bench = Bench()
        bench.layer.send(sent_by_us("INVITE"), UDP, 0.0)
        with pytest.raises(MisuseError, match="z9hG4bKfirst is taken"):
            bench.layer.send(sent_by_us("INVITE"), UDP, 0.0)

    def test_the_table_is_bounded(self) -> None:
        bench = Bench(largest_count=1)
        bench.layer.send(sent_by_us("INVITE"), UDP, 0.0)
        with pytest.raises(MisuseError, match="1 transactions are open"):
            bench.layer.send(sent_by_us("OPTIONS"), UDP, 0.0)
