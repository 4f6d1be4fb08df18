"""The TURN client as a machine without I/O (RFC 8656).

:class:`Allocation` is the machine, its events are in :mod:`natkit.turn.events`; on asyncio it is
run by :mod:`natkit.aio.turn`.
"""

from natkit.turn.allocation import Allocation, AllocationState
from natkit.turn.channel_data import ChannelData, is_channel_data
from natkit.turn.dual import Both
from natkit.turn.events import TurnEvent

__all__ = [
    "Allocation",
    "AllocationState",
    "Both",
    "ChannelData",
    "TurnEvent",
    "is_channel_data",
]
