"""All transactions of one element: finds the one of each message, and bounds them (§17)."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Final

from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import Failure, Path, Transmit
from natkit.sip.headers import HeaderField
from natkit.sip.kinds import VIA
from natkit.sip.message import Request, Response, parse_message
from natkit.sip.parser import DEFAULT_LIMITS, MessageLimits
from natkit.sip.transactions.client import InviteClient, NonInviteClient
from natkit.sip.transactions.derived import cancel_of
from natkit.sip.transactions.events import (
    AckReceived,
    BadRequest,
    Dropped,
    NoRoomForRequest,
    RequestReceived,
    TransactionEnded,
    TransactionEvent,
    TransactionId,
)
from natkit.sip.transactions.live import LiveTransaction, described
from natkit.sip.transactions.matching import (
    ClientKey,
    ServerKey,
    client_key,
    client_key_of_request,
    server_key,
)
from natkit.sip.transactions.server import InviteServer, NonInviteServer, ServerTransaction
from natkit.sip.transactions.timing import DEFAULT_TIMING, LINGERING, SipTiming, Timer
from natkit.sip.via import ResponseAddress, SentBy, Via, response_destination
from natkit.timers import TimerQueue

__all__ = ["TransactionSettings", "Transactions"]

AnyTransaction = InviteClient | NonInviteClient | InviteServer | NonInviteServer


LINGER_SLACK: Final = 0.5
"""Seconds for which a transaction that only waits to be forgotten may wait longer."""

SLACK: Final = 64
"""Bytes; a NAT may give a request that is sent again a port with fewer digits."""


@dataclass(frozen=True, slots=True)
class TransactionSettings:
    """Timers and bounds."""

    timing: SipTiming = DEFAULT_TIMING
    limits: MessageLimits = DEFAULT_LIMITS

    largest_count: int = 100_000
    """Transactions at once, of both kinds: some 10 kB each while their messages are kept."""


class Transactions:
    """A machine (:mod:`natkit.machine`) whose inputs are messages, and ``send`` and ``respond``.

    What arrives gets ``received`` and ``rport`` in its topmost Via (§18.2.1, RFC 3581 §4) before
    anybody sees it.  An element that answers without a transaction uses :meth:`respond_to`.
    """

    def __init__(self, settings: TransactionSettings | None = None) -> None:
        self._settings = settings or TransactionSettings()
        self._clients: dict[ClientKey, InviteClient | NonInviteClient] = {}
        self._servers: dict[ServerKey, InviteServer | NonInviteServer] = {}
        self._live: dict[TransactionId, AnyTransaction] = {}
        self._on_path: dict[Path, dict[TransactionId, None]] = {}
        self._timers: TimerQueue[tuple[TransactionId, Timer]] = TimerQueue()
        self._lingering: TimerQueue[tuple[TransactionId, Timer]] = TimerQueue()
        self._transmits: list[Transmit] = []
        self._events: deque[TransactionEvent] = deque()
        self._tokens = count(1)

    def configure(self, settings: TransactionSettings) -> None:
        """Go by other settings for transactions that begin from now on."""
        self._settings = settings

    def __len__(self) -> int:
        return len(self._live)

    # ── the user's side ─────────────────────────────────────────────────────────────────────────

    def send(self, request: Request, path: Path, now: float) -> TransactionId:
        """Send a request in a transaction of its own.

        Its topmost Via has a branch that no other has.  MisuseError without, for an ACK, which has
        no transaction (:meth:`transmit` is for it), or when there is no room.
        """
        if request.method == "ACK":
            raise MisuseError("an ACK has no transaction")
        if len(self) >= self._settings.largest_count:
            raise MisuseError(f"{len(self)} transactions are open, which is the most allowed")
        try:
            key = client_key_of_request(request)
        except MalformedMessage as error:
            raise MisuseError(str(error)) from error
        if key in self._clients:
            raise MisuseError(f"branch {key[0]} is taken")
        kind = InviteClient if request.method == "INVITE" else NonInviteClient
        token = next(self._tokens)
        client = kind(token, key, request, path, self._settings.timing, self, now)
        self._clients[key] = client
        self._live[token] = client
        self._note_path(token, path)
        client.start(now)
        return token

    def cancel(
        self, transaction: TransactionId, now: float, fields: Sequence[HeaderField] = ()
    ) -> TransactionId | None:
        """Cancel an INVITE of ours (§9.1): the CANCEL's own transaction, or None if it is over.

        To be called once a provisional response is there; before, the other side may not know it.
        """
        client = self._live.get(transaction)
        if not isinstance(client, InviteClient) or client.request is None:
            return None
        return self.send(cancel_of(client.request, fields), client.path, now)

    def respond(self, transaction: TransactionId, response: Response, now: float) -> None:
        """Send a response; that of a transaction that is over goes nowhere.

        MisuseError when it comes after a final one.
        """
        server = self._live.get(transaction)
        if isinstance(server, ServerTransaction):
            server.respond(response, now)

    def move(self, transaction: TransactionId, path: Path) -> None:
        """Send the responses of a transaction whose stream ended on another ``path``."""
        server = self._live.get(transaction)
        if isinstance(server, ServerTransaction):
            self._note_path(transaction, path)
            server.move(path)

    def respond_to(self, request: Request, response: Response, path: Path) -> None:
        """Answer without a transaction what came on ``path`` (§16.11, §8.2.7).

        Where the topmost Via cannot be read, the answer goes back to where the request came from.
        """
        if request.method == "ACK":
            return
        try:
            path = _answering(_via_of(request), path)[0]
        except MalformedMessage:
            pass
        self.transmit(bytes(response), path)

    def abandon(self, transaction: TransactionId) -> None:
        """Forget a transaction, whatever its state; its messages then belong to nothing."""
        found = self._live.get(transaction)
        if found is not None:
            found.terminate()

    def request_of(self, transaction: TransactionId) -> Request | None:
        """The request of a transaction without a final response."""
        found = self._live.get(transaction)
        return None if found is None else found.request

    def live(self) -> Iterator[LiveTransaction]:
        """All transactions, the latest first; to be read before anything else happens."""
        return map(described, reversed(self._live.values()))

    # ── the contract of machines ────────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram, or one message of a stream."""
        try:
            message = parse_message(data, self._settings.limits)
        except MalformedMessage as error:
            self.emit(Dropped(path, str(error)))
            return
        self.receive_message(message, path, now)

    def receive_message(self, message: Request | Response, path: Path, now: float) -> None:
        """The same, for one that was parsed already."""
        if isinstance(message, Response):
            self._receive_response(message, path, now)
        else:
            self._receive_request(message, path, now)

    def disconnected(self, path: Path, now: float) -> None:  # noqa: ARG002 - the contract
        """A stream ended."""
        for token in list(self._on_path.pop(path, ())):
            found = self._live.get(token)
            if found is not None:
                found.lose_path()

    def answer(self, request_id: int, result: Failure, now: float) -> None:
        """Nothing is ever asked of the shell."""

    def handle_timer(self, now: float) -> None:
        """Time has passed."""
        for token, timer in chain(self._timers.pop_due(now), self._lingering.pop_due(now)):
            found = self._live.get(token)
            if found is not None:
                found.handle_timer(timer, now)

    def next_deadline(self) -> float | None:
        """When to call ``handle_timer``."""
        soonest, end = self._timers.next_deadline(), self._lingering.next_deadline()
        if end is None:
            return soonest
        # Many end at one waking: each may stay a little longer than it must.
        end += LINGER_SLACK
        return end if soonest is None or end < soonest else soonest

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        taken, self._transmits = self._transmits, []
        return taken

    def next_event(self) -> TransactionEvent | None:
        """Take the next event."""
        return self._events.popleft() if self._events else None

    # ── the outlet of each transaction ──────────────────────────────────────────────────────────

    def transmit(self, data: bytes, path: Path) -> None:
        """Have a message sent, in no transaction: an ACK to a 2xx, or a stateless request."""
        self._transmits.append(Transmit(data, path))

    def set_timer(self, transaction: TransactionId, timer: Timer, deadline: float) -> None:
        """See :class:`~natkit.sip.transactions.outlet.Outlet`."""
        timers = self._lingering if timer in LINGERING else self._timers
        timers.set((transaction, timer), deadline)

    def cancel_timer(self, transaction: TransactionId, timer: Timer) -> None:
        """See :class:`~natkit.sip.transactions.outlet.Outlet`."""
        self._timers.cancel((transaction, timer))

    def emit(self, event: TransactionEvent) -> None:
        """See :class:`~natkit.sip.transactions.outlet.Outlet`."""
        self._events.append(event)

    def end(self, transaction: TransactionId) -> None:
        """See :class:`~natkit.sip.transactions.outlet.Outlet`."""
        found = self._live.pop(transaction, None)
        if found is None:
            return
        for timer in found.timers:
            timers = self._lingering if timer in LINGERING else self._timers
            timers.cancel((transaction, timer))
        if isinstance(found, ServerTransaction):
            del self._servers[found.key]
        else:
            del self._clients[found.key]
        self._forget_path(transaction, found.path)
        self.emit(TransactionEnded(transaction))

    # ── messages ────────────────────────────────────────────────────────────────────────────────

    def _receive_response(self, response: Response, path: Path, now: float) -> None:
        try:
            response.check()
            key = client_key(response)
        except MalformedMessage as error:
            self.emit(Dropped(path, str(error)))
            return
        client = self._clients.get(key)
        if client is None:
            # RFC 6026 §8.6: what belongs to no transaction goes nowhere.
            self.emit(Dropped(path, f"a {response.status} that answers nothing"))
        else:
            client.receive(response, path, now)

    def _receive_request(self, request: Request, path: Path, now: float) -> None:
        try:
            via = _via_of(request)
        except MalformedMessage as error:
            self._refuse(request, path, str(error))
            return
        stamped = via.stamped(path.remote)
        if stamped != via:
            headers = request.headers.replace_first(VIA, stamped)
            request = Request(
                request.method, request.uri_text, headers, request.body, request.version
            )
        try:
            request.check()
            key = server_key(request)
        except MalformedMessage as error:
            self._refuse(request, path, str(error))
            return
        found = self._servers.get(key)
        if request.method == "ACK":
            self._receive_ack(request, found, path, now)
        elif found is not None:
            # Who forged a short one would have the response to a long one sent to somebody else.
            if found.head_size - request.headers.size < SLACK:
                found.receive_again()
            else:
                self.emit(Dropped(path, "its branch is that of a longer request"))
        elif len(self) >= self._settings.largest_count:
            self.emit(NoRoomForRequest(request, path))
        else:
            self._open(key, request, stamped, path, now)

    def _refuse(self, request: Request, path: Path, reason: str) -> None:
        """What is an ACK, or names no hop at all, gets no answer."""
        if request.method == "ACK" or not request.headers.has(VIA):
            self.emit(Dropped(path, reason))
        else:
            self.emit(BadRequest(request, path, reason))

    def _receive_ack(
        self,
        ack: Request,
        found: InviteServer | NonInviteServer | None,
        path: Path,
        now: float,
    ) -> None:
        if isinstance(found, InviteServer) and found.receive_ack(ack, now):
            return
        self.emit(AckReceived(ack, path))

    def _open(self, key: ServerKey, request: Request, via: Via, path: Path, now: float) -> None:
        token = next(self._tokens)
        answering, destination = _answering(via, path)
        kind = InviteServer if request.method == "INVITE" else NonInviteServer
        server = kind(token, key, request, answering, destination, self._settings.timing, self, now)
        self._servers[key] = server
        self._live[token] = server
        self._note_path(token, answering)
        server.start(now)
        cancels = None
        if request.method == "CANCEL":
            invite = self._servers.get(server_key(request, "INVITE"))
            cancels = None if invite is None else invite.token
        self.emit(RequestReceived(token, request, path, cancels))

    def _note_path(self, token: TransactionId, path: Path) -> None:
        if path.transport.is_reliable:
            self._on_path.setdefault(path, {})[token] = None

    def _forget_path(self, token: TransactionId, path: Path | None) -> None:
        if path is None or not path.transport.is_reliable:
            return
        on_path = self._on_path.get(path)
        if on_path is not None:
            on_path.pop(token, None)
            if not on_path:
                del self._on_path[path]


def _via_of(request: Request) -> Via:
    via = request.headers.first(VIA)
    if via is None:
        raise MalformedMessage("there is no Via")
    return via


def _answering(via: Via, path: Path) -> tuple[Path, ResponseAddress | SentBy | None]:
    """Where responses go first, and what counts when that is a stream that ended (§18.2.2)."""
    try:
        destination = response_destination(via)
    except MalformedMessage:
        # A transport that we do not know, on one that we do: it came from somewhere.
        return path, None
    if path.transport.is_reliable:
        return path, destination
    if isinstance(destination, ResponseAddress) and destination.address.family is (
        path.local.family
    ):
        return path._replace(remote=destination.address), destination
    return path, destination
