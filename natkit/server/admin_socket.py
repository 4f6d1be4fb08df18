"""A Unix socket by which an operator on the same machine steers a server.

A request is one line of JSON, ``{"command": NAME, …}``, and so is its answer: ``{"result": …}`` or
``{"error": TEXT}``.  Whoever may open the socket may do everything; that is the server's own user,
and root.
"""

import asyncio
import contextlib
import json
import os
import socket
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from natkit.errors import ConfigError, MisuseError, NatkitError, UnreachableError

__all__ = ["AdminSocket", "Handler", "ask", "ask_for"]

T = TypeVar("T")

_ANY = TypeAdapter(object)

Arguments = Mapping[str, object]
Handler = Callable[[Arguments], Awaitable[object]]
"""Does a command; what it gives must be JSON's.  NatkitError is told to who asked."""

MOST_CONNECTIONS = 16
LONGEST_REQUEST = 64 << 10
"""Bytes of a request, its line end included."""

LONGEST_ANSWER = 64 << 20
"""Bytes of an answer: some 100,000 sessions."""

PATIENCE = 30.0
"""Seconds in which a request must have come, and in which an answer must."""

# <sys/un.h>: what sun_path holds, with the byte that ends it.
_LONGEST_NAME = 107 if sys.platform == "linux" else 103


class AdminSocket:
    """Answers on a socket until it is closed; made by :meth:`open`."""

    def __init__(self, path: Path, commands: Mapping[str, Handler]) -> None:
        self._path = path
        self._commands = commands
        self._inode = 0
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, path: Path, commands: Mapping[str, Handler]) -> Self:
        """Listen at ``path``, for its owner alone (mode 0600).

        A socket that a dead server left is replaced; ConfigError when a live one has it, or when
        it cannot be made.
        """
        opened = cls(path, commands)
        try:
            sock, opened._inode = _listen(path)
        except OSError as error:
            raise ConfigError(f"cannot make the socket {path}: {_reason(error)}") from error
        opened._server = await asyncio.start_unix_server(
            opened._on_connection, sock=sock, limit=LONGEST_REQUEST
        )
        return opened

    async def aclose(self) -> None:
        """Stop listening, answer what is under way, and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        _remove(self._path, self._inode)

    async def _on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        if task is None or len(self._serving) >= MOST_CONNECTIONS:
            writer.close()
            return
        self._serving.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            # Who asked is gone or silent, or the server ends; nobody waits for this task.
            pass
        finally:
            self._serving.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    line = await reader.readline()
            except ValueError:
                # The line is longer than the limit.
                line = b""
            if not line.endswith(b"\n"):
                return
            answer = await self._answer(line)
            writer.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
            async with asyncio.timeout(PATIENCE):
                await writer.drain()

    async def _answer(self, line: bytes) -> dict[str, object]:
        try:
            request: object = json.loads(line)
        except ValueError:
            return {"error": "the request is no JSON"}
        command = request.get("command") if isinstance(request, dict) else None
        handler = self._commands.get(command) if isinstance(command, str) else None
        if handler is None or not isinstance(request, dict):
            return {"error": f"there is no command {command!r}"}
        try:
            return {"result": await handler(request)}
        except NatkitError as error:
            return {"error": str(error)}


async def ask(path: Path, command: str, **arguments: object) -> object:
    """Have the server at ``path`` do a command; its result.

    Raises UnreachableError when no server answers there, MisuseError when it refuses.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            line = await _exchange(path, {"command": command, **arguments})
    except TimeoutError:
        raise UnreachableError(f"the server at {path} does not answer") from None
    except FileNotFoundError as error:
        raise UnreachableError(f"no server runs with the data directory {path.parent}") from error
    except PermissionError as error:
        raise UnreachableError(
            f"{path} belongs to another user; ask as the server's user, or as root"
        ) from error
    except OSError as error:
        raise UnreachableError(
            f"no server runs with the data directory {path.parent}: {_reason(error)}"
        ) from error
    try:
        answer: object = json.loads(line)
    except ValueError:
        raise UnreachableError(f"the server at {path} ended before it answered") from None
    if not isinstance(answer, dict) or not {"result", "error"} & set(answer):
        raise UnreachableError(f"what answers at {path} is no server of this kind")
    if "error" in answer:
        raise MisuseError(str(answer["error"]))
    return answer["result"]


async def ask_for(kind: TypeAdapter[T], path: Path, command: str, **arguments: object) -> T:
    """As :func:`ask`, with a result of that kind; UnreachableError for another one."""
    answer = await ask(path, command, **arguments)
    try:
        # JSON's rules, by which a tuple is a list and a number stands as a key.
        return kind.validate_json(_ANY.dump_json(answer))
    except ValidationError as error:
        raise UnreachableError(
            f"the server at {path} is of another version: {error.error_count()} "
            "values are not understood"
        ) from error


async def _exchange(path: Path, request: Mapping[str, object]) -> bytes:
    with _short_name(path) as name:
        reader, writer = await asyncio.open_unix_connection(name, limit=LONGEST_ANSWER)
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        await writer.drain()
        return await reader.readline()
    finally:
        writer.close()


def _listen(path: Path) -> tuple[socket.socket, int]:
    """A socket that listens, and its inode's number."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        # Linux gives the file this mode from its first moment; elsewhere the directory guards it.
        os.fchmod(sock.fileno(), stat.S_IRUSR | stat.S_IWUSR)
        with _short_name(path) as name:
            try:
                sock.bind(name)
            except OSError:
                if not path.is_socket() or _is_alive(name):
                    raise
                path.unlink()
                sock.bind(name)
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        inode = path.stat().st_ino
        sock.listen(MOST_CONNECTIONS)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock, inode


def _remove(path: Path, inode: int) -> None:
    with contextlib.suppress(OSError):
        # Another server's that took its place stays.
        if path.stat().st_ino == inode:
            path.unlink()


def _is_alive(name: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        # A server that is too busy to accept is one.
        probe.setblocking(False)
        try:
            probe.connect(name)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


@contextmanager
def _short_name(path: Path) -> Iterator[str]:
    """A name for a path that may be longer than a socket's address holds."""
    name = str(path.absolute())
    if len(os.fsencode(name)) <= _LONGEST_NAME or not Path("/proc/self/fd").is_dir():
        yield name
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
