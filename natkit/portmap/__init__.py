"""Ports of a gateway that lead to this host: PCP, NAT-PMP and UPnP IGD, as machines without I/O.

:class:`PortMapper` tries all and uses the best: :class:`GatewayMapper` asks one gateway by PCP
(:class:`Pcp`) or NAT-PMP (:class:`NatPmp`), :mod:`natkit.portmap.upnp` by UPnP.
"""

from natkit.portmap.gateway import GatewayMapper
from natkit.portmap.mapping import (
    Filter,
    GatewayRestarted,
    Left,
    Mapped,
    Mapping,
    MappingFailed,
    MappingLost,
    Method,
    PortMapEvent,
    Silent,
    Speaks,
    Unmapped,
    Wish,
)
from natkit.portmap.nat_pmp import NatPmp
from natkit.portmap.pcp import Pcp
from natkit.portmap.registry import Protocol
from natkit.portmap.select import PortMapper
from natkit.portmap.servers import PcpServers

__all__ = [
    "Filter",
    "GatewayMapper",
    "GatewayRestarted",
    "Left",
    "Mapped",
    "Mapping",
    "MappingFailed",
    "MappingLost",
    "Method",
    "NatPmp",
    "Pcp",
    "PcpServers",
    "PortMapEvent",
    "PortMapper",
    "Protocol",
    "Silent",
    "Speaks",
    "Unmapped",
    "Wish",
]
