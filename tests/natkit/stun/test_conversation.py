"""A client's requests against a server that is scripted answer by answer."""

import pytest

from natkit.address import Address
from natkit.errors import (
    BadRequest,
    ErrorResponse,
    MalformedMessage,
    MisuseError,
    ServerError,
    TransactionTimeout,
    TryAlternate,
    Unauthenticated,
    UnknownAttribute,
    UnreachableError,
)
from natkit.stun.attributes import (
    AlternateServer,
    ErrorCode,
    Fingerprint,
    Lifetime,
    Software,
    UnknownAttributes,
)
from natkit.stun.attributes import UnknownAttribute as UnknownAttributeValue
from natkit.stun.authentication import LongTerm
from natkit.stun.conversation import (
    MAX_OUTSTANDING,
    Failed,
    Succeeded,
)
from natkit.stun.message import Message
from natkit.stun.registry import Method
from tests.natkit.stun.scripted import MD5_KEY, OLD_NONCE, REALM, START, Client


class TestWithoutAuthentication:
    def test_a_success_response_is_the_outcome(self) -> None:
        client = Client()
        number = client.request(Lifetime(600))
        request = client.sent_one()
        assert request.get(Lifetime) == Lifetime(600)
        assert client.answer(request.success(Lifetime(300)))
        outcome = client.outcome()
        assert isinstance(outcome, Succeeded)
        assert outcome.request_id == number
        assert outcome.response.get(Lifetime) == Lifetime(300)
        assert client.conversation.next_deadline() is None
        assert client.outcome() is None

    def test_software_and_fingerprint_go_into_every_request(self) -> None:
        client = Client(software="natkit", fingerprint=True)
        client.request()
        message = client.sent_one()
        assert message.get(Software) == Software("natkit")
        assert message.get(Fingerprint) is not None

    def test_no_answer_ends_in_a_timeout_after_seven_requests(self) -> None:
        client = Client()
        client.request()
        assert len(client.sent()) == 1
        assert client.run_out() == 6
        assert client.now - START == 39.5
        assert isinstance(client.error(), TransactionTimeout)

    def test_retransmissions_are_the_same_bytes(self) -> None:
        client = Client()
        client.request()
        first = client.conversation.transmits()
        client.conversation.handle_timer(START + 0.5)
        assert client.conversation.transmits() == first

    def test_over_a_stream_a_request_is_sent_once(self) -> None:
        client = Client(reliable=True)
        client.request()
        client.sent()
        assert client.run_out() == 0
        assert client.now - START == 39.5
        assert isinstance(client.error(), TransactionTimeout)

    def test_what_answers_nothing_is_not_taken(self) -> None:
        client = Client()
        client.request()
        request = client.sent_one()
        stranger = Message.request(Method.ALLOCATE, bytes(range(12)))
        other_method = Message.request(Method.REFRESH, request.transaction_id)
        assert not client.answer(stranger.success())
        assert not client.answer(other_method.success())
        assert not client.answer(request)
        assert not client.answer(Message.indication(Method.ALLOCATE, request.transaction_id))
        assert client.outcome() is None

    def test_a_second_answer_is_not_taken(self) -> None:
        client = Client()
        client.request()
        request = client.sent_one()
        assert client.answer(request.success())
        assert not client.answer(request.success())

    @pytest.mark.parametrize(
        ("code", "kind"), [(400, BadRequest), (500, ServerError), (401, Unauthenticated)]
    )
    def test_an_error_response_is_its_exception(self, code: int, kind: type[ErrorResponse]) -> None:
        client = Client()
        client.request()
        client.answer(client.sent_one().error(code))
        error = client.error()
        assert type(error) is kind
        assert isinstance(error, ErrorResponse)
        assert error.code == code

    def test_a_reason_becomes_one_line_that_is_safe_to_show(self) -> None:
        client = Client()
        client.request()
        reason = " Invalid\x1b[2J\r\nallocation \0\0"
        client.answer(client.sent_one().error(ErrorCode(437, reason)))
        error = client.error()
        assert isinstance(error, ErrorResponse)
        assert error.reason == "Invalid[2Jallocation"

    def test_420_names_the_attributes(self) -> None:
        client = Client()
        client.request()
        client.answer(client.sent_one().error(420, UnknownAttributes((0x7F01, 0x7F02))))
        error = client.error()
        assert isinstance(error, UnknownAttribute)
        assert error.types == (0x7F01, 0x7F02)

    def test_an_unproven_300_names_no_servers(self) -> None:
        client = Client()
        client.request()
        elsewhere = AlternateServer(Address.of("192.0.2.9", 3478))
        client.answer(client.sent_one().error(300, elsewhere))
        error = client.error()
        assert isinstance(error, TryAlternate)
        assert error.servers == ()

    @pytest.mark.parametrize("failed", [False, True])
    def test_unknown_required_attributes_in_a_response_end_the_request(self, failed: bool) -> None:
        client = Client()
        client.request()
        request = client.sent_one()
        strange = UnknownAttributeValue(0x7F01, b"")
        client.answer(request.error(400, strange) if failed else request.success(strange))
        error = client.error()
        assert isinstance(error, MalformedMessage)
        assert "0x7f01" in str(error)

    def test_an_error_response_without_error_code_ends_the_request(self) -> None:
        client = Client()
        client.request()
        response = client.sent_one().error(400)
        bare = Message(response.method, response.message_class, response.transaction_id)
        client.answer(bare)
        assert isinstance(client.error(), MalformedMessage)


class TestManyRequests:
    def test_ten_are_under_way_and_the_rest_wait(self) -> None:
        client = Client()
        numbers = [client.request() for _ in range(MAX_OUTSTANDING + 5)]
        first = client.sent()
        assert len(first) == MAX_OUTSTANDING
        assert len(client.conversation) == MAX_OUTSTANDING + 5
        for request in first[:3]:
            client.answer(request.success())
        assert len(client.sent()) == 3
        outcomes = [client.outcome() for _ in range(3)]
        assert [each.request_id for each in outcomes if each] == numbers[:3]

    def test_every_one_has_its_own_transaction_id(self) -> None:
        client = Client()
        for _ in range(MAX_OUTSTANDING):
            client.request()
        assert len({message.transaction_id for message in client.sent()}) == MAX_OUTSTANDING

    def test_a_cancelled_one_makes_room_and_has_no_outcome(self) -> None:
        client = Client()
        numbers = [client.request() for _ in range(MAX_OUTSTANDING + 2)]
        client.sent()
        client.conversation.cancel(numbers[0], client.now)
        assert len(client.sent()) == 1
        client.conversation.cancel(numbers[-1], client.now)
        client.conversation.cancel(999, client.now)
        assert client.sent() == []
        client.run_out()
        ended = set()
        while (outcome := client.outcome()) is not None:
            ended.add(outcome.request_id)
        assert ended == set(numbers[1:-1])

    def test_all_fail_when_the_path_is_gone(self) -> None:
        client = Client()
        numbers = [client.request() for _ in range(MAX_OUTSTANDING + 2)]
        gone = UnreachableError("refused")
        client.conversation.fail_all(gone)
        ended = []
        while (outcome := client.outcome()) is not None:
            assert isinstance(outcome, Failed)
            assert outcome.error is gone
            ended.append(outcome.request_id)
        assert ended == numbers
        assert client.sent() == []
        assert client.conversation.next_deadline() is None
        assert len(client.conversation) == 0

    def test_attributes_that_may_not_be_sent_are_refused_at_once(self) -> None:
        client = Client()
        for _ in range(MAX_OUTSTANDING):
            client.request()
        with pytest.raises(MisuseError):
            client.request(Lifetime(-1))
        assert len(client.conversation) == MAX_OUTSTANDING


def test_a_measured_round_trip_lengthens_the_next_first_interval() -> None:
    client = Client()
    client.request()
    client.now += 0.3
    client.answer(client.sent_one().success())
    client.request()
    deadline = client.conversation.next_deadline()
    assert deadline is not None
    assert deadline - client.now == pytest.approx(0.3 + 4 * 0.15)


def test_a_retransmitted_request_measures_nothing() -> None:
    client = Client()
    client.request()
    request = client.sent_one()
    client.now += 0.5
    client.conversation.handle_timer(client.now)
    client.answer(request.success())
    client.request()
    deadline = client.conversation.next_deadline()
    assert deadline is not None
    assert deadline - client.now == 0.5


def test_a_forged_answer_measures_nothing() -> None:
    client = Client(LongTerm("user", "pass"))
    second = client.challenged(REALM, OLD_NONCE)
    client.now += 0.4
    client.answer(second.success(), b"forged")
    client.now += 0.05
    client.answer(second.success(), MD5_KEY)
    client.request()
    deadline = client.conversation.next_deadline()
    assert deadline is not None
    # The challenge took no time, the true answer 0.45 s: RFC 6298 §2.3.
    assert deadline - client.now == pytest.approx(0.45 / 8 + 0.45)
