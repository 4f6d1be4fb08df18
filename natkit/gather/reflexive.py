"""Server-reflexive candidates: Binding requests from the bases to STUN servers (RFC 8445 §5.1.1.2).

From each base each server is asked once for each of its address families: one address after the
other, the next beside one that stays silent.  Once a base has an answer of some server, the others
are waited for a moment only, since they see the same NAT.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Final, assert_never

from natkit.address import Address
from natkit.errors import NatkitError, TransactionTimeout
from natkit.gather.pacing import StartQueue
from natkit.gather.settings import GatherSettings
from natkit.gather.sockets import Base
from natkit.locate import Target
from natkit.machine import Path, RandomBytes, Transmit, Transport
from natkit.stun.binding import BindingClient, BindingFailed, Bound
from natkit.timers import TimerQueue

__all__ = ["Answer", "Reflexive", "Silence"]

MOST_TARGETS: Final = 4
"""Addresses of one server and family that are tried."""

RESPONSE_BIT: Final = 0x01
"""Of a STUN message's first byte: set in responses, clear in requests and indications."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The server saw ``base`` as ``mapped``."""

    base: Base
    server: str
    target: Target
    mapped: Address


@dataclass(frozen=True, slots=True)
class Silence:
    """No address of the server told anything to ``base``; ``error`` is the last one's."""

    base: Base
    server: str
    target: Target
    error: NatkitError


class _Timer(Enum):
    HEAD_START = auto()
    GRACE = auto()
    KEEPALIVE = auto()


@dataclass(slots=True, eq=False)
class _Question:
    """One server of one family, asked from one base."""

    base: Base
    server: str
    targets: tuple[Target, ...]
    clients: dict[Path, tuple[BindingClient, Target]]
    began: float | None = None
    tried: int = 0
    starting: int = 0
    error: tuple[NatkitError, Target] | None = None
    answered: Target | None = None
    is_over: bool = False

    @property
    def is_exhausted(self) -> bool:
        """Whether every address was tried and none can still answer."""
        return not (self.clients or self.starting) and self.tried == len(self.targets)


class Reflexive:
    """Asks, keeps what the NATs have bound alive, and tells of answers and silences."""

    def __init__(
        self,
        settings: GatherSettings,
        starts: StartQueue,
        *,
        random: RandomBytes,
        told: Callable[[Answer | Silence, float], None],
    ) -> None:
        self._settings = settings
        self._starts = starts
        self._random = random
        self._told = told
        self._questions: list[_Question] = []
        self._by_path: dict[Path, _Question] = {}
        self._kept: dict[Path, BindingClient] = {}
        self._timers: TimerQueue[tuple[_Timer, int]] = TimerQueue()
        self._numbered: dict[int, _Question] = {}
        # The bases of which some server has told how it sees them.
        self._seen: set[Address] = set()

    @property
    def is_idle(self) -> bool:
        """Whether every question has its answer."""
        return all(each.is_over for each in self._questions)

    def ask(self, base: Base, server: str, targets: Sequence[Target], now: float) -> None:
        """Ask a server, at those of its ``targets`` that are of the base's family."""
        family = base.local.family
        fitting = [
            Target(Transport.UDP, each.address, each.host, each.tls_name)
            for each in targets
            if each.address.family is family
            # From a link-local address nothing leaves the link (RFC 4291 §2.5.6, RFC 3927 §7).
            and each.address.ip.is_link_local is base.local.ip.is_link_local
            and Path(Transport.UDP, base.local, each.address) not in self._by_path
        ]
        if not fitting:
            return
        question = _Question(base, server, tuple(fitting[:MOST_TARGETS]), {})
        for each in question.targets:
            self._by_path[Path(Transport.UDP, base.local, each.address)] = question
        self._questions.append(question)
        self._numbered[id(question)] = question
        self._next_target(question, now)

    def takes(self, data: bytes, path: Path) -> bool:
        """Whether this is a server's response to us and nobody else's."""
        asked = path in self._by_path or path in self._kept
        return asked and bool(data) and data[0] == RESPONSE_BIT

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A response, as :meth:`takes` saw it."""
        kept = self._kept.get(path)
        if kept is not None:
            kept.receive(data, path, now)
            while kept.next_event() is not None:
                pass
        question = self._by_path.get(path)
        if question is None or path not in question.clients:
            return
        client, _ = question.clients[path]
        client.receive(data, path, now)
        self._collect(question, now)

    def handle_timer(self, now: float) -> None:
        """Retransmit, try the next address, and give up."""
        for question in self._questions:
            for client, _ in question.clients.values():
                client.handle_timer(now)
            if question.clients:
                self._collect(question, now)
        for client in self._kept.values():
            client.handle_timer(now)
            while client.next_event() is not None:
                pass
        for timer, number in self._timers.pop_due(now):
            self._due(timer, self._numbered[number], now)

    def next_deadline(self) -> float | None:
        """The earliest of all."""
        deadlines = [
            client.next_deadline()
            for question in self._questions
            for client, _ in question.clients.values()
        ]
        deadlines += [client.next_deadline() for client in self._kept.values()]
        deadlines.append(self._timers.next_deadline())
        return min((each for each in deadlines if each is not None), default=None)

    def transmits(self) -> list[Transmit]:
        """Take what is to be sent."""
        sent: list[Transmit] = []
        for question in self._questions:
            for client, _ in question.clients.values():
                sent += client.transmits()
        for client in self._kept.values():
            sent += client.transmits()
        return sent

    def end(self, error: NatkitError, now: float) -> None:
        """Wait for nobody any more."""
        for question in self._questions:
            if not question.is_over:
                self._give_up(question, error, now)

    def forget(self, base: Address) -> None:
        """The socket of ``base`` is gone."""
        for question in self._questions:
            if question.base.local == base:
                self._finish(question)
        self._kept = {path: each for path, each in self._kept.items() if path.local != base}

    def rest(self) -> None:
        """Checks keep the NATs' bindings from now on: send no more requests of our own."""
        self._kept.clear()
        for question in self._questions:
            self._timers.cancel((_Timer.KEEPALIVE, id(question)))

    # ── one question ────────────────────────────────────────────────────────────────────────────

    def _next_target(self, question: _Question, now: float) -> None:
        if question.tried < len(question.targets) and not question.starting:
            target = question.targets[question.tried]
            question.tried += 1
            question.starting += 1
            self._starts.add(partial(self._begin, question, target), now)

    def _begin(self, question: _Question, target: Target, now: float) -> None:
        question.starting -= 1
        if question.is_over:
            return
        path = Path(Transport.UDP, question.base.local, target.address)
        client = BindingClient(path, random=self._random, timing=self._settings.timing)
        question.clients[path] = client, target
        client.start(now)
        if question.began is None:
            question.began = now
            if question.base.local in self._seen:
                self._hurry(question, now)
        if question.tried < len(question.targets):
            self._timers.set((_Timer.HEAD_START, id(question)), now + self._settings.head_start)

    def _due(self, timer: _Timer, question: _Question, now: float) -> None:
        match timer:
            case _Timer.HEAD_START:
                self._next_target(question, now)
            case _Timer.GRACE:
                if not question.is_over:
                    waited = now - (question.began or now)
                    error = TransactionTimeout(f"no answer within {waited:.1f} s")
                    self._give_up(question, error, now)
            case _Timer.KEEPALIVE:
                self._keep_alive(question, now)
            case _:
                assert_never(timer)

    def _collect(self, question: _Question, now: float) -> None:
        for path, (client, target) in tuple(question.clients.items()):
            match client.next_event():
                case None:
                    continue
                case Bound(mapped):
                    self._finish(question)
                    question.answered = target
                    self._see(question, now)
                    self._told(Answer(question.base, question.server, target, mapped), now)
                    return
                case BindingFailed(error):
                    del question.clients[path]
                    question.error = error, target
                    self._next_target(question, now)
        if question.is_exhausted and question.error is not None and not question.is_over:
            self._give_up(question, question.error[0], now)

    def _give_up(self, question: _Question, error: NatkitError, now: float) -> None:
        target = next((each for _, each in question.clients.values()), question.targets[0])
        if question.error is not None:
            # A server's own word says more than another's silence.
            error, target = question.error
        self._finish(question)
        self._told(Silence(question.base, question.server, target, error), now)

    def _finish(self, question: _Question) -> None:
        question.is_over = True
        question.clients.clear()
        for timer in _Timer:
            self._timers.cancel((timer, id(question)))

    def _see(self, answered: _Question, now: float) -> None:
        """Others see the same NAT from that base: wait for them a moment, for what they find."""
        base = answered.base.local
        if base in self._seen:
            return
        self._seen.add(base)
        self._timers.set((_Timer.KEEPALIVE, id(answered)), now + self._settings.keepalive)
        for question in self._questions:
            begun = question.began is not None and not question.is_over
            if question.base.local == base and begun:
                self._hurry(question, now)

    def _hurry(self, question: _Question, now: float) -> None:
        if self._settings.grace is not None:
            self._timers.set((_Timer.GRACE, id(question)), now + self._settings.grace)

    # ── what keeps the NATs' bindings (§5.1.1.4) ────────────────────────────────────────────────

    def _keep_alive(self, question: _Question, now: float) -> None:
        target = question.answered
        if target is None:
            return
        path = Path(Transport.UDP, question.base.local, target.address)
        client = self._kept[path] = BindingClient(
            path, random=self._random, timing=self._settings.timing
        )
        client.start(now)
        self._timers.set((_Timer.KEEPALIVE, id(question)), now + self._settings.keepalive)
