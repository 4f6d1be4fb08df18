"""Client transactions: a request of ours until its last response (RFC 3261 §17.1, RFC 6026)."""

from enum import Enum, auto
from typing import ClassVar, assert_never

from natkit.machine import Path
from natkit.sip.kinds import CALL_ID
from natkit.sip.message import Request, Response
from natkit.sip.transactions.derived import ack_of
from natkit.sip.transactions.events import (
    PathLost,
    ResponseReceived,
    TimedOut,
    TransactionId,
)
from natkit.sip.transactions.matching import ClientKey
from natkit.sip.transactions.outlet import Outlet
from natkit.sip.transactions.timing import SipTiming, Timer

__all__ = ["ClientState", "ClientTransaction", "InviteClient", "NonInviteClient"]


class ClientState(Enum):
    """RFC 3261 figures 5 and 6, RFC 6026 figure 2."""

    CALLING = auto()
    TRYING = auto()
    PROCEEDING = auto()
    COMPLETED = auto()
    ACCEPTED = auto()
    TERMINATED = auto()


class ClientTransaction:
    """What both kinds have in common: a request, sent on one path.

    ``request`` is None once there is a final response, for what is kept is kept for half a minute;
    ``call_id`` has the bytes of its field.  ``began`` is in monotonic seconds.
    """

    __slots__ = (
        "_data",
        "_interval",
        "_outlet",
        "_timing",
        "began",
        "call_id",
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
        key: ClientKey,
        request: Request,
        path: Path,
        timing: SipTiming,
        outlet: Outlet,
        now: float,
    ) -> None:
        self.token = token
        self.began = now
        self.call_id = request.headers.raw(CALL_ID)
        self.key = key
        self.request: Request | None = request
        self.path = path
        self.state = ClientState.TRYING
        self._data = bytes(request)
        self._timing = timing
        self._interval = timing.t1
        self._outlet = outlet

    def lose_path(self) -> None:
        """The stream ended (§17.1.4): nothing more will come of what was sent on it."""
        if self.state in (ClientState.CALLING, ClientState.TRYING, ClientState.PROCEEDING):
            self._outlet.emit(PathLost(self.token))
        self.terminate()

    def terminate(self) -> None:
        """End at once."""
        self.state = ClientState.TERMINATED
        self._outlet.end(self.token)

    def _time_out(self) -> None:
        self._outlet.emit(TimedOut(self.token, self.path))
        self.terminate()

    def _send(self) -> None:
        self._outlet.transmit(self._data, self.path)

    def _has_final(self) -> None:
        self.request, self._data = None, b""

    @property
    def _is_reliable(self) -> bool:
        return self.path.transport.is_reliable


class InviteClient(ClientTransaction):
    """RFC 3261 §17.1.1 with RFC 6026 §7.2."""

    __slots__ = ("_ack",)

    timers = (Timer.A, Timer.B, Timer.D, Timer.M)

    def start(self, now: float) -> None:
        """Send the INVITE."""
        self._ack = b""
        self.state = ClientState.CALLING
        self._send()
        if not self._is_reliable:
            self._outlet.set_timer(self.token, Timer.A, now + self._interval)
        self._outlet.set_timer(self.token, Timer.B, now + self._timing.timeout)

    def receive(self, response: Response, path: Path, now: float) -> None:
        """A response arrived."""
        match self.state:
            case ClientState.CALLING | ClientState.PROCEEDING:
                self._advance(response, path, now)
            case ClientState.COMPLETED:
                if response.status >= 300:
                    self._outlet.transmit(self._ack, self.path)
            case ClientState.ACCEPTED:
                if 200 <= response.status < 300:
                    self._outlet.emit(ResponseReceived(self.token, response, path))
            case ClientState.TRYING | ClientState.TERMINATED:
                pass
            case _:
                assert_never(self.state)

    def handle_timer(self, timer: Timer, now: float) -> None:
        """One of its timers fired."""
        if timer is Timer.A:
            self._send()
            self._interval *= 2
            self._outlet.set_timer(self.token, Timer.A, now + self._interval)
        elif timer is Timer.B:
            self._time_out()
        else:
            self.terminate()

    def _advance(self, response: Response, path: Path, now: float) -> None:
        outlet, token = self._outlet, self.token
        outlet.cancel_timer(token, Timer.A)
        outlet.cancel_timer(token, Timer.B)
        outlet.emit(ResponseReceived(token, response, path))
        if response.status < 200:
            self.state = ClientState.PROCEEDING
        elif response.status < 300:
            self.state = ClientState.ACCEPTED
            self._has_final()
            outlet.set_timer(token, Timer.M, now + self._timing.timeout)
        else:
            assert self.request is not None  # noqa: S101 - this is its first final response
            self._ack = bytes(ack_of(self.request, response))
            self._has_final()
            outlet.transmit(self._ack, self.path)
            self.state = ClientState.COMPLETED
            if self._is_reliable:
                self.terminate()
            else:
                outlet.set_timer(token, Timer.D, now + self._timing.wait_for_repeated_finals)


class NonInviteClient(ClientTransaction):
    """RFC 3261 §17.1.2."""

    __slots__ = ()

    timers = (Timer.E, Timer.F, Timer.K)

    def start(self, now: float) -> None:
        """Send the request."""
        self._send()
        if not self._is_reliable:
            self._outlet.set_timer(self.token, Timer.E, now + self._interval)
        self._outlet.set_timer(self.token, Timer.F, now + self._timing.timeout)

    def receive(self, response: Response, path: Path, now: float) -> None:
        """A response arrived."""
        if self.state not in (ClientState.TRYING, ClientState.PROCEEDING):
            return
        outlet, token = self._outlet, self.token
        outlet.emit(ResponseReceived(token, response, path))
        if response.status < 200:
            self.state = ClientState.PROCEEDING
            return
        outlet.cancel_timer(token, Timer.E)
        outlet.cancel_timer(token, Timer.F)
        self.state = ClientState.COMPLETED
        self._has_final()
        if self._is_reliable:
            self.terminate()
        else:
            outlet.set_timer(token, Timer.K, now + self._timing.t4)

    def handle_timer(self, timer: Timer, now: float) -> None:
        """One of its timers fired."""
        if timer is Timer.E:
            self._send()
            slow = self.state is ClientState.PROCEEDING
            self._interval = self._timing.t2 if slow else min(2 * self._interval, self._timing.t2)
            self._outlet.set_timer(self.token, Timer.E, now + self._interval)
        elif timer is Timer.F:
            self._time_out()
        else:
            self.terminate()
