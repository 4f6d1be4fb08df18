"""Priorities of candidates and of pairs (RFC 8445 §5.1.2, §6.1.2.3; RFC 6544 §4.2; RFC 8421)."""

from collections.abc import Iterable, Sequence
from typing import Final

from natkit.address import Address
from natkit.ice.candidate import CandidateType, TcpType
from natkit.machine import Transport

TYPE_PREFERENCES: Final = {
    CandidateType.HOST: 126,
    CandidateType.PEER_REFLEXIVE: 110,
    CandidateType.SERVER_REFLEXIVE: 100,
    CandidateType.RELAYED: 0,
}
"""What RFC 8445 §5.1.2.2 recommends."""

TCP_PENALTY: Final = 60
"""What a TCP candidate's type preference is lowered by, to stay below UDP's (RFC 6544 §4.2).

Relayed ones stay at 0.
"""

_OTHER_PREFERENCE_BITS = 13
_LARGEST_OTHER = (1 << _OTHER_PREFERENCE_BITS) - 1


def type_preference(kind: CandidateType, transport: Transport) -> int:
    """0 to 126, higher is better (RFC 8445 §5.1.2.1)."""
    preference = TYPE_PREFERENCES[kind]
    return preference if transport is Transport.UDP else max(0, preference - TCP_PENALTY)


def candidate_priority(
    kind: CandidateType, local_preference: int, component: int, transport: Transport = Transport.UDP
) -> int:
    """The priority by the formula of RFC 8445 §5.1.2.1."""
    return type_preference(kind, transport) << 24 | local_preference << 8 | (256 - component)


def peer_reflexive_priority(priority: int, transport: Transport) -> int:
    """PRIORITY for checks from a candidate of ``priority``: what it were if peer-reflexive.

    The local preference and component stay those of the base (RFC 8445 §7.1.1).
    """
    preference = type_preference(CandidateType.PEER_REFLEXIVE, transport)
    return preference << 24 | priority & 0xFFFFFF


def pair_priority(controlling: int, controlled: int) -> int:
    """The priority of a pair from those of its two candidates (RFC 8445 §6.1.2.3)."""
    low, high = sorted((controlling, controlled))
    return (low << 32) + 2 * high + (controlling > controlled)


def tcp_local_preference(kind: CandidateType, tcp_type: TcpType, other: int = 0) -> int:
    """The local preference of a TCP candidate (RFC 6544 §4.2).

    ``other``, 0 to 8191, tells candidates of one direction apart, higher first.
    """
    if kind in (CandidateType.HOST, CandidateType.RELAYED):
        direction = {TcpType.ACTIVE: 6, TcpType.PASSIVE: 4, TcpType.SIMULTANEOUS_OPEN: 2}
    else:
        direction = {TcpType.SIMULTANEOUS_OPEN: 6, TcpType.ACTIVE: 4, TcpType.PASSIVE: 2}
    return direction[tcp_type] << _OTHER_PREFERENCE_BITS | min(max(other, 0), _LARGEST_OTHER)


def local_preferences(addresses: Iterable[Address | str]) -> dict[str, int]:
    """A local preference for each host address, given the best first (RFC 8421 §4).

    The order of each family is kept; where both have addresses they are interleaved from the best
    on in proportion to their numbers, so that a host of many IPv6 addresses does not put off its
    first IPv4 check until all of them have timed out.  The family of the first address leads.
    """
    hosts = list(dict.fromkeys(each if isinstance(each, str) else each.host for each in addresses))
    if not hosts:
        return {}
    first = Address(hosts[0], 0).family
    leading = [host for host in hosts if Address(host, 0).family is first]
    following = [host for host in hosts if Address(host, 0).family is not first]
    ordered = _interleaved(leading, following)
    return {host: 0xFFFF - place for place, host in enumerate(ordered)}


def _interleaved(leading: Sequence[str], following: Sequence[str]) -> list[str]:
    # RFC 8421 §4: (Hi + Lo) / Lo, the ratio of all addresses to those of the smaller family.
    if not following:
        return list(leading)
    total = len(leading) + len(following)
    merged: list[str] = []
    lead, follow = iter(leading), iter(following)
    taken = 0
    for place in range(total):
        # The follower's next turn comes when its share of what was placed falls behind.
        due = taken < len(following) and (place + 1) * len(following) >= (taken + 1) * total
        exhausted = place - taken >= len(leading)
        if due or exhausted:
            merged.append(next(follow))
            taken += 1
        else:
            merged.append(next(lead))
    return merged
