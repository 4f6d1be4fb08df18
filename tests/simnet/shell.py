"""Runs a machine on a host, as the contract in natkit/machine.py wants it run.

After every single input the shell sends all transmits, handles every event, then arms one timer.
OpenSocket, CloseSocket, Connect and ClosePath are answered by the host; all other events are
kept in ``events`` and given to ``on_event``, which may answer now or later.

As in natkit/aio/driver.py an answer that is there at once is an input within the drain, and a
timer stays armed when the deadline moves later, so that it fires early.
"""

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar, cast

from natkit.address import Address
from natkit.errors import MalformedMessage
from natkit.machine import (
    ClosePath,
    CloseSocket,
    Connect,
    Failure,
    Machine,
    OpenSocket,
    Path,
    StreamFraming,
    Transmit,
    Transport,
)
from tests.simnet.host import AddressUnavailable, Host
from tests.simnet.simulation import Appointment, SimulationError
from tests.simnet.stream import Stream

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")


class Shell(Generic[E, R]):
    """One machine, with the sockets and streams that belong to it.

    ``framing`` makes the framing of each stream.  ``lateness`` is how late, in seconds, a timer may
    fire; when it does is drawn.
    """

    def __init__(
        self,
        host: Host,
        machine: Machine[E, R],
        *,
        on_event: Callable[[E], None] | None = None,
        framing: Callable[[], StreamFraming] | None = None,
        lateness: float = 0.0,
    ) -> None:
        self.host = host
        self.machine = machine
        self.on_event = on_event
        self.events: list[E] = []
        self.running = True
        self._framing = framing
        self._lateness = lateness
        self._simulation = host.simulation
        self._random = host.simulation.random(f"shell on {host.name}")
        # A machine that asks for sockets or streams takes an Address or a Path for an answer.
        self._asking = cast("Machine[E, Address | Path]", machine)
        self._sockets: dict[Address, None] = {}
        self._listeners: list[Address] = []
        self._streams: dict[Path, Stream] = {}
        self._opening: dict[Stream, None] = {}
        self._timer: Appointment | None = None
        self._armed_for = 0.0
        self._draining = False

    # ── the test's side ─────────────────────────────────────────────────────────────────────────

    def bind(self, local: Address) -> Address:
        """Give the machine a datagram socket; port 0 is any free one."""
        bound = self.host.bind(local, self)
        self._sockets[bound] = None
        return bound

    def listen(self, local: Address, transport: Transport = Transport.TCP) -> Address:
        """Accept streams for the machine, under the name of ``transport``."""
        bound = self.host.listen(local, lambda stream: self._accepted(stream, transport))
        self._listeners.append(bound)
        return bound

    def call(self, action: Callable[[float], T]) -> T:
        """One input by the machine's own methods: ``shell.call(lambda now: machine.open(now))``."""
        if not self.running:
            raise SimulationError(f"the shell on {self.host.name} was stopped")
        try:
            return action(self._simulation.now)
        finally:
            self._drain()

    def answer(self, request_id: int, result: R | Failure) -> None:
        """Answer a Request, from within ``on_event`` or later."""
        self._input(lambda now: self.machine.answer(request_id, result, now))

    def take(self, kind: type[T]) -> list[T]:
        """Remove the recorded events of ``kind`` and return them, oldest first."""
        taken = [event for event in self.events if isinstance(event, kind)]
        self.events = [event for event in self.events if not isinstance(event, kind)]
        return taken

    def stop(self) -> None:
        """End as a killed process does: sockets closed, streams reset, nothing told to anybody."""
        self.running = False
        if self._timer is not None:
            self._timer.cancel()
        for local in self._sockets:
            self.host.unbind(local)
        for local in self._listeners:
            self.host.stop_listening(local)
        for stream in (*self._opening, *self._streams.values()):
            stream.abort()
        self._sockets.clear()
        self._listeners.clear()
        self._opening.clear()
        self._streams.clear()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths of the streams that are open."""
        return tuple(self._streams)

    # ── the network's side ──────────────────────────────────────────────────────────────────────

    def datagram(self, data: bytes, local: Address, remote: Address) -> None:
        """A datagram came."""
        path = Path(Transport.UDP, local, remote)
        self._input(lambda now: self.machine.receive(data, path, now))

    def _accepted(self, stream: Stream, transport: Transport) -> None:
        self._opening[stream] = None
        path = Path(transport, stream.local, stream.remote)
        stream.on_open = lambda: self._attach(stream, path)
        # An attempt that never opened is nothing that a server's process hears of.
        stream.on_end = lambda _: self._opening.pop(stream)

    def _attach(self, stream: Stream, path: Path) -> None:
        del self._opening[stream]
        if self._framing is None:
            raise SimulationError(f"the shell on {self.host.name} has no framing for streams")
        framing = self._framing()
        self._streams[path] = stream

        def read(data: bytes) -> None:
            try:
                messages = framing.receive(data)
            except MalformedMessage as error:
                self.host.note("unframeable", error)
                self._close(path)
                return
            for message in messages:
                # The machine may have closed the path after an earlier message.
                if path in self._streams:
                    self._input(partial(self.machine.receive, message, path))

        stream.on_data = read
        stream.on_end = lambda why: self._ended(path, why)

    def _ended(self, path: Path, why: str) -> None:
        self.host.note("disconnected", f"{path}: {why}")
        if self._streams.pop(path, None) is not None:
            self._input(lambda now: self.machine.disconnected(path, now))

    # ── inputs, and what follows each ───────────────────────────────────────────────────────────

    def _input(self, action: Callable[[float], None]) -> None:
        if self.running:
            action(self._simulation.now)
            self._drain()

    def _soon(self, action: Callable[[float], None]) -> None:
        self._simulation.after(0.0, lambda: self._input(action))

    def _drain(self) -> None:
        # An event's handler may bring new input: the drain that is under way takes it along.
        if self._draining:
            return
        self._draining = True
        try:
            self._send_transmits()
            while self.running and (event := self.machine.next_event()) is not None:
                self._handle(event)
                self._send_transmits()
        finally:
            self._draining = False
        if self.running:
            self._arm()

    def _send_transmits(self) -> None:
        for transmit in self.machine.transmits():
            self._send(transmit)
        if self.machine.transmits():
            raise SimulationError("transmits() gave more when it was called again")

    def _send(self, transmit: Transmit) -> None:
        path = transmit.path
        if path.transport is Transport.UDP:
            if path.local not in self._sockets:
                raise SimulationError(f"the machine sends from {path.local}, which is not its own")
            self.host.send_datagram(transmit.data, path.local, path.remote)
            return
        if not path.transport.is_reliable:
            raise SimulationError(f"{path.transport} is not simulated")
        stream = self._streams.get(path)
        if stream is None:
            self.host.note("no such stream", path)
        else:
            stream.write(transmit.data)

    def _arm(self) -> None:
        deadline = self.machine.next_deadline()
        if self._timer is not None:
            if deadline is not None and deadline >= self._armed_for:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is None:
            return
        self._armed_for = deadline
        late = self._random.uniform(0.0, self._lateness) if self._lateness else 0.0
        self._timer = self._simulation.at(deadline + late, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._input(self.machine.handle_timer)

    # ── events that the host answers ────────────────────────────────────────────────────────────

    def _handle(self, event: E) -> None:
        self.host.note("event", event)
        match event:
            case OpenSocket():
                self._open_socket(event)
            case CloseSocket(local):
                self._sockets.pop(local, None)
                self.host.unbind(local)
            case Connect():
                self.connect(event)
            case ClosePath(path):
                self._close(path)
            case _:
                self.events.append(event)
                if self.on_event is not None:
                    self.on_event(event)

    def _open_socket(self, request: OpenSocket) -> None:
        result: Address | Failure
        try:
            result = self.bind(request.local)
        except AddressUnavailable as error:
            result = Failure(str(error), address_in_use=error.in_use)
        self._reply(request.request_id, result)

    def connect(self, request: Connect) -> None:
        """Open a stream as a Connect asks for, and answer it."""
        try:
            stream = self.host.connect(request.local, request.remote)
        except AddressUnavailable as error:
            failure = Failure(str(error), address_in_use=error.in_use)
            self._reply(request.request_id, failure)
            return
        path = Path(request.transport, stream.local, stream.remote)
        self._opening[stream] = None

        def opened() -> None:
            self._attach(stream, path)
            self._input(lambda now: self._asking.answer(request.request_id, path, now))

        def failed(why: str) -> None:
            del self._opening[stream]
            self._reply(request.request_id, Failure(why))

        stream.on_open = opened
        stream.on_end = failed

    def _reply(self, request_id: int, result: Address | Path | Failure) -> None:
        self._input(lambda now: self._asking.answer(request_id, result, now))

    def _close(self, path: Path) -> None:
        stream = self._streams.pop(path, None)
        if stream is not None:
            stream.close()
            self._soon(lambda now: self.machine.disconnected(path, now))
