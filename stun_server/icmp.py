"""ICMP errors that met relayed packets, told to the client (RFC 8656 §11.5)."""

from natkit.address import Family
from natkit.machine import Path, RandomBytes, Transmit
from natkit.net.registry import Icmp6Type, IcmpType
from natkit.stun.attributes import Icmp, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import TRANSACTION_ID_LENGTH, Method
from stun_server.allocation import Allocation, PerSecond
from stun_server.allocations import Allocations

TOLD_PER_SECOND = 10
"""Errors that one client is told of in a second: enough for path MTU discovery and to see a peer
gone, and no burden where each of many packets meets one."""

# RFC 8656 §11.5
_TOLD: dict[Family, frozenset[int]] = {
    Family.IPV4: frozenset(IcmpType),
    Family.IPV6: frozenset(Icmp6Type),
}


def from_icmp(
    icmp: Icmp,
    path: Path,
    allocation: Allocation,
    allocations: Allocations,
    random: RandomBytes,
    now: float,
) -> Transmit | None:
    """The Data indication for an error that met what left ``path.local`` for ``path.remote``."""
    peer = path.remote
    if icmp.icmp_type not in _TOLD[peer.family]:
        return None
    # The address that the packet was for, whoever sent the error.
    if not allocations.may_relay(allocation, peer, now):
        return None
    if allocation.icmp_told is None:
        allocation.icmp_told = PerSecond()
    if not allocation.icmp_told.may_tell(now, TOLD_PER_SECOND):
        return None
    indication = Message.indication(
        Method.DATA,
        random(TRANSACTION_ID_LENGTH),
        XorPeerAddress(allocations.external.peer(peer)),
        icmp,
    )
    return Transmit(indication.encode(), allocation.client)
