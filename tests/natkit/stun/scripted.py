"""A client's requests, and a server that is scripted answer by answer."""

from collections.abc import Callable
from itertools import count

from natkit.errors import (
    NatkitError,
)
from natkit.stun.attributes import (
    Attribute,
    Lifetime,
    Nonce,
    PasswordAlgorithms,
    Realm,
)
from natkit.stun.authentication import Authentication
from natkit.stun.conversation import (
    Conversation,
    Failed,
    Outcome,
)
from natkit.stun.credentials import (
    MD5,
    SHA_256,
    long_term_key,
    nonce_cookie,
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
