"""A client of a relay's and its peers, each on the host where they belong; all by hand."""

import socket
from contextlib import ExitStack

from natkit.address import Address, Family
from natkit.stun.attributes import (
    ChannelNumber,
    Data,
    RequestedAddressFamily,
    RequestedTransport,
    XorPeerAddress,
    XorRelayedAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import UDP_PROTOCOL, Method
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.cabled import LISTENERS, PEERS, inside
from tests.netlab.relay_hosts import RelayHosts
from tests.stun_server.by_hand import HandClient, code_of
from tests.stun_server.process import LIMIT

__all__ = ["CHANNEL", "Pair", "shorter_lives"]

CHANNEL = 0x4000
_TRANSACTION = bytes(range(12))


class Pair:
    """A client with an allocation, a peer on its channel, and one that it has permitted alone.

    Of two with the same ``number``, not more than one is there at a time.
    """

    def __init__(
        self,
        hosts: RelayHosts,
        stack: ExitStack,
        number: int,
        client: socket.AddressFamily = socket.AF_INET,
        peer: socket.AddressFamily = socket.AF_INET,
    ) -> None:
        with inside(hosts.left):
            self.client = HandClient(Address(LISTENERS[client], 3478), 50_000 + number)
        stack.callback(self.client.close)
        self.peers = []
        for port in (40_000 + number, 41_000 + number):
            with inside(hosts.right):
                sock = socket.socket(peer, socket.SOCK_DGRAM)
            stack.enter_context(sock)
            sock.bind((PEERS[peer][0], port))
            sock.settimeout(LIMIT)
            self.peers.append(sock)
        self.relayed = self._allocate(Family.IPV4 if peer == socket.AF_INET else Family.IPV6)
        self._there = [Address(*each.getsockname()[:2]) for each in self.peers]
        self.bind()

    def _allocate(self, family: Family) -> Address:
        answer = self.client.request(
            Method.ALLOCATE, RequestedTransport(UDP_PROTOCOL), RequestedAddressFamily(family)
        )
        relayed = answer.get(XorRelayedAddress)
        assert relayed is not None, answer
        return relayed.address

    def bind(self) -> None:
        """Bind the channel, or again, and permit the other peer."""
        on_channel, permitted = self._there
        answer = self.client.request(
            Method.CHANNEL_BIND, ChannelNumber(CHANNEL), XorPeerAddress(on_channel)
        )
        assert code_of(answer) is None
        answer = self.client.request(Method.CREATE_PERMISSION, XorPeerAddress(permitted))
        assert code_of(answer) is None

    def throw(self, data: bytes) -> None:
        """Send on the channel."""
        self.client.throw(ChannelData(CHANNEL, data).encode(padded=False))

    def throw_back(self, data: bytes) -> None:
        """Send from the peer on the channel."""
        self.peers[0].sendto(data, self.relayed)

    def exchange(self, data: bytes) -> None:
        """There and back on the channel, and by indications."""
        on_channel, permitted = self.peers
        self.throw(data)
        assert on_channel.recv(2000) == data
        self.throw_back(data)
        assert ChannelData.parse(self.client.hear()) == ChannelData(CHANNEL, data)
        send = (XorPeerAddress(self._there[1]), Data(data))
        self.client.throw(Message.indication(Method.SEND, _TRANSACTION, *send).encode())
        assert permitted.recv(2000) == data
        permitted.sendto(data, self.relayed)
        assert Message.parse(self.client.hear()).attributes == send

    def passes(self, patience: float) -> bool:
        """Whether data reaches the peer on the channel, which is waited for that long."""
        peer = self.peers[0]
        peer.settimeout(patience)
        self.throw(b"whether")
        try:
            return peer.recv(2000) == b"whether"
        except TimeoutError:
            return False
        finally:
            peer.settimeout(LIMIT)


def shorter_lives(seconds: float) -> str:
    """A prelude by which channels and permissions of a server live that long."""
    names = (
        "channel_bind.CHANNEL_LIFETIME",
        "channel_bind.PERMISSION_LIFETIME",
        "create_permission.PERMISSION_LIFETIME",
    )
    assignments = "".join(f"{name} = {seconds}; " for name in names)
    return f"from stun_server import channel_bind, create_permission; {assignments}"
