"""Policies in Python: what a file of yours may decide, and what it is told.

::

    from sip_proxy.hooks import Answer, AskedRequest, Decision, Hooks

    class Screening(Hooks):
        async def on_request(self, asked: AskedRequest) -> Decision | None:
            if asked.caller == "sip:spam@example.net":
                return Answer(603)
            return None

    hooks = Screening()

``[hooks] file = "screening.py"`` in the configuration loads it.  Each method is a coroutine and
gets one frozen value; None lets everything go on as it would.  The proxy serves others meanwhile,
so nothing in a hook may block.  One that raises or takes longer than its deadline fails its request
with a 500 and is logged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from natkit.errors import MisuseError
from natkit.machine import Path
from natkit.sip import (
    AbsoluteUri,
    HeaderField,
    Headers,
    Request,
    Response,
    Scheme,
    SipUri,
    TelUri,
    parse_absolute_uri,
)
from natkit.sip.headers import key_of
from natkit.sip.kinds import FROM
from sip_proxy.standing import Standing

__all__ = [
    "Answer",
    "AskedRegistration",
    "AskedRequest",
    "Decision",
    "FailedBranch",
    "ForkTo",
    "Hooks",
    "Point",
    "Proceed",
    "ReturningResponse",
    "Subject",
    "Target",
    "edited",
    "fields_of",
    "plain",
    "unfit",
]

KEPT: Final = frozenset(
    {"via", "from", "to", "call-id", "cseq", "max-forwards", "record-route", "content-length"}
)
"""Header fields that a proxy may not change, or writes itself."""

MOST_TARGETS: Final = 64

Field = tuple[str, str]
"""Name and value of a header field."""


class Point(StrEnum):
    """Where in a request's life a hook is called."""

    REQUEST = "request"
    RESPONSE = "response"
    REGISTER = "register"
    BRANCH_FAILURE = "branch failure"


# ── what a hook says ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Proceed:
    """Go on; header fields of the names in ``remove`` leave, and those of ``add`` come."""

    add: tuple[Field, ...] = ()
    remove: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.remove, *(name for name, _ in self.add)):
            if key_of(name) in KEPT:
                raise MisuseError(f"a proxy does not change {name}")
        for name, value in self.add:
            HeaderField.of_text(name, value)


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer with this final status; ``reason`` None is the status code's own phrase."""

    status: int
    reason: str | None = None
    fields: tuple[Field, ...] = ()

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 699:
            raise MisuseError(f"{self.status} is no final status")
        for name, value in self.fields:
            HeaderField.of_text(name, value)


@dataclass(frozen=True, slots=True)
class Target:
    """A URI to try; where it is one of our users, all of that user's phones.

    ``ring_for``: seconds after which it is given up and the next group tried, None for as long as
    timer C allows.
    """

    uri: str
    ring_for: float | None = None

    def __post_init__(self) -> None:
        parse_absolute_uri(self.uri)
        if self.ring_for is not None and not self.ring_for > 0:
            raise MisuseError(f"{self.ring_for:g} s is no time to ring")


@dataclass(frozen=True, slots=True)
class ForkTo:
    """Go to these targets: those of a group at the same time, one group after the other."""

    groups: tuple[tuple[Target, ...], ...]
    add: tuple[Field, ...] = ()
    remove: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = sum(map(len, self.groups))
        if not 1 <= count <= MOST_TARGETS:
            raise MisuseError(f"{count} targets: a request goes to 1 to {MOST_TARGETS}")
        Proceed(self.add, self.remove)

    @classmethod
    def at_once(cls, *uris: str, ring_for: float | None = None) -> "ForkTo":
        """All of them ring at the same time."""
        return cls((tuple(Target(uri, ring_for) for uri in uris),))

    @classmethod
    def in_turn(cls, *uris: str, ring_for: float | None = None) -> "ForkTo":
        """They ring one after the other."""
        return cls(tuple((Target(uri, ring_for),) for uri in uris))


Decision = Proceed | Answer | ForkTo

# ── what a hook is told ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class AskedRequest:
    """A request that begins something: no dialog has it yet, and it was let in.

    ``path`` is where it came from.  ``user`` is the user of ours who proved to have sent it, as a
    URI; None for others, whose From anybody may write.
    """

    request: Request
    path: Path
    sender: Standing
    user: str | None = None

    @property
    def caller(self) -> str:
        """The URI of From in its one spelling (:func:`plain`); anybody may have written it."""
        sender = self.request.headers.get(FROM)
        return "" if sender is None else plain(sender.uri)

    @property
    def called(self) -> str:
        """The Request-URI in its one spelling: all that name a user of ours are the same here."""
        return plain(self.request.uri)


@dataclass(frozen=True, slots=True)
class ReturningResponse:
    """A response of others that is about to be passed back to who sent ``request``."""

    request: Request
    response: Response


@dataclass(frozen=True, slots=True)
class AskedRegistration:
    """A REGISTER of one of our users, who proved to be that where credentials are asked for."""

    request: Request
    path: Path
    address_of_record: str


@dataclass(frozen=True, slots=True)
class FailedBranch:
    """A target of ``request`` answered with a failure, or did not in time (408)."""

    request: Request
    target: str
    response: Response

    @property
    def called(self) -> str:
        """The Request-URI as it came, in its one spelling (:func:`plain`)."""
        return plain(self.request.uri)


Subject = AskedRequest | ReturningResponse | AskedRegistration | FailedBranch


class Hooks:
    """Override what you decide; the proxy asks for nothing else."""

    async def on_request(self, asked: AskedRequest) -> Decision | None:
        """Where a request goes, before routes and registrations are looked at."""

    async def on_response(self, returning: ReturningResponse) -> Proceed | Answer | None:
        """What is passed back.

        An Answer may replace a failure alone: a 2xx has opened a dialog on the other side, and goes
        back unchanged, like a provisional response, where the hook fails.
        """

    async def on_register(self, asked: AskedRegistration) -> Answer | None:
        """Whether a registration is accepted: an Answer is in place of it."""

    async def on_branch_failure(self, failed: FailedBranch) -> Answer | ForkTo | None:
        """What becomes of a failure: ForkTo tries others, another failure as Answer stands for it.

        The targets of that ForkTo get the request as it is, so it names no header fields.
        """


def plain(uri: SipUri | TelUri | AbsoluteUri) -> str:
    """A URI as policies compare it.

    ``sip:`` for ``sips:`` too, without parameters and needless escapes, the host in lower case;
    numbers as ``tel:`` without separators.
    """
    if isinstance(uri, SipUri):
        return str(replace(uri.address_of_record(), scheme=Scheme.SIP))
    return f"tel:{uri.digits}" if isinstance(uri, TelUri) else str(uri)


def unfit(subject: Subject, decision: Decision) -> str | None:
    """Why a decision makes no sense at its point, or None."""
    is_bare = isinstance(decision, Answer) or not (decision.add or decision.remove)
    match subject, decision:
        case ReturningResponse(), ForkTo():
            return "a response goes back and nowhere else"
        case ReturningResponse(_, response), Answer(status) if min(status, response.status) < 300:
            return f"a {response.status} cannot become a {status}"
        case AskedRegistration(), ForkTo():
            return "a registration is forked to nobody"
        case ((AskedRegistration() | FailedBranch()), _) if not is_bare:
            return "there is nothing that header fields could be changed in"
        case FailedBranch(), Answer(status) if status < 300:
            return f"a failure cannot become a {status}"
        case _:
            return None


def edited(headers: Headers, decision: Proceed | ForkTo) -> Headers:
    """The headers as a decision wants them."""
    if not (decision.add or decision.remove):
        return headers
    gone = {key_of(name) for name in decision.remove}
    kept = [field for field in headers if field.key not in gone]
    return Headers([*kept, *fields_of(decision.add)])


def fields_of(pairs: Sequence[Field]) -> list[HeaderField]:
    """The header fields that a hook named."""
    return [HeaderField.of_text(name, value) for name, value in pairs]
