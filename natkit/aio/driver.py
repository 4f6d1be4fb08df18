"""Runs any machine of :mod:`natkit.machine` on asyncio.

::

    sockets = DatagramSockets()
    local = sockets.open(source_address(server))
    machine = BindingClient(Path(Transport.UDP, local, server), ...)
    driver = Driver(machine, on_event, datagrams=sockets)
    driver.run(machine.start)          # any method that takes ``now``, then all that it led to
    ...
    await driver.aclose()

The driver tells the machine what happened and does what it asks for: after each input it sends all
transmits, handles all events and arms the one timer.  ``OpenSocket``, ``CloseSocket``, ``Connect``
and ``ClosePath`` are fulfilled by its carriers (:mod:`natkit.aio.udp`, :mod:`natkit.aio.tcp`).
Every other event goes to ``on_event``; a Request among them is answered by :meth:`Driver.answer`,
at once or later.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, Protocol, TypeVar, TypeVarTuple, assert_never, cast

from natkit.address import Address
from natkit.aio.system_errors import failure
from natkit.errors import MisuseError, UnreachableError
from natkit.machine import (
    ClosePath,
    CloseSocket,
    Connect,
    Failure,
    Machine,
    OpenSocket,
    Path,
    RequestId,
    Transmit,
    Transport,
)

__all__ = ["DatagramCarrier", "Driver", "Inputs", "StreamCarrier"]

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_CARRIED = (OpenSocket, CloseSocket, Connect, ClosePath)
_UDP = Transport.UDP


class Inputs(Protocol):
    """Whom a carrier tells what arrived; every :class:`Driver` is one."""

    def receive(self, data: bytes, path: Path) -> None:
        """A datagram, or one whole message of a stream, arrived."""
        ...

    def disconnected(self, path: Path) -> None:
        """The stream of ``path`` ended, whoever closed it."""
        ...

    def many(self) -> AbstractContextManager[None]:
        """Around the inputs of one wake-up: what they lead to is sent in one go at its end."""
        ...


class DatagramCarrier(Protocol):
    """Datagram sockets, known by the local address that each is bound to."""

    def attach(self, inputs: Inputs) -> None:
        """From now on tell ``inputs``."""
        ...

    def open(self, local: Address) -> Address:
        """Bind a socket; the address with the port it got.  Raises UnreachableError."""
        ...

    def close_socket(self, local: Address) -> None:
        """Close that socket, if it is there."""
        ...

    def send(self, transmit: Transmit) -> None:
        """Send, or keep until :meth:`flush`; what can't be sent is dropped."""
        ...

    def flush(self) -> None:
        """Send all that :meth:`send` kept."""
        ...

    def close(self) -> None:
        """Close every socket."""
        ...


class StreamCarrier(Protocol):
    """Connections that carry framed messages, known by their paths."""

    def attach(self, inputs: Inputs) -> None:
        """From now on tell ``inputs``; connections that waited for it are started."""
        ...

    async def connect(self, transport: Transport, local: Address | None, remote: Address) -> Path:
        """Connect within a time limit of the carrier's own.  Raises UnreachableError.

        The connection tells nothing before :meth:`start`.
        """
        ...

    def start(self, path: Path) -> None:
        """Begin to deliver what arrives on a connection that :meth:`connect` made."""
        ...

    def send(self, transmit: Transmit) -> None:
        """Write a message; one for a connection that is gone is dropped."""
        ...

    def close_path(self, path: Path) -> None:
        """Close that connection, if it is there, after what was sent on it."""
        ...

    async def aclose(self) -> None:
        """Close every connection, and wait until they are gone."""
        ...


class _Holding(Protocol):
    def hold(self) -> None: ...
    def release(self) -> None: ...


class _Many(AbstractContextManager[None]):
    """The inputs of one wake-up; a class, for a generator costs several times as much."""

    __slots__ = ("_driver",)

    def __init__(self, driver: _Holding) -> None:
        self._driver = driver

    def __enter__(self) -> None:
        self._driver.hold()

    def __exit__(self, *_: object) -> None:
        self._driver.release()


class Driver(Generic[E, R]):
    """Runs one machine in the running event loop; times are those of ``loop.time()``.

    A machine that emits OpenSocket must take an Address as result, one that emits Connect a Path.
    ``on_defect`` is told of exceptions that no input should cause, after which the driver goes on;
    by default they go to the loop's exception handler.
    """

    def __init__(
        self,
        machine: Machine[E, R],
        on_event: Callable[[E], None],
        *,
        datagrams: DatagramCarrier | None = None,
        streams: StreamCarrier | None = None,
        on_defect: Callable[[Exception], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._machine = machine
        self._on_event = on_event
        self._datagrams = datagrams
        self._streams = streams
        self._on_defect = on_defect or self._tell_loop
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0
        self._depth = 0
        self._many = _Many(self)
        self._draining = False
        self._closed = False
        self._connecting: set[asyncio.Task[None]] = set()
        if datagrams is not None:
            datagrams.attach(self)
        if streams is not None:
            streams.attach(self)

    # ── inputs ──────────────────────────────────────────────────────────────────────────────────

    def run(self, action: Callable[[float], T]) -> T:
        """Call a method of the machine with the time, then do all that it led to.

        The method's result is returned, and what it raises is raised.
        """
        if self._closed:
            raise MisuseError("the driver was closed")
        try:
            return action(self._loop.time())
        finally:
            self._follow_up()

    def receive(self, data: bytes, path: Path) -> None:
        """A datagram, or one whole message of a stream, arrived."""
        self._input(self._machine.receive, data, path)

    def tell(self, action: Callable[[*Ts, float], None], *arguments: *Ts) -> None:
        """An input that only this machine knows, by ``action`` of the machine's, with the time."""
        self._input(action, *arguments)

    def disconnected(self, path: Path) -> None:
        """The stream of ``path`` ended."""
        self._input(self._machine.disconnected, path)

    def answer(self, request_id: RequestId, result: R | Failure) -> None:
        """The outcome of a Request that went to ``on_event``."""
        self._input(self._machine.answer, request_id, result)

    def many(self) -> AbstractContextManager[None]:
        """Around several inputs: datagrams leave, and the timer is armed, once at the end."""
        return self._many

    def hold(self) -> None:
        """From now on keep what inputs lead to; as often as :meth:`release` follows."""
        self._depth += 1

    def release(self) -> None:
        """Send what was kept, and arm the timer, when nobody else holds it."""
        self._depth -= 1
        self._settle()

    def _input(self, action: Callable[[*Ts, float], None], *arguments: *Ts) -> None:
        if self._closed:
            return
        try:
            action(*arguments, self._loop.time())
        except Exception as error:  # noqa: BLE001 - one input's defect must not stop the others
            self._on_defect(error)
        # Within a drain, what this led to is taken along.
        if not self._draining:
            self._follow_up()

    # ── what follows each input ─────────────────────────────────────────────────────────────────

    def _follow_up(self) -> None:
        # An event's handler may bring new input: the drain that is under way takes it along.
        if self._draining or self._closed:
            return
        self._draining = True
        try:
            self._drain()
        finally:
            self._draining = False
            self._settle()

    def _drain(self) -> None:
        machine = self._machine
        while not self._closed:
            for transmit in machine.transmits():
                self._send(transmit)
            event = machine.next_event()
            if event is None:
                return
            try:
                if isinstance(event, _CARRIED):
                    self._carry(event)
                else:
                    self._on_event(event)
            except Exception as error:  # noqa: BLE001 - the events that follow must not be lost
                self._on_defect(error)

    def _settle(self) -> None:
        if self._depth or self._draining or self._closed:
            return
        if self._datagrams is not None:
            self._datagrams.flush()
        self._arm()

    def _send(self, transmit: Transmit) -> None:
        if transmit.path.transport is _UDP:
            if self._datagrams is not None:
                self._datagrams.send(transmit)
        elif self._streams is not None:
            self._streams.send(transmit)

    def _carry(self, event: OpenSocket | CloseSocket | Connect | ClosePath) -> None:
        """Have a carrier do what the machine asks for."""
        match event:
            case OpenSocket(request_id, local):
                self._open_socket(request_id, local)
            case CloseSocket(local):
                if self._datagrams is not None:
                    self._datagrams.close_socket(local)
            case Connect():
                task = self._loop.create_task(self._connect(event))
                self._connecting.add(task)
                task.add_done_callback(self._connecting.discard)
            case ClosePath(path):
                if self._streams is not None:
                    self._streams.close_path(path)
            case _:
                assert_never(event)

    def _open_socket(self, request_id: RequestId, local: Address) -> None:
        if self._datagrams is None:
            self._answer(request_id, Failure("this program opens no datagram sockets"))
            return
        try:
            self._answer(request_id, self._datagrams.open(local))
        except UnreachableError as error:
            self._answer(request_id, failure(error))

    async def _connect(self, request: Connect) -> None:
        if self._streams is None:
            self._answer(request.request_id, Failure("this program opens no connections"))
            return
        try:
            path = await self._streams.connect(request.transport, request.local, request.remote)
        except UnreachableError as error:
            self._answer(request.request_id, failure(error))
            return
        self._answer(request.request_id, path)
        self._streams.start(path)

    def _answer(self, request_id: RequestId, result: Address | Path | Failure) -> None:
        # A machine that asks takes this result: the contract of each Request says so.
        self.answer(request_id, cast("R | Failure", result))

    def _arm(self) -> None:
        deadline = self._machine.next_deadline()
        if self._timer is not None:
            # Deadlines mostly move later; a timer that fires early is harmless and sets the next.
            if deadline is not None and deadline >= self._armed_for:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._armed_for = deadline
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._input(self._machine.handle_timer)

    def _tell_loop(self, error: Exception) -> None:
        self._loop.call_exception_handler(
            {"message": f"{type(self._machine).__name__} failed on an input", "exception": error}
        )

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    async def aclose(self) -> None:
        """Close all sockets and connections; the machine hears nothing more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        if self._datagrams is not None:
            self._datagrams.flush()
            self._datagrams.close()
        if self._streams is not None:
            await self._streams.aclose()
