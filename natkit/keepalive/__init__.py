"""Keeping flows open through NATs, and noticing when one died (RFC 5626, 6223, 7118); no I/O.

:class:`FlowKeeper` sends for any number of flows, :class:`FlowWatch` answers and watches on the
other side, :mod:`natkit.keepalive.interval` and :mod:`natkit.keepalive.outbound` say how often.
"""

from natkit.keepalive.crlf import PING, PONG, PONG_TIMEOUT
from natkit.keepalive.flows import (
    AddressChanged,
    Alive,
    FlowFailed,
    FlowKeeper,
    KeepAliveEvent,
    SendPing,
    Technique,
)
from natkit.keepalive.interval import AdaptiveInterval, interval_within, spread
from natkit.keepalive.outbound import default_bound, negotiated_bound, technique_for
from natkit.keepalive.watch import FlowSilent, FlowWatch

__all__ = [
    "PING",
    "PONG",
    "PONG_TIMEOUT",
    "AdaptiveInterval",
    "AddressChanged",
    "Alive",
    "FlowFailed",
    "FlowKeeper",
    "FlowSilent",
    "FlowWatch",
    "KeepAliveEvent",
    "SendPing",
    "Technique",
    "default_bound",
    "interval_within",
    "negotiated_bound",
    "spread",
    "technique_for",
]
