"""A TCP allocation, from the client's side: connections to peers and from them (RFC 6062).

::

    allocation = TcpAllocation(
        server, Transport.TCP, username="user", password="secret", random=os.urandom
    )
    allocation.allocate(now)            # Allocated, or AllocateFailed
    allocation.connect(peer, now)       # PeerConnected(peer, connection_id), or …Failed
    allocation.permit([peer], now)      # ConnectionAttempted(peer, connection_id) may come

Each connection is then bound over a stream of its own: :mod:`natkit.turn.data_connection`.
"""

from copy import copy
from dataclasses import replace
from typing import Never

from natkit.address import Address, Family
from natkit.errors import MalformedMessage, MisuseError, NatkitError
from natkit.machine import RandomBytes, Transport
from natkit.stun.attributes import ConnectionId, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import TCP_PROTOCOL, Method
from natkit.turn.allocation import Allocation
from natkit.turn.data_connection import DataConnection
from natkit.turn.events import (
    ConnectionAttempted,
    PeerConnected,
    PeerConnectionFailed,
    TurnEvent,
)
from natkit.turn.requests import ConnectPeer


class TcpAllocation(Allocation):
    """An :class:`~natkit.turn.allocation.Allocation` whose peers are reached by TCP connections.

    ``transport`` is TCP or TLS.  It carries no datagrams, has no channels, and does not move.
    """

    def __init__(
        self,
        server: Address,
        transport: Transport,
        *,
        username: str,
        password: str,
        random: RandomBytes,
        local: Address | None = None,
        lifetime: int | None = None,
        family: Family | None = None,
    ) -> None:
        if transport not in (Transport.TCP, Transport.TLS):
            raise MisuseError(f"a TCP allocation cannot be had over {transport.upper()}")
        super().__init__(
            server,
            transport,
            username=username,
            password=password,
            random=random,
            local=local,
            lifetime=lifetime,
            family=family,
        )
        self._allocate = replace(self._allocate, protocol=TCP_PROTOCOL)

    def connect(self, peer: Address, now: float) -> None:
        """Have the server connect to ``peer``; PeerConnected or PeerConnectionFailed follows.

        No permission is needed.  MisuseError without an allocation, and for a peer of another
        family than the relayed address.
        """
        self._requests.start(ConnectPeer(self._reachable(peer)), now)

    def data_connection(self, connection_id: int) -> DataConnection:
        """What binds a connection that PeerConnected or ConnectionAttempted told of."""
        return DataConnection(
            self._paths.server,
            self._transport,
            connection_id,
            # What it will be told is not of this path.
            authentication=copy(self._requests.authentication),
            random=self._random,
        )

    def bind_channel(self, peer: Address, now: float) -> Never:  # noqa: ARG002 - inherited
        """MisuseError."""
        raise MisuseError(f"a TCP allocation has no channels, to {peer} or others")

    def send(self, data: bytes, peer: Address, now: float) -> Never:  # noqa: ARG002 - inherited
        """MisuseError."""
        raise MisuseError(f"a TCP allocation carries no datagrams, to {peer} or others")

    def _connect_outcome(self, purpose: ConnectPeer, result: Message | NatkitError) -> None:
        peer = purpose.peer
        if isinstance(result, Message):
            connection_id = result.get(ConnectionId)
            if connection_id is not None:
                self._events.append(PeerConnected(peer, connection_id.value))
                return
            result = MalformedMessage("the server names no connection")
        self._events.append(PeerConnectionFailed(peer, result))

    def _read_indication(self, message: Message) -> TurnEvent | None:
        # RFC 6062 §4.4
        peer, connection_id = message.get(XorPeerAddress), message.get(ConnectionId)
        if (
            message.method != Method.CONNECTION_ATTEMPT
            or message.unknown_required()
            or peer is None
            or connection_id is None
            or not self._peers.is_expected(peer.address.host)
        ):
            return None
        return ConnectionAttempted(peer.address, connection_id.value)
