"""What peers send, as it arrives through the server (RFC 8656 §11.4, §11.6, §12.6)."""

from natkit.stun.attributes import Data, Icmp, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn.channel_data import ChannelData
from natkit.turn.events import DataReceived, IcmpReceived
from natkit.turn.peers import Peers

__all__ = ["of_channel_data", "of_indication"]


def of_indication(message: Message, peers: Peers) -> DataReceived | IcmpReceived | None:
    """What a Data indication tells; None for what nobody asked for."""
    peer = message.get(XorPeerAddress)
    # RFC 8489 §6.3.2 for what is not understood.
    if message.method != Method.DATA or message.unknown_required() or peer is None:
        return None
    if not peers.is_expected(peer.address.host):
        return None
    data = message.get(Data)
    if data is not None:
        return DataReceived(data.value, peer.address)
    icmp = message.get(Icmp)
    if icmp is not None:
        return IcmpReceived(peer.address, icmp.icmp_type, icmp.icmp_code, icmp.error_data)
    return None


def of_channel_data(message: ChannelData, peers: Peers) -> DataReceived | None:
    """What ChannelData tells; None for a channel, or a peer, that nobody asked for."""
    peer = peers.peer_on(message.channel)
    if peer is None or not peers.is_expected(peer.host):
        return None
    return DataReceived(message.data, peer)
