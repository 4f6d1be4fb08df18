"""Calls and transactions of a running proxy as operators see them, by HTTP or by a socket.

What is answered are frozen dataclasses of plain values, which turn into JSON and back.  Times are
Unix seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import TypeAdapter

from sip_proxy.calls import CallRecord, RunningCall
from sip_proxy.trace import Ladder, RecentCall

__all__ = [
    "CALLS",
    "LADDER",
    "RECENT",
    "TRANSACTIONS",
    "CallList",
    "TransactionEntry",
    "TransactionList",
    "Watching",
    "matches",
]


@dataclass(frozen=True, slots=True)
class CallList:
    """Calls that ring or go on, the oldest first, and those that ended, the latest first.

    ``unfollowed`` counts those that there was no room to follow, ``unwritten`` the records that
    could not be kept.
    """

    running: tuple[RunningCall, ...]
    ended: tuple[CallRecord, ...]
    unfollowed: int
    unwritten: int


@dataclass(frozen=True, slots=True)
class TransactionEntry:
    """A transaction: with ``is_client`` a request that was sent on, to ``remote``; else from there.

    ``state`` is its state in RFC 3261 §17 and RFC 6026.
    """

    method: str
    is_client: bool
    state: str
    call_id: str
    branch: str
    began: float
    transport: str
    remote: str


@dataclass(frozen=True, slots=True)
class TransactionList:
    """Transactions under way, the latest first, and how many there are in all."""

    transactions: tuple[TransactionEntry, ...]
    total: int


class Watching(Protocol):
    """Calls, the messages that they were made of, and transactions.

    ``text`` narrows what is listed, ``limit`` how much of each kind.
    """

    async def calls(self, text: str, limit: int) -> CallList:
        """Calls of now and of lately."""
        ...

    async def transactions(self, text: str, limit: int) -> TransactionList:
        """Transactions under way."""
        ...

    async def recent(self, text: str, limit: int) -> Sequence[RecentCall]:
        """What the flight recorder has, by Call-ID, the latest first."""
        ...

    async def ladder(self, call_id: str) -> Ladder | None:
        """The messages of a Call-ID, if there are any."""
        ...

    async def capture(self, call_id: str) -> bytes | None:
        """The same as a capture file (:mod:`sip_proxy.trace.capture`)."""
        ...


# How these turn into JSON and back: ``dump_python(mode="json")``, ``validate_json``.
CALLS = TypeAdapter(CallList)
TRANSACTIONS = TypeAdapter(TransactionList)
RECENT = TypeAdapter(tuple[RecentCall, ...])
LADDER = TypeAdapter(Ladder)


def matches(text: str, *values: str) -> bool:
    """Whether one of the values has ``text`` in it, whatever the case of letters."""
    wanted = text.strip().lower()
    return not wanted or any(wanted in each.lower() for each in values)
