"""Data that comes before the peer's description does (RFC 8445 §7.3, §12)."""

import random

from natkit.address import Address
from natkit.ice import Agent, CandidateType, IceSettings, LocalCandidate
from natkit.ice.candidate import Candidate
from natkit.ice.events import DataReceived, IceEvent
from natkit.machine import Path, Transport

OURS, THEIRS = Address("192.0.2.1", 5000), Address("192.0.2.2", 6000)
TO_US = Path(Transport.UDP, OURS, THEIRS)
TO_THEM = Path(Transport.UDP, THEIRS, OURS)


def agent_at(address: Address, *, controlling: bool) -> tuple[Agent, Candidate]:
    seed = random.Random(str(address))
    agent = Agent(IceSettings(controlling=controlling), random=seed.randbytes)
    agent.add_stream()
    candidate = LocalCandidate(component=1, type=CandidateType.HOST, address=address, base=address)
    told = agent.add_local_candidate(0, candidate, 0.0)
    assert told is not None
    return agent, told


def events(agent: Agent) -> list[IceEvent]:
    found = []
    while (event := agent.next_event()) is not None:
        found.append(event)
    return found


def test_data_is_taken_from_where_a_check_was_answered_before_the_description_came() -> None:
    # The offer was answered, and the answer is on its way: the answerer checks, and may send.
    us, ours = agent_at(OURS, controlling=True)
    them, _ = agent_at(THEIRS, controlling=False)
    them.set_remote_parameters(0, us.local_parameters, 0.0)
    them.add_remote_candidate(0, ours, 0.0)
    them.handle_timer(1.0)
    us.receive(b"too early", TO_US, 1.0)
    for check in them.transmits():
        us.receive(check.data, TO_US, 1.0)
    for response in us.transmits():
        them.receive(response.data, TO_THEM, 1.1)
    assert them.send(0, 1, b"hello", 1.1)
    us.receive(b"hello", TO_US, 1.2)
    elsewhere = Path(Transport.UDP, OURS, Address("192.0.2.66", 6000))
    us.receive(b"forged", elsewhere, 1.2)
    data = [event for event in events(us) if isinstance(event, DataReceived)]
    assert data == [DataReceived(0, 1, b"hello")]
    assert us.statistics().dropped["unproven"] == 2
