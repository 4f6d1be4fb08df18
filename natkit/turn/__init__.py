"""The TURN client as a machine without I/O (RFC 8656)."""

from natkit.turn.channel_data import ChannelData, is_channel_data

__all__ = [
    "ChannelData",
    "is_channel_data",
]
