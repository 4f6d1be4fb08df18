"""One question put to several nameservers, as a machine.

It retransmits, goes to the next nameserver, from UDP to TCP after truncation, without EDNS where a
server does not know it, and along CNAMEs that leave the answer.  Late answers count: nothing is
withdrawn until the question is answered.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from natkit.address import Address
from natkit.errors import MalformedMessage
from natkit.machine import Failure, Path, RandomBytes, Request, RequestId, Transmit, Transport
from natkit.timers import TimerQueue
from sipdns.messages import Alias, Refusal, Truncated, make_query, read_answer
from sipdns.records import Answer, Question, Status

__all__ = ["Answered", "Exchange", "Query", "QueryLimits"]

MOST_EXCHANGES: Final = 24
"""Exchanges of one question, each with a socket: three rounds through resolv.conf's three servers,
each once more without EDNS or over TCP, and some for CNAMEs.  Then a failure ends the query."""

LONGEST_ALIAS_CHAIN: Final = 8
"""CNAMEs that one question follows over all its answers."""


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """The pace, in seconds.

    ``first_wait`` is the wait for a nameserver before the next is asked; it grows by ``growth``
    with each round through them all.  ``tcp_wait`` is that wait over TCP.  At ``whole`` the
    question is given up.
    """

    first_wait: float = 0.5
    growth: float = 1.5
    tcp_wait: float = 2.0
    whole: float = 5.0


@dataclass(frozen=True, slots=True)
class Exchange(Request):
    """Send ``query`` to ``nameserver`` from a fresh port and wait for what answers it.

    Result: the bytes of the message that :func:`sipdns.messages.matches` the query, or Failure.
    The shell abandons it when the query is answered.
    """

    nameserver: Address
    transport: Transport
    query: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """The end: the answer, or why there is none."""

    result: Answer | Failure


Event = Exchange | Answered


class Query:
    """Asks ``question`` of ``nameservers``, in their order."""

    def __init__(
        self,
        question: Question,
        nameservers: Sequence[Address],
        *,
        random: RandomBytes,
        now: float,
        limits: QueryLimits | None = None,
    ) -> None:
        self._question = question
        self._nameservers = nameservers
        self._random = random
        self._limits = limits or QueryLimits()
        self._deadline = now + self._limits.whole
        self._names: tuple[str, ...] = (question.name,)
        self._no_edns: set[Address] = set()
        self._exchanges: dict[RequestId, tuple[Exchange, Question]] = {}
        self._failed: dict[Address, str] = {}
        self._events: deque[Event] = deque()
        self._timers: TimerQueue[str] = TimerQueue()
        self._turn = 0
        self._next_id = 0
        self._answered = False
        self._timers.set("whole", self._deadline)
        if nameservers:
            self._ask_next(now)
        else:
            self._end(Failure("no nameserver is configured"))

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """No data arrives here: the shell answers each Exchange with a whole message."""

    def disconnected(self, path: Path, now: float) -> None:
        """No stream is ours."""

    def transmits(self) -> Sequence[Transmit]:
        """Nothing: all is sent by Exchange Requests."""
        return ()

    def next_event(self) -> Event | None:
        """Take the next event."""
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float | None:
        """When the next nameserver is to be asked, or the question is given up."""
        return self._timers.next_deadline()

    def handle_timer(self, now: float) -> None:
        """Ask the next nameserver; end when the time is over."""
        for timer in self._timers.pop_due(now):
            if timer == "whole":
                self._give_up()
            else:
                self._ask_next(now)

    def answer(self, request_id: RequestId, result: bytes | Failure, now: float) -> None:
        """The outcome of an Exchange."""
        exchange, question = self._exchanges.pop(request_id)
        if self._answered or question != self._question:
            return
        if isinstance(result, Failure):
            self._fail(exchange, result.reason, now)
            return
        try:
            answer = read_answer(result, question)
        except MalformedMessage as error:
            self._fail(exchange, str(error), now)
            return
        match answer:
            case Answer():
                self._accept(answer)
            case Alias(aliases):
                self._follow(exchange, aliases, now)
            case Truncated() if exchange.transport is Transport.UDP:
                self._exchange(exchange.nameserver, Transport.TCP, now)
            case Truncated():
                self._fail(exchange, "truncated even over TCP", now)
            case Refusal(reason, without_edns):
                if without_edns and exchange.nameserver not in self._no_edns:
                    self._no_edns.add(exchange.nameserver)
                    self._exchange(exchange.nameserver, exchange.transport, now)
                else:
                    self._fail(exchange, reason, now)

    def _accept(self, answer: Answer) -> None:
        aliases = self._names[1:] + answer.aliases
        self._end(Answer(answer.status, answer.records, aliases, answer.additional))

    def _follow(self, exchange: Exchange, aliases: tuple[str, ...], now: float) -> None:
        names = self._names + aliases
        if len(names) > LONGEST_ALIAS_CHAIN + 1 or len(set(names)) < len(names):
            self._end(Failure("a chain of CNAMEs that loops or is too long"))
            return
        self._names = names
        self._question = Question(names[-1], self._question.type)
        self._exchange(exchange.nameserver, Transport.UDP, now)

    def _fail(self, exchange: Exchange, reason: str, now: float) -> None:
        """This nameserver is of no use; go on at once unless another is being waited for."""
        self._failed[exchange.nameserver] = reason
        if all(waiting.nameserver in self._failed for waiting, _ in self._exchanges.values()):
            self._ask_next(now)

    def _ask_next(self, now: float) -> None:
        for _ in self._nameservers:
            nameserver = self._nameservers[self._turn % len(self._nameservers)]
            self._turn += 1
            if nameserver not in self._failed:
                self._exchange(nameserver, Transport.UDP, now)
                return
        self._give_up()

    def _exchange(self, nameserver: Address, transport: Transport, now: float) -> None:
        if self._answered:
            return
        if self._next_id == MOST_EXCHANGES:
            self._give_up()
            return
        request_id = self._next_id
        self._next_id += 1
        message_id = int.from_bytes(self._random(2), "big")
        try:
            edns = nameserver not in self._no_edns
            query = make_query(self._question, message_id, edns=edns)
        except MalformedMessage:
            # What does not fit into a query cannot exist.
            self._end(Answer(Status.NO_NAME, aliases=self._names[1:]))
            return
        exchange = Exchange(request_id, nameserver, transport, query)
        self._exchanges[request_id] = (exchange, self._question)
        self._events.append(exchange)
        rounds = (self._turn - 1) // len(self._nameservers)
        wait = self._limits.first_wait * self._limits.growth**rounds
        if transport is Transport.TCP:
            wait = max(wait, self._limits.tcp_wait)
        self._timers.set("next", now + wait)

    def _give_up(self) -> None:
        reasons = [f"{server}: {reason}" for server, reason in self._failed.items()]
        silent = [str(one) for one in self._nameservers if one not in self._failed]
        if silent:
            seconds = f"{self._limits.whole:g} s"
            reasons.append(f"no answer from {', '.join(silent)} within {seconds}")
        self._end(Failure("; ".join(reasons)))

    def _end(self, result: Answer | Failure) -> None:
        if not self._answered:
            self._answered = True
            self._timers.cancel("whole")
            self._timers.cancel("next")
            self._events.append(Answered(result))
