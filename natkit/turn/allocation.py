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

from collections.abc import Iterable
from typing import Final, assert_never

from natkit.address import Address
from natkit.errors import (
    MalformedMessage,
    MisuseError,
    NatkitError,
)
from natkit.machine import Path, RandomBytes, Transport
from natkit.stun.attributes import Data, XorPeerAddress
from natkit.stun.authentication import TokenCredential
from natkit.stun.message import Message
from natkit.stun.registry import TRANSACTION_ID_LENGTH, MessageClass, Method
from natkit.turn import dual
from natkit.turn.allocation_state import AllocationState
from natkit.turn.channel_data import ChannelData, is_channel_data
from natkit.turn.events import (
    TurnEvent,
)
from natkit.turn.life import Life
from natkit.turn.peers import Peers
from natkit.turn.receiving import of_channel_data, of_indication
from natkit.turn.requests import (
    BindChannel,
    ConnectPeer,
    CreatePermission,
)

__all__ = ["MAX_DATA", "Allocation", "AllocationState"]

MAX_DATA: Final = 65456
"""Bytes to a peer that fit a Send indication with an IPv6 address in one UDP datagram."""


class Allocation(Life):
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
        super().__init__(
            server,
            transport,
            username=username,
            password=password,
            token=token,
            random=random,
            local=local,
            lifetime=lifetime,
            family=family,
            mobile=mobile,
        )
        self._peers = Peers()
        self._malformed = 0
        self._unexpected = 0

    @property
    def dropped(self) -> int:
        """Datagrams to peers that were never sent, for want of a permission."""
        return self._peers.dropped

    @property
    def discarded(self) -> int:
        """Messages that arrived and were malformed, or from no peer that was permitted."""
        return self._malformed + self._unexpected

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

    # ── the contract of a machine ─────────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A message from the server arrived; others' are ignored."""
        known = (self._paths.current, self._paths.left)
        if path not in known and not self._moving.is_reached_by(path):
            return
        try:
            if is_channel_data(data):
                self._tell(of_channel_data(ChannelData.parse(data), self._peers))
            else:
                self._receive_message(Message.parse(data), now)
        except MalformedMessage:
            self._malformed += 1

    def handle_timer(self, now: float) -> None:
        """Retransmit, refresh, and notice what ended."""
        super().handle_timer(now)
        if self._state is AllocationState.ALLOCATED:
            self._peers.handle_timer(now)
            self._serve_peers(now)

    def next_deadline(self) -> float | None:
        """The earliest of all that is to be done in time."""
        deadlines = super().next_deadline(), self._peers.next_deadline()
        return min((each for each in deadlines if each is not None), default=None)

    # ── peers ─────────────────────────────────────────────────────────────────────────────────────

    def _forget_peers(self) -> None:
        self._peers.clear()

    def _peers_outcome(
        self,
        purpose: CreatePermission | BindChannel | ConnectPeer,
        result: Message | NatkitError,
        started_at: float,
        now: float,
    ) -> None:
        match purpose:
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

    def _connect_outcome(self, purpose: ConnectPeer, result: Message | NatkitError) -> None:
        """What a TCP allocation makes of it: :mod:`natkit.turn.tcp_allocation`."""
        raise AssertionError(f"{purpose} of a UDP allocation: {result}")

    def _serve_peers(self, now: float) -> None:
        """Do what the peers' permissions and channels want done."""
        for request in self._peers.take_requests():
            self._requests.start(request, now)
        self._events += self._peers.take_events()
        for peer, data in self._peers.take_ready():
            self._send_indication(data, peer)

    def _reachable(self, peer: Address) -> Address:
        if self._state is not AllocationState.ALLOCATED:
            raise MisuseError(f"there is no allocation: its state is {self._state.name}")
        if all(peer.family is not relayed.family for relayed in self.relayed_addresses):
            # RFC 8656 §10.1, §12.1.
            raise MisuseError(f"{peer} is of another address family than {self.relayed}")
        return peer

    # ── data ──────────────────────────────────────────────────────────────────────────────────────

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
                expected = self._requests.receive(message, now)
                self._unexpected += not expected and not self._moving.receive(message, now)
                self._take_outcomes(now)
            case MessageClass.INDICATION:
                self._tell(self._read_indication(message))
            case MessageClass.REQUEST:
                self._unexpected += 1
            case _:
                assert_never(message.message_class)

    def _read_indication(self, message: Message) -> TurnEvent | None:
        return of_indication(message, self._peers)

    def _tell(self, event: TurnEvent | None) -> None:
        """Tell what came from a peer, if it was asked for."""
        if event is not None:
            self._events.append(event)
        else:
            self._unexpected += 1
