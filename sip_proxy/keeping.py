"""Our own keep-alives: on connections that we made, and pings on WebSockets that came.

RFC 5626 §3.5.1, RFC 7118 §6.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, assert_never

from natkit.errors import MisuseError
from natkit.keepalive import (
    AddressChanged,
    Alive,
    FlowFailed,
    FlowKeeper,
    SendPing,
    technique_for,
)
from natkit.keepalive.interval import LONGEST_SPREAD
from natkit.machine import Path, RandomBytes, Transmit, Transport

__all__ = ["KeepAliveSettings", "Keeping"]

_WEBSOCKETS: Final = frozenset({Transport.WS, Transport.WSS})


@dataclass(frozen=True, slots=True)
class KeepAliveSettings:
    """The longest time between two keep-alives of ours, in seconds; 0 is for none.

    ``connections`` is for those that we made; ``websockets`` for those that came, which balancers
    and NATs forget within a minute and browsers do not keep open by themselves.
    """

    connections: float = 110.0
    websockets: float = 50.0

    def __post_init__(self) -> None:
        for bound in (self.connections, self.websockets):
            if not 0 <= bound <= LONGEST_SPREAD:
                raise MisuseError(f"{bound:g} s is no interval for keep-alives")


class Keeping:
    """Pings flows, and tells which are dead; a part of the proxy's machine.

    An element that never answered a CRLF ping may not know them, for RFC 3261 lets it drop empty
    lines: it is pinged no more.  Whoever answered once and does no longer is gone; and so is one
    that owes the answer to a request and has sent nothing at all since it got it.
    """

    def __init__(self, settings: KeepAliveSettings, random: RandomBytes) -> None:
        self._settings = settings
        self._keeper = FlowKeeper(random=random)
        self._answering: set[Path] = set()
        self._heard: dict[Path, float] = {}
        self._pings: deque[SendPing] = deque()
        self._dead: deque[Path] = deque()

    def __len__(self) -> int:
        return len(self._heard)

    def configure(self, settings: KeepAliveSettings) -> None:
        """Keep flows that begin from now on like this."""
        self._settings = settings

    # ── flows ───────────────────────────────────────────────────────────────────────────────────

    def made(self, path: Path, now: float) -> None:
        """We made a connection."""
        self._heard[path] = now
        self._keep(path, self._settings.connections, now)

    def heard(self, path: Path, now: float) -> None:
        """Something came on a connection, whoever made it."""
        if path.transport in _WEBSOCKETS and path not in self._heard:
            self._keep(path, self._settings.websockets, now)
        self._heard[path] = now

    def ended(self, path: Path) -> None:
        """A connection ended."""
        self._heard.pop(path, None)
        self._answering.discard(path)
        self._keeper.stop(path)

    def unanswered(self, path: Path | None, since: float) -> None:
        """A request that was sent on ``path`` at ``since`` timed out."""
        heard = None if path is None else self._heard.get(path)
        if path is not None and heard is not None and heard <= since:
            self._dead.append(path)

    # ── the machine's inputs and outputs ────────────────────────────────────────────────────────

    def takes(self, data: bytes, path: Path) -> bool:
        """Whether a message answers a ping of ours."""
        return self._keeper.takes(data, path)

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """The answer to a ping."""
        self._keeper.receive(data, path, now)
        self._follow()

    def pong(self, path: Path, payload: bytes, now: float) -> None:
        """A WebSocket's pong."""
        if path in self._heard:
            self._heard[path] = now
        self._keeper.pong(path, payload, now)
        self._follow()

    def handle_timer(self, now: float) -> None:
        """Time has passed."""
        self._keeper.handle_timer(now)
        self._follow()

    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`."""
        return self._keeper.next_deadline()

    def transmits(self) -> list[Transmit]:
        """Take the pings that are messages."""
        return list(self._keeper.transmits())

    def take_pings(self) -> Iterator[SendPing]:
        """Take the pings that are WebSocket's own frames."""
        while self._pings:
            yield self._pings.popleft()

    def take_dead(self) -> Iterator[Path]:
        """Take the connections that are to be closed."""
        while self._dead:
            yield self._dead.popleft()

    def _keep(self, path: Path, bound: float, now: float) -> None:
        if bound:
            self._keeper.keep(path, technique_for(path.transport), bound, now)

    def _follow(self) -> None:
        while (event := self._keeper.next_event()) is not None:
            match event:
                case Alive(path):
                    self._answering.add(path)
                case FlowFailed(path):
                    if path in self._answering or path.transport in _WEBSOCKETS:
                        self._dead.append(path)
                case SendPing():
                    self._pings.append(event)
                case AddressChanged():
                    pass
                case _:
                    assert_never(event)
