"""What a NAT's behaviour means for those behind it: which peers are reached, and how.

Between two hosts that learn of each other by signalling (RFC 8445), packets arrive when each knows
the port that the other sends from, or lets in whatever comes from the other's address.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from natkit.behaviour.findings import Filtering, Mapping

__all__ = ["PEERS", "Peer", "Way", "way_to"]


class Way(StrEnum):
    """How two hosts exchange packets."""

    DIRECT = "direct"
    """One of them can simply be sent to."""
    HOLE_PUNCHING = "hole-punching"
    """Both send at once, as ICE has them do."""
    RELAY = "relay"
    """Only through a relay (TURN), or a mapped port."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Peer:
    """One side, by what its NAT or firewall does; ``reaches`` False where UDP is blocked."""

    name: str
    mapping: Mapping
    filtering: Filtering
    reaches: bool = True

    @property
    def keeps_port(self) -> bool | None:
        """Whether the port that a STUN server saw is the one that everybody sees."""
        match self.mapping:
            case Mapping.NONE | Mapping.ENDPOINT_INDEPENDENT:
                return True
            case Mapping.UNKNOWN:
                return None
            case _:
                return False

    @property
    def minds_ports(self) -> bool | None:
        """Whether it lets in no other port of a host than the one that was sent to."""
        if self.filtering is Filtering.UNKNOWN:
            return None
        return self.filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT


PEERS: Final = (
    Peer("a public host", Mapping.NONE, Filtering.ENDPOINT_INDEPENDENT),
    Peer("a host behind a firewall only", Mapping.NONE, Filtering.ADDRESS_AND_PORT_DEPENDENT),
    Peer(
        "a NAT that lets everybody in (full cone)",
        Mapping.ENDPOINT_INDEPENDENT,
        Filtering.ENDPOINT_INDEPENDENT,
    ),
    Peer(
        "a NAT that filters by address",
        Mapping.ENDPOINT_INDEPENDENT,
        Filtering.ADDRESS_DEPENDENT,
    ),
    Peer(
        "a NAT that filters by port, most homes",
        Mapping.ENDPOINT_INDEPENDENT,
        Filtering.ADDRESS_AND_PORT_DEPENDENT,
    ),
    Peer(
        "a NAT that maps by destination (symmetric)",
        Mapping.ADDRESS_AND_PORT_DEPENDENT,
        Filtering.ADDRESS_AND_PORT_DEPENDENT,
    ),
)
"""The kinds of peers that one meets."""


def way_to(here: Peer, there: Peer) -> Way:
    """How the two reach each other; it is the same seen from either side.

    With something unknown on a side, it is the least that holds however that turns out.
    """
    if not (here.reaches and there.reaches):
        return Way.RELAY
    calls = (_answers_a_call(there, here), _answers_a_call(here, there))
    if True in calls:
        return Way.DIRECT
    if here.keeps_port is None or there.keeps_port is None:
        return Way.UNKNOWN
    if here.keeps_port and there.keeps_port:
        # Whatever they filter: each has sent to where the other's packets come from.
        return Way.HOLE_PUNCHING
    if not here.keeps_port and not there.keeps_port:
        return Way.UNKNOWN if None in calls else Way.RELAY
    # One moves its port: the other must let it in from a port that nobody could tell beforehand.
    steady = here if here.keeps_port else there
    if steady.minds_ports is None:
        return Way.UNKNOWN
    return Way.RELAY if steady.minds_ports else Way.HOLE_PUNCHING


def _answers_a_call(caller: Peer, called: Peer) -> bool | None:
    """Whether a packet to the address that is known gets in, and its answer back to the caller."""
    if called.filtering not in (Filtering.ENDPOINT_INDEPENDENT, Filtering.UNKNOWN):
        return False
    # Its answer leaves by the port that was called, or by one that the caller does not mind.
    if called.keeps_port or caller.minds_ports is False:
        return True if called.filtering is Filtering.ENDPOINT_INDEPENDENT else None
    return None if caller.minds_ports is None or called.keeps_port is None else False
