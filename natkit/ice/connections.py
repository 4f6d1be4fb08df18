"""The TCP connections of an agent: opened for checks, kept for the selected pairs (RFC 6544 §7)."""

from dataclasses import dataclass

from natkit.ice.agent_state import AgentState, Session, StreamSession, Timer
from natkit.ice.pair import Pair
from natkit.machine import ClosePath, Connect, Failure, Path, RequestId, Transport


@dataclass(frozen=True, slots=True)
class Connecting:
    """A pair whose connection was asked for."""

    session: Session
    stream: StreamSession
    pair: Pair


class Connections:
    """Asks the shell for connections, and knows which pair each one is for."""

    def __init__(self, state: AgentState) -> None:
        self._state = state
        self._connecting: dict[RequestId, Connecting] = {}

    def open(self, session: Session, stream: StreamSession, pair: Pair, now: float) -> None:
        """Ask for the connection of a pair; it fails when none stands in time."""
        state = self._state
        number = state.next_request()
        self._connecting[number] = Connecting(session, stream, pair)
        base = pair.local.source.base
        state.tell(Connect(number, Transport.TCP, base, pair.remote_address))
        deadline = now + state.settings.timing.reliable_timeout
        state.timers.set((Timer.CONNECTION, number), deadline)

    def answer(self, number: RequestId, result: Path | Failure) -> Connecting | None:
        """The shell's answer; the pair if it waited for it, else what came is closed."""
        connecting = self._connecting.pop(number, None)
        self._state.timers.cancel((Timer.CONNECTION, number))
        if connecting is None:
            if isinstance(result, Path):
                self._state.tell(ClosePath(result))
            return None
        if isinstance(result, Path):
            connecting.pair.path = result
            self._state.connections[result] = connecting.pair
        return connecting

    def expire(self, number: RequestId) -> Connecting | None:
        """No connection stood in time."""
        return self._connecting.pop(number, None)

    def accepted(self, path: Path, pair: Pair) -> None:
        """The peer's connection turned out to be a pair's."""
        self._state.connections[path] = pair

    def ended(self, path: Path) -> Pair | None:
        """A connection is gone; its pair."""
        return self._state.connections.pop(path, None)

    def close(self, pair: Pair) -> None:
        """The pair needs its connection no more, nor the one that was asked for."""
        for number, connecting in list(self._connecting.items()):
            if connecting.pair is pair:
                del self._connecting[number]
                self._state.timers.cancel((Timer.CONNECTION, number))
        if pair.path is not None and self._state.connections.pop(pair.path, None) is not None:
            self._state.tell(ClosePath(pair.path))

    def close_all(self) -> None:
        """The agent is over."""
        for path in self._state.connections:
            self._state.tell(ClosePath(path))
        self._state.connections.clear()
        for number in self._connecting:
            self._state.timers.cancel((Timer.CONNECTION, number))
        self._connecting.clear()
