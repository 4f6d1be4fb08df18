"""The ladder of a call: who sent what to whom, and when, as far as this proxy saw it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from natkit.machine import Path
from sip_proxy.trace.masking import shown
from sip_proxy.trace.reading import Reading, call_id_of, read
from sip_proxy.trace.recorder import Recorded

__all__ = ["Arrow", "Ladder", "Participant", "ladder_of", "messages_of"]

MOST_ARROWS: Final = 2_000
"""Of one ladder; the newest, where a Call-ID has more."""


@dataclass(frozen=True, slots=True)
class Participant:
    """A column: an address that messages came from and went to; the proxy's is empty.

    ``name`` is the user that its first message was from, or for.
    """

    transport: str
    address: str
    name: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """A message from one column to another; ``time`` is Unix seconds.

    ``text`` is the whole message but for what is masked (:mod:`sip_proxy.trace.masking`).
    ``has_sdp``: it offers or answers media.  ``is_repeated``: the same was sent before.
    """

    time: float
    sender: int
    receiver: int
    summary: str
    cseq: str
    has_sdp: bool
    is_repeated: bool
    text: str


@dataclass(frozen=True, slots=True)
class Ladder:
    """The messages of a Call-ID, the oldest first.

    ``proxy`` is the column of this proxy: to its left are those who called, to its right those who
    were called.  ``is_cut``: there were more before.
    """

    call_id: str
    participants: tuple[Participant, ...]
    proxy: int
    arrows: tuple[Arrow, ...]
    is_cut: bool = False


def messages_of(messages: Iterable[Recorded], call_id: str) -> list[Recorded]:
    """The messages of a Call-ID, in their order."""
    wanted = call_id.encode("utf-8", "surrogateescape")
    return [each for each in messages if wanted in each.data and call_id_of(each.data) == wanted]


def ladder_of(messages: Iterable[Recorded], call_id: str, unix_offset: float) -> Ladder | None:
    """The ladder of a Call-ID; None where nothing of it is there (any more)."""
    found = messages_of(messages, call_id)
    if not found:
        return None
    is_cut = len(found) > MOST_ARROWS
    found = found[-MOST_ARROWS:]
    readings = [read(each.data) for each in found]
    columns = _Columns()
    for message, reading in zip(found, readings, strict=True):
        columns.see(message, reading)
    seen: set[tuple[object, ...]] = set()
    arrows: list[Arrow] = []
    for message, reading in zip(found, readings, strict=True):
        key = _identity(message, reading)
        there, us = columns.index(message.path), columns.proxy
        arrows.append(
            Arrow(
                time=message.time + unix_offset,
                sender=us if message.is_sent else there,
                receiver=there if message.is_sent else us,
                summary=reading.summary,
                cseq=reading.cseq,
                has_sdp=b"\r\n\r\nv=0" in message.data,
                is_repeated=key in seen,
                text=shown(message.data),
            )
        )
        seen.add(key)
    return Ladder(call_id, columns.participants(), columns.proxy, tuple(arrows), is_cut)


class _Columns:
    """Who takes part, callers first; each is known by where messages of it come from."""

    def __init__(self) -> None:
        self._left: dict[tuple[str, str], Participant] = {}
        self._right: dict[tuple[str, str], Participant] = {}

    @property
    def proxy(self) -> int:
        return len(self._left)

    def see(self, message: Recorded, reading: Reading) -> None:
        key = _place(message.path)
        if key in self._left or key in self._right:
            return
        name = ""
        if not reading.is_in_dialog:
            name = reading.user if message.is_sent else reading.sender_user
        side = self._right if message.is_sent else self._left
        side[key] = Participant(*key, name)

    def index(self, path: Path) -> int:
        key = _place(path)
        if key in self._left:
            return list(self._left).index(key)
        return len(self._left) + 1 + list(self._right).index(key)

    def participants(self) -> tuple[Participant, ...]:
        us = Participant("", "", "proxy")
        return (*self._left.values(), us, *self._right.values())


def _place(path: Path) -> tuple[str, str]:
    return path.transport.value, str(path.remote)


def _identity(message: Recorded, reading: Reading) -> tuple[object, ...]:
    """What is the same when a message is sent again.

    An ACK to a 2xx has no transaction: each time that it passes it gets a branch of its own.
    """
    if not reading.cseq:
        return message.is_sent, message.path, message.data
    branch = "" if reading.method == "ACK" else reading.branch
    tags = reading.from_tag, reading.to_tag
    return message.is_sent, message.path, reading.summary, reading.cseq, branch, tags
