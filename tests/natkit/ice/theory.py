"""Whether two NATs let their hosts meet without a relay, by RFC 4787's terms alone.

A small model apart from the simulated network and from the agents: endpoints send to every address
that they know of the other's, mappings and filters do what they do, until nothing new comes of it.
"""

from dataclasses import dataclass, field

from tests.simnet import Dependence

Place = tuple[str, object]
"""An address outside: whose NAT, and which of its mappings."""

STUN: Place = ("stun", 0)
DEPTH = 4


@dataclass
class Side:
    """A host behind a NAT."""

    name: str
    mapping: Dependence
    filtering: Dependence
    sent: dict[Place, set[Place]] = field(default_factory=dict)
    """By each mapping: where it was used to send to."""

    def place(self, remote: Place) -> Place:
        """From where the remote sees a packet of ours come."""
        match self.mapping:
            case Dependence.ENDPOINT_INDEPENDENT:
                return (self.name, 0)
            case Dependence.ADDRESS_DEPENDENT:
                return (self.name, remote[0])
            case Dependence.ADDRESS_AND_PORT_DEPENDENT:
                return (self.name, remote)

    def send(self, remote: Place) -> Place:
        place = self.place(remote)
        self.sent.setdefault(place, set()).add(remote)
        return place

    def admits(self, place: Place, source: Place) -> bool:
        if place not in self.sent:
            return False
        match self.filtering:
            case Dependence.ENDPOINT_INDEPENDENT:
                return True
            case Dependence.ADDRESS_DEPENDENT:
                return source[0] in {remote[0] for remote in self.sent[place]}
            case Dependence.ADDRESS_AND_PORT_DEPENDENT:
                return source in self.sent[place]


def meet_directly(
    left: tuple[Dependence, Dependence], right: tuple[Dependence, Dependence]
) -> bool:
    """Whether a path exists, for mapping and filtering of either side."""
    sides = (Side("left", *left), Side("right", *right))
    known = {}
    for side, other in (sides, reversed(sides)):
        known[side.name] = {other.send(STUN)}
    for _ in range(DEPTH):
        for side, other in (sides, tuple(reversed(sides))):
            for remote in list(known[side.name]):
                source = side.send(remote)
                if not other.admits(remote, source):
                    continue
                # The answer goes back by the mapping for the source; it must be the one asked.
                answered_from = other.send(source)
                known[other.name].add(source)
                if answered_from == remote and side.admits(source, remote):
                    return True
    return False
