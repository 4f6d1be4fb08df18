"""Ports of a gateway that lead to this host: PCP, NAT-PMP and UPnP IGD, as machines without I/O.

:class:`GatewayMapper` asks one gateway by PCP (:class:`Pcp`) or NAT-PMP (:class:`NatPmp`).
"""

from natkit.portmap.gateway import GatewayMapper
from natkit.portmap.mapping import (
    Filter,
    GatewayRestarted,
    Mapped,
    Mapping,
    MappingFailed,
    MappingLost,
    Method,
    PortMapEvent,
    Unmapped,
    Wish,
)
from natkit.portmap.nat_pmp import NatPmp
from natkit.portmap.pcp import Pcp
from natkit.portmap.registry import Protocol

__all__ = [
    "Filter",
    "GatewayMapper",
    "GatewayRestarted",
    "Mapped",
    "Mapping",
    "MappingFailed",
    "MappingLost",
    "Method",
    "NatPmp",
    "Pcp",
    "PortMapEvent",
    "Protocol",
    "Unmapped",
    "Wish",
]
