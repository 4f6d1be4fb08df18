"""Which Call-IDs there were lately, and what they were about."""

from collections.abc import Sequence
from dataclasses import dataclass

from sip_proxy.trace.reading import Reading, call_id_of, read
from sip_proxy.trace.recorder import Recorded

__all__ = ["RecentCall", "recent_calls"]


@dataclass(frozen=True, slots=True)
class RecentCall:
    """All messages of a Call-ID that are there; times are Unix seconds.

    ``method``, ``sender`` (From) and ``receiver`` (To) are those of the first message, ``status``
    is that of the last response, 0 without one.
    """

    call_id: str
    method: str
    sender: str
    receiver: str
    first: float
    last: float
    messages: int
    status: int


def recent_calls(
    messages: Sequence[Recorded], unix_offset: float, *, text: str = "", limit: int = 100
) -> tuple[RecentCall, ...]:
    """Those of the newest ``limit`` Call-IDs that have ``text`` in Call-ID, From, To or an address.

    Those whose last message is the newest come first.
    """
    by_call: dict[bytes, list[int]] = {}
    for index, message in enumerate(messages):
        call_id = call_id_of(message.data)
        if call_id:
            by_call.setdefault(call_id, []).append(index)
    found: list[RecentCall] = []
    wanted = text.lower()
    for call_id, indices in sorted(by_call.items(), key=lambda each: -each[1][-1]):
        if len(found) >= limit:
            break
        of_call = [messages[index] for index in indices]
        call = _described(call_id, of_call, unix_offset)
        if not wanted or _matches(call, of_call, wanted):
            found.append(call)
    return tuple(found)


def _described(call_id: bytes, messages: Sequence[Recorded], unix_offset: float) -> RecentCall:
    first = read(messages[0].data)
    return RecentCall(
        call_id=call_id.decode("utf-8", "replace"),
        method=first.method,
        sender=first.sender,
        receiver=first.receiver,
        first=messages[0].time + unix_offset,
        last=messages[-1].time + unix_offset,
        messages=len(messages),
        status=_last_status(messages),
    )


def _last_status(messages: Sequence[Recorded]) -> int:
    for message in reversed(messages):
        reading: Reading = read(message.data)
        if reading.status:
            return reading.status
    return 0


def _matches(call: RecentCall, messages: Sequence[Recorded], wanted: str) -> bool:
    texts = (
        call.call_id,
        call.sender,
        call.receiver,
        *{str(each.path.remote) for each in messages},
    )
    return any(wanted in each.lower() for each in texts)
