"""Answers that nobody asked for change no finding, and silence ends every test."""

from collections.abc import Iterator
from typing import Final

import pytest

from natkit.address import Address
from natkit.behaviour import filtering_behaviour, mapping_behaviour
from natkit.errors import MalformedMessage
from natkit.stun.attributes import ErrorCode, OtherAddress, XorMappedAddress
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass
from tests.natkit.behaviour.test_discovery import NOBODY, discover
from tests.natkit.behaviour.test_naming import FILTERINGS, MAPPINGS
from tests.natkit.behaviour.world import OUTSIDE, PRIMARY, World
from tests.simnet import Dependence, NatBehaviour

LIE: Final = Address("203.0.113.66", 6666)
BOUND: Final = 60.0
"""Virtual seconds for a whole discovery of servers that are silent, at a patience of eight."""


def forged(data: bytes) -> Iterator[bytes]:
    """What somebody sends who sees that answers come, but not the requests' ids."""
    try:
        answer = Message.parse(data)
    except MalformedMessage:
        return
    if answer.message_class is not MessageClass.SUCCESS_RESPONSE:
        return
    others = bytes(12)
    asked = Message.request(answer.method, others)
    yield asked.success(XorMappedAddress(LIE), OtherAddress(LIE)).encode()
    yield asked.error(ErrorCode(420)).encode()
    yield asked.encode()
    own = Message.request(answer.method, answer.transaction_id)
    # Of the right id, and no answer: a request, an answer without an address, half of one.
    yield own.encode()
    yield own.success().encode()
    yield data[: len(data) // 2]


def lied_to(world: World) -> World:
    """Each datagram comes behind forged ones, from where it comes itself."""
    honest = world.shell.datagram

    def datagram(data: bytes, local: Address, remote: Address) -> None:
        for lie in forged(data):
            honest(lie, local, remote)
        honest(data, local, remote)

    world.shell.datagram = datagram  # type: ignore[method-assign]
    return world


@pytest.mark.parametrize("mapping", Dependence)
@pytest.mark.parametrize("filtering", Dependence)
def test_forged_answers_change_no_finding(mapping: Dependence, filtering: Dependence) -> None:
    world = lied_to(World(NatBehaviour(mapping=mapping, filtering=filtering)))
    with world.network:
        found = world.find(mapping_behaviour(world.local, PRIMARY))
        assert found.kind is MAPPINGS[mapping], found
        assert found.mapped is not None
        assert found.mapped.host == OUTSIDE
        assert world.find(filtering_behaviour(world.local, PRIMARY)).kind is FILTERINGS[filtering]


def test_silence_everywhere_ends_a_discovery_in_bounded_time() -> None:
    world = World(NatBehaviour())
    with world.network:
        started = world.network.now
        report, _ = discover(
            world, NOBODY, fragments=True, tcp=True, hairpin=True, sip_servers=(NOBODY,)
        )
        assert world.network.now - started < BOUND
    assert not report.udp_passes
    assert report.sip == ()
