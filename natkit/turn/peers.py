"""What an allocation has at its server for its peers: permissions and channels, kept alive."""

from collections.abc import Sequence

from natkit.address import Address
from natkit.errors import ErrorResponse, MisuseError, NatkitError, TransactionTimeout
from natkit.stun.message import Message
from natkit.turn.channels import Channels, ChannelState
from natkit.turn.events import (
    ChannelBound,
    ChannelFailed,
    PermissionFailed,
    PermissionInstalled,
)
from natkit.turn.permissions import Permissions
from natkit.turn.requests import BindChannel, CreatePermission, may_pass, retry_delay

PeerEvent = PermissionInstalled | PermissionFailed | ChannelBound | ChannelFailed
PeerRequest = CreatePermission | BindChannel


class Peers:
    """Permissions and channels of one allocation.

    Its owner, after each call: starts the ``requests``, tells the ``events``, sends what is
    ``ready``; :meth:`take_requests` and its likes hand them over.
    """

    def __init__(self) -> None:
        self._permissions = Permissions()
        self._channels = Channels()
        self._requests: list[PeerRequest] = []
        self._events: list[PeerEvent] = []
        self._ready: list[tuple[Address, bytes]] = []

    @property
    def dropped(self) -> int:
        """Datagrams that were never sent, for want of a permission."""
        return self._permissions.dropped

    def is_permitted(self, host: str) -> bool:
        """Whether the server relays to ``host``, as far as the client knows."""
        return self._permissions.is_installed(host)

    def is_expected(self, host: str) -> bool:
        """Whether we asked for data from ``host`` (RFC 8656 §11.4, §12.6)."""
        return host in self._permissions

    def channel_to(self, peer: Address) -> int | None:
        """The channel to send to ``peer`` on, once it is bound."""
        return self._channels.bound_number(peer)

    def peer_on(self, channel: int) -> Address | None:
        """Who sent what arrives on ``channel``."""
        return self._channels.peer_of(channel)

    # ── wishes ──────────────────────────────────────────────────────────────────────────────────

    def permit(self, peers: Sequence[Address]) -> None:
        """Permit the peers' hosts; an event follows for each."""
        self._request_permissions(peers)
        for host in dict.fromkeys(peer.host for peer in peers):
            if self._permissions.is_installed(host):
                self._events.append(PermissionInstalled(host))

    def hold(self, peer: Address, data: bytes) -> None:
        """Keep ``data`` until the peer is permitted, which is asked for if it was not yet."""
        self._request_permissions([peer])
        self._permissions.hold(peer, data)

    def bind_channel(self, peer: Address, now: float) -> None:
        """Bind a channel, and permit the peer; events follow for both."""
        known = self._channels.of_peer(peer)
        is_new = known is None or known.state is ChannelState.ENDED
        channel = self._channels.request(peer)
        if not is_new:
            self.permit([peer])
            if channel.state is ChannelState.BOUND:
                self._events.append(ChannelBound(peer, channel.number))
            return
        try:
            # RFC 8656 §12.1: the ChannelBind installs the permission too.
            carries_permission = bool(self._permissions.request([peer]))
        except MisuseError:
            self._channels.refuse(channel, now)
            raise
        self._requests.append(BindChannel(channel, carries_permission))

    def release(self, host: str) -> None:
        """Let everything for ``host`` lapse."""
        self._permissions.release(host)
        self._channels.release(host)

    def clear(self) -> None:
        """The allocation is gone, and all this with it."""
        self._permissions.clear()
        self._channels.clear()

    # ── outcomes ────────────────────────────────────────────────────────────────────────────────

    def permission_outcome(
        self,
        request: CreatePermission,
        result: Message | NatkitError,
        started_at: float,
        now: float,
    ) -> None:
        """A CreatePermission that left at ``started_at`` has ended."""
        peers = request.peers
        if isinstance(result, Message):
            for peer in peers:
                self._install(peer, started_at)
        elif isinstance(result, ErrorResponse) and len(peers) > 1 and not may_pass(result):
            # All or nothing at the server (RFC 8656 §10.2): find the one that is refused.
            half = len(peers) // 2
            self._requests += [CreatePermission(peers[:half]), CreatePermission(peers[half:])]
        else:
            for peer in peers:
                self._permission_failed(peer.host, result, now)

    def channel_outcome(
        self, request: BindChannel, result: Message | NatkitError, started_at: float, now: float
    ) -> None:
        """A ChannelBind that left at ``started_at`` has ended."""
        channel = request.channel
        if isinstance(result, Message):
            # RFC 8656 §12.3.
            newly = self._channels.bind(channel, started_at)
            self._install(channel.peer, started_at)
            if newly:
                self._events.append(ChannelBound(channel.peer, channel.number))
            return
        if may_pass(result) and channel.state is ChannelState.BOUND:
            # Without time for another attempt the end is near, and ``due`` will tell.
            self._channels.retry(channel, now, retry_delay(result))
            return
        # A refresh that outlasted its channel: the end was told when it came.
        told = channel.state is ChannelState.ENDED
        if isinstance(result, ErrorResponse):
            self._channels.refuse(channel, now)
        else:
            self._channels.doubt(channel, now)
        if not told:
            self._events.append(ChannelFailed(channel.peer, result))
        if request.carries_permission and not self._permissions.is_installed(channel.peer.host):
            # Whoever waits for the permission need not suffer: it can be had without a channel.
            self._requests.append(CreatePermission((channel.peer,)))

    # ── time ────────────────────────────────────────────────────────────────────────────────────

    def handle_timer(self, now: float) -> None:
        """Refresh what is due, and notice what ended."""
        permissions = self._permissions.due(now)
        self._requests += [CreatePermission(tuple(batch)) for batch in permissions.refresh]
        for host in permissions.ended:
            error = TransactionTimeout(f"no refresh of the permission for {host} was answered")
            self._events.append(PermissionFailed(host, error))
        channels = self._channels.due(now)
        for channel in channels.refresh:
            self._requests.append(BindChannel(channel, carries_permission=False))
        for channel in channels.ended:
            if channel.kept:
                error = TransactionTimeout(f"no refresh of {channel.peer}'s channel was answered")
                self._events.append(ChannelFailed(channel.peer, error))

    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`, or None."""
        deadlines = (self._permissions.next_deadline(), self._channels.next_deadline())
        return min((each for each in deadlines if each is not None), default=None)

    # ── what is to be done ──────────────────────────────────────────────────────────────────────

    def take_requests(self) -> list[PeerRequest]:
        """Take the requests to send."""
        taken, self._requests = self._requests, []
        return taken

    def take_events(self) -> list[PeerEvent]:
        """Take the events to tell."""
        taken, self._events = self._events, []
        return taken

    def take_ready(self) -> list[tuple[Address, bytes]]:
        """Take the data whose permission has come."""
        taken, self._ready = self._ready, []
        return taken

    def _request_permissions(self, peers: Sequence[Address]) -> None:
        for batch in self._permissions.request(peers):
            self._requests.append(CreatePermission(tuple(batch)))

    def _permission_failed(self, host: str, error: NatkitError, now: float) -> None:
        if may_pass(error) and self._permissions.is_installed(host):
            # Without time for another attempt the end is near, and ``due`` will tell.
            self._permissions.retry(host, now, retry_delay(error))
        elif self._permissions.remove(host):
            self._events.append(PermissionFailed(host, error))

    def _install(self, peer: Address, requested_at: float) -> None:
        waiting = self._permissions.install(peer, requested_at)
        if waiting is not None:
            self._events.append(PermissionInstalled(peer.host))
            self._ready += waiting
