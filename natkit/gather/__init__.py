"""Gathering of ICE candidates (RFC 8445 §5.1.1), as a machine without I/O.

:class:`Gatherer` finds them; :class:`GatherSettings` says where.
"""

from natkit.gather.events import (
    BaseLost,
    CandidateRedundant,
    ConnectServer,
    GatherClosed,
    Gathered,
    GatherEvent,
    GatheringEnded,
    GatherResult,
    ListenForPeers,
    Locate,
    Method,
    RelayedDataReceived,
    ServerFailed,
    Slot,
    Source,
    StopListening,
)
from natkit.gather.gatherer import Gatherer
from natkit.gather.mapped import RouteToGateway
from natkit.gather.settings import (
    GatherSettings,
    HostAddress,
    Policy,
    PortRange,
    Rewrite,
    RewriteMode,
    StunServer,
    TurnServer,
)

__all__ = [
    "BaseLost",
    "CandidateRedundant",
    "ConnectServer",
    "GatherClosed",
    "GatherEvent",
    "GatherResult",
    "GatherSettings",
    "Gathered",
    "Gatherer",
    "GatheringEnded",
    "HostAddress",
    "ListenForPeers",
    "Locate",
    "Method",
    "Policy",
    "PortRange",
    "RelayedDataReceived",
    "Rewrite",
    "RewriteMode",
    "RouteToGateway",
    "ServerFailed",
    "Slot",
    "Source",
    "StopListening",
    "StunServer",
    "TurnServer",
]
