"""The :class:`~sip_proxy.watching.Watching` of a running proxy."""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from natkit.sip.transactions import LiveTransaction
from sip_proxy.calls import CallRecord, RunningCall
from sip_proxy.printable import printable
from sip_proxy.proxy import Proxy
from sip_proxy.shell.call_records import Recording
from sip_proxy.trace import Ladder, RecentCall, ladder_of, recent_calls
from sip_proxy.trace.capture import as_capture
from sip_proxy.trace.ladder import messages_of
from sip_proxy.watching import CallList, TransactionEntry, TransactionList, matches

__all__ = ["CallWatch"]

ENDED_CALLS: Final = 2_000
"""Calls that are remembered after their end, for operators to look at."""

SEARCHED_TRANSACTIONS: Final = 5_000
"""The latest of those under way, among which is searched: calls wait for as long."""


class CallWatch:
    """Remembers the calls that ended, and has their records kept.

    The messages of the recorder are read in a thread, so that calls go on meanwhile.
    ``unix_offset`` is that of the machine.
    """

    def __init__(
        self, machine: Proxy, unix_offset: float, recording: Recording | None = None
    ) -> None:
        self._machine = machine
        self._offset = unix_offset
        self._recording = recording
        self._ended: deque[CallRecord] = deque(maxlen=ENDED_CALLS)

    def ended(self, record: CallRecord) -> None:
        """A call is over."""
        self._ended.append(record)
        if self._recording is not None:
            self._recording.put(record)

    async def calls(self, text: str, limit: int) -> CallList:
        """Calls of now and of lately."""
        running = (each for each in self._machine.calls if _is_wanted(each, text))
        ended = (each for each in reversed(self._ended) if _is_wanted(each, text))
        return CallList(
            tuple(islice(running, limit)),
            tuple(islice(ended, limit)),
            self._machine.calls.unfollowed,
            0 if self._recording is None else self._recording.lost,
        )

    async def transactions(self, text: str, limit: int) -> TransactionList:
        """Transactions under way."""
        latest = islice(self._machine.transactions(), SEARCHED_TRANSACTIONS)
        found = (each for each in map(self._entry, latest) if _is_meant(each, text))
        return TransactionList(tuple(islice(found, limit)), self._machine.load().transactions)

    def _entry(self, each: LiveTransaction) -> TransactionEntry:
        path = each.path
        return TransactionEntry(
            each.method,
            each.is_client,
            each.state,
            printable(each.call_id or ""),
            printable(each.branch),
            each.began + self._offset,
            "" if path is None else path.transport.value,
            "" if path is None else str(path.remote),
        )

    async def recent(self, text: str, limit: int) -> Sequence[RecentCall]:
        """What the flight recorder has, by Call-ID."""
        messages = self._machine.recorder.messages()
        return await asyncio.to_thread(
            recent_calls, messages, self._offset, text=text.strip(), limit=limit
        )

    async def ladder(self, call_id: str) -> Ladder | None:
        """The messages of a Call-ID, if there are any."""
        messages = self._machine.recorder.messages()
        return await asyncio.to_thread(ladder_of, messages, call_id, self._offset)

    async def capture(self, call_id: str) -> bytes | None:
        """The same as a capture file."""
        messages = self._machine.recorder.messages()

        def capture() -> bytes | None:
            found = messages_of(messages, call_id)
            return as_capture(found, self._offset) if found else None

        return await asyncio.to_thread(capture)


def _is_meant(each: TransactionEntry, text: str) -> bool:
    return matches(text, each.method, each.state, each.call_id, each.branch, each.remote)


def _is_wanted(call: CallRecord | RunningCall, text: str) -> bool:
    if not text.strip():
        return True
    places = [each.destination for each in call.branches]
    return matches(text, call.call_id, call.sender, call.receiver, call.user, call.source, *places)
