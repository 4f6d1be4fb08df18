"""Calls and their messages through the proxy's Unix socket: both ends of it."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from natkit.errors import MisuseError, UnreachableError
from natkit.server.admin_socket import Handler, ask
from natkit.server.attending import SOCKET
from sip_proxy.trace import Ladder, RecentCall
from sip_proxy.watching import (
    CALLS,
    LADDER,
    RECENT,
    TRANSACTIONS,
    CallList,
    TransactionList,
    Watching,
)

__all__ = ["SocketWatching", "watch_handlers"]

T = TypeVar("T")

_ANY = TypeAdapter(object)


def watch_handlers(watching: Watching) -> Mapping[str, Handler]:
    """What the socket of a proxy tells of calls."""

    async def calls(arguments: Mapping[str, object]) -> object:
        return CALLS.dump_python(await watching.calls(*_search(arguments)), mode="json")

    async def transactions(arguments: Mapping[str, object]) -> object:
        found = await watching.transactions(*_search(arguments))
        return TRANSACTIONS.dump_python(found, mode="json")

    async def recent(arguments: Mapping[str, object]) -> object:
        found = await watching.recent(*_search(arguments))
        return RECENT.dump_python(tuple(found), mode="json")

    async def ladder(arguments: Mapping[str, object]) -> object:
        found = await watching.ladder(str(arguments.get("call_id")))
        return None if found is None else LADDER.dump_python(found, mode="json")

    async def capture(arguments: Mapping[str, object]) -> object:
        found = await watching.capture(str(arguments.get("call_id")))
        return None if found is None else base64.b64encode(found).decode()

    return {
        "calls": calls,
        "transactions": transactions,
        "recent": recent,
        "ladder": ladder,
        "capture": capture,
    }


class SocketWatching:
    """The :class:`~sip_proxy.watching.Watching` of the proxy of a data directory.

    Methods raise UnreachableError when no proxy answers, MisuseError when it refuses.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / SOCKET

    async def calls(self, text: str, limit: int) -> CallList:
        """Calls of now and of lately."""
        return self._read(CALLS, await ask(self._path, "calls", text=text, limit=limit))

    async def transactions(self, text: str, limit: int) -> TransactionList:
        """Transactions under way."""
        found = await ask(self._path, "transactions", text=text, limit=limit)
        return self._read(TRANSACTIONS, found)

    async def recent(self, text: str, limit: int) -> Sequence[RecentCall]:
        """What the flight recorder has, by Call-ID."""
        return self._read(RECENT, await ask(self._path, "recent", text=text, limit=limit))

    async def ladder(self, call_id: str) -> Ladder | None:
        """The messages of a Call-ID, if there are any."""
        answer = await ask(self._path, "ladder", call_id=call_id)
        return None if answer is None else self._read(LADDER, answer)

    async def capture(self, call_id: str) -> bytes | None:
        """The same as a capture file."""
        answer = await ask(self._path, "capture", call_id=call_id)
        return None if answer is None else base64.b64decode(str(answer))

    def _read(self, kind: TypeAdapter[T], answer: object) -> T:
        try:
            # JSON's rules, by which a tuple is a list.
            return kind.validate_json(_ANY.dump_json(answer))
        except ValidationError as error:
            raise UnreachableError(
                f"the proxy at {self._path} is of another version: {error.error_count()} values "
                "are not understood"
            ) from error


def _search(arguments: Mapping[str, object]) -> tuple[str, int]:
    text, limit = arguments.get("text"), arguments.get("limit")
    if not isinstance(text, str) or not isinstance(limit, int) or limit < 1:
        raise MisuseError("text is what to search for, limit the number to list, 1 or more")
    return text, limit
