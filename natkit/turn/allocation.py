"""One allocation, from the client's side (RFC 8656 §6 to §12).

::

    allocation = Allocation(
        server, Transport.UDP, username="user", password="secret", random=os.urandom
    )
    allocation.allocate(now)            # Allocated(relayed, mapped, lifetime), or AllocateFailed
    allocation.permit([peer], now)      # PermissionInstalled(host), or PermissionFailed
    allocation.bind_channel(peer, now)  # ChannelBound(peer, channel), or ChannelFailed
    allocation.send(data, peer, now)    # DataReceived(data, peer) comes back
    allocation.move(now)                # Moved(path), or MoveFailed
    allocation.close(now)               # AllocationClosed(confirmed)

It asks its shell for a socket or a stream of its own, refreshes all that it has, and tells by
AllocationLost when the server dropped it.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Final, assert_never

from natkit import __version__
from natkit.address import Address, Family
from natkit.errors import (
    AllocationMismatch,
    MalformedMessage,
    MisuseError,
    MobilityForbidden,
    NatkitError,
    TlsFailed,
    TransactionTimeout,
    UnreachableError,
)
from natkit.machine import (
    ClosePath,
    CloseSocket,
    Connect,
    Failure,
    OpenSocket,
    Path,
    RandomBytes,
    RequestId,
    Transmit,
    Transport,
)
from natkit.stun.attributes import (
    Data,
    Icmp,
    Lifetime,
    XorMappedAddress,
    XorPeerAddress,
)
from natkit.stun.authentication import (
    Authentication,
    LongTerm,
    ThirdParty,
    TokenCredential,
)
from natkit.stun.conversation import Conversation, Outcome, Succeeded
from natkit.stun.message import Message
from natkit.stun.registry import TRANSACTION_ID_LENGTH, MessageClass, Method
from natkit.timers import TimerQueue
from natkit.turn import dual
from natkit.turn.channel_data import ChannelData, is_channel_data
from natkit.turn.events import (
    Allocated,
    AllocateFailed,
    AllocationClosed,
    AllocationLost,
    DataReceived,
    IcmpReceived,
    Moved,
    MoveFailed,
    Refreshed,
    TurnEvent,
)
from natkit.turn.moving import LINGER, Move, may_be_elsewhere, ticket_of
from natkit.turn.peers import Peers
from natkit.turn.permissions import REFRESH_MARGIN
from natkit.turn.registry import DEFAULT_LIFETIME
from natkit.turn.requests import (
    Allocate,
    BindChannel,
    ConnectPeer,
    CreatePermission,
    Delete,
    Purpose,
    Refresh,
    form,
    may_pass,
    retry_delay,
)

MAX_DATA: Final = 65456
"""Bytes to a peer that fit a Send indication with an IPv6 address in one UDP datagram."""

ATTEMPTS: Final = 3
"""Client addresses to try when the server has another's allocation on ours (RFC 8656 §7.4)."""

OPEN_TIMEOUT: Final = 30.0
"""Seconds that the shell has to open a socket or a stream."""

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that ``close`` waits for the server: four of a request's transmissions fit."""

SOFTWARE: Final = f"natkit {__version__}"

_ANY: Final = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}  # noqa: S104 - that is the point


class AllocationState(Enum):
    """How far an allocation is."""

    IDLE = auto()
    OPENING = auto()
    ALLOCATING = auto()
    ALLOCATED = auto()
    DELETING = auto()
    CLOSED = auto()


_S = AllocationState
_TRANSITIONS: Final = {
    _S.IDLE: {_S.OPENING, _S.CLOSED},
    _S.OPENING: {_S.ALLOCATING, _S.IDLE, _S.CLOSED},
    _S.ALLOCATING: {_S.ALLOCATED, _S.OPENING, _S.IDLE, _S.DELETING, _S.CLOSED},
    _S.ALLOCATED: {_S.DELETING, _S.CLOSED},
    _S.DELETING: {_S.CLOSED},
    _S.CLOSED: set[AllocationState](),
}


class _Timer(Enum):
    OPEN = auto()
    MOVE = auto()
    LINGER = auto()
    REFRESH = auto()
    EXPIRY = auto()
    CLOSE = auto()


class Allocation:
    """A machine (:mod:`natkit.machine`) that keeps one allocation at one server.

    ``transport`` is UDP or TCP; the transports with TLS are reached through a TLS stream that the
    shell frames, and look like TCP from here.  ``local`` is the address to speak from, with port 0
    for any; without it the system chooses.  ``lifetime`` in seconds and ``family`` of the relayed
    address are wishes; without them the server's defaults hold.  ``family`` may be Both.FAMILIES.

    ``token``: show it in place of username and password (RFC 7635); ``renew`` replaces it in time.

    ``mobile``: ask for a mobility ticket (RFC 8016), and do without where the server forbids it.
    With one the allocation moves by ``move``; and by itself when a connection ends, the server
    stops answering, or says 437 because a NAT gave us another address.

    Data to a peer without a permission requests one and waits for it, up to MAX_WAITING bytes in
    all; what is too much, or waits for a permission that fails, is dropped and counted.
    """

    def __init__(
        self,
        server: Address,
        transport: Transport,
        *,
        username: str = "",
        password: str = "",
        token: TokenCredential | None = None,
        random: RandomBytes,
        local: Address | None = None,
        lifetime: int | None = None,
        family: dual.Wish = None,
        mobile: bool = False,
    ) -> None:
        if lifetime is not None and not 0 < lifetime < 1 << 32:
            raise MisuseError(f"a lifetime of {lifetime} seconds")
        self._server = server
        self._transport = transport
        self._token = token
        self._password = (username, password)
        self._random = random
        self._local = local
        self._allocate = Allocate(lifetime, family, mobile)
        self._refresh = Refresh(lifetime)
        self._state = AllocationState.IDLE
        self._attempt = 0
        self._request_id = 0
        self._path: Path | None = None
        self._authentication = self._credential()
        self._conversation = self._converse(self._authentication)
        self._purposes: dict[RequestId, tuple[Purpose, float]] = {}
        self._ticket = b""
        self._move: Move | None = None
        self._left: Path | None = None
        self._peers = Peers()
        self._timers: TimerQueue[_Timer] = TimerQueue()
        self._unusable: MalformedMessage | None = None
        self._refresh_error: NatkitError = TransactionTimeout("the server stopped answering")
        self._transmits: list[Transmit] = []
        self._events: deque[TurnEvent] = deque()
        self._malformed = 0
        self._unexpected = 0
        self.relayed: Address | None = None
        """Where peers reach us, while the state is ALLOCATED."""
        self.relayed_addresses: tuple[Address, ...] = ()
        """The same, and the address of the other family if we have both."""

    # ── what the owner asks for ─────────────────────────────────────────────────────────────────

    @property
    def state(self) -> AllocationState:
        """How far it is."""
        return self._state

    @property
    def path(self) -> Path | None:
        """The 5-tuple to the server, once there is one."""
        return self._path

    @property
    def dropped(self) -> int:
        """Datagrams to peers that were never sent, for want of a permission."""
        return self._peers.dropped

    @property
    def discarded(self) -> int:
        """Messages that arrived and were malformed, or from no peer that was permitted."""
        return self._malformed + self._unexpected

    def allocate(self, now: float) -> None:
        """Ask the server for an allocation; Allocated or AllocateFailed follows.

        After AllocateFailed it may be called again while the state is IDLE, and speaks from a new
        local address.  MisuseError in any other state.
        """
        if self._state is not AllocationState.IDLE:
            raise MisuseError(f"allocate() while {self._state.name}")
        self._attempt = 0
        self._open(now)

    def permit(self, peers: Iterable[Address], now: float) -> None:
        """Have the server relay between us and the peers' hosts, until ``release`` or the end.

        PermissionInstalled or PermissionFailed follows for each host.  Hosts that come in one call
        share requests.  MisuseError without an allocation, for a peer of another family than the
        relayed address, and past MAX_PERMISSIONS.
        """
        self._peers.permit([self._reachable(peer) for peer in peers])
        self._serve_peers(now)

    def bind_channel(self, peer: Address, now: float) -> None:
        """Bind a channel to ``peer``, and permit its host; ChannelBound or ChannelFailed follows.

        Nothing waits for the binding: until it is there, data travels in indications.
        MisuseError as for ``permit``, and when all channels are in use.
        """
        self._peers.bind_channel(self._reachable(peer), now)
        self._serve_peers(now)

    def is_permitted(self, host: str) -> bool:
        """Whether data to ``host`` leaves at once, and its data is relayed to us."""
        return self._peers.is_permitted(host)

    def release(self, host: str) -> None:
        """Let the permission for ``host`` lapse, and all its channels: refresh them no more."""
        self._peers.release(host)

    def send(self, data: bytes, peer: Address, now: float) -> None:
        """Send one datagram to ``peer`` through the server, best effort as UDP is.

        MisuseError for more than MAX_DATA bytes, and as for ``permit``.
        """
        if len(data) > MAX_DATA:
            raise MisuseError(f"{len(data)} bytes do not fit a datagram through the relay")
        channel = self._peers.channel_to(self._reachable(peer))
        if channel is not None:
            # RFC 8656 §12.5.
            message = ChannelData(channel, data)
            self._transmit(message.encode(padded=self._transport.is_reliable))
        elif self._peers.is_permitted(peer.host):
            self._send_indication(data, peer)
        else:
            self._peers.hold(peer, data)
            self._serve_peers(now)

    def renew(self, token: TokenCredential, now: float) -> None:
        """Go on with another access token, before the one that there is expires: refresh by it.

        MisuseError for an allocation that was opened by a password.
        """
        if not isinstance(self._authentication, ThirdParty):
            raise MisuseError("the allocation was opened by a password, not by an access token")
        self._token = token
        self._authentication.renew(token)
        if self._state is AllocationState.ALLOCATED:
            self._start(self._refresh, now)

    @property
    def can_move(self) -> bool:
        """Whether the server has given a ticket for going elsewhere."""
        return self._state is AllocationState.ALLOCATED and self._ticket != b""

    def move(self, now: float, local: Address | None = None) -> None:
        """Take the allocation along to a new socket or stream; Moved or MoveFailed follows.

        ``local`` is the address to speak from, as for the constructor.  Until Moved everything goes
        by the old path, and no data is lost.  A move under way is given up for this one.
        MisuseError without an allocation that can move.
        """
        if not self.can_move:
            raise MisuseError("the allocation cannot move: the server gave no mobility ticket")
        self._local = local
        self._begin_move(None, now)

    def close(self, now: float) -> None:
        """Delete the allocation; AllocationClosed follows within CLOSE_TIMEOUT."""
        match self._state:
            case AllocationState.IDLE | AllocationState.OPENING:
                self._closed(confirmed=True)
            case AllocationState.ALLOCATING if self._authentication.prove().key is None:
                # The server has not spoken yet: nothing was granted.
                self._closed(confirmed=False)
            case AllocationState.ALLOCATING | AllocationState.ALLOCATED:
                self._delete(now)
            case AllocationState.DELETING | AllocationState.CLOSED:
                return
            case _:
                assert_never(self._state)

    # ── the contract of a machine ───────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A message from the server arrived; others' are ignored."""
        if path not in (self._path, self._left) and (self._move is None or path != self._move.path):
            return
        try:
            if is_channel_data(data):
                self._receive_channel_data(ChannelData.parse(data))
            else:
                self._receive_message(Message.parse(data), now)
        except MalformedMessage:
            self._malformed += 1

    def disconnected(self, path: Path, now: float) -> None:
        """The stream to the server ended."""
        error = UnreachableError(f"{self._server} closed the connection")
        if path == self._left:
            self._left = None
        elif path == self._path:
            self._path = None
            if not self._move_because(error, now):
                self._fail(error)
        elif self._move is not None and path == self._move.path:
            self._move.path = None
            self._move_failed(self._move, error)

    def answer(self, request_id: RequestId, result: Address | Path | Failure, now: float) -> None:
        """The socket or the stream is there, or is not."""
        move = self._move
        if move is not None and request_id == move.request_id:
            self._move_answer(move, result, now)
            return
        if request_id != self._request_id or self._state is not AllocationState.OPENING:
            match result:
                case Path():
                    self._events.append(ClosePath(result))
                case Address():
                    self._events.append(CloseSocket(result))
                case Failure():
                    pass
                case _:
                    assert_never(result)
            return
        self._timers.cancel(_Timer.OPEN)
        match result:
            case Failure(reason, tls_failed=tls_failed):
                self._fail(TlsFailed(reason) if tls_failed else UnreachableError(reason))
                return
            case Path() | Address():
                self._path = self._path_of(result)
            case _:
                assert_never(result)
        self._enter(AllocationState.ALLOCATING)
        self._start(self._allocate, now)

    def handle_timer(self, now: float) -> None:
        """Retransmit, refresh, and notice what ended."""
        self._conversation.handle_timer(now)
        if self._move is not None:
            self._move.handle_timer(now)
        self._take_outcomes(now)
        for timer in self._timers.pop_due(now):
            match timer:
                case _Timer.OPEN:
                    self._fail(UnreachableError(f"no connection to {self._server}"))
                case _Timer.REFRESH:
                    self._start(self._refresh, now)
                case _Timer.EXPIRY:
                    self._fail(self._refresh_error)
                case _Timer.CLOSE:
                    self._closed(confirmed=False)
                case _Timer.MOVE:
                    if self._move is not None:
                        error = UnreachableError(f"no connection to {self._server}")
                        self._move_failed(self._move, error)
                case _Timer.LINGER:
                    self._leave()
                case _:
                    assert_never(timer)
        if self._state is AllocationState.ALLOCATED:
            self._peers.handle_timer(now)
            self._serve_peers(now)

    def next_deadline(self) -> float | None:
        """The earliest of all that is to be done in time."""
        deadlines = (
            self._conversation.next_deadline(),
            None if self._move is None else self._move.next_deadline(),
            self._timers.next_deadline(),
            self._peers.next_deadline(),
        )
        return min((each for each in deadlines if each is not None), default=None)

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent to the server."""
        for data in self._conversation.transmits():
            self._transmit(data)
        if self._move is not None:
            self._transmits += self._move.transmits()
        taken, self._transmits = self._transmits, []
        return taken

    def next_event(self) -> TurnEvent | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None

    # ── opening, failing, closing ───────────────────────────────────────────────────────────────

    def _enter(self, state: AllocationState) -> None:
        """The one door between states."""
        if state not in _TRANSITIONS[self._state]:
            raise AssertionError(f"{self._state.name} to {state.name}")
        self._state = state

    def _open(self, now: float) -> None:
        self._enter(AllocationState.OPENING)
        self._attempt += 1
        # The server may bind its nonces to the 5-tuple: a new one begins anew.
        self._authentication = self._credential()
        self._drop_requests()
        self._timers.set(_Timer.OPEN, now + OPEN_TIMEOUT)
        self._ask_for_path()

    def _ask_for_path(self) -> RequestId:
        self._request_id += 1
        if self._transport is not Transport.UDP:
            self._events.append(
                Connect(self._request_id, self._transport, self._local, self._server)
            )
        else:
            local = self._local or Address(_ANY[self._server.family], 0)
            self._events.append(OpenSocket(self._request_id, local))
        return self._request_id

    def _path_of(self, result: Address | Path) -> Path:
        if isinstance(result, Path):
            return result
        return Path(self._transport, result, self._server)

    def _release_path(self) -> None:
        """Close what the shell opened, and forget all that belonged to it."""
        for timer in _Timer:
            self._timers.cancel(timer)
        self._drop_requests()
        self._drop_move()
        self._leave()
        self._peers.clear()
        self.relayed, self.relayed_addresses = None, ()
        path, self._path = self._path, None
        if path is not None:
            self._transmits.clear()
            self._close_path(path)

    def _close_path(self, path: Path) -> None:
        if path.transport is not Transport.UDP:
            self._events.append(ClosePath(path))
        else:
            self._events.append(CloseSocket(path.local))

    def _fail(self, error: NatkitError) -> None:
        """There is no allocation, or there is none any more."""
        match self._state:
            case AllocationState.OPENING | AllocationState.ALLOCATING:
                self._release_path()
                self._enter(AllocationState.IDLE)
                self._events.append(AllocateFailed(error))
            case AllocationState.ALLOCATED:
                self._release_path()
                self._enter(AllocationState.CLOSED)
                self._events.append(AllocationLost(error))
            case AllocationState.DELETING:
                self._closed(confirmed=False)
            case AllocationState.IDLE | AllocationState.CLOSED:
                return
            case _:
                assert_never(self._state)

    def _delete(self, now: float) -> None:
        # What an Allocate under way may yet create is deleted with it.
        self._drop_requests()
        self._drop_move()
        for timer in _Timer:
            self._timers.cancel(timer)
        self._peers.clear()
        if self._path is None:
            # It was lost on a move, and the server is not told any more.
            self._closed(confirmed=False)
            return
        self._enter(AllocationState.DELETING)
        self._timers.set(_Timer.CLOSE, now + CLOSE_TIMEOUT)
        self._start(Delete(), now)

    def _closed(self, *, confirmed: bool) -> None:
        self._release_path()
        self._enter(AllocationState.CLOSED)
        if self._unusable is not None:
            self._events.append(AllocateFailed(self._unusable))
        else:
            self._events.append(AllocationClosed(confirmed))

    # ── moving (RFC 8016) ───────────────────────────────────────────────────────────────────────

    def _begin_move(self, reason: NatkitError | None, now: float) -> None:
        left_over = [] if self._move is None else self._move.left_over
        self._drop_move()
        self._move = Move(self._ask_for_path(), reason)
        self._move.left_over = left_over
        self._timers.set(_Timer.MOVE, now + OPEN_TIMEOUT)

    def _move_because(self, reason: NatkitError, now: float) -> bool:
        """Save the allocation by moving, if that can be."""
        if not self.can_move:
            return False
        if self._move is not None:
            self._move.reason = self._move.reason or reason
        elif may_be_elsewhere(reason) and self._path is not None:
            # The server sees the same socket at another address.
            self._move = Move(0, reason)
            self._present(self._move, self._path, now)
        else:
            # Whatever address was given may be gone.
            self._local = None
            self._begin_move(reason, now)
        return True

    def _move_because_of_silence(self, now: float) -> None:
        if self.can_move and self._move is None:
            self._local = None
            self._begin_move(None, now)

    def _move_answer(self, move: Move, result: Address | Path | Failure, now: float) -> None:
        self._timers.cancel(_Timer.MOVE)
        match result:
            case Failure(reason, tls_failed=tls_failed):
                self._move_failed(
                    move, TlsFailed(reason) if tls_failed else UnreachableError(reason)
                )
            case Path() | Address():
                move.request_id = 0
                self._present(move, self._path_of(result), now)
            case _:
                assert_never(result)

    def _present(self, move: Move, path: Path, now: float) -> None:
        authentication = self._credential()
        conversation = self._converse(authentication)
        refresh = Refresh(self._refresh.lifetime, self._ticket)
        move.begin(path, authentication, conversation, refresh, now)

    def _move_outcome(self, move: Move, result: Message | NatkitError, now: float) -> None:
        if isinstance(result, NatkitError):
            if isinstance(result, AllocationMismatch):
                # The ticket is of no use any more.
                self._ticket = b""
            self._move_failed(move, result)
            return
        self._move = None
        old, self._path = self._path, move.path
        if old is not None and old != self._path:
            self._leave()
            self._left = old
            self._timers.set(_Timer.LINGER, now + LINGER)
        self._ticket = ticket_of(result)
        unanswered = [purpose for purpose, _ in self._purposes.values()]
        self._purposes.clear()
        if move.conversation is not None and move.authentication is not None:
            self._conversation, self._authentication = move.conversation, move.authentication
        self._live_until(move.started_at, _granted(result))
        if self._path is not None:
            self._events.append(Moved(self._path))
        # It tells the server that we are here, though we may have nothing to send.
        self._start(self._refresh, now)
        for purpose in move.left_over + unanswered:
            if isinstance(purpose, CreatePermission | BindChannel):
                self._start(purpose, now)

    def _move_failed(self, move: Move, error: NatkitError) -> None:
        self._drop_move()
        if move.reason is not None:
            self._fail(move.reason)
        else:
            self._events.append(MoveFailed(error))

    def _drop_move(self) -> None:
        self._timers.cancel(_Timer.MOVE)
        move, self._move = self._move, None
        if move is not None and move.path is not None and move.path != self._path:
            self._close_path(move.path)

    def _leave(self) -> None:
        """Be done with the path that was before the present one."""
        self._timers.cancel(_Timer.LINGER)
        path, self._left = self._left, None
        if path is not None:
            self._close_path(path)

    # ── requests and their outcomes ─────────────────────────────────────────────────────────────

    def _credential(self) -> Authentication:
        """What the user has to show, to a server of which nothing is known yet."""
        return ThirdParty(self._token) if self._token is not None else LongTerm(*self._password)

    def _converse(self, authentication: Authentication) -> Conversation:
        return Conversation(
            reliable=self._transport.is_reliable,
            random=self._random,
            authentication=authentication,
            software=SOFTWARE,
        )

    def _drop_requests(self) -> None:
        self._conversation = self._converse(self._authentication)
        self._purposes.clear()

    def _start(self, purpose: Purpose, now: float) -> None:
        method, attributes = form(purpose)
        request_id = self._conversation.request(method, attributes, now)
        self._purposes[request_id] = purpose, now

    def _take_outcomes(self, now: float) -> None:
        # What one outcome ends, it ends by a new conversation, which has no outcomes.
        while (outcome := self._conversation.next_outcome()) is not None:
            self._take_outcome(outcome, now)
        move = self._move
        if move is not None and (result := move.outcome()) is not None:
            self._move_outcome(move, result, now)

    def _take_outcome(self, outcome: Outcome, now: float) -> None:
        purpose, started_at = self._purposes.pop(outcome.request_id)
        result = outcome.response if isinstance(outcome, Succeeded) else outcome.error
        match purpose:
            case Allocate():
                self._allocate_outcome(result, started_at, now)
            case Delete():
                # RFC 8656 §8.3: 437 means that it is deleted already.
                self._closed(confirmed=isinstance(result, Message | AllocationMismatch))
            case _ if isinstance(result, AllocationMismatch):
                # RFC 8656 §5: the allocation no longer exists.
                if self._move_because(result, now) and self._move is not None:
                    self._move.left_over.append(purpose)
                else:
                    self._fail(result)
            case Refresh():
                self._refresh_outcome(result, started_at, now)
            case CreatePermission():
                self._peers.permission_outcome(purpose, result, started_at, now)
                self._serve_peers(now)
            case BindChannel():
                self._peers.channel_outcome(purpose, result, started_at, now)
                self._serve_peers(now)
            case ConnectPeer():
                self._connect_outcome(purpose, result)
            case _:
                assert_never(purpose)

    def _allocate_outcome(
        self, result: Message | NatkitError, started_at: float, now: float
    ) -> None:
        if isinstance(result, AllocationMismatch) and self._may_speak_from_elsewhere():
            # RFC 8656 §7.4.
            self._release_path()
            self._open(now)
            return
        if isinstance(result, MobilityForbidden) and self._allocate.mobile:
            self._allocate = replace(self._allocate, mobile=False)
            self._start(self._allocate, now)
            return
        if isinstance(result, NatkitError):
            self._fail(result)
            return
        relayed = dual.granted(result, self._allocate.family)
        mapped = result.get(XorMappedAddress)
        lifetime = _granted(result)
        if not relayed or not lifetime:
            # RFC 8656 §7.3: what can't be used is deleted.
            self._unusable = MalformedMessage("the server's allocation has no usable address")
            self._delete(now)
            return
        self._enter(AllocationState.ALLOCATED)
        self.relayed, self.relayed_addresses = relayed[0], relayed
        self._ticket = ticket_of(result)
        self._live_until(started_at, lifetime)
        mapped_address = mapped.address if mapped else None
        second = relayed[1] if len(relayed) == 2 else None
        self._events.append(
            Allocated(relayed[0], mapped_address, lifetime, second, dual.missing(result))
        )

    def _may_speak_from_elsewhere(self) -> bool:
        fixed = self._local is not None and self._local.port != 0
        return self._attempt < ATTEMPTS and not fixed

    def _live_until(self, started_at: float, lifetime: float) -> None:
        """It lasts at least ``lifetime`` seconds after the request left."""
        margin = min(REFRESH_MARGIN, lifetime / 2)
        self._timers.set(_Timer.REFRESH, started_at + lifetime - margin)
        self._timers.set(_Timer.EXPIRY, started_at + lifetime)

    def _refresh_outcome(
        self, result: Message | NatkitError, started_at: float, now: float
    ) -> None:
        if isinstance(result, Message):
            lifetime = _granted(result)
            if not lifetime:
                self._fail(AllocationMismatch(437, "the server ended the allocation"))
                return
            self._live_until(started_at, lifetime)
            self._events.append(Refreshed(lifetime))
            return
        self._refresh_error = result
        if isinstance(result, TransactionTimeout):
            # The path may be dead though the server is not.
            self._move_because_of_silence(now)
        if may_pass(result):
            self._timers.set(_Timer.REFRESH, now + retry_delay(result))

    def _connect_outcome(self, purpose: ConnectPeer, result: Message | NatkitError) -> None:
        """What a TCP allocation makes of it: :mod:`natkit.turn.tcp_allocation`."""
        raise AssertionError(f"{purpose} of a UDP allocation: {result}")

    def _serve_peers(self, now: float) -> None:
        """Do what the peers' permissions and channels want done."""
        for request in self._peers.take_requests():
            self._start(request, now)
        self._events += self._peers.take_events()
        for peer, data in self._peers.take_ready():
            self._send_indication(data, peer)

    # ── data ────────────────────────────────────────────────────────────────────────────────────

    def _reachable(self, peer: Address) -> Address:
        if self._state is not AllocationState.ALLOCATED:
            raise MisuseError(f"there is no allocation: its state is {self._state.name}")
        if all(peer.family is not relayed.family for relayed in self.relayed_addresses):
            # RFC 8656 §10.1, §12.1.
            raise MisuseError(f"{peer} is of another address family than {self.relayed}")
        return peer

    def _transmit(self, data: bytes) -> None:
        if self._path is not None:
            self._transmits.append(Transmit(data, self._path))

    def _send_indication(self, data: bytes, peer: Address) -> None:
        # RFC 8656 §11.1.
        transaction_id = self._random(TRANSACTION_ID_LENGTH)
        indication = Message.indication(
            Method.SEND, transaction_id, XorPeerAddress(peer), Data(data)
        )
        self._transmit(indication.encode())

    def _receive_message(self, message: Message, now: float) -> None:
        match message.message_class:
            case MessageClass.SUCCESS_RESPONSE | MessageClass.ERROR_RESPONSE:
                expected = self._conversation.receive(message, now) or (
                    self._move is not None and self._move.receive(message, now)
                )
                self._unexpected += not expected
                self._take_outcomes(now)
            case MessageClass.INDICATION:
                self._receive_indication(message)
            case MessageClass.REQUEST:
                self._unexpected += 1
            case _:
                assert_never(message.message_class)

    def _receive_indication(self, message: Message) -> None:
        # RFC 8656 §11.4, §11.6; RFC 8489 §6.3.2 for what is not understood.
        peer = message.get(XorPeerAddress)
        if message.method != Method.DATA or message.unknown_required() or peer is None:
            self._unexpected += 1
            return
        if not self._expects(peer.address):
            return
        data = message.get(Data)
        icmp = message.get(Icmp)
        if data is not None:
            self._events.append(DataReceived(data.value, peer.address))
        elif icmp is not None:
            self._events.append(
                IcmpReceived(peer.address, icmp.icmp_type, icmp.icmp_code, icmp.error_data)
            )
        else:
            self._unexpected += 1

    def _receive_channel_data(self, message: ChannelData) -> None:
        # RFC 8656 §12.6.
        peer = self._peers.peer_on(message.channel)
        if peer is None:
            self._unexpected += 1
        elif self._expects(peer):
            self._events.append(DataReceived(message.data, peer))

    def _expects(self, peer: Address) -> bool:
        """Whether we asked for data from this peer (RFC 8656 §11.4, §12.6)."""
        expected = self._state is AllocationState.ALLOCATED and self._peers.is_expected(peer.host)
        self._unexpected += not expected
        return expected


def _granted(response: Message) -> float:
    """The lifetime in a response, in seconds; the attribute is mandatory (RFC 8656 §7.2, §8.2)."""
    granted = response.get(Lifetime)
    return DEFAULT_LIFETIME if granted is None else float(granted.seconds)
