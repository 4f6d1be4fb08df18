"""The client's list of channels: which number belongs to which peer (RFC 8656 §12)."""

from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import Final

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.stun.registry import CHANNEL_FIRST, CHANNEL_LAST
from natkit.timers import TimerQueue
from natkit.turn.permissions import REFRESH_MARGIN
from natkit.turn.registry import CHANNEL_LIFETIME, CHANNEL_QUARANTINE

MAX_CHANNELS: Final = CHANNEL_LAST - CHANNEL_FIRST + 1
"""Channels an allocation: all the numbers there are (RFC 8656 §12, Table 2)."""


class ChannelState(Enum):
    """How far a channel is."""

    REQUESTED = auto()
    BOUND = auto()
    ENDED = auto()
    """Unbound, but number and peer stay together until the quarantine is over."""


@dataclass(slots=True)
class Channel:
    """What the client knows of one channel; ``until`` is when the server may have unbound it."""

    number: int
    peer: Address
    state: ChannelState = ChannelState.REQUESTED
    until: float = -inf
    kept: bool = True


@dataclass(frozen=True, slots=True)
class DueChannels:
    """What time has brought: bindings to refresh, and bindings that ended."""

    refresh: tuple[Channel, ...]
    ended: tuple[Channel, ...]


class Channels:
    """Channels by number and by peer; decides what to bind and never sends."""

    def __init__(self) -> None:
        self._by_number: dict[int, Channel] = {}
        self._by_peer: dict[Address, Channel] = {}
        self._timers: TimerQueue[int] = TimerQueue()
        self._next_number = CHANNEL_FIRST

    def __len__(self) -> int:
        return len(self._by_number)

    def of_peer(self, peer: Address) -> Channel | None:
        """The channel that belongs to ``peer``, in whatever state."""
        return self._by_peer.get(peer)

    def bound_number(self, peer: Address) -> int | None:
        """The number to send to ``peer`` on, if the server has confirmed it."""
        channel = self._by_peer.get(peer)
        return channel.number if channel and channel.state is ChannelState.BOUND else None

    def peer_of(self, number: int) -> Address | None:
        """Who sent what arrives on ``number``.

        Data may come before the answer to the ChannelBind does (RFC 8656 §12).
        """
        channel = self._by_number.get(number)
        return channel.peer if channel and channel.state is not ChannelState.ENDED else None

    def request(self, peer: Address) -> Channel:
        """The channel to ask the server for; MisuseError when no number is free.

        A peer whose last binding is in quarantine gets its old number, the only one it may have.
        """
        channel = self._by_peer.get(peer)
        if channel is None:
            channel = Channel(self._free_number(), peer)
            self._by_number[channel.number] = channel
            self._by_peer[peer] = channel
        elif channel.state is ChannelState.ENDED:
            channel.state = ChannelState.REQUESTED
            self._timers.cancel(channel.number)
        elif channel.state is ChannelState.BOUND and not channel.kept:
            self._timers.set(channel.number, channel.until - REFRESH_MARGIN)
        channel.kept = True
        return channel

    def bind(self, channel: Channel, requested_at: float) -> bool:
        """The server has bound or refreshed it, not before ``requested_at``; True if new."""
        channel.until = max(channel.until, requested_at + CHANNEL_LIFETIME)
        self._timers.set(channel.number, channel.until - REFRESH_MARGIN)
        newly = channel.state is not ChannelState.BOUND
        channel.state = ChannelState.BOUND
        return newly

    def refuse(self, channel: Channel, now: float) -> None:
        """The server answered a ChannelBind with an error.

        A number that was never bound is free again; one that was stays in quarantine.
        """
        if channel.until <= now - CHANNEL_QUARANTINE:
            self._forget(channel)
        else:
            self._end(channel)

    def doubt(self, channel: Channel, now: float) -> None:
        """A first ChannelBind went unanswered: the server may have bound it as late as ``now``."""
        channel.until = now + CHANNEL_LIFETIME
        self._end(channel)

    def retry(self, channel: Channel, now: float, delay: float = 0.0) -> bool:
        """A refresh went unanswered: try again after ``delay`` seconds; False if it is no use."""
        if channel.state is not ChannelState.BOUND or now + delay >= channel.until:
            return False
        self._timers.set(channel.number, now + delay)
        return True

    def release(self, host: str) -> None:
        """Stop refreshing the channels to ``host``; they end by themselves."""
        for channel in self._by_number.values():
            if channel.peer.host == host:
                channel.kept = False

    def due(self, now: float) -> DueChannels:
        """Take what is to be done about the passing of time."""
        refresh: list[Channel] = []
        ended: list[Channel] = []
        for number in self._timers.pop_due(now):
            channel = self._by_number[number]
            if channel.state is ChannelState.ENDED:
                self._forget(channel)
            elif channel.until <= now:
                self._end(channel)
                ended.append(channel)
            elif channel.kept:
                # The deadline that holds if no answer comes.
                self._timers.set(number, channel.until)
                refresh.append(channel)
            else:
                self._timers.set(number, channel.until)
        return DueChannels(tuple(refresh), tuple(ended))

    def next_deadline(self) -> float | None:
        """When :meth:`due` has something, or None."""
        return self._timers.next_deadline()

    def clear(self) -> None:
        """The allocation is gone, and all channels with it."""
        for channel in list(self._by_number.values()):
            self._forget(channel)

    def _free_number(self) -> int:
        if len(self._by_number) >= MAX_CHANNELS:
            raise MisuseError(f"all {MAX_CHANNELS} channels of the allocation are in use")
        while self._next_number in self._by_number:
            self._advance()
        number = self._next_number
        self._advance()
        return number

    def _advance(self) -> None:
        following = self._next_number + 1
        self._next_number = following if following <= CHANNEL_LAST else CHANNEL_FIRST

    def _end(self, channel: Channel) -> None:
        channel.state = ChannelState.ENDED
        self._timers.set(channel.number, channel.until + CHANNEL_QUARANTINE)

    def _forget(self, channel: Channel) -> None:
        self._timers.cancel(channel.number)
        self._by_number.pop(channel.number, None)
        self._by_peer.pop(channel.peer, None)
