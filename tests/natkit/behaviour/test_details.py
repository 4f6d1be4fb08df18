"""What NATs do beside mapping and filtering: TCP, pools, neighbours, large packets."""

from typing import Final

import pytest

from natkit.address import Address
from natkit.behaviour import (
    Filtering,
    Mapping,
    contiguity,
    fragment_handling,
    mapping_behaviour,
    overloading,
    path_mtu,
    port_behaviour,
)
from natkit.behaviour.steps import Answer, Ask, NoSocket, Open
from natkit.machine import Transport
from tests.natkit.behaviour.test_discovery import discover
from tests.natkit.behaviour.test_naming import MAPPINGS
from tests.natkit.behaviour.world import (
    OTHER,
    OUTSIDE,
    PRIMARY,
    SECOND,
    World,
    lying,
    others,
)
from tests.simnet import Conditions, Dependence, NatBehaviour, Pooling, PortAssignment

LOSSES: Final = (0.0, 0.05, 0.2)
POOL: Final = ("198.51.100.7", "198.51.100.8", "198.51.100.9")


# ── TCP ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mapping", Dependence)
def test_the_mapping_of_tcp_is_named_right(mapping: Dependence, loss: float) -> None:
    world = World(NatBehaviour(mapping=mapping), loss=loss)
    with world.network:
        found = world.find(mapping_behaviour(world.local, PRIMARY, Transport.TCP))
        assert found.kind is MAPPINGS[mapping], found
        assert found.transport is Transport.TCP
        assert found.mapped is not None
        assert found.mapped.host == OUTSIDE


def test_a_server_that_takes_no_connection_shows_nothing_of_tcp() -> None:
    world = World(NatBehaviour())
    with world.network:
        nobody = Address(PRIMARY.host, 9)
        found = world.find(mapping_behaviour(world.local, nobody, Transport.TCP))
        assert found.kind is Mapping.UNKNOWN
        assert found.confidence == 0


def test_a_connection_that_ends_before_its_answer_shows_nothing() -> None:
    world = World(NatBehaviour())
    with world.network:
        # The three other listeners take connections, and close them at once.
        for listener in world.server.host._listeners:
            if listener != PRIMARY:
                world.server.host._listeners[listener] = lambda stream: setattr(
                    stream, "on_open", stream.close
                )
        found = world.find(mapping_behaviour(world.local, PRIMARY, Transport.TCP))
        assert found.kind is Mapping.UNKNOWN
        assert found.mapped is not None


def test_tcp_has_a_place_of_its_own_in_the_report() -> None:
    world = World(NatBehaviour(mapping=Dependence.ADDRESS_DEPENDENT))
    with world.network:
        report, _ = discover(world, tcp=True)
        assert report.tcp_mapping is not None
        assert report.tcp_mapping.kind is Mapping.ADDRESS_DEPENDENT
        assert report.mapping.kind is Mapping.ADDRESS_DEPENDENT
        assert report.tcp_mapping.transport is Transport.TCP


def test_a_server_of_another_family_is_no_alternate() -> None:
    across = tuple((transport, here, Address("2001:db8::1", 9)) for transport, here, _ in others())
    world = World(NatBehaviour(), settings=lying(others=across))
    with world.network:
        report, _ = discover(world)
        assert report.mapping.kind is Mapping.UNKNOWN
        assert report.filtering.kind is Filtering.UNKNOWN


# ── pools, neighbours, collisions ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pooling", Pooling)
def test_a_pool_shows_whether_a_host_keeps_its_address(pooling: Pooling) -> None:
    world = World(NatBehaviour(pooling=pooling), pool=POOL)
    with world.network:
        found = world.find(port_behaviour(world.local, PRIMARY))
        assert found.pooling_is_paired is (pooling is Pooling.PAIRED)
        assert set(found.hosts) <= set(POOL)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("ports", "keeps", "expected"),
    [
        (PortAssignment.PRESERVED, False, True),
        (PortAssignment.RANDOM, False, False),
        (PortAssignment.RANDOM, True, True),
        (PortAssignment.SEQUENTIAL, False, False),
        # What is mapped between the two takes the place.
        (PortAssignment.SEQUENTIAL, True, False),
    ],
)
def test_contiguity_is_told_from_counting(
    ports: PortAssignment, keeps: bool, expected: bool, loss: float
) -> None:
    world = World(NatBehaviour(ports=ports, contiguity=keeps), loss=loss)
    with world.network:
        found = world.find(contiguity(world.local, PRIMARY))
        assert found.holds is expected, found
        assert found.confidence > 0.5


def test_without_an_answer_contiguity_is_not_known() -> None:
    world = World(NatBehaviour())
    with world.network:
        found = world.find(contiguity(world.local, Address("203.0.113.99", 3478)))
        assert (found.holds, found.confidence) == (None, 0.0)


@pytest.mark.parametrize(
    ("ports", "expected"), [(PortAssignment.PRESERVED, False), (PortAssignment.RANDOM, None)]
)
def test_a_nat_that_moves_the_second_of_two_hosts_does_not_overload(
    ports: PortAssignment, expected: bool | None
) -> None:
    world = World(NatBehaviour(ports=ports))
    with world.network:
        report, _ = discover(world, second_host=SECOND)
        assert report.overloading is not None
        assert report.overloading.holds is expected, report.overloading


def test_one_port_outside_for_two_hosts_is_overloading() -> None:
    first, second = Address("192.168.1.2", 5000), Address(SECOND, 5000)
    outside = Address(OUTSIDE, 5000)
    script = overloading(first.host, SECOND, PRIMARY)
    assert next(script) == Open(Address(first.host, 0))
    assert script.send(first) == Open(second)
    assert script.send(second) == Ask(first, PRIMARY)
    assert script.send(Answer(outside, PRIMARY, 0.1, other=OTHER)) == Ask(second, OTHER)
    with pytest.raises(StopIteration) as ended:
        script.send(Answer(outside, OTHER, 0.1))
    assert ended.value.value.holds is True


def test_a_port_that_is_taken_shows_no_collision() -> None:
    script = overloading("192.168.1.2", SECOND, PRIMARY)
    next(script)
    script.send(Address("192.168.1.2", 5000))
    with pytest.raises(StopIteration) as ended:
        script.send(NoSocket("in use"))
    assert ended.value.value.holds is None


# ── large packets ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("up", "down", "out", "back"),
    [
        (None, None, True, True),
        (1500, None, False, None),
        (None, 1500, True, False),
    ],
)
def test_fragments_are_told_apart_by_their_way(
    up: int | None, down: int | None, out: bool | None, back: bool | None
) -> None:
    world = World(NatBehaviour())
    link = world.shell.host.link
    link.up, link.down = Conditions(mtu=up), Conditions(mtu=down)
    with world.network:
        found = world.find(fragment_handling(world.local, PRIMARY))
        assert (found.out, found.back) == (out, back), found
        assert found.passes is (None if out and back is None else bool(out and back))


def test_a_server_without_padding_shows_the_way_out_only() -> None:
    world = World(NatBehaviour(), settings=lying(others=()))
    with world.network:
        found = world.find(fragment_handling(world.local, PRIMARY))
        assert (found.out, found.back, found.passes) == (True, None, None)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mtu", [1500, 1492, 1480, 1420, 1400, 1280, 1004, 600, 576])
def test_the_path_mtu_is_found(mtu: int, loss: float) -> None:
    world = World(NatBehaviour())
    world.shell.host.link.change(Conditions(mtu=mtu, loss=loss))
    with world.network:
        found = world.find(path_mtu(world.local, PRIMARY))
        assert found.passed == mtu, found
        assert found.lost == (None if mtu == 1500 else mtu + 4)
        assert found.is_black_hole is None


def test_a_path_mtu_below_what_ipv4_promises_is_found_too() -> None:
    world = World(NatBehaviour())
    world.shell.host.link.change(Conditions(mtu=300))
    with world.network:
        assert world.find(path_mtu(world.local, PRIMARY)).passed == 300


def test_the_links_own_mtu_is_the_most_that_is_tried() -> None:
    world = World(NatBehaviour())
    with world.network:
        found = world.find(path_mtu(world.local, PRIMARY, largest=1400))
        assert (found.passed, found.lost) == (1400, None)


def test_no_answer_measures_no_mtu() -> None:
    world = World(NatBehaviour())
    with world.network:
        found = world.find(path_mtu(world.local, Address("203.0.113.99", 3478)))
        assert (found.passed, found.lost) == (None, None)
