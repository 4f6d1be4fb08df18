"""One question put to several nameservers, as a machine.

It retransmits, goes to the next server, from UDP to TCP after truncation, without EDNS where a
server does not know it, and along CNAMEs that leave the answer.  Late answers count: nothing is
withdrawn until the question is answered.  Each attempt is on record.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from natkit.errors import MalformedMessage
from natkit.machine import Failure, Path, RandomBytes, Request, RequestId, Transmit
from natkit.timers import TimerQueue
from sipdns.messages import (
    DEFAULT_ASKING,
    LONGEST_ALIAS_CHAIN,
    Alias,
    Asking,
    Refusal,
    Truncated,
    make_query,
    matches,
    read_answer,
    read_header,
)
from sipdns.records import (
    Answer,
    Attempt,
    Carrier,
    CnameRecord,
    Question,
    Security,
    Status,
    Unanswered,
)
from sipdns.servers import Server, first_carrier, is_trusted

__all__ = ["Answered", "Exchange", "Query", "QueryLimits"]

MOST_EXCHANGES: Final = 24
"""Exchanges of one question, each with a socket: three rounds through resolv.conf's three servers,
each once more without EDNS or over TCP, and some for CNAMEs.  Then a failure ends the query."""


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """The pace, in seconds.

    ``first_wait`` is the wait for a server before the next is asked; it grows by ``growth`` with
    each round through them all.  ``tcp_wait`` is that wait where a connection may have to be made:
    TCP, TLS, HTTPS.  At ``whole`` the question is given up.
    """

    first_wait: float = 0.5
    growth: float = 1.5
    tcp_wait: float = 2.0
    whole: float = 5.0


@dataclass(frozen=True, slots=True)
class Exchange(Request):
    """Send ``query`` to ``server``, over UDP from a fresh port, and wait for what answers it.

    Result: the bytes of the message that :func:`sipdns.messages.matches` the query, or Failure.
    The shell abandons it when the query is answered.
    """

    server: Server
    carrier: Carrier
    query: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """The end: the answer, or why there is none.

    ``messages`` are what it was read from: a response for each name that was asked, in order.
    """

    result: Answer | Unanswered
    messages: tuple[tuple[Question, bytes], ...] = ()


Event = Exchange | Answered


class Query:
    """Asks ``question`` of ``servers``, in their order."""

    def __init__(
        self,
        question: Question,
        servers: Sequence[Server],
        *,
        random: RandomBytes,
        now: float,
        limits: QueryLimits | None = None,
        asking: Asking = DEFAULT_ASKING,
    ) -> None:
        self._question = question
        self._servers = servers
        self._random = random
        self._limits = limits or QueryLimits()
        self._asking = asking
        self._started = now
        self._cnames: tuple[CnameRecord, ...] = ()
        self._no_edns: set[Server] = set()
        self._exchanges: dict[RequestId, tuple[Exchange, Question, float]] = {}
        self._attempts: list[Attempt] = []
        self._messages: tuple[tuple[Question, bytes], ...] = ()
        self._read_from: list[tuple[Server, bool]] = []
        self._failed: dict[Server, str] = {}
        self._is_bogus = False
        self._events: deque[Event] = deque()
        self._timers: TimerQueue[str] = TimerQueue()
        self._turn = 0
        self._ended = False
        self._timers.set("whole", now + self._limits.whole)
        if servers:
            self._ask_next(now)
        else:
            self._fail_for_good("no nameserver is configured", now)

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
        """When the next server is to be asked, or the question is given up."""
        return self._timers.next_deadline()

    def handle_timer(self, now: float) -> None:
        """Ask the next server; end when the time is over."""
        for timer in self._timers.pop_due(now):
            if timer == "whole":
                self._give_up(now)
            else:
                self._ask_next(now)

    def answer(self, request_id: RequestId, result: bytes | Failure, now: float) -> None:
        """The outcome of an Exchange."""
        exchange, question, sent_at = self._exchanges.pop(request_id)
        if self._ended or question != self._question:
            return
        waited = replace(self._attempts[request_id], seconds=now - sent_at)
        if isinstance(result, Failure):
            self._attempts[request_id] = replace(waited, outcome=result.reason)
            self._fail(exchange, result.reason, now)
        elif not matches(exchange.query, result):
            reason = "an answer to another question"
            self._attempts[request_id] = replace(waited, outcome=reason, size=len(result))
            self._fail(exchange, reason, now)
        else:
            self._read(exchange, result, waited, now)

    def _read(self, exchange: Exchange, data: bytes, waited: Attempt, now: float) -> None:
        header = read_header(data)
        attempt = replace(
            waited,
            outcome="answered",
            rcode=header.rcode,
            size=len(data),
            authenticated=header.authenticated,
            authoritative=header.authoritative,
            recursion_available=header.recursion_available,
            truncated=header.truncated,
        )
        index = exchange.request_id
        self._attempts[index] = attempt
        try:
            answer = read_answer(data, self._question, self._asking)
        except MalformedMessage as error:
            self._attempts[index] = replace(attempt, outcome=str(error))
            self._fail(exchange, str(error), now)
            return
        match answer:
            case Answer():
                self._read_from.append((exchange.server, header.authenticated))
                self._accept(answer, exchange, data, now)
            case Alias(cnames):
                self._read_from.append((exchange.server, header.authenticated))
                self._messages += ((self._question, data),)
                self._follow(exchange, cnames, now)
            case Truncated():
                self._attempts[index] = replace(attempt, outcome="truncated")
                if exchange.carrier is Carrier.UDP:
                    self._exchange(exchange.server, Carrier.TCP, now)
                else:
                    self._fail(exchange, f"truncated even over {exchange.carrier.upper()}", now)
            case Refusal(reason, without_edns, rcode, bogus):
                self._attempts[index] = replace(
                    attempt, outcome=reason, rcode=rcode or attempt.rcode
                )
                self._is_bogus |= bogus and is_trusted(exchange.server)
                if without_edns and exchange.server not in self._no_edns:
                    self._no_edns.add(exchange.server)
                    self._exchange(exchange.server, exchange.carrier, now)
                else:
                    self._fail(exchange, reason, now)

    def _accept(self, answer: Answer, exchange: Exchange, data: bytes, now: float) -> None:
        cnames = self._cnames + answer.cnames
        security, reason = self._judge()
        self._messages += ((self._question, data),)
        self._end(
            replace(
                answer,
                aliases=tuple(one.target for one in cnames),
                cnames=cnames,
                security=security,
                security_reason=reason,
                attempts=tuple(self._attempts),
                final=exchange.request_id,
                seconds=now - self._started,
            )
        )

    def _judge(self) -> tuple[Security, str]:
        """What the resolvers say of the signatures, if their word counts (RFC 4035 §4.9.3)."""
        if not all(authenticated for _, authenticated in self._read_from):
            return Security.INDETERMINATE, "the resolver does not vouch for it (AD is not set)"
        strangers = [server for server, _ in self._read_from if not is_trusted(server)]
        if strangers:
            reason = (
                "the resolver vouches for it (AD), but anyone on the way could have set the bit"
            )
            return Security.INDETERMINATE, reason
        return Security.SECURE, f"{self._read_from[-1][0]} vouches for it (AD)"

    def _follow(self, exchange: Exchange, cnames: tuple[CnameRecord, ...], now: float) -> None:
        self._cnames += cnames
        names = [one.target for one in self._cnames]
        names.append(self._cnames[0].name)
        if len(self._cnames) > LONGEST_ALIAS_CHAIN or len(set(names)) < len(names):
            self._fail_for_good("a chain of CNAMEs that loops or is too long", now)
            return
        self._question = Question(cnames[-1].target, self._question.type)
        self._exchange(exchange.server, first_carrier(exchange.server), now)

    def _fail(self, exchange: Exchange, reason: str, now: float) -> None:
        """This server is of no use; go on at once unless another is being waited for."""
        self._failed[exchange.server] = reason
        if all(waiting.server in self._failed for waiting, _, _ in self._exchanges.values()):
            self._ask_next(now)

    def _ask_next(self, now: float) -> None:
        for _ in self._servers:
            server = self._servers[self._turn % len(self._servers)]
            self._turn += 1
            if server not in self._failed:
                self._exchange(server, first_carrier(server), now)
                return
        self._give_up(now)

    def _exchange(self, server: Server, carrier: Carrier, now: float) -> None:
        if self._ended:
            return
        request_id = len(self._attempts)
        if request_id == MOST_EXCHANGES:
            self._give_up(now)
            return
        # RFC 8484 §4.1: HTTP's caches go by the bytes, and need no id to tell answers apart.
        is_http = carrier is Carrier.HTTPS
        message_id = 0 if is_http else int.from_bytes(self._random(2), "big")
        try:
            edns = server not in self._no_edns
            query = make_query(self._question, message_id, edns=edns, asking=self._asking)
        except MalformedMessage:
            # What does not fit into a query cannot exist.
            aliases = tuple(one.target for one in self._cnames)
            self._end(Answer(Status.NO_NAME, aliases=aliases, attempts=tuple(self._attempts)))
            return
        exchange = Exchange(request_id, server, carrier, query)
        self._exchanges[request_id] = (exchange, self._question, now)
        self._attempts.append(
            Attempt(str(server), carrier, self._question.name, None, "no answer yet")
        )
        self._events.append(exchange)
        rounds = (self._turn - 1) // len(self._servers)
        wait = self._limits.first_wait * self._limits.growth**rounds
        if carrier is not Carrier.UDP:
            wait = max(wait, self._limits.tcp_wait)
        self._timers.set("next", now + wait)

    def _give_up(self, now: float) -> None:
        reasons = [f"{server}: {reason}" for server, reason in self._failed.items()]
        silent = [str(one) for one in self._servers if one not in self._failed]
        if silent:
            seconds = f"{self._limits.whole:g} s"
            reasons.append(f"no answer from {', '.join(silent)} within {seconds}")
        self._fail_for_good("; ".join(reasons), now)

    def _fail_for_good(self, reason: str, now: float) -> None:
        for index, one in enumerate(self._attempts):
            if one.seconds is None:
                self._attempts[index] = replace(one, outcome="no answer")
        security = Security.BOGUS if self._is_bogus else Security.INDETERMINATE
        self._end(
            Unanswered(
                reason,
                attempts=tuple(self._attempts),
                seconds=now - self._started,
                security=security,
            )
        )

    def _end(self, result: Answer | Unanswered) -> None:
        if not self._ended:
            self._ended = True
            self._timers.cancel("whole")
            self._timers.cancel("next")
            self._events.append(Answered(result, self._messages))
