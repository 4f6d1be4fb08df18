"""The role that signalling gives late (RFC 8445 §6.1.1)."""

import random

import pytest

from natkit.address import Address
from natkit.ice import Agent, CandidateType, IceSettings, LocalCandidate, Parameters
from natkit.ice.candidate_attribute import parse_candidate
from natkit.ice.events import RoleChanged
from natkit.stun.attributes import IceControlled, IceControlling
from natkit.stun.message import Message

THEIRS = Parameters(username_fragment="8hhY", password="asd88fgpdd777uzjYhagZg")
HOST = Address("192.0.2.1", 5000)


@pytest.mark.parametrize("controlling", [True, False])
def test_checks_state_the_role_that_was_taken_before_them(controlling: bool) -> None:
    agent = Agent(IceSettings(controlling=not controlling), random=random.Random(1).randbytes)
    stream = agent.add_stream()
    ours = LocalCandidate(component=1, type=CandidateType.HOST, address=HOST, base=HOST)
    agent.add_local_candidate(stream, ours, 0.0)
    agent.take_role(0.0, controlling=controlling)
    assert agent.next_event() == RoleChanged(controlling)
    agent.take_role(0.0, controlling=controlling)
    assert agent.next_event() is None
    assert agent.controlling is controlling
    agent.set_remote_parameters(stream, THEIRS, 0.0)
    theirs = parse_candidate("1 1 UDP 2130706431 192.0.2.2 6000 typ host")
    agent.add_remote_candidate(stream, theirs, 0.0)
    agent.handle_timer(1.0)
    (check,) = (Message.parse(each.data) for each in agent.transmits())
    kind = IceControlling if controlling else IceControlled
    assert any(isinstance(each, kind) for each in check.attributes)
