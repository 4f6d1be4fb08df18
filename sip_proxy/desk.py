"""What all parts of the proxy work with: transactions, questions to the shell, and answers."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import Failure, Path, RandomBytes, RequestId, Transport
from natkit.sip import HeaderField, Request, Response
from natkit.sip.kinds import CALL_ID
from natkit.sip.transactions import TransactionId, Transactions
from sip_proxy.calls import Calls
from sip_proxy.events import Answered, CallEnded, Overloaded, ProxyEvent, ProxyResult
from sip_proxy.flow_tokens import FlowTokens
from sip_proxy.identity import Identity
from sip_proxy.loops import fingerprint
from sip_proxy.rejection import Rejection
from sip_proxy.settings import Settings

__all__ = ["STATELESS_TAG", "Desk", "Incoming", "Then", "stateless_response"]

ANSWER_LIMIT: Final = 10.0
"""Seconds in which the shell answers a question, or the request that waits for it gets a 500."""

STATELESS_TAG: Final = "stateless-"
"""What tags of such responses begin with: an ACK that bears one is for nobody but us."""

Then = Callable[[ProxyResult | Failure, float], None]
"""What goes on with the answer to a question."""


@dataclass(slots=True, eq=False)
class Incoming:
    """A request as it came, in a transaction of its own; nobody changes it.

    ``size``: bytes of the message that it came in.
    """

    transaction: TransactionId
    request: Request
    path: Path
    size: int = 0
    _fingerprint: str | None = field(default=None, init=False, repr=False)

    @property
    def fingerprint(self) -> str:
        """That of its request; one that ends here mostly needs none."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.request)
        return self._fingerprint


def stateless_response(incoming: Incoming, fault: Rejection) -> Response:
    """A response without a transaction; its tag is the same each time (RFC 3261 §8.2.7)."""
    tag = f"{STATELESS_TAG}{incoming.fingerprint}"
    return Response.to(
        incoming.request, fault.status, reason=fault.reason, tag=tag, fields=fault.fields
    )


@dataclass(frozen=True, slots=True)
class _Question:
    then: Then
    until: float
    incoming: Incoming | None


class Desk:
    """One for a proxy; it decides nothing."""

    def __init__(
        self,
        settings: Settings,
        transactions: Transactions,
        tokens: FlowTokens,
        random: RandomBytes,
        unix_offset: float,
    ) -> None:
        self.settings = settings
        self.identity = Identity(settings)
        self.transactions = transactions
        self.tokens = tokens
        self.random = random
        self.events: deque[ProxyEvent] = deque()
        self.calls = Calls(
            settings.calls, unix_offset, lambda record: self.events.append(CallEnded(record))
        )
        self._questions: dict[RequestId, _Question] = {}
        self._last_id: RequestId = 0
        self._handled: Incoming | None = None

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self.settings = settings
        self.identity.configure(settings)
        self.calls.configure(settings.calls)

    # ── questions ───────────────────────────────────────────────────────────────────────────────

    def handle(self, incoming: Incoming, do: Callable[[float], None], now: float) -> None:
        """Do what a request asks for; what cannot be read of it is a 400 (RFC 3261 §16.3 step 1).

        So it is whenever that is found, after answers to what is asked meanwhile too.
        """
        self._handled, before = incoming, self._handled
        try:
            do(now)
        except MalformedMessage as error:
            self.reject(incoming, 400, now, reason=str(error))
        finally:
            self._handled = before

    def ask(
        self, make: Callable[[RequestId], ProxyEvent], then: Then, now: float
    ) -> RequestId | None:
        """Ask the shell; ``then`` gets the result once, a Failure when none comes in time.

        None when too much waits already: ``then`` has had its Failure.
        """
        if len(self._questions) >= self.settings.largest_pending:
            then(Overloaded("too many requests wait for an answer"), now)
            return None
        self._last_id += 1
        # In the order of their deadlines, for each waits equally long.
        self._questions[self._last_id] = _Question(then, now + ANSWER_LIMIT, self._handled)
        self.events.append(make(self._last_id))
        return self._last_id

    @property
    def waiting(self) -> int:
        """How many questions are open."""
        return len(self._questions)

    def answer(self, request_id: RequestId, result: ProxyResult | Failure, now: float) -> None:
        """The shell's answer; a late one is dropped."""
        question = self._questions.pop(request_id, None)
        if question is not None:
            self._go_on(question, result, now)

    def give_up_overdue(self, now: float) -> None:
        """Fail the questions that have waited too long."""
        while self._questions:
            request_id, question = next(iter(self._questions.items()))
            if question.until > now:
                return
            del self._questions[request_id]
            self._go_on(question, Failure("no answer in time"), now)

    def next_deadline(self) -> float | None:
        """When the first question has waited too long."""
        return next(iter(self._questions.values())).until if self._questions else None

    def _go_on(self, question: _Question, result: ProxyResult | Failure, now: float) -> None:
        if question.incoming is None:
            question.then(result, now)
        else:
            self.handle(question.incoming, partial(question.then, result), now)

    # ── answers ─────────────────────────────────────────────────────────────────────────────────

    def reject(
        self,
        incoming: Incoming,
        status: int,
        now: float,
        *,
        reason: str | None = None,
        fields: Sequence[HeaderField] = (),
    ) -> None:
        """Answer a request ourselves."""
        response = Response.to(
            incoming.request, status, reason=reason, tag=self.new_tag(), fields=fields
        )
        self.respond(incoming, response, now, by_us=True)

    def response(
        self,
        incoming: Incoming,
        status: int,
        reason: str | None = None,
        fields: Sequence[HeaderField] = (),
    ) -> Response:
        """A response of ours to a request."""
        return Response.to(
            incoming.request, status, reason=reason, tag=self.new_tag(), fields=fields
        )

    def refuse(self, incoming: Incoming, fault: Rejection, now: float) -> None:
        """Answer somebody who has proven nothing.

        Over UDP nothing is kept of them, and no answer is sent again by itself: a forged source
        gets one for each request, and whoever misses it asks again (RFC 3261 §8.2.7, §26.3.2.4).
        """
        if incoming.path.transport is not Transport.UDP:
            self.reject(incoming, fault.status, now, reason=fault.reason, fields=fault.fields)
            return
        request, transactions = incoming.request, self.transactions
        response = stateless_response(incoming, fault)
        self.calls.responded(incoming.transaction, request, response, now, by_us=True)
        transactions.abandon(incoming.transaction)
        transactions.respond_to(request, response, incoming.path)
        self.tell_answered(incoming, response.status, by_us=True, reason=response.reason)

    def respond(
        self, incoming: Incoming, response: Response, now: float, *, by_us: bool = False
    ) -> None:
        """Send a response in the request's transaction; one after a final one is dropped."""
        try:
            self.transactions.respond(incoming.transaction, response, now)
        except MisuseError:
            return
        self.calls.responded(incoming.transaction, incoming.request, response, now, by_us=by_us)
        if response.status >= 200:
            self.tell_answered(incoming, response.status, by_us=by_us, reason=response.reason)

    def tell_answered(
        self, incoming: Incoming, status: int, *, by_us: bool, reason: str = ""
    ) -> None:
        """Tell the shell that a request has its final answer."""
        request = incoming.request
        call_id = request.headers.get(CALL_ID) or ""
        self.events.append(Answered(incoming.path, request.method, call_id, status, by_us, reason))

    def respond_late(self, incoming: Incoming, response: Response, now: float) -> None:
        """Pass on a 2xx to an INVITE that has had a final response (RFC 3261 §16.7 step 5)."""
        transactions = self.transactions
        if transactions.request_of(incoming.transaction) is not None:
            try:
                transactions.respond(incoming.transaction, response, now)
            except MisuseError:
                pass
            else:
                return
        transactions.respond_to(incoming.request, response, incoming.path)

    def new_tag(self) -> str:
        """A tag of 64 random bits (RFC 3261 §19.3 wants 32)."""
        return self.random(8).hex()
