"""A client that relays to a peer through a plane, and what they send."""

import socket

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.relay.plane import Counters
from natkit.stun.attributes import Data, Software, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import Method
from tests.natkit.relay.rig import Rig, address_of, received

TRANSACTION = b"0123456789ab"
PLAIN = Message.request(Method.BINDING, TRANSACTION)
SOFTWARE = Message.request(Method.BINDING, TRANSACTION, Software("x"))
BINDING = PLAIN.encode()
CHANNEL = 0x4000
STREAM = Path(Transport.TCP, Address("127.0.0.1", 3478), Address("127.0.0.1", 50_000))
FAMILIES = [
    pytest.param(socket.AF_INET, id="ipv4"),
    pytest.param(socket.AF_INET6, id="ipv6"),
]


def channel_data(data: bytes, number: int = CHANNEL, padding: int = 0) -> bytes:
    return number.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data + bytes(padding)


def send_indication(peer: Address, data: bytes) -> bytes:
    return Message.indication(Method.SEND, TRANSACTION, XorPeerAddress(peer), Data(data)).encode()


class Relayed:
    """A client with an allocation, a peer that it may talk to, and a channel between them."""

    def __init__(
        self,
        rig: Rig,
        client_family: socket.AddressFamily = socket.AF_INET,
        relay_family: socket.AddressFamily = socket.AF_INET,
        *,
        channel: bool = True,
    ) -> None:
        self.client = rig.new_socket(client_family)
        self.listener = rig.listen(client_family)
        self.allocation, self.address = rig.allocate(self.client, self.listener, relay_family)
        self.peer = rig.new_socket(relay_family)
        self.peer_address = address_of(self.peer)
        rig.plane.permit(self.allocation, self.peer_address.host, 1_300.0)
        if channel:
            rig.plane.bind_channel(self.allocation, CHANNEL, self.peer_address, 1_600.0)
        self._rig = rig

    def up(self, packet: bytes) -> list[tuple[bytes, Address]]:
        """What the peer gets when the client sends ``packet``."""
        self.client.sendto(packet, self.listener)
        self._rig.turn()
        return received(self.peer)

    def down(self, data: bytes, source: socket.socket | None = None) -> list[bytes]:
        """What the client gets when the peer sends ``data``."""
        (source or self.peer).sendto(data, self.address)
        self._rig.turn()
        taken = received(self.client)
        assert all(sender == self.listener for _, sender in taken)
        return [data for data, _ in taken]

    @property
    def counters(self) -> Counters:
        return self._rig.plane.counters(self.allocation)
