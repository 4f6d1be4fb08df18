"""Server transactions: a request that came, and our responses (RFC 3261 §17.2, RFC 6026)."""

from enum import Enum, auto
from typing import ClassVar, assert_never

from natkit.errors import MisuseError
from natkit.machine import Path
from natkit.sip.kinds import CALL_ID, VIA
from natkit.sip.message import Request, Response
from natkit.sip.transactions.events import AckMissing, PathLost, TransactionId
from natkit.sip.transactions.matching import ServerKey, to_tag
from natkit.sip.transactions.outlet import Outlet
from natkit.sip.transactions.timing import SipTiming, Timer
from natkit.sip.via import ResponseAddress, SentBy

__all__ = ["InviteServer", "NonInviteServer", "ServerState", "ServerTransaction"]


class ServerState(Enum):
    """RFC 3261 figures 7 and 8, RFC 6026 figure 1."""

    TRYING = auto()
    PROCEEDING = auto()
    COMPLETED = auto()
    CONFIRMED = auto()
    ACCEPTED = auto()
    TERMINATED = auto()


class ServerTransaction:
    """What both kinds have in common: responses, sent on the path of the request.

    ``path`` is None once its stream has ended; ``destination`` is where to send then.  ``request``
    is None once there is a final response, for what is kept is kept for half a minute; ``call_id``
    has the bytes of its field.  ``began`` is in monotonic seconds.
    """

    __slots__ = (
        "_last",
        "_last_tag",
        "_outlet",
        "_timing",
        "began",
        "call_id",
        "destination",
        "head_size",
        "key",
        "path",
        "request",
        "state",
        "token",
    )

    timers: ClassVar[tuple[Timer, ...]] = ()

    def __init__(
        self,
        token: TransactionId,
        key: ServerKey,
        request: Request,
        path: Path,
        destination: ResponseAddress | SentBy | None,
        timing: SipTiming,
        outlet: Outlet,
        now: float,
    ) -> None:
        self.token = token
        self.began = now
        self.call_id = request.headers.raw(CALL_ID)
        self.key = key
        self.request: Request | None = request
        self.head_size = request.headers.size
        self.path: Path | None = path
        self.destination = destination
        self.state = ServerState.TRYING
        self._last = b""
        self._last_tag: str | None = None
        self._timing = timing
        self._outlet = outlet

    def lose_path(self) -> None:
        """The stream ended: responses need another way."""
        self.path = None
        if self.state in (ServerState.CONFIRMED, ServerState.ACCEPTED, ServerState.COMPLETED):
            # What was sent was delivered, or the other side is gone with its connection.
            self.terminate()

    def move(self, path: Path) -> None:
        """Send on ``path`` from now on, first of all what could not be sent before."""
        self.path = path
        self._repeat()

    def terminate(self) -> None:
        """End at once."""
        self.state = ServerState.TERMINATED
        self._outlet.end(self.token)

    def _send(self, response: Response) -> None:
        self._last = bytes(response)
        if response.status >= 200:
            if self.request is not None and not _names_transaction(self.request):
                self._last_tag = to_tag(response)
            self.request = None
        self._repeat()

    def _repeat(self) -> None:
        if not self._last:
            return
        if self.path is None:
            self._outlet.emit(PathLost(self.token, self.destination))
        else:
            self._outlet.transmit(self._last, self.path)

    @property
    def _is_reliable(self) -> bool:
        return self.path is None or self.path.transport.is_reliable


class InviteServer(ServerTransaction):
    """RFC 3261 §17.2.1 with RFC 6026 §7.1."""

    __slots__ = ("_interval",)

    timers = (Timer.TRYING, Timer.G, Timer.H, Timer.I, Timer.L)

    def start(self, now: float) -> None:
        """The INVITE has come."""
        self.state = ServerState.PROCEEDING
        self._interval = self._timing.t1
        if self._timing.trying_after is not None:
            self._outlet.set_timer(self.token, Timer.TRYING, now + self._timing.trying_after)

    def receive_again(self) -> None:
        """The INVITE has come once more."""
        if self.state in (ServerState.PROCEEDING, ServerState.COMPLETED):
            self._repeat()

    def receive_ack(self, ack: Request, now: float) -> bool:
        """An ACK with its branch; False when it is for a 2xx, and so for the user."""
        match self.state:
            case ServerState.COMPLETED:
                if not self._is_acknowledged_by(ack):
                    return False
                self._confirm(now)
                return True
            case ServerState.CONFIRMED:
                return self._is_acknowledged_by(ack)
            case ServerState.ACCEPTED | ServerState.PROCEEDING | ServerState.TRYING:
                return False
            case ServerState.TERMINATED:
                return True
            case _:
                assert_never(self.state)

    def respond(self, response: Response, now: float) -> None:
        """Send a response; MisuseError after a final one, but for a 2xx after a 2xx."""
        accepted = 200 <= response.status < 300
        if self.state is not ServerState.PROCEEDING and not (
            accepted and self.state is ServerState.ACCEPTED
        ):
            raise MisuseError(f"{response.status} comes after a final response")
        self._outlet.cancel_timer(self.token, Timer.TRYING)
        self._send(response)
        if response.status < 200 or self.state is ServerState.ACCEPTED:
            return
        if accepted:
            self.state = ServerState.ACCEPTED
            self._outlet.set_timer(self.token, Timer.L, now + self._timing.timeout)
            return
        self.state = ServerState.COMPLETED
        if not self._is_reliable:
            self._outlet.set_timer(self.token, Timer.G, now + self._interval)
        self._outlet.set_timer(self.token, Timer.H, now + self._timing.timeout)

    def handle_timer(self, timer: Timer, now: float) -> None:
        """One of its timers fired."""
        if timer is Timer.TRYING:
            assert self.request is not None  # noqa: S101 - a final response disarms the timer
            self._send(Response.to(self.request, 100))
        elif timer is Timer.G:
            self._repeat()
            self._interval = min(2 * self._interval, self._timing.t2)
            self._outlet.set_timer(self.token, Timer.G, now + self._interval)
        elif timer is Timer.H:
            self._outlet.emit(AckMissing(self.token))
            self.terminate()
        else:
            self.terminate()

    def _is_acknowledged_by(self, ack: Request) -> bool:
        """Of RFC 2543 the tag tells an ACK of ours from one to another's 2xx (§17.2.3)."""
        return self._last_tag is None or to_tag(ack) == self._last_tag

    def _confirm(self, now: float) -> None:
        self._outlet.cancel_timer(self.token, Timer.G)
        self._outlet.cancel_timer(self.token, Timer.H)
        self.state = ServerState.CONFIRMED
        if self._is_reliable:
            self.terminate()
        else:
            self._outlet.set_timer(self.token, Timer.I, now + self._timing.t4)


class NonInviteServer(ServerTransaction):
    """RFC 3261 §17.2.2."""

    __slots__ = ()

    timers = (Timer.J,)

    def start(self, now: float) -> None:
        """The request has come: it waits for its user, without a timer (RFC 4320 §4.1)."""

    def receive_again(self) -> None:
        """The request has come once more."""
        if self.state in (ServerState.PROCEEDING, ServerState.COMPLETED):
            self._repeat()

    def respond(self, response: Response, now: float) -> None:
        """Send a response; MisuseError after a final one."""
        if self.state not in (ServerState.TRYING, ServerState.PROCEEDING):
            raise MisuseError(f"{response.status} comes after a final response")
        self._send(response)
        if response.status < 200:
            self.state = ServerState.PROCEEDING
            return
        self.state = ServerState.COMPLETED
        if self.path is not None and self._is_reliable:
            self.terminate()
        else:
            self._outlet.set_timer(self.token, Timer.J, now + self._timing.timeout)

    def handle_timer(self, timer: Timer, now: float) -> None:  # noqa: ARG002 - it has one timer
        """Timer J fired."""
        self.terminate()


def _names_transaction(request: Request) -> bool:
    via = request.headers.first(VIA)
    return via is not None and via.names_transaction
