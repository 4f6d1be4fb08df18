"""Requests to one server, from the first transmission to the outcome (RFC 8489 §6, §9, §10).

A :class:`Conversation` is a part of machines: it retransmits, authenticates, retries under new
transaction ids and says how each request ended, but leaves paths and framing to its owner.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from natkit.errors import (
    ErrorResponse,
    IntegrityViolation,
    MalformedMessage,
    NatkitError,
    TransactionTimeout,
    TryAlternate,
    UnknownAttribute,
)
from natkit.machine import RandomBytes, RequestId
from natkit.stun.attributes import (
    AlternateDomain,
    AlternateServer,
    Attribute,
    ErrorCode,
    Software,
    UnknownAttributes,
)
from natkit.stun.authentication import Authentication, Proof, Verdict
from natkit.stun.message import Message
from natkit.stun.registry import TRANSACTION_ID_LENGTH, MessageClass
from natkit.stun.transaction import (
    DEFAULT_TIMING,
    ClientTransaction,
    RoundTripEstimate,
    Timing,
)
from natkit.timers import TimerQueue

MAX_OUTSTANDING = 10
"""Requests under way to one server at a time; more wait for their turn (RFC 8489 §6.2)."""

MAX_CHALLENGES = 3
"""Challenges that one request takes up: one 401, and a nonce that goes stale twice on the way.

Without a bound a hostile server could keep a client busy for ever.
"""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """A request got a success response, authenticated where there are credentials."""

    request_id: RequestId
    response: Message


@dataclass(frozen=True, slots=True)
class Failed:
    """A request got none; ``response`` is what came instead, if it counts.

    ``error`` is an ErrorResponse by its code, a TransactionTimeout, an IntegrityViolation, a
    MalformedMessage for a response that can't be acted on, or what :meth:`Conversation.fail_all`
    was given.
    """

    request_id: RequestId
    error: NatkitError
    response: Message | None = None


Outcome = Succeeded | Failed


@dataclass(slots=True)
class _Exchange:
    """One request of the owner, through however many transactions."""

    request_id: RequestId
    method: int
    attributes: tuple[Attribute, ...]
    transaction_id: bytes
    transaction: ClientTransaction
    proof: Proof
    challenges: int = 0
    refused: str | None = None
    """What the last response said whose integrity was violated."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    request_id: RequestId
    method: int
    attributes: tuple[Attribute, ...]


class Conversation:
    """The requests of one client to one server over one path.

    ``reliable``: whether the transport retransmits.  ``software`` goes into every request,
    ``fingerprint`` ends it.
    """

    def __init__(
        self,
        *,
        reliable: bool,
        random: RandomBytes,
        authentication: Authentication | None = None,
        timing: Timing = DEFAULT_TIMING,
        software: str | None = None,
        fingerprint: bool = False,
    ) -> None:
        self._reliable = reliable
        self._random = random
        self._authentication = authentication
        self._timing = timing
        self._software = () if software is None else (Software(software),)
        self._fingerprint = fingerprint
        self._estimate = RoundTripEstimate(timing)
        self._next_request_id = 0
        self._exchanges: dict[bytes, _Exchange] = {}
        self._waiting: deque[_Waiting] = deque()
        self._timers: TimerQueue[bytes] = TimerQueue()
        self._transmits: list[bytes] = []
        self._outcomes: deque[Outcome] = deque()

    def __len__(self) -> int:
        """Requests without an outcome yet."""
        return len(self._exchanges) + len(self._waiting)

    def request(self, method: int, attributes: Sequence[Attribute], now: float) -> RequestId:
        """Send a request; its outcome will carry the number returned here.

        Raises MisuseError for attributes that may not be sent.
        """
        # Here and not when its turn comes, which may be while a response is received.
        Message.request(method, bytes(TRANSACTION_ID_LENGTH), *attributes).encode()
        self._next_request_id += 1
        self._waiting.append(_Waiting(self._next_request_id, method, tuple(attributes)))
        self._start_waiting(now)
        return self._next_request_id

    def cancel(self, request_id: RequestId, now: float) -> None:
        """Forget a request: no more transmissions, no outcome.  One that is over is no error."""
        self._waiting = deque(each for each in self._waiting if each.request_id != request_id)
        for exchange in list(self._exchanges.values()):
            if exchange.request_id == request_id:
                self._forget(exchange)
        self._start_waiting(now)

    def fail_all(self, error: NatkitError) -> None:
        """End every request, because the path is gone (RFC 8489 §6.2.1: a hard ICMP error)."""
        numbers = [exchange.request_id for exchange in self._exchanges.values()]
        numbers += [waiting.request_id for waiting in self._waiting]
        for exchange in list(self._exchanges.values()):
            self._forget(exchange)
        self._waiting.clear()
        self._transmits.clear()
        self._outcomes.extend(Failed(number, error) for number in numbers)

    def receive(self, response: Message, now: float) -> bool:
        """Take a response; False when it answers nothing that was asked."""
        exchange = self._exchanges.get(response.transaction_id)
        if (
            exchange is None
            or response.method != exchange.method
            or response.message_class in (MessageClass.REQUEST, MessageClass.INDICATION)
        ):
            return False
        verdict = Verdict.ACCEPT
        if self._authentication is not None:
            verdict = self._authentication.judge(response, exchange.proof)
        if verdict in (Verdict.ACCEPT, Verdict.RETRY) and exchange.transaction.sent == 1:
            self._estimate.add(now - exchange.transaction.started_at, now)
        match verdict:
            case Verdict.ACCEPT:
                self._finish(exchange, self._outcome(exchange, response), now)
            case Verdict.RETRY:
                self._retry(exchange, response, now)
            case Verdict.BID_DOWN:
                error = IntegrityViolation(
                    "the server's list of password algorithms was removed on the way"
                )
                self._finish(exchange, Failed(exchange.request_id, error, response), now)
            case Verdict.VIOLATION:
                exchange.refused = _describe(response)
                if self._reliable:
                    self._finish(exchange, Failed(exchange.request_id, _violation(exchange)), now)
            case Verdict.DISCARD:
                pass
        return True

    def handle_timer(self, now: float) -> None:
        """Retransmit what is due and give up what is over."""
        for transaction_id in self._timers.pop_due(now):
            exchange = self._exchanges[transaction_id]
            if exchange.transaction.is_over(now):
                self._finish(exchange, Failed(exchange.request_id, _timeout(exchange)), now)
            else:
                self._transmit(exchange, now)

    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`, in monotonic seconds."""
        return self._timers.next_deadline()

    def transmits(self) -> list[bytes]:
        """Take the messages to send, in order."""
        transmits, self._transmits = self._transmits, []
        return transmits

    def next_outcome(self) -> Outcome | None:
        """Take the next outcome, or None."""
        return self._outcomes.popleft() if self._outcomes else None

    def _start_waiting(self, now: float) -> None:
        while self._waiting and len(self._exchanges) < MAX_OUTSTANDING:
            waiting = self._waiting.popleft()
            self._start(waiting.request_id, waiting.method, waiting.attributes, 0, now)

    def _start(
        self,
        request_id: RequestId,
        method: int,
        attributes: tuple[Attribute, ...],
        challenges: int,
        now: float,
    ) -> None:
        proof = Proof() if self._authentication is None else self._authentication.prove()
        transaction_id = self._random(TRANSACTION_ID_LENGTH)
        message = Message.request(
            method, transaction_id, *self._software, *attributes, *proof.attributes
        )
        transaction = ClientTransaction(
            message.encode(integrity=proof.key, fingerprint=self._fingerprint),
            now,
            reliable=self._reliable,
            timing=self._timing,
            rto=self._estimate.rto(now),
        )
        exchange = _Exchange(
            request_id, method, attributes, transaction_id, transaction, proof, challenges
        )
        self._exchanges[transaction_id] = exchange
        self._transmit(exchange, now)

    def _transmit(self, exchange: _Exchange, now: float) -> None:
        data = exchange.transaction.take_due(now)
        if data is not None:
            self._transmits.append(data)
        self._timers.set(exchange.transaction_id, exchange.transaction.next_deadline())

    def _retry(self, exchange: _Exchange, response: Message, now: float) -> None:
        if exchange.challenges >= MAX_CHALLENGES:
            self._finish(exchange, self._outcome(exchange, response), now)
            return
        self._forget(exchange)
        self._start(
            exchange.request_id,
            exchange.method,
            exchange.attributes,
            exchange.challenges + 1,
            now,
        )

    def _outcome(self, exchange: _Exchange, response: Message) -> Outcome:
        unknown = response.unknown_required()
        if unknown:
            # RFC 8489 §6.3.3, §6.3.4: such a response ends the transaction unheard.
            types = ", ".join(f"0x{number:04x}" for number in unknown)
            error: NatkitError = MalformedMessage(f"a response with unknown attributes {types}")
        elif response.message_class is MessageClass.SUCCESS_RESPONSE:
            return Succeeded(exchange.request_id, response)
        else:
            error = error_of(response, authenticated=exchange.proof.key is not None)
        return Failed(exchange.request_id, error, response)

    def _finish(self, exchange: _Exchange, outcome: Outcome, now: float) -> None:
        self._forget(exchange)
        self._outcomes.append(outcome)
        self._start_waiting(now)

    def _forget(self, exchange: _Exchange) -> None:
        del self._exchanges[exchange.transaction_id]
        self._timers.cancel(exchange.transaction_id)


def error_of(response: Message, *, authenticated: bool) -> NatkitError:
    """The exception for an error response (RFC 8489 §6.3.4).

    MalformedMessage without ERROR-CODE.  Alternate servers are named only in an ``authenticated``
    response (§14.8).
    """
    code = response.get(ErrorCode)
    if code is None:
        return MalformedMessage("an error response without ERROR-CODE")
    error = ErrorResponse.of(code.code, _one_line(code.reason))
    if isinstance(error, TryAlternate) and authenticated:
        error.servers = tuple(each.address for each in response.get_all(AlternateServer))
        domain = response.get(AlternateDomain)
        error.domain = None if domain is None else domain.value
    elif isinstance(error, UnknownAttribute):
        types = response.get(UnknownAttributes)
        error.types = () if types is None else types.types
    return error


def _describe(response: Message) -> str:
    code = response.get(ErrorCode)
    return (
        "a success response" if code is None else f"{code.code} {_one_line(code.reason)}".rstrip()
    )


def _one_line(reason: str) -> str:
    """A reason fit for a person's terminal: servers put padding, and could put worse, into it."""
    return "".join(each for each in reason if each.isprintable()).strip()


def _violation(exchange: _Exchange) -> IntegrityViolation:
    return IntegrityViolation(
        f"no answer was made with our credential; the last was {exchange.refused}"
    )


def _timeout(exchange: _Exchange) -> NatkitError:
    if exchange.refused is not None:
        return _violation(exchange)
    return TransactionTimeout(f"no answer to {exchange.transaction.sent} requests")
