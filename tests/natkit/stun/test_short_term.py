"""A client proves itself by a short-term credential (RFC 8489 §9.1)."""

import pytest

from natkit.errors import (
    ErrorResponse,
    IntegrityViolation,
    TransactionTimeout,
)
from natkit.stun.attributes import (
    ErrorCode,
    MessageIntegrity,
    MessageIntegritySha256,
    Username,
)
from natkit.stun.authentication import ShortTerm
from natkit.stun.conversation import (
    Succeeded,
)
from natkit.stun.credentials import (
    short_term_key,
)
from natkit.stun.registry import Integrity
from tests.natkit.stun.scripted import Client


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
