"""The requests of one allocation to its server: who asks, and what each of them was for."""

from typing import Final, NamedTuple

from natkit import __version__
from natkit.errors import MisuseError, NatkitError
from natkit.machine import RandomBytes, RequestId
from natkit.stun.authentication import Authentication, LongTerm, ThirdParty, TokenCredential
from natkit.stun.conversation import Conversation, Succeeded
from natkit.stun.message import Message
from natkit.turn.requests import Purpose, form

__all__ = ["Ended", "Identity", "Requests"]

SOFTWARE: Final = f"natkit {__version__}"


class Identity:
    """Who asks: a name with its password, or the holder of an access token (RFC 7635)."""

    def __init__(
        self,
        username: str,
        password: str,
        token: TokenCredential | None,
        *,
        reliable: bool,
        random: RandomBytes,
    ) -> None:
        self._username = username
        self._password = password
        self._token = token
        self._reliable = reliable
        self._random = random

    def renew(self, token: TokenCredential) -> None:
        """Show another token from now on; MisuseError where a password is what is shown."""
        if self._token is None:
            raise MisuseError("the allocation was opened by a password, not by an access token")
        self._token = token

    @property
    def token(self) -> TokenCredential | None:
        """What is shown in place of a password, if that is so."""
        return self._token

    def introduce(self) -> Authentication:
        """What is shown to a server of which nothing is known yet."""
        if self._token is not None:
            return ThirdParty(self._token)
        return LongTerm(self._username, self._password)

    def converse(self, authentication: Authentication) -> Conversation:
        """Begin to ask by what ``authentication`` knows."""
        return Conversation(
            reliable=self._reliable,
            random=self._random,
            authentication=authentication,
            software=SOFTWARE,
        )


class Ended(NamedTuple):
    """What came of a request that left at ``started_at``."""

    purpose: Purpose
    result: Message | NatkitError
    started_at: float


class Requests:
    """What is asked on one path, by one who is new there: nonces may be bound to it."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self.authentication = identity.introduce()
        self._conversation = identity.converse(self.authentication)
        self._purposes: dict[RequestId, tuple[Purpose, float]] = {}

    def renew(self) -> None:
        """The identity has another token: prove by that one from now on."""
        token = self._identity.token
        if token is not None and isinstance(self.authentication, ThirdParty):
            self.authentication.renew(token)

    @property
    def was_challenged(self) -> bool:
        """Whether the server has spoken, so that what is asked may have been granted."""
        return self.authentication.prove().key is not None

    @property
    def unanswered(self) -> list[Purpose]:
        """What is under way, the oldest first."""
        return [purpose for purpose, _ in self._purposes.values()]

    def start(self, purpose: Purpose, now: float) -> None:
        """Ask the server."""
        method, attributes = form(purpose)
        request_id = self._conversation.request(method, attributes, now)
        self._purposes[request_id] = purpose, now

    def drop(self) -> None:
        """Ask for nothing any more that was asked for; what is known of the server stays."""
        self._conversation = self._identity.converse(self.authentication)
        self._purposes.clear()

    def receive(self, message: Message, now: float) -> bool:
        """Take a response; False when it answers nothing that was asked."""
        return self._conversation.receive(message, now)

    def handle_timer(self, now: float) -> None:
        """Retransmit."""
        self._conversation.handle_timer(now)

    def next_deadline(self) -> float | None:
        """When to."""
        return self._conversation.next_deadline()

    def transmits(self) -> list[bytes]:
        """Take what is to be sent."""
        return list(self._conversation.transmits())

    def next_outcome(self) -> Ended | None:
        """Take what ended; what was dropped never does."""
        outcome = self._conversation.next_outcome()
        if outcome is None:
            return None
        purpose, started_at = self._purposes.pop(outcome.request_id)
        result = outcome.response if isinstance(outcome, Succeeded) else outcome.error
        return Ended(purpose, result, started_at)
