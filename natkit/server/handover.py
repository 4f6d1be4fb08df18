"""What one process of a server hands to another: messages, and open sockets with them.

A :class:`Link` is one end of a Unix socket between a supervisor and a worker that keeps packets
whole.  A :class:`Correspondence` asks and answers over it.  Workers reach each other through their
supervisor, which passes envelopes on without opening them.
"""

import asyncio
import contextlib
import os
import socket
from array import array
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from natkit.errors import HandoverRefused, MalformedMessage, NatkitError, UnreachableError
from natkit.server.envelope import LARGEST_CONTENTS, Envelope, Kind, Vocabulary

__all__ = [
    "MOST_DESCRIPTORS",
    "MOST_QUEUED",
    "MOST_WAITING",
    "REPLY_TIME",
    "Correspondence",
    "Handler",
    "Link",
    "Parcel",
    "close_all",
    "socket_pair",
]

MOST_DESCRIPTORS = 16
"""Of one envelope."""

MOST_QUEUED = 4096
"""Envelopes that wait for a process that does not read; beyond them they are not delivered."""

MOST_WAITING = 1024
"""Requests of one process that are not answered yet."""

REPLY_TIME = 5.0
"""Seconds that an answer may take: a client retransmits for longer."""

# What is longer travels as a file, for the system takes only so much in one packet.
_LARGEST_PACKET = 64 << 10
_IN_FILE = b"\x00file"
_DESCRIPTORS = array("i")


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a new link."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors that nobody wants."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


class Link:
    """One end; ``on_envelope`` owns the descriptors of what it is given, ``on_end`` is told once.

    The end comes with :meth:`close` as well as by the other process.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_envelope: Callable[[Envelope], None],
        on_end: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._on_envelope = on_envelope
        self._on_end = on_end
        self._queue: deque[Envelope] = deque()
        self._loop = asyncio.get_running_loop()
        self.is_open = True
        self._loop.add_reader(sock.fileno(), self._read)

    def send(self, envelope: Envelope) -> None:
        """Send, at once or when the other end reads again; the descriptors are the link's now.

        Raises UnreachableError when the other end is gone or far behind.
        """
        if not self.is_open or len(self._queue) >= MOST_QUEUED:
            close_all(envelope.descriptors)
            raise UnreachableError("the other process is gone or does not read")
        if len(envelope.contents) > _LARGEST_PACKET:
            envelope = _put_in_file(envelope)
        self._queue.append(envelope)
        if len(self._queue) == 1:
            self._write()

    def close(self) -> None:
        """End the link; what waits is not sent."""
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        while self._queue:
            close_all(self._queue.popleft().descriptors)
        self._on_end()

    def _write(self) -> None:
        while self._queue:
            envelope = self._queue[0]
            try:
                socket.send_fds(self._socket, [envelope.encode()], envelope.descriptors)
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._write)
                return
            except OSError:
                self.close()
                return
            self._queue.popleft()
            close_all(envelope.descriptors)
        self._loop.remove_writer(self._socket.fileno())

    def _read(self) -> None:
        # A few at once, so that whoever sends much leaves others their turn.
        for _ in range(32):
            if not self.is_open:
                return
            try:
                packet, descriptors, flags = _receive(self._socket)
            except BlockingIOError:
                return
            except OSError:
                packet, descriptors, flags = b"", [], 0
            if not packet:
                self.close()
                return
            try:
                if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                    raise MalformedMessage("an envelope that was cut off")
                envelope = _take_from_file(Envelope.parse(packet, tuple(descriptors)))
            except MalformedMessage:
                close_all(descriptors)
                self.close()
                return
            self._on_envelope(envelope)


def _receive(sock: socket.socket) -> tuple[bytes, list[int], int]:
    """One packet, its descriptors and flags; socket.recv_fds passes no flags on in Python 3.11."""
    packet, ancillary, flags, _ = sock.recvmsg(
        2 * _LARGEST_PACKET,
        socket.CMSG_SPACE(MOST_DESCRIPTORS * _DESCRIPTORS.itemsize),
        socket.MSG_CMSG_CLOEXEC,
    )
    received = array(_DESCRIPTORS.typecode)
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(data[: len(data) - len(data) % received.itemsize])
    return packet, received.tolist(), flags


def _put_in_file(envelope: Envelope) -> Envelope:
    file = os.memfd_create("natkit-envelope", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(file), "wb") as writer:
        writer.write(envelope.contents)
    return replace(envelope, contents=_IN_FILE, descriptors=(*envelope.descriptors, file))


def _take_from_file(envelope: Envelope) -> Envelope:
    if envelope.contents != _IN_FILE:
        return envelope
    if not envelope.descriptors:
        raise MalformedMessage("an envelope without its file")
    *descriptors, file = envelope.descriptors
    try:
        if os.fstat(file).st_size > LARGEST_CONTENTS:
            raise MalformedMessage("an envelope that is too long")
        with os.fdopen(os.dup(file), "rb") as reader:
            reader.seek(0)
            contents = reader.read()
    except OSError:
        raise MalformedMessage("an envelope whose file cannot be read") from None
    os.close(file)
    return replace(envelope, contents=contents, descriptors=tuple(descriptors))


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message and the descriptors that go with it, which belong to whoever has the parcel."""

    message: object
    descriptors: tuple[int, ...] = ()


Handler = Callable[[int, Parcel], Awaitable[Parcel | None]]
"""Takes what a process (its number) sent, and gives the answer; None to a notice.

What it raises of :class:`~natkit.errors.NatkitError` is the reason of a refusal.
"""


class _Waiting(NamedTuple):
    receiver: int
    answer: asyncio.Future[Parcel]


class Correspondence:
    """Asks and answers, as process ``own``, over whatever ``send`` puts envelopes on.

    ``on_defect`` is told what a handler raised besides.
    """

    def __init__(
        self,
        own: int,
        vocabulary: Vocabulary,
        send: Callable[[Envelope], None],
        handler: Handler,
        on_defect: Callable[[Exception], None],
    ) -> None:
        self._own = own
        self._vocabulary = vocabulary
        self._send = send
        self._handler = handler
        self._on_defect = on_defect
        # Not from the beginning, for an answer may come that a process of this number asked for
        # which has died since.
        self._last_number = int.from_bytes(os.urandom(4), "big")
        self._waiting: dict[int, _Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, receiver: int, message: object, descriptors: tuple[int, ...] = ()) -> None:
        """Send a notice; UnreachableError when that process is not there."""
        self._send(self._envelope(Kind.NOTICE, receiver, 0, Parcel(message, descriptors)))

    async def ask(
        self,
        receiver: int,
        message: object,
        descriptors: tuple[int, ...] = (),
        *,
        limit: float = REPLY_TIME,
    ) -> Parcel:
        """Send a request and wait for its answer.

        Raises HandoverRefused for the reason of the process that was asked, UnreachableError when
        it is not there or takes more than ``limit`` seconds.
        """
        if len(self._waiting) >= MOST_WAITING:
            close_all(descriptors)
            raise UnreachableError("too many requests to other processes are not answered yet")
        self._last_number = number = (self._last_number + 1) & 0xFFFFFFFF
        answer: asyncio.Future[Parcel] = asyncio.get_running_loop().create_future()
        self._waiting[number] = _Waiting(receiver, answer)
        parcel: Parcel | None = None
        try:
            self._send(self._envelope(Kind.REQUEST, receiver, number, Parcel(message, descriptors)))
            async with asyncio.timeout(limit):
                parcel = await answer
            return parcel
        except TimeoutError:
            raise UnreachableError(
                f"no answer from another process within {limit:g} seconds"
            ) from None
        finally:
            del self._waiting[number]
            # It may have come in the moment in which the waiting ended.
            if parcel is None and _is_there(answer):
                close_all(answer.result().descriptors)

    def receive(self, envelope: Envelope) -> None:
        """An envelope for this process arrived."""
        if envelope.kind in (Kind.REPLY, Kind.REFUSAL):
            self._take_answer(envelope)
            return
        task = asyncio.get_running_loop().create_task(self._handle(envelope))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def lost(self, receiver: int) -> None:
        """A process is gone: it answers nothing any more."""
        for waiting in self._waiting.values():
            if waiting.receiver == receiver and not waiting.answer.done():
                waiting.answer.set_exception(UnreachableError("the other process is gone"))

    def close(self) -> None:
        """Give up every request, in either direction."""
        for task in self._tasks:
            task.cancel()
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(UnreachableError("this process ends"))

    def _take_answer(self, envelope: Envelope) -> None:
        waiting = self._waiting.get(envelope.number)
        if waiting is None or waiting.answer.done() or waiting.receiver != envelope.sender:
            # Too late.
            close_all(envelope.descriptors)
            return
        if envelope.kind is Kind.REFUSAL:
            close_all(envelope.descriptors)
            reason = envelope.contents.decode(errors="replace")
            waiting.answer.set_exception(HandoverRefused(reason))
            return
        try:
            waiting.answer.set_result(self._open(envelope))
        except MalformedMessage as error:
            waiting.answer.set_exception(UnreachableError(str(error)))

    async def _handle(self, envelope: Envelope) -> None:
        sender, number = envelope.sender, envelope.number
        try:
            answer = await self._handler(sender, self._open(envelope))
            if envelope.kind is Kind.NOTICE:
                return
            if answer is None:
                raise UnreachableError("nobody here answers that")
            reply = self._envelope(Kind.REPLY, sender, number, answer)
        except Exception as error:  # noqa: BLE001 - whoever asks is told, and the defect is logged
            if not isinstance(error, NatkitError):
                self._on_defect(error)
            if envelope.kind is Kind.NOTICE:
                return
            reason = str(error).encode()
            reply = Envelope(Kind.REFUSAL, self._own, sender, 0, number, reason)
        # Whoever asked may be gone.
        with contextlib.suppress(UnreachableError):
            self._send(reply)

    def _open(self, envelope: Envelope) -> Parcel:
        try:
            message = self._vocabulary.read(envelope.type, envelope.contents)
        except MalformedMessage:
            close_all(envelope.descriptors)
            raise
        return Parcel(message, envelope.descriptors)

    def _envelope(self, kind: Kind, receiver: int, number: int, parcel: Parcel) -> Envelope:
        type_, contents = self._vocabulary.write(parcel.message)
        return Envelope(kind, self._own, receiver, type_, number, contents, parcel.descriptors)


def _is_there(answer: asyncio.Future[Parcel]) -> bool:
    return answer.done() and not answer.cancelled() and answer.exception() is None
