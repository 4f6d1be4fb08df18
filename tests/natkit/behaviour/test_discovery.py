"""All tests together, as a plan: one report, right under loss, and never more than was seen."""

from dataclasses import replace
from itertools import product
from typing import Final

import pytest

from natkit.address import Address
from natkit.behaviour import (
    Discovered,
    Discovery,
    Filtering,
    FilteringFinding,
    LifetimeSearch,
    Mapping,
    MappingFinding,
    Plan,
    PortRule,
    Progress,
    Report,
    layers,
    vote_on_filtering,
    vote_on_mapping,
)
from natkit.behaviour.discovery import DiscoveryEvent
from natkit.machine import Path
from natkit.stun.framing import StunFraming
from tests.natkit.behaviour.test_naming import FILTERINGS, MAPPINGS, RULES
from tests.natkit.behaviour.world import FOUR, OTHER, OUTSIDE, PRIMARY, World, lying
from tests.simnet import Dependence, Hairpinning, NatBehaviour, PortAssignment, Shell

NOBODY: Final = Address("203.0.113.99", 3478)


def discover(
    world: World,
    *servers: Address,
    hairpin: bool = False,
    fragments: bool = False,
    lifetime: LifetimeSearch | None = None,
    tcp: bool = False,
    second_host: str | None = None,
    sip_servers: tuple[Address, ...] = (),
) -> tuple[Report, list[Progress]]:
    plan = Plan(
        world.local,
        servers or (PRIMARY,),
        hairpin=hairpin,
        fragments=fragments,
        lifetime=lifetime,
        tcp=tcp,
        second_host=second_host,
        sip_servers=sip_servers,
    )
    machine = Discovery(plan, random=world.network.random_bytes("discovery"))
    shell: Shell[DiscoveryEvent, Address | Path] = Shell(
        world.shell.host, machine, framing=StunFraming
    )
    shell.call(machine.start)

    def ended() -> bool:
        return any(isinstance(event, Discovered) for event in shell.events)

    world.network.run_until(ended, 20_000.0)
    assert world.shell.host.sockets == ()
    (discovered,) = shell.take(Discovered)
    return discovered.report, list(shell.take(Progress))


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("hairpinning", Hairpinning)
@pytest.mark.parametrize(
    ("mapping", "filtering", "ports"),
    list(product(Dependence, Dependence, PortAssignment)),
    ids=lambda each: each.name,
)
def test_every_nat_is_named_right_in_one_report(
    mapping: Dependence,
    filtering: Dependence,
    ports: PortAssignment,
    hairpinning: Hairpinning,
    loss: float,
) -> None:
    behaviour = NatBehaviour(
        mapping=mapping, filtering=filtering, ports=ports, hairpinning=hairpinning
    )
    world = World(behaviour, loss=loss)
    with world.network:
        report, _ = discover(world, hairpin=True)
    assert report.mapping.kind is MAPPINGS[mapping], report
    assert report.filtering.kind is FILTERINGS[filtering], report
    assert report.ports.kind is RULES[ports], report
    assert report.mapped is not None
    assert report.mapped.host == OUTSIDE
    assert report.hairpin is not None
    if mapping is Dependence.ENDPOINT_INDEPENDENT or filtering is Dependence.ENDPOINT_INDEPENDENT:
        # Elsewhere the way could not be opened by a packet from the other side.
        assert report.hairpin.works is (hairpinning is not Hairpinning.OFF), report


def test_progress_ends_with_all_that_was_planned() -> None:
    world = World(NatBehaviour())
    with world.network:
        _, told = discover(world, PRIMARY, NOBODY, fragments=True)
    assert [each.done for each in told] == list(range(1, len(told) + 1))
    assert told[-1].done == told[-1].planned == 2 + 1 + 1 + 3 + 3 + 1
    assert all(each.done <= each.planned for each in told)


def test_without_an_answer_nothing_is_claimed() -> None:
    world = World(NatBehaviour())
    with world.network:
        report, _ = discover(world, NOBODY, hairpin=True, fragments=True, lifetime=LifetimeSearch())
    assert not report.udp_passes
    assert report.mapping.kind is Mapping.UNKNOWN
    assert report.filtering.kind is Filtering.UNKNOWN
    assert report.ports.kind is PortRule.UNKNOWN
    assert (report.hairpin, report.lifetime, report.fragments) == (None, None, None)
    assert layers(report).at_least == 0


def test_plain_servers_show_the_mapping_and_leave_filtering_open() -> None:
    world = World(NatBehaviour(), settings=lying(others=()))
    with world.network:
        report, _ = discover(world, PRIMARY, OTHER)
    assert report.mapping.kind is Mapping.ENDPOINT_INDEPENDENT
    assert report.filtering.kind is Filtering.UNKNOWN
    assert "RFC 5780" in report.filtering.evidence[0]


@pytest.mark.parametrize("filtering", Dependence)
def test_a_server_whose_other_address_is_dead_is_helped_out_by_a_plain_one(
    filtering: Dependence,
) -> None:
    world = World(NatBehaviour(filtering=filtering))
    dead = Address(OTHER.host, OTHER.port)
    with world.network:
        for each in FOUR:
            if each.host == dead.host and each.port != PRIMARY.port:
                world.server.host.unbind(each)
                del world.server._sockets[each]
        neighbour = Address(PRIMARY.host, OTHER.port)
        world.server.host.unbind(neighbour)
        del world.server._sockets[neighbour]
        world.server._send = lambda transmit: (  # type: ignore[method-assign]
            type(world.server)._send(world.server, transmit)
            if transmit.path.local in world.server._sockets
            else None
        )
        report, _ = discover(world, PRIMARY, Address(OTHER.host, PRIMARY.port))
    assert report.mapping.kind is Mapping.ENDPOINT_INDEPENDENT, report
    assert report.filtering.kind is Filtering.UNKNOWN, report


def test_loss_is_measured_and_a_lossless_path_shows_none() -> None:
    for loss in (0.0, 0.2):
        world = World(NatBehaviour(), loss=loss, seed=3)
        with world.network:
            report, _ = discover(world)
        (server,) = report.servers
        assert server.round_trip == pytest.approx(0.08, abs=0.001)
        assert server.sent == 5
        assert (server.lost == 0) is (loss == 0.0)


def test_the_lifetime_is_part_of_the_report_when_it_was_asked_for() -> None:
    world = World(NatBehaviour(lifetime=65.0))
    with world.network:
        report, _ = discover(world, lifetime=LifetimeSearch(10.0, 600.0, 3600.0))
    assert report.lifetime is not None
    assert report.lifetime.fatal is not None
    assert report.lifetime.survived < 65.0 <= report.lifetime.fatal + 1


def test_fragments_come_back() -> None:
    world = World(NatBehaviour())
    with world.network:
        report, _ = discover(world, fragments=True)
    assert report.fragments is not None
    assert report.fragments.passes, report.fragments


# ── layers ──────────────────────────────────────────────────────────────────────────────────────


def test_a_carriers_nat_shows_by_its_network_or_by_the_gateways_word() -> None:
    world = World(NatBehaviour(), carrier=NatBehaviour())
    with world.network:
        report, _ = discover(world)
    alone = layers(report)
    assert (alone.at_least, alone.carrier) == (1, None)
    by_word = layers(report, "100.64.0.9")
    assert (by_word.at_least, by_word.carrier) == (2, True)
    private = layers(report, "192.168.100.2")
    assert (private.at_least, private.carrier) == (2, None)
    itself = layers(report, OUTSIDE)
    assert (itself.at_least, itself.carrier) == (1, False)


def test_464xlat_shows_by_the_hosts_own_address() -> None:
    world = World(NatBehaviour())
    with world.network:
        report, _ = discover(world)
    found = layers(replace(report, local_host="192.0.0.4"))
    assert (found.at_least, found.carrier) == (2, True)
    assert "464XLAT" in found.evidence[-1]


def test_a_host_without_nat_has_no_layer() -> None:
    world = World(None)
    with world.network:
        report, _ = discover(world)
    found = layers(report)
    assert (found.at_least, found.carrier) == (0, False)
    assert report.local_host == OUTSIDE


# ── votes ───────────────────────────────────────────────────────────────────────────────────────


def mapping_of(*kinds: Mapping) -> MappingFinding:
    return vote_on_mapping([MappingFinding(kind, 1.0, (f"saw {kind}",)) for kind in kinds])


def test_the_majority_names_the_mapping_and_its_share_is_the_confidence() -> None:
    independent, moving = Mapping.ENDPOINT_INDEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT
    found = mapping_of(independent, moving, independent)
    assert found.kind is independent
    assert found.confidence == pytest.approx(2 / 3)
    assert any(moving in line for line in found.evidence)
    with_silence = mapping_of(independent, Mapping.UNKNOWN, Mapping.UNKNOWN)
    assert with_silence.kind is independent
    assert with_silence.confidence == pytest.approx(1 / 3)


def test_a_tie_is_unknown() -> None:
    found = mapping_of(Mapping.ENDPOINT_INDEPENDENT, Mapping.ADDRESS_DEPENDENT)
    assert (found.kind, found.confidence) == (Mapping.UNKNOWN, 0.0)
    assert "contradict" in found.evidence[0]
    assert mapping_of(Mapping.UNKNOWN).kind is Mapping.UNKNOWN


def test_who_only_knows_that_it_depends_votes_for_who_knows_on_what() -> None:
    exact = Mapping.ADDRESS_AND_PORT_DEPENDENT
    found = mapping_of(Mapping.DEPENDENT, exact, Mapping.DEPENDENT)
    assert (found.kind, found.confidence) == (exact, 1.0)
    assert mapping_of(Mapping.DEPENDENT, Mapping.DEPENDENT).kind is Mapping.DEPENDENT


def test_filtering_is_voted_on_as_well() -> None:
    strict, lax = Filtering.ADDRESS_AND_PORT_DEPENDENT, Filtering.ADDRESS_DEPENDENT
    findings = [FilteringFinding(kind, 1.0, ("line",)) for kind in (strict, lax, strict)]
    assert vote_on_filtering(findings).kind is strict
    assert vote_on_filtering(findings[:2]).kind is Filtering.UNKNOWN
    assert vote_on_filtering([]).kind is Filtering.UNKNOWN
