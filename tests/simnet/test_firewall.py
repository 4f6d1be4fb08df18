import pytest

from natkit.address import Address
from tests.simnet import Dependence, Endpoint, Firewall, Network, Protocol

PINHOLE = Address("203.0.113.66", 443)


class Office:
    """A host behind a firewall and two outside."""

    def __init__(
        self,
        *,
        filtering: Dependence = Dependence.ADDRESS_AND_PORT_DEPENDENT,
        blocked: frozenset[Protocol] = frozenset(),
    ) -> None:
        self.network = Network(1)
        self.wall: Firewall = self.network.firewall(
            "wall", filtering=filtering, blocked=blocked, lifetime=60.0, open=frozenset({PINHOLE})
        )
        self.desk = self.network.host("desk", PINHOLE.host, behind=self.wall)
        self.one = self.network.host("one", "203.0.113.1")
        self.two = self.network.host("two", "203.0.113.2")

    def passes(self, sender: Endpoint, receiver: Endpoint) -> bool:
        count = len(receiver.received)
        sender.send(b"", receiver.address)
        self.network.run_until_quiet(5.0)
        return len(receiver.received) > count


@pytest.mark.parametrize("filtering", Dependence)
def test_a_firewall_lets_in_what_answers_and_translates_nothing(filtering: Dependence) -> None:
    office = Office(filtering=filtering)
    inner, asked = Endpoint(office.desk), Endpoint(office.one)
    assert not office.passes(asked, inner)
    assert office.passes(inner, asked)
    assert asked.received[-1][1] == inner.address
    assert office.passes(asked, inner)
    by_port = filtering is Dependence.ADDRESS_AND_PORT_DEPENDENT
    independent = filtering is Dependence.ENDPOINT_INDEPENDENT
    assert office.passes(Endpoint(office.one), inner) == (not by_port)
    assert office.passes(Endpoint(office.two), inner) == independent


def test_packets_either_way_keep_the_permission_and_silence_ends_it() -> None:
    office = Office()
    inner, asked = Endpoint(office.desk), Endpoint(office.one)
    office.passes(inner, asked)
    for _ in range(3):
        office.network.run_for(50.0)
        assert office.passes(asked, inner)
    office.network.run_for(60.0)
    assert not office.passes(asked, inner)


def test_a_pinhole_is_open_to_everybody() -> None:
    office = Office()
    assert office.passes(Endpoint(office.one), Endpoint(office.desk, PINHOLE.port))


def test_a_blocked_protocol_passes_in_no_direction() -> None:
    office = Office(blocked=frozenset({Protocol.UDP}))
    inner, outer = Endpoint(office.desk, PINHOLE.port), Endpoint(office.one)
    assert not office.passes(inner, outer)
    assert not office.passes(outer, inner)
    assert office.network.trace.count("blocked", "wall") == 2
