"""The verdict is what a network does: each pair of NATs is tried with packets."""

from itertools import product

import pytest

from natkit.address import Address
from natkit.behaviour import PEERS, Filtering, Mapping, Peer, Way, way_to
from tests.natkit.behaviour.test_naming import FILTERINGS, MAPPINGS
from tests.simnet import Dependence, Endpoint, NatBehaviour, Network, PortAssignment

KINDS = list(product(Dependence, Dependence))


class Side:
    """A host behind a NAT, with one socket that a STUN server has seen."""

    def __init__(self, network: Network, name: str, outside: str, behaviour: NatBehaviour) -> None:
        nat = network.nat(f"{name}'s NAT", outside, behaviour=behaviour)
        self.socket = Endpoint(network.host(name, "192.168.1.2", behind=nat))
        self.signalled: Address | None = None
        self.heard: set[Address] = set()

    def learn(self, network: Network, server: Endpoint) -> None:
        self.socket.send(b"who am I", server.address)
        network.run_until(lambda: bool(server.received), 5.0)
        (self.signalled,) = (source for _, source in server.received)
        server.received.clear()

    def send(self, to: "Side", *, known: bool) -> None:
        """To where the other was heard from, and with ``known`` to where it was seen."""
        targets = set(self.heard)
        if known and to.signalled is not None:
            targets.add(to.signalled)
        for target in targets:
            self.socket.send(b"hello", target)

    def listen(self) -> bool:
        new = {source for data, source in self.socket.received if data == b"hello"}
        self.heard |= new
        self.socket.received.clear()
        return bool(new)


def tried(one: NatBehaviour, other: NatBehaviour) -> Way:
    """Let them try: first only one of them sends, then both."""
    for both in (False, True):
        for caller_is_one in (True, False):
            if _exchange(one, other, both=both, caller_is_one=caller_is_one):
                return Way.HOLE_PUNCHING if both else Way.DIRECT
    return Way.RELAY


def _exchange(one: NatBehaviour, other: NatBehaviour, *, both: bool, caller_is_one: bool) -> bool:
    network = Network(1)
    with network:
        server = Endpoint(network.host("server", "203.0.113.10"), 3478)
        here = Side(network, "one", "198.51.100.1", one)
        there = Side(network, "other", "198.51.100.2", other)
        here.learn(network, server)
        there.learn(network, server)
        caller, called = (here, there) if caller_is_one else (there, here)
        reached = set()
        for _ in range(4):
            caller.send(called, known=True)
            called.send(caller, known=both)
            network.run_for(1.0)
            reached |= {side for side in (here, there) if side.listen()}
        return len(reached) == 2


def peer(mapping: Dependence, filtering: Dependence) -> Peer:
    return Peer("a peer", MAPPINGS[mapping], FILTERINGS[filtering])


@pytest.mark.parametrize("one", KINDS, ids=str)
@pytest.mark.parametrize("other", KINDS, ids=str)
def test_the_verdict_is_what_packets_do(
    one: tuple[Dependence, Dependence], other: tuple[Dependence, Dependence]
) -> None:
    behaviours = [
        NatBehaviour(mapping=mapping, filtering=filtering, ports=PortAssignment.RANDOM)
        for mapping, filtering in (one, other)
    ]
    assert way_to(peer(*one), peer(*other)) is tried(*behaviours)


def test_it_is_the_same_from_either_side() -> None:
    sides = [Peer("any", mapping, filtering) for mapping in Mapping for filtering in Filtering]
    for one, other in product(sides, sides):
        assert way_to(one, other) is way_to(other, one)


def test_what_is_not_known_is_not_decided_unless_it_does_not_matter() -> None:
    unsure = Peer("here", Mapping.ENDPOINT_INDEPENDENT, Filtering.UNKNOWN)
    by_name = {way.name: way_to(unsure, way) for way in PEERS}
    assert by_name["a public host"] is Way.DIRECT
    assert by_name["a NAT that filters by address"] is Way.HOLE_PUNCHING
    assert by_name["a NAT that maps by destination (symmetric)"] is Way.UNKNOWN
    # An answer that is open holds whatever turns out: it is what any filling-in would give.
    for one, other in product([*PEERS, unsure], PEERS):
        ways = {
            way_to(Peer("filled", one.mapping, filtering), other)
            for filtering in Filtering
            if filtering is not Filtering.UNKNOWN
        }
        told = way_to(Peer("open", one.mapping, Filtering.UNKNOWN), other)
        if len(ways - {Way.DIRECT}) > 1 or (Way.RELAY in ways and len(ways) > 1):
            assert told is Way.UNKNOWN, (one, other, ways)


def test_blocked_udp_leaves_the_relay() -> None:
    blocked = Peer("here", Mapping.UNKNOWN, Filtering.UNKNOWN, reaches=False)
    assert {way_to(blocked, other) for other in PEERS} == {Way.RELAY}
