"""Send, Data and ChannelData: what passes between a client and its peers (RFC 8656 §11, §12).

Packets that may not pass are dropped without a word.
"""

from natkit.machine import Path, RandomBytes, Transmit, Transport
from natkit.stun.attributes import Data, DontFragment, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import TRANSACTION_ID_LENGTH, Method
from natkit.turn.channel_data import ChannelData
from stun_server.allocation import Allocation
from stun_server.allocations import Allocations
from stun_server.events import UnfragmentedTransmit
from stun_server.settings import Settings

# A Data indication holds this much besides an IPv6 XOR-PEER-ADDRESS (RFC 8489 §5: 16 bits of
# length, in steps of four).  A datagram is larger only on a loopback interface.
MAXIMUM_DATA = 0xFFFC - 24 - 4


def from_send(
    indication: Message,
    allocation: Allocation,
    allocations: Allocations,
    settings: Settings,
    now: float,
) -> Transmit | None:
    """The datagram for a peer that a Send indication asks for, if it may pass."""
    if allocation.peers is not Transport.UDP:
        return None
    # RFC 8656 §11.2: both attributes.
    peer, data = indication.get(XorPeerAddress), indication.get(Data)
    if peer is None or data is None:
        return None
    # DONT-FRAGMENT.
    unfragmented = indication.get(DontFragment) is not None
    if unfragmented and not settings.dont_fragment:
        return None
    # The permission, under which the restrictions on peers were checked.
    relayed = allocation.relayed_of(peer.address.family)
    if relayed is None or not allocations.may_relay(allocation, peer.address, now):
        return None
    path = Path(Transport.UDP, relayed, peer.address)
    return UnfragmentedTransmit(data.value, path) if unfragmented else Transmit(data.value, path)


def from_channel_data(
    message: ChannelData, allocation: Allocation, allocations: Allocations, now: float
) -> Transmit | None:
    """The datagram for a peer that a ChannelData message asks for, if it may pass."""
    # RFC 8656 §12.6: the channel, to which the sending of data gives no longer life.
    channel = allocation.channels.get(message.channel)
    if channel is None or channel.until <= now:
        return None
    if channel.only_relayed and not allocations.is_relayed(channel.peer):
        return None
    relayed = allocation.relayed_of(channel.peer.family)
    if relayed is None:
        return None
    return Transmit(message.data, Path(Transport.UDP, relayed, channel.peer))


def from_peer(
    data: bytes,
    path: Path,
    allocation: Allocation,
    allocations: Allocations,
    random: RandomBytes,
    now: float,
) -> Transmit | None:
    """The message for the client that a peer's datagram makes, if it may pass."""
    # RFC 8656 §9, §11.3: the permission.
    if len(data) > MAXIMUM_DATA or not allocations.may_relay(allocation, path.remote, now):
        return None
    client = allocation.client
    channel = allocation.channels_by_peer.get(path.remote)
    if channel is not None and channel.until > now:
        # RFC 8656 §12.7, and §12.5: padded on streams.
        message = ChannelData(channel.number, data)
        return Transmit(message.encode(padded=client.transport.is_reliable), client)
    indication = Message.indication(
        Method.DATA,
        random(TRANSACTION_ID_LENGTH),
        XorPeerAddress(allocations.external.peer(path.remote)),
        Data(data),
    )
    return Transmit(indication.encode(), client)
