"""Packets that the kernel's program treats, one of each kind, and allocations that they are for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from socket import AddressFamily
from time import monotonic
from typing import Final

from natkit.address import Address
from natkit.stun.attributes import Data, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import CHANNEL_FIRST, TRANSACTION_ID_LENGTH, Method
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.cabled import CLIENTS, IPV4, IPV6, LISTENERS, PEERS, Cabled
from tests.natkit.relay.frames import Frame
from tests.natkit.relay.rig import address_of
from tests.natkit.relay.twins import FAR, NEAR

__all__ = ["Case", "cases"]

_PORT: Final = 3478
_PEER_PORT: Final = 40_000
_LIFETIME: Final = 3_600.0
_TRANSACTION: Final = bytes(TRANSACTION_ID_LENGTH)
_NAMES: Final = {IPV4: "IPv4", IPV6: "IPv6"}


@dataclass(frozen=True, slots=True)
class Case:
    """A packet, where it comes in, and by how many bytes its end moves on its way."""

    title: str
    families: str
    side: str
    frame: bytes
    end_moves: int = 0


def cases(world: Cabled, size: int) -> Iterator[Case]:
    """Packets of each kind with so many bytes of data, for which a new world is prepared."""
    assert world.tables is not None
    world.now = monotonic()
    world.tables.stand_still(0)  # its clock goes, and is asked
    for family in (IPV4, IPV6):
        world.listen(family, _PORT)
        yield _binding(family)
    for client in (IPV4, IPV6):
        for peer in (IPV4, IPV6):
            yield from _relaying(world, client, peer, size)


def _binding(family: AddressFamily) -> Case:
    request = Message.request(Method.BINDING, _TRANSACTION).encode()
    client, listener = Address(CLIENTS[family][0], _PEER_PORT), Address(LISTENERS[family], _PORT)
    frame = _frame("left", client, listener, request)
    # All of its data is replaced.
    return Case("Binding request", _NAMES[family], "left", frame, -len(request))


def _relaying(
    world: Cabled, client: AddressFamily, peer: AddressFamily, size: int
) -> Iterator[Case]:
    listener, data = Address(LISTENERS[client], _PORT), bytes(range(256)) * 6
    data = data[:size]
    with_channel, without = (Address(host, _PEER_PORT) for host in PEERS[peer])
    first, here, relayed = _open(world, client, peer)
    second, there, relayed_too = _open(world, client, peer)
    _allow(world, first, (with_channel, relayed_too))
    _allow(world, second, (relayed,))
    world.plane.permit(first, without.host, world.now + _LIFETIME)
    up, down = f"{_NAMES[client]} to {_NAMES[peer]}", f"{_NAMES[peer]} to {_NAMES[client]}"
    on_channel = ChannelData(CHANNEL_FIRST, data).encode(padded=False)
    send = Message.indication(Method.SEND, _TRANSACTION, XorPeerAddress(without), Data(data))
    stranger = Address(with_channel.host + "9", _PEER_PORT)
    yield Case("ChannelData", up, "left", _frame("left", here, listener, on_channel))
    yield Case("Send indication", up, "left", _frame("left", here, listener, send.encode()))
    yield Case(
        "to a peer that is a relayed address",
        up,
        "left",
        _frame("left", there, listener, on_channel),
    )
    yield Case("data on a channel", down, "right", _frame("right", with_channel, relayed, data))
    yield Case("data without a channel", down, "right", _frame("right", without, relayed, data))
    yield Case("data without a permission", down, "right", _frame("right", stranger, relayed, data))


def _open(
    world: Cabled, client: AddressFamily, peer: AddressFamily
) -> tuple[int, Address, Address]:
    """An allocation: its identifier, its client and its relayed address."""
    sock = world.socket_on(world.left, CLIENTS[client][0])
    number, relayed = world.allocate(sock, Address(LISTENERS[client], _PORT), peer)
    world.plane.extend(number, world.now + _LIFETIME)
    return number, address_of(sock), relayed


def _allow(world: Cabled, number: int, peers: Sequence[Address]) -> None:
    """Let an allocation have channels to peers."""
    for channel, peer in enumerate(peers, CHANNEL_FIRST):
        world.plane.permit(number, peer.host, world.now + _LIFETIME)
        world.plane.bind_channel(number, channel, peer, world.now + _LIFETIME)


def _frame(side: str, source: Address, destination: Address, data: bytes) -> bytes:
    return Frame(NEAR[side], FAR[side], source[:2], destination[:2], data).encode()
