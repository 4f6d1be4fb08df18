"""DNS over TLS (RFC 7858): one connection to a resolver, on which queries overtake each other."""

import asyncio
import ssl
from dataclasses import dataclass
from typing import Final

from natkit.machine import Failure
from sipdns.messages import matches
from sipdns.servers import TlsServer

__all__ = ["TlsConnections", "tls_reason"]

IDLE: Final = 10.0
"""Seconds that a connection stays open without a question (RFC 7858 §3.4)."""


@dataclass(eq=False, slots=True)
class _Waiting:
    query: bytes
    answer: asyncio.Future[bytes | None]


class TlsConnections:
    """At most one connection to each server, made when it is needed.  Belongs to one event loop."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._connections: dict[TlsServer, asyncio.Task[_Connection]] = {}

    async def ask(self, server: TlsServer, query: bytes) -> bytes | Failure:
        """The message that answers; OSError when the server cannot be reached or proves nothing."""
        while True:
            is_reused = server in self._connections
            connection = await self._connect(server)
            answer = await connection.ask(query)
            if answer is not None:
                return answer
            if self._connections.get(server) is not None:
                current = self._connections[server]
                if current.done() and current.result() is connection:
                    del self._connections[server]
            # RFC 7766 §6.2.4: one that was idle may close just as it is used again.
            if not is_reused:
                return Failure("the connection was closed")

    async def _connect(self, server: TlsServer) -> "_Connection":
        task = self._connections.get(server)
        if task is not None and task.done() and task.result().is_closed:
            task = None
        if task is None:
            task = asyncio.create_task(_Connection.open(server, self._context))
            self._connections[server] = task
            task.add_done_callback(lambda done: self._opened(server, done))
        return await asyncio.shield(task)

    def _opened(self, server: TlsServer, task: "asyncio.Task[_Connection]") -> None:
        # The exception is taken here too: all askers may have gone.
        failed = task.cancelled() or task.exception() is not None
        if failed and self._connections.get(server) is task:
            del self._connections[server]

    async def aclose(self) -> None:
        """Close all."""
        tasks = list(self._connections.values())
        self._connections.clear()
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, _Connection):
                await result.aclose()


class _Connection:
    """A connection that is open, and the task that reads from it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: list[_Waiting] = []
        self.is_closed = False
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, server: TlsServer, context: ssl.SSLContext) -> "_Connection":
        reader, writer = await asyncio.open_connection(
            *server.address, ssl=context, server_hostname=server.name or server.address.host
        )
        return cls(reader, writer)

    async def ask(self, query: bytes) -> bytes | None:
        """The answer; None when the connection ends without it."""
        if self.is_closed:
            return None
        waiting = _Waiting(query, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            self._writer.write(len(query).to_bytes(2, "big") + query)
            return await waiting.answer
        finally:
            self._waiting.remove(waiting)

    async def aclose(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while True:
                try:
                    # Cancelling a read takes nothing out of the reader's buffer.
                    length = await asyncio.wait_for(self._reader.readexactly(2), IDLE)
                except TimeoutError:
                    if self._waiting:
                        continue
                    return
                data = await self._reader.readexactly(int.from_bytes(length, "big"))
                for waiting in self._waiting:
                    if not waiting.answer.done() and matches(waiting.query, data):
                        waiting.answer.set_result(data)
                        break
        except (OSError, EOFError):
            pass
        finally:
            self.is_closed = True
            self._writer.transport.abort()
            for waiting in self._waiting:
                if not waiting.answer.done():
                    waiting.answer.set_result(None)


def tls_reason(error: ssl.SSLError) -> str:
    """Why TLS failed, in a few lower-case words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message.rstrip('.')}"
    return f"TLS fails: {(error.reason or 'no reason given').lower().replace('_', ' ')}"
