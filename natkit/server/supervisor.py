"""Keeps the workers of a server alive: starts them, watches them, starts them again.

The sockets that they serve on are the supervisor's, and they inherit them: one that dies takes no
socket with it, so the flows of the others stay where they are, and its successor finds what came in
the meantime.  A worker is a program of its own (never a fork of this process), has a link to the
supervisor, and ends when that ends.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import structlog

from natkit.errors import ConfigError, HandoverRefused, UnreachableError, WorkersFailed
from natkit.server.envelope import SUPERVISOR, Envelope, Kind, Vocabulary
from natkit.server.handover import Correspondence, Link, Parcel, close_all, socket_pair
from natkit.server.restarts import Restarts

__all__ = ["BEGIN_TIME", "PATIENCE", "Logger", "Program", "Supervisor"]

BEGIN_TIME = 60.0
"""Seconds that a worker has until it serves."""

PATIENCE = 60.0
"""Seconds without an answer after which a worker that serves is taken for dead, and killed."""

# One answer may fail to come for a reason that is the whole machine's, such as a pause of it.
_MISSED = 3

# Seconds that a worker whose link ended may take to end itself.
_LAST_WORDS = 10.0

_NOTHING_MORE_IS_POLITE = 3

Logger = structlog.typing.FilteringBoundLogger


class Program(Protocol):
    """What the supervisor of a server must know about it."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The messages between its processes."""
        ...

    def command(self, worker: int, link: int, /) -> Sequence[str]:
        """How the worker is started whose link has that descriptor."""
        ...

    def descriptors(self, worker: int, /) -> Sequence[int]:
        """What it inherits besides."""
        ...

    def begin(self, worker: int) -> object:
        """The request that the worker answers as soon as it serves."""
        ...

    @property
    def sign_of_life(self) -> object:
        """A request that a worker answers at once, whatever else it does."""
        ...

    def serves(self, worker: int) -> None:
        """That worker serves from now on."""
        ...

    def gone(self, worker: int) -> None:
        """That worker is dead: what it held is free."""
        ...

    async def handle(self, sender: int, parcel: Parcel, /) -> Parcel | None:
        """What a worker asks or tells the supervisor."""
        ...


class _Worker:
    def __init__(self, number: int) -> None:
        self.number = number
        self.restarts = Restarts()
        self.process: subprocess.Popen[bytes] | None = None
        self.link: Link | None = None
        self.is_serving = False


class Supervisor:
    """The workers 0 to ``count`` - 1 of a program.

    Names and numbers of processes are in the log; :meth:`ask` and :meth:`ask_all` reach those that
    serve at the moment.  ``patience`` as :data:`PATIENCE`.
    """

    def __init__(
        self, program: Program, count: int, logger: Logger, *, patience: float = PATIENCE
    ) -> None:
        self._program = program
        self._patience = patience
        self._logger = logger
        self._workers = [_Worker(number) for number in range(count)]
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._signals = 0
        self._correspondence = Correspondence(
            SUPERVISOR, program.vocabulary, self._send, program.handle, self._on_defect
        )

    @property
    def is_stopping(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stop.is_set()

    @property
    def serving(self) -> tuple[int, ...]:
        """The workers that serve at the moment."""
        return tuple(each.number for each in self._workers if each.is_serving)

    def restarts(self, worker: int) -> int:
        """How often the predecessors of a worker died."""
        return self._workers[worker].restarts.total

    async def start(self) -> tuple[object, ...]:
        """Start all; what each answered to the request to begin, None when it was stopped first.

        ConfigError for the reason of the first that refused, WorkersFailed when one died; then none
        is left.
        """
        loop = asyncio.get_running_loop()
        begun: list[asyncio.Future[object]] = [loop.create_future() for _ in self._workers]
        self._tasks = [
            loop.create_task(self._keep(worker, answer))
            for worker, answer in zip(self._workers, begun, strict=True)
        ]
        serving = asyncio.gather(*begun)
        try:
            # The tasks that keep the workers end only by what is wrong.
            anything: list[asyncio.Future[None] | asyncio.Future[list[object]]]
            anything = [serving, *self._tasks]
            await asyncio.wait(anything, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                await asyncio.gather(*(each for each in self._tasks if each.done()))
            return tuple(await serving)
        except BaseException:
            await self.aclose()
            # The reason of one is enough.
            await asyncio.gather(*(each for each in begun if each.done()), return_exceptions=True)
            raise

    async def wait(self) -> None:
        """Until all have ended after :meth:`stop`; WorkersFailed when one does not stay alive."""
        await asyncio.gather(*self._tasks)

    def stop(self, number: signal.Signals | None = None) -> None:
        """Start none again that ends from now on, and pass a signal on; the third one kills."""
        self._stop.set()
        if number is None:
            return
        self._signals += 1
        self.pass_on(number if self._signals < _NOTHING_MORE_IS_POLITE else signal.SIGKILL)

    def pass_on(self, number: signal.Signals) -> None:
        """Send a signal to every worker."""
        for worker in self._workers:
            if worker.process is not None:
                worker.process.send_signal(number)

    def end(self, worker: int) -> None:
        """Have one end; unless all are to, its successor is started."""
        process = self._workers[worker].process
        if process is not None:
            process.send_signal(signal.SIGINT)

    async def ask(self, worker: int, message: object, descriptors: tuple[int, ...] = ()) -> Parcel:
        """Ask one; raises as :meth:`~natkit.server.handover.Correspondence.ask` does."""
        return await self._correspondence.ask(worker, message, descriptors)

    def tell_all(self, message: object) -> None:
        """Send a notice to all that serve."""
        for number in self.serving:
            with contextlib.suppress(UnreachableError):
                self._correspondence.tell(number, message)

    async def ask_all(self, message: object) -> dict[int, Parcel | UnreachableError]:
        """Ask all that serve; by number what each answered, or why it did not."""
        asked = self.serving
        answers = await asyncio.gather(
            *(self._correspondence.ask(each, message) for each in asked), return_exceptions=True
        )
        found: dict[int, Parcel | UnreachableError] = {}
        for number, answer in zip(asked, answers, strict=True):
            if isinstance(answer, Parcel | UnreachableError):
                found[number] = answer
            else:
                raise answer
        return found

    async def aclose(self) -> None:
        """End every worker at once."""
        self._stop.set()
        self.pass_on(signal.SIGKILL)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._correspondence.close()

    async def _keep(self, worker: _Worker, begun: "asyncio.Future[object]") -> None:
        """Run it, and again when it dies."""
        loop = asyncio.get_running_loop()
        while True:
            process_id, how = await self._run(worker, begun)
            self._program.gone(worker.number)
            if self._stop.is_set():
                if not begun.done():
                    begun.set_result(None)
                return
            if not begun.done():
                begun.set_exception(
                    WorkersFailed(f"worker {worker.number} did not begin to serve: {how}")
                )
            if begun.exception() is not None:
                return
            pause = worker.restarts.died(loop.time())
            if pause is None:
                raise WorkersFailed(
                    f"worker {worker.number} died again and again, the last time it {how}; "
                    "the log says more"
                )
            self._logger.error(
                "worker died", worker=worker.number, process=process_id, how=how, restart_in=pause
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stop.wait()

    async def _run(
        self, worker: _Worker, begun: "asyncio.Future[object]"
    ) -> tuple[int | None, str]:
        """One life of a worker: its process, and how it ended."""
        ours, theirs = socket_pair()
        with theirs:
            inherited = (theirs.fileno(), *self._program.descriptors(worker.number))
            command = self._program.command(worker.number, theirs.fileno())
            try:
                process = _spawn(command, inherited)
            except OSError as error:
                ours.close()
                return None, f"could not be started: {error.strerror}"
        worker.process = process
        worker.link = self._link(worker, ours)
        attention = asyncio.create_task(self._attend(worker, process, begun))
        try:
            status = await _end_of(process)
        except asyncio.CancelledError:
            process.kill()
            process.wait()
            raise
        finally:
            attention.cancel()
            await asyncio.gather(attention, return_exceptions=True)
            worker.is_serving = False
            worker.process = None
            worker.link.close()
            worker.link = None
        return process.pid, _how(status)

    def _link(self, worker: _Worker, sock: socket.socket) -> Link:
        loop = asyncio.get_running_loop()
        process = worker.process

        def end() -> None:
            self._correspondence.lost(worker.number)
            # A process that let go of its link, and does not end, would keep others waiting.
            loop.call_later(_LAST_WORDS, kill)

        def kill() -> None:
            if process is not None:
                process.kill()

        return Link(sock, lambda envelope: self._receive(worker, envelope), end)

    async def _attend(
        self,
        worker: _Worker,
        process: subprocess.Popen[bytes],
        begun: "asyncio.Future[object]",
    ) -> None:
        """Have a new process begin, and see to it that it does not stand still."""
        if await self._introduce(worker, process, begun):
            await self._watch(worker, process)

    async def _watch(self, worker: _Worker, process: subprocess.Popen[bytes]) -> None:
        """Kill it when it answers nothing any more."""
        pause = self._patience / (2 * _MISSED)
        missed = 0
        while missed < _MISSED:
            await asyncio.sleep(pause)
            try:
                await self._correspondence.ask(
                    worker.number, self._program.sign_of_life, limit=pause
                )
                missed = 0
            except HandoverRefused:
                missed = 0
            except UnreachableError:
                missed += 1
        self._logger.error(
            "worker hangs",
            worker=worker.number,
            process=process.pid,
            no_answer_for=self._patience,
        )
        process.kill()

    async def _introduce(
        self,
        worker: _Worker,
        process: subprocess.Popen[bytes],
        begun: "asyncio.Future[object]",
    ) -> bool:
        """Tell a new process what it is to do, and wait until it does it, or fails to."""
        try:
            answer = await self._correspondence.ask(
                worker.number, self._program.begin(worker.number), limit=BEGIN_TIME
            )
        except UnreachableError as error:
            if isinstance(error, HandoverRefused) and not begun.done():
                begun.set_exception(ConfigError(str(error)))
            elif worker.link is not None and worker.link.is_open:
                reason = str(error)
                self._logger.warning("worker not begun", worker=worker.number, reason=reason)
            process.kill()
            return False
        worker.is_serving = True
        self._program.serves(worker.number)
        if self._stop.is_set():
            # Whoever asked for the end did not reach it.
            process.send_signal(signal.SIGINT)
        if not begun.done():
            begun.set_result(answer.message)
        else:
            self._logger.info("worker restarted", worker=worker.number, process=process.pid)
        return True

    def _receive(self, worker: _Worker, envelope: Envelope) -> None:
        envelope = replace(envelope, sender=worker.number)
        if envelope.receiver == SUPERVISOR:
            self._correspondence.receive(envelope)
            return
        try:
            self._send(envelope)
        except UnreachableError as error:
            if envelope.kind is Kind.REQUEST and worker.link is not None:
                refusal = replace(
                    envelope,
                    kind=Kind.REFUSAL,
                    sender=envelope.receiver,
                    receiver=worker.number,
                    contents=str(error).encode(),
                    descriptors=(),
                )
                with contextlib.suppress(UnreachableError):
                    worker.link.send(refusal)

    def _send(self, envelope: Envelope) -> None:
        """Send to a worker; to others than those that are there it is UnreachableError."""
        receiver = envelope.receiver
        link = self._workers[receiver].link if receiver < len(self._workers) else None
        if link is None:
            close_all(envelope.descriptors)
            raise UnreachableError(f"worker {receiver} is not there")
        link.send(envelope)

    def _on_defect(self, error: Exception) -> None:
        self._logger.error("internal error", exc_info=error)


def _spawn(command: Sequence[str], inherited: Sequence[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - the program says what its workers are
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=inherited,
        env=_environment(),
        # Ctrl-C is the supervisor's, which passes it on.
        process_group=0,
    )


async def _end_of(process: subprocess.Popen[bytes]) -> int:
    """Wait until it ends; its status, negative for a signal.

    Not by asyncio's own subprocesses: sending one a signal can take its status away from the
    thread that waits for it.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, lambda: None if ended.done() else ended.set_result(None))
    try:
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return process.wait()


def _environment() -> dict[str, str]:
    """The workers' environment: they find the packages where this process has found them.

    What the service manager is told is the supervisor's to tell.
    """
    kept = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    root = str(Path(__file__).parents[2])
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (root, kept.get("PYTHONPATH"))))
    return kept


def _how(status: int) -> str:
    if status < 0:
        try:
            return f"was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"was killed by signal {-status}"
    return f"ended with status {status}"
