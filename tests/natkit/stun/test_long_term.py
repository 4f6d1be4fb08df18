"""A client proves itself by a long-term credential (RFC 8489 §9.2), and is not bid down."""

import pytest

from natkit.address import Address
from natkit.errors import (
    BadRequest,
    IntegrityViolation,
    MisuseError,
    StaleNonce,
    TransactionTimeout,
    TryAlternate,
    Unauthenticated,
)
from natkit.stun.attributes import (
    AlternateDomain,
    AlternateServer,
    Attribute,
    Lifetime,
    MessageIntegrity,
    MessageIntegritySha256,
    Nonce,
    PasswordAlgorithm,
    PasswordAlgorithms,
    Realm,
    UserHash,
    Username,
)
from natkit.stun.authentication import LongTerm
from natkit.stun.conversation import (
    MAX_CHALLENGES,
    Succeeded,
)
from natkit.stun.credentials import (
    MD5,
    SHA_256,
    user_hash,
    verify,
)
from natkit.stun.registry import Integrity
from tests.natkit.stun.scripted import (
    ALGORITHMS,
    ANONYMOUS_NONCE,
    FEATURE_NONCE,
    MD5_KEY,
    OLD_NONCE,
    REALM,
    SHA256_KEY,
    Client,
)


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
