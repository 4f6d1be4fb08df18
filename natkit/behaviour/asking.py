"""Runs tests that are written as scripts: open a socket, ask, wait, and see what comes back.

A test is a generator that yields steps and gets their outcomes, so that it reads as RFC 5780
describes it; :class:`Scripts` is the machine that runs any number of them side by side::

    def one_question(server: Address) -> Script[Address | None]:
        local = yield Open(Address("0.0.0.0", 0))
        answer = yield Ask(local, server)
        return answer.mapped if isinstance(answer, Answer) else None

Each answer is matched by its transaction id alone: where it came from is what the tests are about.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, assert_never

from natkit.address import Address
from natkit.behaviour.nat64 import reached_as
from natkit.behaviour.steps import (
    Answer,
    Ask,
    Close,
    Dial,
    Heard,
    NoSocket,
    Open,
    Outcome,
    Pause,
    Say,
    Script,
    Silence,
    Step,
)
from natkit.errors import MalformedMessage
from natkit.machine import (
    ClosePath,
    CloseSocket,
    Connect,
    Failure,
    OpenSocket,
    Path,
    RandomBytes,
    RequestId,
    Transmit,
    Transport,
)
from natkit.stun.attributes import (
    Attribute,
    ChangedAddress,
    ChangeRequest,
    ErrorCode,
    MappedAddress,
    OtherAddress,
    Padding,
    ResponseOrigin,
    ResponsePort,
    Software,
    XorMappedAddress,
)
from natkit.stun.binding import mapped_address
from natkit.stun.message import Message
from natkit.stun.registry import TRANSACTION_ID_LENGTH, MessageClass, Method
from natkit.stun.transaction import DEFAULT_TIMING, ClientTransaction, Timing
from natkit.timers import TimerQueue

__all__ = ["ScriptEnded", "Scripts", "ScriptsEvent"]

MOST_SCRIPTS: Final = 1000
"""Tests at a time."""

MOST_SOCKETS: Final = 64
"""Sockets and connections that one test may hold."""

LONGEST_FILLER: Final = 128
"""Bytes of one SOFTWARE attribute with its header: it has fewer than 128 characters (§14.14)."""

ATTRIBUTE_HEADER: Final = 4
"""Bytes before an attribute's value (RFC 8489 §14)."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ScriptEnded(Generic[T]):
    """A test is over, with what it found."""

    name: str
    finding: T


ScriptsEvent = OpenSocket | CloseSocket | Connect | ClosePath | ScriptEnded[T]


class _Running(Generic[T]):
    """One script, what it waits for, its sockets and its connections."""

    __slots__ = (
        *("asked", "asked_at", "listening", "name", "paths", "script", "sockets", "token"),
        "transaction",
    )

    def __init__(self, name: str, script: Script[T]) -> None:
        self.name = name
        self.script = script
        self.sockets: list[Address] = []
        self.paths: list[Path] = []
        self.asked: bytes | None = None
        self.asked_at = 0.0
        self.transaction: tuple[ClientTransaction, Path] | None = None
        self.listening: Address | None = None
        self.token: bytes | None = None


class Scripts(Generic[T]):
    """A machine (see :mod:`natkit.machine`) whose events are ScriptsEvent; streams carry STUN.

    What a script raises comes out of the input that it was raised in: scripts see only outcomes,
    never a peer's bytes, and have nothing to raise.
    """

    def __init__(self, *, random: RandomBytes, timing: Timing = DEFAULT_TIMING) -> None:
        self._random = random
        self._timing = timing
        self._running: dict[int, _Running[T]] = {}
        self._by_transaction: dict[bytes, int] = {}
        # Ids that were sent and may come back by a hairpin, of whichever script.
        self._drawn: set[bytes] = set()
        self._opening: dict[RequestId, int] = {}
        self._last = 0
        self._timers: TimerQueue[int] = TimerQueue()
        self._transmits: list[Transmit] = []
        self._events: deque[ScriptsEvent[T]] = deque()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, name: str, script: Script[T], now: float) -> None:
        """Run a test; its end is told as ScriptEnded with this name."""
        if len(self._running) >= MOST_SCRIPTS:
            raise AssertionError("too many tests at a time")
        self._last += 1
        self._running[self._last] = _Running(name, script)
        self._go_on(self._last, None, now)

    def cancel(self) -> None:
        """End all tests, without a word of what they would have found."""
        for number in tuple(self._running):
            self._drop(number)

    # ── the contract of a machine ───────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram arrived; what belongs to no test is ignored."""
        if self._is_heard(data, path, now):
            return
        try:
            message = Message.parse(data)
        except MalformedMessage:
            return
        if message.method != Method.BINDING:
            return
        match message.message_class:
            case MessageClass.SUCCESS_RESPONSE | MessageClass.ERROR_RESPONSE:
                self._answered(message, path, now)
            case MessageClass.REQUEST:
                self._came_back(message, path, now)
            case MessageClass.INDICATION:
                pass
            case _:
                assert_never(message.message_class)

    def disconnected(self, path: Path, now: float) -> None:
        """A connection ended: what was asked on it is not answered any more."""
        for number, running in self._running.items():
            if path in running.paths:
                running.paths.remove(path)
                if running.transaction is not None and running.transaction[1] == path:
                    self._forget_question(running)
                    self._timers.cancel(number)
                    self._go_on(number, Silence(1), now)
                return

    def answer(self, request_id: RequestId, result: Address | Path | Failure, now: float) -> None:
        """A socket is open, a connection made, or not."""
        number = self._opening.pop(request_id, None)
        running = self._running.get(number) if number is not None else None
        if number is None or running is None:
            if isinstance(result, Address):
                self._events.append(CloseSocket(result))
            elif isinstance(result, Path):
                self._events.append(ClosePath(result))
            return
        match result:
            case Failure(reason):
                self._go_on(number, NoSocket(reason), now)
            case Address():
                running.sockets.append(result)
                self._go_on(number, result, now)
            case Path():
                running.paths.append(result)
                self._go_on(number, result.local, now)
            case _:
                assert_never(result)

    def handle_timer(self, now: float) -> None:
        """Ask again, and give up what was not answered."""
        for number in self._timers.pop_due(now):
            running = self._running[number]
            if running.transaction is None:
                self._go_on(number, Silence(), now)
                continue
            transaction, path = running.transaction
            if transaction.is_over(now):
                self._forget_question(running)
                self._go_on(number, Silence(transaction.sent), now)
            else:
                self._send_due(number, transaction, path, now)

    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`, in monotonic seconds."""
        return self._timers.next_deadline()

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        taken, self._transmits = self._transmits, []
        return taken

    def next_event(self) -> ScriptsEvent[T] | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None

    # ── the scripts ─────────────────────────────────────────────────────────────────────────────

    def _go_on(self, number: int, outcome: Outcome | None, now: float) -> None:
        running = self._running[number]
        try:
            step = next(running.script) if outcome is None else running.script.send(outcome)
            while isinstance(step, Close):
                self._close(running, step.local)
                step = running.script.send(Silence())
        except StopIteration as end:
            finding: T = end.value
            self._drop(number)
            self._events.append(ScriptEnded(running.name, finding))
            return
        self._take(number, running, step, now)

    def _take(self, number: int, running: _Running[T], step: Step, now: float) -> None:
        match step:
            case Open(local):
                self._events.append(OpenSocket(self._opens(number, running), local))
            case Dial(local, server):
                self._events.append(
                    Connect(self._opens(number, running), Transport.TCP, local, server)
                )
            case Ask():
                self._ask(number, running, step, now)
            case Say(local, remote, data, token):
                running.token = token
                transaction = ClientTransaction(data, now, reliable=False, timing=self._timing)
                path = Path(Transport.UDP, local, remote)
                running.transaction = transaction, path
                self._send_due(number, transaction, path, now)
            case Pause(seconds):
                self._timers.set(number, now + seconds)
            case Close():
                raise AssertionError("a Close has been done already")
            case _:
                assert_never(step)

    def _opens(self, number: int, running: _Running[T]) -> RequestId:
        if len(running.sockets) + len(running.paths) >= MOST_SOCKETS:
            raise AssertionError("a test with too many sockets")
        self._last += 1
        self._opening[self._last] = number
        return self._last

    def _ask(self, number: int, running: _Running[T], ask: Ask, now: float) -> None:
        attributes: list[Attribute] = []
        if ask.change_ip or ask.change_port:
            attributes.append(ChangeRequest(ask.change_ip, ask.change_port))
        if ask.response_port is not None:
            attributes.append(ResponsePort(ask.response_port))
        if ask.padding:
            attributes.append(Padding(bytes(ask.padding)))
        identifier = self._random(TRANSACTION_ID_LENGTH)
        short = len(Message.request(Method.BINDING, identifier, *attributes).encode())
        attributes += _filler(ask.length - short)
        request = Message.request(Method.BINDING, identifier, *attributes).encode()
        transaction = ClientTransaction(
            request,
            now,
            reliable=ask.transport.is_reliable,
            timing=ask.timing or self._timing,
        )
        path = Path(ask.transport, ask.local, ask.server)
        running.asked = identifier
        running.asked_at = now
        running.listening = ask.listen
        running.transaction = transaction, path
        self._by_transaction[identifier] = number
        self._drawn.add(identifier)
        self._send_due(number, transaction, path, now)

    def _send_due(
        self, number: int, transaction: ClientTransaction, path: Path, now: float
    ) -> None:
        data = transaction.take_due(now)
        if data is not None:
            self._transmits.append(Transmit(data, path))
        self._timers.set(number, transaction.next_deadline())

    def _answered(self, response: Message, path: Path, now: float) -> None:
        number = self._by_transaction.get(response.transaction_id)
        running = self._running.get(number) if number is not None else None
        if number is None or running is None:
            return
        if path.local not in running.sockets and path not in running.paths:
            return
        answer = _read(response, path, now - running.asked_at)
        if answer is None:
            return
        self._forget_question(running)
        self._timers.cancel(number)
        self._go_on(number, answer, now)

    def _came_back(self, request: Message, path: Path, now: float) -> None:
        if request.transaction_id not in self._drawn:
            return
        for number, running in self._running.items():
            if running.listening == path.local:
                self._forget_question(running)
                self._timers.cancel(number)
                self._go_on(number, path.remote, now)
                return

    def _is_heard(self, data: bytes, path: Path, now: float) -> bool:
        """Whether it is what a Say waits for."""
        for number, running in self._running.items():
            if running.token is None or path.local not in running.sockets:
                continue
            if running.token in data:
                self._forget_question(running)
                self._timers.cancel(number)
                self._go_on(number, Heard(data, path.remote), now)
                return True
        return False

    def _forget_question(self, running: _Running[T]) -> None:
        if running.asked is not None:
            self._by_transaction.pop(running.asked, None)
        running.asked = None
        running.listening = None
        running.token = None
        running.transaction = None

    def _close(self, running: _Running[T], local: Address) -> None:
        if local in running.sockets:
            running.sockets.remove(local)
            self._events.append(CloseSocket(local))

    def _drop(self, number: int) -> None:
        running = self._running.pop(number)
        self._forget_question(running)
        self._timers.cancel(number)
        running.script.close()
        for local in tuple(running.sockets):
            self._close(running, local)
        self._events.extend(ClosePath(path) for path in running.paths)
        if not self._running:
            self._drawn.clear()


def _filler(length: int) -> list[Attribute]:
    """Attributes of so many bytes, a multiple of four, that a server reads over."""
    sizes = [LONGEST_FILLER] * (length // LONGEST_FILLER)
    if length % LONGEST_FILLER > 0 and length > 0:
        sizes.append(length % LONGEST_FILLER)
    return [Software("." * (size - ATTRIBUTE_HEADER)) for size in sizes]


def _read(response: Message, path: Path, round_trip: float) -> Answer | None:
    """What a response tells; None for a success without the one thing that it must tell."""
    mapped = mapped_address(response)
    code = _code(response)
    if mapped is None and code is None:
        return None
    other = response.get(OtherAddress)
    changed = response.get(ChangedAddress)
    origin = response.get(ResponseOrigin)
    padding = response.get(Padding)
    from_there = origin.address if origin is not None else None
    elsewhere = other.address if other is not None else changed.address if changed else None
    if from_there is not None:
        if elsewhere is not None:
            elsewhere = reached_as(elsewhere, seen=path.remote, told=from_there)
        from_there = reached_as(from_there, seen=path.remote, told=from_there)
    plain = response.get(MappedAddress)
    return Answer(
        mapped,
        path.remote,
        round_trip,
        from_there,
        elsewhere,
        code,
        len(padding.value) if padding is not None else 0,
        path.local,
        plain.address if plain is not None and response.get(XorMappedAddress) else None,
    )


def _code(response: Message) -> int | None:
    if response.message_class is MessageClass.SUCCESS_RESPONSE:
        return None
    error = response.get(ErrorCode)
    return error.code if error is not None else 0
