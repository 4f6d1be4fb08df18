"""One PCP server out of several places where one may be (RFC 6887 §8.1, RFC 7723)."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from natkit.machine import Failure, Path, RequestId, Transmit
from natkit.portmap.gateway import GatewayMapper
from natkit.portmap.mapping import Left, PortMapEvent, Silent, Speaks, Wish

__all__ = ["ANYCAST_PATIENCE", "PcpServers"]

ANYCAST_PATIENCE: Final = 4.0
"""Seconds for the anycast address: it takes two requests, and few networks have a server there."""


class PcpServers:
    """The face of GatewayMapper for the first of them that answers; a machine.

    They are asked one after another, the default router first and the anycast address last: where
    the router speaks PCP itself, nobody behind it is asked.
    """

    def __init__(self, mappers: Sequence[GatewayMapper]) -> None:
        if not mappers:
            raise AssertionError("no server to ask")
        self._mappers = tuple(mappers)
        self._chosen = 0
        self._answered = False
        self._reasons: list[str] = []
        self._events: deque[PortMapEvent] = deque()

    @property
    def _mapper(self) -> GatewayMapper:
        return self._mappers[self._chosen]

    def can_say(self, wish: Wish) -> bool:
        """Whether the protocol has words for all of a wish."""
        return self._mapper.can_say(wish)

    def probe(self, now: float) -> None:
        """Find the first that answers: Speaks follows, or Silent when none does."""
        if not self._answered:
            self._chosen = 0
            self._reasons.clear()
        self._mapper.probe(now)
        self._collect(now)

    def map(self, wish_id: int, wish: Wish, now: float) -> None:
        """Ask for a mapping and keep it, after a probe."""
        self._mapper.map(wish_id, wish, now)
        self._collect(now)

    def unmap(self, wish_id: int, now: float) -> None:
        """Remove a mapping."""
        self._mapper.unmap(wish_id, now)
        self._collect(now)

    def remove(self, wish_id: int, left: Left, now: float) -> None:
        """Remove what an earlier life left behind."""
        self._mapper.remove(wish_id, left, now)
        self._collect(now)

    # ── the contract of a machine ───────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram arrived; what is not the chosen one's own is ignored."""
        self._mapper.receive(data, path, now)
        self._collect(now)

    def disconnected(self, path: Path, now: float) -> None:
        """No stream is ours."""

    def answer(self, request_id: RequestId, result: object | Failure, now: float) -> None:
        """There are no requests to the shell."""

    def handle_timer(self, now: float) -> None:
        """What is due at the one that is asked."""
        self._mapper.handle_timer(now)
        self._collect(now)

    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`, in monotonic seconds."""
        return self._mapper.next_deadline()

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        return self._mapper.transmits()

    def next_event(self) -> PortMapEvent | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None

    def _collect(self, now: float) -> None:
        """Take what the chosen one tells; when it is silent, ask the next one."""
        while (event := self._mapper.next_event()) is not None:
            if isinstance(event, Speaks):
                self._answered = True
            if not isinstance(event, Silent) or self._answered:
                self._events.append(event)
                continue
            self._reasons.append(event.reason)
            if self._chosen < len(self._mappers) - 1:
                self._chosen += 1
                self._mapper.probe(now)
            else:
                self._events.append(Silent(event.method, "; ".join(self._reasons)))
