"""Every kind of NAT that RFC 4787 tells apart is named right, loss or no loss."""

from itertools import product
from typing import Final

import pytest

from natkit.address import Address
from natkit.behaviour import (
    Filtering,
    Mapping,
    PortRule,
    binding_lifetime,
    filtering_behaviour,
    hairpin_behaviour,
    map_by_plain_servers,
    mapping_behaviour,
    port_behaviour,
)
from natkit.behaviour.steps import Answer, Ask, Silence
from natkit.machine import Transport
from tests.natkit.behaviour.world import FOUR, OTHER, OUTSIDE, PRIMARY, World, lying
from tests.simnet import Dependence, Hairpinning, NatBehaviour, PortAssignment

MAPPINGS: Final = {
    Dependence.ENDPOINT_INDEPENDENT: Mapping.ENDPOINT_INDEPENDENT,
    Dependence.ADDRESS_DEPENDENT: Mapping.ADDRESS_DEPENDENT,
    Dependence.ADDRESS_AND_PORT_DEPENDENT: Mapping.ADDRESS_AND_PORT_DEPENDENT,
}
FILTERINGS: Final = {
    Dependence.ENDPOINT_INDEPENDENT: Filtering.ENDPOINT_INDEPENDENT,
    Dependence.ADDRESS_DEPENDENT: Filtering.ADDRESS_DEPENDENT,
    Dependence.ADDRESS_AND_PORT_DEPENDENT: Filtering.ADDRESS_AND_PORT_DEPENDENT,
}
LOSSES: Final = (0.0, 0.05, 0.2)
CELLS: Final = list(product(Dependence, Dependence, PortAssignment, LOSSES))


def named(cell: tuple[Dependence, Dependence, PortAssignment, float]) -> str:
    mapping, filtering, ports, loss = cell
    return f"{mapping.value}-{filtering.value}-{ports.name}-{loss}"


@pytest.mark.parametrize("cell", CELLS, ids=named)
def test_mapping_filtering_and_ports_are_named_right(
    cell: tuple[Dependence, Dependence, PortAssignment, float],
) -> None:
    mapping, filtering, ports, loss = cell
    behaviour = NatBehaviour(mapping=mapping, filtering=filtering, ports=ports)
    for seed in (1, 2, 3):
        world = World(behaviour, seed=seed, loss=loss)
        with world.network:
            found = world.find(mapping_behaviour(world.local, PRIMARY))
            assert found.kind is MAPPINGS[mapping], found
            assert found.mapped is not None
            assert found.mapped.host == OUTSIDE
            let_in = world.find(filtering_behaviour(world.local, PRIMARY))
            assert let_in.kind is FILTERINGS[filtering], let_in
            rule = world.find(port_behaviour(world.local, PRIMARY))
            assert rule.kind is RULES[ports], rule


RULES: Final = {
    PortAssignment.PRESERVED: PortRule.PRESERVED,
    PortAssignment.SEQUENTIAL: PortRule.SEQUENTIAL,
    PortAssignment.RANDOM: PortRule.ARBITRARY,
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("hairpinning", Hairpinning)
@pytest.mark.parametrize("mapping", Dependence)
def test_hairpinning_is_named_right(
    mapping: Dependence, hairpinning: Hairpinning, loss: float
) -> None:
    behaviour = NatBehaviour(
        mapping=mapping,
        filtering=Dependence.ENDPOINT_INDEPENDENT,
        hairpinning=hairpinning,
    )
    world = World(behaviour, loss=loss)
    with world.network:
        found = world.find(hairpin_behaviour(world.local, PRIMARY))
        assert found.works is (hairpinning is not Hairpinning.OFF), found
        if found.works:
            expected = hairpinning is Hairpinning.EXTERNAL_SOURCE
            assert found.external_source is expected


@pytest.mark.parametrize("lifetime", [20.0, 33.0, 65.0, 180.0, 300.0])
@pytest.mark.parametrize("mapping", Dependence)
def test_a_bindings_lifetime_is_found(lifetime: float, mapping: Dependence) -> None:
    behaviour = NatBehaviour(
        mapping=mapping, filtering=Dependence.ENDPOINT_INDEPENDENT, lifetime=lifetime
    )
    world = World(behaviour)
    with world.network:
        script = binding_lifetime(world.local, PRIMARY, shortest=10, longest=600, limit=7200)
        found = world.find(script, limit=20_000)
        assert found.works, found
        assert found.fatal is not None
        assert found.survived < lifetime <= found.fatal + 1
        assert found.fatal <= 1.26 * max(found.survived, 10)


def test_a_server_that_answers_to_whoever_asked_measures_nothing() -> None:
    local, kept, asking = "192.0.2.1", Address("192.0.2.1", 5000), Address("192.0.2.1", 5001)
    script = binding_lifetime(local, PRIMARY, shortest=10, longest=60, limit=600)
    outcomes = (
        kept,
        asking,
        Answer(kept, PRIMARY, 0.01, local=kept),
        Answer(asking, PRIMARY, 0.01, local=asking),
        # To the socket that asked, not to the port that was named.
        Answer(asking, PRIMARY, 0.01, local=asking),
        Silence(),
    )
    steps = [next(script), *(script.send(outcome) for outcome in outcomes)]
    with pytest.raises(StopIteration) as ended:
        script.send(Silence())
    assert not ended.value.value.works
    assert "RESPONSE-PORT" in ended.value.value.evidence[0]
    assert Ask(asking, PRIMARY, response_port=5000) in steps


def test_a_time_limit_ends_the_search_with_what_is_known() -> None:
    behaviour = NatBehaviour(filtering=Dependence.ENDPOINT_INDEPENDENT, lifetime=300)
    world = World(behaviour)
    with world.network:
        script = binding_lifetime(world.local, PRIMARY, shortest=10, longest=600, limit=100)
        found = world.find(script, limit=200)
        assert found.works
        assert (found.survived, found.fatal) == (40, None)
        assert "time limit" in found.evidence[-1]


def test_a_host_without_nat_is_told_from_one_behind_a_firewall() -> None:
    for firewalled, filtering in (
        (False, Filtering.ENDPOINT_INDEPENDENT),
        (True, Filtering.ADDRESS_AND_PORT_DEPENDENT),
    ):
        world = World(None, firewalled=firewalled)
        with world.network:
            assert world.find(mapping_behaviour(world.local, PRIMARY)).kind is Mapping.NONE
            assert world.find(filtering_behaviour(world.local, PRIMARY)).kind is filtering
            assert world.find(hairpin_behaviour(world.local, PRIMARY)).works is None


def test_of_two_nats_the_stricter_one_shows() -> None:
    strict = NatBehaviour(
        mapping=Dependence.ADDRESS_AND_PORT_DEPENDENT,
        filtering=Dependence.ADDRESS_AND_PORT_DEPENDENT,
    )
    open_one = NatBehaviour(filtering=Dependence.ENDPOINT_INDEPENDENT)
    for home, carrier in ((strict, open_one), (open_one, strict)):
        world = World(home, carrier=carrier)
        with world.network:
            found = world.find(mapping_behaviour(world.local, PRIMARY))
            assert found.kind is Mapping.ADDRESS_AND_PORT_DEPENDENT


# ── servers that lie, or cannot ─────────────────────────────────────────────────────────────────


def test_a_server_of_one_address_shows_no_mapping_and_no_filtering() -> None:
    world = World(NatBehaviour(), settings=lying(listeners=(PRIMARY,), others=()))
    with world.network:
        assert world.find(mapping_behaviour(world.local, PRIMARY)).kind is Mapping.UNKNOWN
        assert world.find(filtering_behaviour(world.local, PRIMARY)).kind is Filtering.UNKNOWN


def test_a_server_that_names_its_own_host_as_the_other_is_not_believed() -> None:
    same_host = (Transport.UDP, PRIMARY, Address(PRIMARY.host, 3479))
    world = World(NatBehaviour(), settings=lying(others=(same_host,)))
    with world.network:
        assert world.find(mapping_behaviour(world.local, PRIMARY)).kind is Mapping.UNKNOWN
        assert world.find(filtering_behaviour(world.local, PRIMARY)).kind is Filtering.UNKNOWN


@pytest.mark.parametrize("filtering", Dependence)
def test_silence_of_a_server_whose_other_address_is_dead_shows_nothing(
    filtering: Dependence,
) -> None:
    world = World(NatBehaviour(filtering=filtering))
    with world.network:
        for dead in FOUR:
            if dead.host == OTHER.host:
                world.server.host.unbind(dead)
                del world.server._sockets[dead]
        silent = [PRIMARY, Address(PRIMARY.host, OTHER.port)]
        world.server._send = lambda transmit: (  # type: ignore[method-assign]
            type(world.server)._send(world.server, transmit)
            if transmit.path.local in silent
            else None
        )
        found = world.find(filtering_behaviour(world.local, PRIMARY))
        assert found.kind is Filtering.UNKNOWN
        assert found.confidence == 0


def test_no_server_at_all_is_no_evidence() -> None:
    nobody = Address("203.0.113.99", 3478)
    world = World(NatBehaviour())
    with world.network:
        assert world.find(mapping_behaviour(world.local, nobody)).kind is Mapping.UNKNOWN
        assert world.find(filtering_behaviour(world.local, nobody)).kind is Filtering.UNKNOWN
        assert world.find(port_behaviour(world.local, nobody)).kind is PortRule.UNKNOWN
        assert world.find(hairpin_behaviour(world.local, nobody)).works is None
        script = binding_lifetime(world.local, nobody, shortest=10, longest=60, limit=600)
        assert not world.find(script).works


# ── plain servers say less, and nothing wrong ───────────────────────────────────────────────────

ONE_HOST: Final = (PRIMARY, Address(PRIMARY.host, 3479))
TWO_HOSTS: Final = (PRIMARY, Address(OTHER.host, 3478))


@pytest.mark.parametrize(
    ("mapping", "servers", "kind"),
    [
        (Dependence.ENDPOINT_INDEPENDENT, TWO_HOSTS, Mapping.ENDPOINT_INDEPENDENT),
        (Dependence.ENDPOINT_INDEPENDENT, ONE_HOST, Mapping.UNKNOWN),
        (Dependence.ENDPOINT_INDEPENDENT, (PRIMARY,), Mapping.UNKNOWN),
        (Dependence.ADDRESS_DEPENDENT, TWO_HOSTS, Mapping.DEPENDENT),
        (Dependence.ADDRESS_DEPENDENT, ONE_HOST, Mapping.UNKNOWN),
        (Dependence.ADDRESS_AND_PORT_DEPENDENT, TWO_HOSTS, Mapping.DEPENDENT),
        (
            Dependence.ADDRESS_AND_PORT_DEPENDENT,
            ONE_HOST,
            Mapping.ADDRESS_AND_PORT_DEPENDENT,
        ),
        (Dependence.ADDRESS_AND_PORT_DEPENDENT, FOUR, Mapping.ADDRESS_AND_PORT_DEPENDENT),
    ],
)
def test_plain_servers_show_what_they_can(
    mapping: Dependence, servers: tuple[Address, ...], kind: Mapping
) -> None:
    behaviour = NatBehaviour(mapping=mapping, ports=PortAssignment.RANDOM)
    world = World(behaviour, settings=lying(others=()))
    with world.network:
        assert world.find(map_by_plain_servers(world.local, servers)).kind is kind


def test_a_dead_plain_server_is_passed_over() -> None:
    world = World(NatBehaviour(), settings=lying(others=()))
    with world.network:
        servers = (Address("203.0.113.99", 3478), *TWO_HOSTS)
        found = world.find(map_by_plain_servers(world.local, servers))
        assert found.kind is Mapping.ENDPOINT_INDEPENDENT
        assert "203.0.113.99:3478 does not answer" in found.evidence


def test_parity_is_seen_where_ports_change() -> None:
    behaviour = NatBehaviour(ports=PortAssignment.RANDOM, parity=True)
    world = World(behaviour)
    with world.network:
        assert world.find(port_behaviour(world.local, PRIMARY)).keeps_parity
