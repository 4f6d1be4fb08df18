"""A client's requests against a server that is scripted answer by answer."""

from collections.abc import Callable
from itertools import count

import pytest

from natkit.address import Address
from natkit.errors import (
    BadRequest,
    ErrorResponse,
    IntegrityViolation,
    MalformedMessage,
    MisuseError,
    NatkitError,
    ServerError,
    StaleNonce,
    TransactionTimeout,
    TryAlternate,
    Unauthenticated,
    UnknownAttribute,
    UnreachableError,
)
from natkit.stun.attributes import (
    AlternateDomain,
    AlternateServer,
    Attribute,
    ErrorCode,
    Fingerprint,
    Lifetime,
    MessageIntegrity,
    MessageIntegritySha256,
    Nonce,
    PasswordAlgorithm,
    PasswordAlgorithms,
    Realm,
    Software,
    UnknownAttributes,
    UserHash,
    Username,
)
from natkit.stun.attributes import UnknownAttribute as UnknownAttributeValue
from natkit.stun.authentication import Authentication, LongTerm, ShortTerm
from natkit.stun.conversation import (
    MAX_CHALLENGES,
    MAX_OUTSTANDING,
    Conversation,
    Failed,
    Outcome,
    Succeeded,
)
from natkit.stun.credentials import (
    MD5,
    SHA_256,
    long_term_key,
    nonce_cookie,
    short_term_key,
    user_hash,
    verify,
)
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import Integrity, Method, PasswordAlgorithmNumber, SecurityFeature

START = 1000.0
OLD_NONCE = Nonce(b"f//499k954d6OL34oL9FSTvy64sA")
REALM = Realm("example.org")
MD5_KEY = long_term_key("user", "example.org", "pass")
SHA256_KEY = long_term_key("user", "example.org", "pass", PasswordAlgorithmNumber.SHA_256)
ALGORITHMS = PasswordAlgorithms((SHA_256, MD5))
FEATURE_NONCE = Nonce(nonce_cookie(SecurityFeature.PASSWORD_ALGORITHMS) + b"rest")
ANONYMOUS_NONCE = Nonce(nonce_cookie(SecurityFeature(3 << 22)) + b"rest")


def counter() -> Callable[[int], bytes]:
    numbers = count(1)
    return lambda length: next(numbers).to_bytes(length, "big")


class Client:
    """A conversation and the clock that drives it."""

    def __init__(
        self,
        authentication: Authentication | None = None,
        *,
        reliable: bool = False,
        software: str | None = None,
        fingerprint: bool = False,
    ) -> None:
        self.conversation = Conversation(
            reliable=reliable,
            random=counter(),
            authentication=authentication,
            software=software,
            fingerprint=fingerprint,
        )
        self.now = START

    def request(self, *attributes: Attribute) -> int:
        return self.conversation.request(Method.ALLOCATE, attributes, self.now)

    def sent(self) -> list[Message]:
        return [Message.parse(data) for data in self.conversation.transmits()]

    def sent_one(self) -> Message:
        (message,) = self.sent()
        return message

    def answer(
        self, response: Message, key: bytes | None = None, integrity: Integrity = Integrity.SHA1
    ) -> bool:
        protection = None if key is None else IntegrityKey(key, integrity)
        parsed = Message.parse(response.encode(integrity=protection))
        return self.conversation.receive(parsed, self.now)

    def outcome(self) -> Outcome | None:
        return self.conversation.next_outcome()

    def error(self) -> NatkitError:
        outcome = self.outcome()
        assert isinstance(outcome, Failed)
        return outcome.error

    def run_out(self) -> int:
        """Let time pass until nothing is armed; how many messages were sent meanwhile."""
        sent = 0
        while (deadline := self.conversation.next_deadline()) is not None:
            self.now = deadline
            self.conversation.handle_timer(self.now)
            sent += len(self.conversation.transmits())
        return sent

    def challenged(self, *attributes: Attribute) -> Message:
        """Ask, be answered 401 with those attributes, and give the second request."""
        self.request(Lifetime(600))
        assert self.answer(self.sent_one().error(401, *attributes))
        return self.sent_one()


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


class TestLongTerm:
    def test_the_first_request_proves_nothing(self) -> None:
        client = Client(LongTerm("user", "pass"))
        client.request(Lifetime(600))
        assert client.sent_one().attributes == (Lifetime(600),)

    def test_a_challenge_of_rfc_5389_is_answered_with_the_md5_key(self) -> None:
        client = Client(LongTerm("user", "pass"))
        second = client.challenged(REALM, OLD_NONCE)
        assert second.attributes[:4] == (Lifetime(600), Username("user"), REALM, OLD_NONCE)
        assert verify(second, MD5_KEY) is Integrity.SHA1
        assert second.get(MessageIntegritySha256) is None
        assert second.get(PasswordAlgorithm) is None
        assert client.answer(second.success(), MD5_KEY)
        assert isinstance(client.outcome(), Succeeded)

    def test_a_challenge_of_rfc_8489_is_answered_with_the_first_algorithm_known(self) -> None:
        client = Client(LongTerm("user", "pass"))
        offered = PasswordAlgorithms((PasswordAlgorithm(77), SHA_256, MD5))
        second = client.challenged(REALM, FEATURE_NONCE, offered)
        assert second.get(Username) == Username("user")
        assert second.get(PasswordAlgorithms) == offered
        assert second.get(PasswordAlgorithm) == SHA_256
        assert second.get(MessageIntegrity) is None
        assert verify(second, SHA256_KEY) is Integrity.SHA256
        assert client.answer(second.success(), SHA256_KEY, Integrity.SHA256)
        assert isinstance(client.outcome(), Succeeded)

    def test_the_servers_preference_for_md5_is_followed_with_an_hmac_sha256(self) -> None:
        client = Client(LongTerm("user", "pass"))
        second = client.challenged(REALM, FEATURE_NONCE, PasswordAlgorithms((MD5, SHA_256)))
        assert second.get(PasswordAlgorithm) == MD5
        assert verify(second, MD5_KEY) is Integrity.SHA256

    def test_an_anonymous_user_sends_a_hash(self) -> None:
        client = Client(LongTerm("user", "pass"))
        second = client.challenged(REALM, ANONYMOUS_NONCE, ALGORITHMS)
        assert second.get(Username) is None
        assert second.get(UserHash) == UserHash(user_hash("user", "example.org"))

    def test_a_retry_has_a_new_transaction_id(self) -> None:
        client = Client(LongTerm("user", "pass"))
        client.request()
        first = client.sent_one()
        client.answer(first.error(401, REALM, OLD_NONCE))
        assert client.sent_one().transaction_id != first.transaction_id

    def test_later_requests_prove_themselves_at_once(self) -> None:
        client = Client(LongTerm("user", "pass"))
        client.answer(client.challenged(REALM, OLD_NONCE).success(), MD5_KEY)
        client.request()
        assert verify(client.sent_one(), MD5_KEY) is Integrity.SHA1

    def test_a_second_401_of_the_same_realm_is_final(self) -> None:
        client = Client(LongTerm("user", "wrong"))
        second = client.challenged(REALM, OLD_NONCE)
        client.answer(second.error(401, REALM, Nonce(b"another")))
        assert isinstance(client.error(), Unauthenticated)
        assert client.sent() == []

    def test_a_401_of_another_realm_is_answered(self) -> None:
        client = Client(LongTerm("user", "pass"))
        second = client.challenged(REALM, OLD_NONCE)
        client.answer(second.error(401, Realm("elsewhere"), OLD_NONCE))
        assert client.sent_one().get(Realm) == Realm("elsewhere")

    @pytest.mark.parametrize("missing", [(REALM,), (OLD_NONCE,), ()])
    def test_a_401_without_realm_or_nonce_is_final(self, missing: tuple[Attribute, ...]) -> None:
        client = Client(LongTerm("user", "pass"))
        client.request()
        client.answer(client.sent_one().error(401, *missing))
        assert isinstance(client.error(), Unauthenticated)

    def test_a_realm_that_no_key_follows_from_is_final(self) -> None:
        client = Client(LongTerm("user", "pass"))
        client.request()
        client.answer(client.sent_one().error(401, Realm("a\tb"), OLD_NONCE))
        assert isinstance(client.error(), Unauthenticated)

    def test_no_known_algorithm_is_final(self) -> None:
        client = Client(LongTerm("user", "pass"))
        client.request()
        unknown = PasswordAlgorithms((PasswordAlgorithm(77), PasswordAlgorithm(2, b"new")))
        client.answer(client.sent_one().error(401, REALM, FEATURE_NONCE, unknown))
        assert isinstance(client.error(), Unauthenticated)

    @pytest.mark.parametrize("with_realm", [True, False])
    def test_a_stale_nonce_is_replaced(self, with_realm: bool) -> None:
        client = Client(LongTerm("user", "pass"))
        second = client.challenged(REALM, OLD_NONCE)
        fresh = Nonce(b"fresh")
        client.answer(second.error(438, *(REALM, fresh) if with_realm else (fresh,)))
        third = client.sent_one()
        assert third.get(Nonce) == fresh
        assert third.get(Realm) == REALM
        assert verify(third, MD5_KEY) is Integrity.SHA1

    def test_a_stale_nonce_without_a_fresh_one_is_final(self) -> None:
        client = Client(LongTerm("user", "pass"))
        client.answer(client.challenged(REALM, OLD_NONCE).error(438, REALM))
        assert isinstance(client.error(), StaleNonce)

    def test_a_server_whose_nonces_are_always_stale_is_given_up(self) -> None:
        client = Client(LongTerm("user", "pass"))
        message = client.challenged(REALM, OLD_NONCE)
        for number in range(MAX_CHALLENGES - 1):
            client.answer(message.error(438, REALM, Nonce(b"%d" % number)))
            message = client.sent_one()
        client.answer(message.error(438, REALM, Nonce(b"last")))
        assert isinstance(client.error(), StaleNonce)
        assert client.sent() == []

    def test_a_proven_300_names_the_servers(self) -> None:
        client = Client(LongTerm("user", "pass"))
        second = client.challenged(REALM, OLD_NONCE)
        servers = (Address.of("192.0.2.9", 3478), Address.of("2001:db8::9", 3478))
        alternates = [AlternateServer(server) for server in servers]
        domain = AlternateDomain("other.example.org")
        client.answer(second.error(300, *alternates, domain), MD5_KEY)
        error = client.error()
        assert isinstance(error, TryAlternate)
        assert error.servers == servers
        assert error.domain == "other.example.org"

    def test_a_400_without_integrity_is_as_if_it_never_came(self) -> None:
        client = Client(LongTerm("user", "pass"))
        second = client.challenged(REALM, OLD_NONCE)
        assert client.answer(second.error(400))
        assert client.outcome() is None
        assert client.run_out() == 6
        assert isinstance(client.error(), TransactionTimeout)

    def test_a_400_before_any_proof_is_heard(self) -> None:
        client = Client(LongTerm("user", "pass"))
        client.request()
        client.answer(client.sent_one().error(400))
        assert isinstance(client.error(), BadRequest)

    @pytest.mark.parametrize("key", [None, b"wrong"])
    def test_answers_without_proof_are_discarded_and_reported_at_the_end(
        self, key: bytes | None
    ) -> None:
        client = Client(LongTerm("user", "pass"))
        second = client.challenged(REALM, OLD_NONCE)
        client.answer(second.error(486), key)
        assert client.outcome() is None
        assert client.run_out() == 6
        error = client.error()
        assert isinstance(error, IntegrityViolation)
        assert "486 Allocation Quota Reached" in str(error)

    def test_a_forged_answer_does_not_keep_the_true_one_out(self) -> None:
        client = Client(LongTerm("user", "pass"))
        second = client.challenged(REALM, OLD_NONCE)
        client.answer(second.error(437), b"forged")
        client.answer(second.success(), MD5_KEY)
        assert isinstance(client.outcome(), Succeeded)

    def test_over_a_stream_an_answer_without_proof_ends_the_request_at_once(self) -> None:
        client = Client(LongTerm("user", "pass"), reliable=True)
        second = client.challenged(REALM, OLD_NONCE)
        client.answer(second.success())
        assert isinstance(client.error(), IntegrityViolation)

    def test_an_answer_with_the_weaker_hmac_proves_nothing(self) -> None:
        client = Client(LongTerm("user", "pass"))
        second = client.challenged(REALM, FEATURE_NONCE, ALGORITHMS)
        client.answer(second.success(), SHA256_KEY, Integrity.SHA1)
        assert client.outcome() is None

    def test_concurrent_requests_take_up_their_challenges(self) -> None:
        client = Client(LongTerm("user", "pass"))
        for _ in range(3):
            client.request()
        for request in client.sent():
            client.answer(request.error(401, REALM, OLD_NONCE))
        for request in client.sent():
            client.answer(request.success(), MD5_KEY)
        for _ in range(3):
            assert isinstance(client.outcome(), Succeeded)

    @pytest.mark.parametrize(("name", "password"), [("", "pass"), ("user", ""), ("a\t", "pass")])
    def test_a_credential_that_opaque_string_forbids_is_refused(
        self, name: str, password: str
    ) -> None:
        with pytest.raises(MisuseError):
            LongTerm(name, password)


class TestBidDown:
    """RFC 8489 §9.2.1: someone on the path takes the better algorithms away."""

    @pytest.mark.parametrize("code", [401, 438])
    def test_a_challenge_whose_list_is_missing_is_never_answered(self, code: int) -> None:
        client = Client(LongTerm("user", "pass"))
        client.request()
        client.answer(client.sent_one().error(code, REALM, FEATURE_NONCE))
        assert client.sent() == []
        error = client.error()
        assert isinstance(error, IntegrityViolation)
        assert "removed on the way" in str(error)

    def test_it_is_seen_with_the_bits_counted_from_the_right_too(self) -> None:
        client = Client(LongTerm("user", "pass"))
        client.request()
        client.answer(client.sent_one().error(401, REALM, Nonce(b"obMatJos2AAABrest")))
        assert isinstance(client.error(), IntegrityViolation)

    def test_any_other_answer_whose_list_is_missing_is_ignored(self) -> None:
        client = Client(LongTerm("user", "pass"))
        client.request()
        request = client.sent_one()
        client.answer(request.success(FEATURE_NONCE))
        assert client.outcome() is None
        client.answer(request.success())
        assert isinstance(client.outcome(), Succeeded)

    @pytest.mark.parametrize("code", [401, 438])
    def test_a_server_that_offered_algorithms_does_not_take_them_back(self, code: int) -> None:
        client = Client(LongTerm("user", "pass"))
        second = client.challenged(REALM, FEATURE_NONCE, ALGORITHMS)
        client.answer(second.error(code, Realm("elsewhere"), OLD_NONCE))
        assert client.sent() == []
        assert client.outcome() is None
        client.answer(second.success(), SHA256_KEY, Integrity.SHA256)
        assert isinstance(client.outcome(), Succeeded)


class TestShortTerm:
    KEY = short_term_key("pass")

    def test_both_hmacs_are_sent_until_the_server_has_chosen(self) -> None:
        client = Client(ShortTerm("user", "pass"))
        client.request()
        first = client.sent_one()
        assert first.get(Username) == Username("user")
        assert first.get(MessageIntegrity) is not None
        assert first.get(MessageIntegritySha256) is not None
        client.answer(first.success(), self.KEY, Integrity.SHA1)
        assert isinstance(client.outcome(), Succeeded)
        client.request()
        second = client.sent_one()
        assert second.get(MessageIntegrity) is not None
        assert second.get(MessageIntegritySha256) is None

    def test_an_answer_of_the_other_algorithm_is_as_if_it_never_came(self) -> None:
        client = Client(ShortTerm("user", "pass", Integrity.SHA256))
        client.request()
        request = client.sent_one()
        client.answer(request.success(), self.KEY, Integrity.SHA1)
        client.run_out()
        assert isinstance(client.error(), TransactionTimeout)

    @pytest.mark.parametrize("key", [None, b"wrong"])
    def test_an_answer_without_proof_is_a_violation(self, key: bytes | None) -> None:
        client = Client(ShortTerm("user", "pass"))
        client.request()
        client.answer(client.sent_one().success(), key)
        client.run_out()
        assert isinstance(client.error(), IntegrityViolation)

    def test_an_error_response_counts_when_it_is_proven(self) -> None:
        client = Client(ShortTerm("user", "pass"))
        client.request()
        client.answer(client.sent_one().error(ErrorCode(487)), self.KEY, Integrity.SHA256)
        error = client.error()
        assert isinstance(error, ErrorResponse)
        assert error.code == 487


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
