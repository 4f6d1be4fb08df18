"""The two examples of RFC 8445 §15, message by message and pair by pair."""

from collections.abc import Sequence

from natkit.address import Address
from natkit.ice.candidate import CandidateType, LocalCandidate
from natkit.ice.events import IceState
from natkit.ice.explanation import PairState
from natkit.ice.settings import IceSettings
from natkit.machine import Path, Transmit, Transport
from natkit.stun.attributes import UseCandidate, XorMappedAddress
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass
from tests.natkit.ice.bench import Bench

L_PRIV_1 = Address.of("10.0.1.1", 8998)
R_PUB_1 = Address.of("192.0.2.1", 3478)
STUN_PUB_1 = Address.of("192.0.2.2", 3478)
NAT_PUB_1 = Address.of("192.0.2.3", 45664)
L_PUB_6 = Address.of("2001:db8::3", 8998)
R_PUB_6 = Address.of("2001:db8::5", 3478)

REQUEST, ANSWER = MessageClass.REQUEST, MessageClass.SUCCESS_RESPONSE
OUT = {L_PRIV_1: NAT_PUB_1}
IN = {NAT_PUB_1: L_PRIV_1}


def agents(left_base: Address, right_base: Address) -> tuple[Bench, Bench]:
    """L, which controls, and R; each with its host candidate."""
    return (
        Bench(remote=None, bases=[left_base], seed=1),
        Bench(IceSettings(controlling=False), remote=None, bases=[right_base], seed=2),
    )


def reflexive(mapped: Address, base: Address) -> LocalCandidate:
    return LocalCandidate(
        component=1,
        type=CandidateType.SERVER_REFLEXIVE,
        address=mapped,
        base=base,
        server=STUN_PUB_1,
    )


def exchange_information(left: Bench, right: Bench) -> None:
    for mine, other in ((left, right), (right, left)):
        mine.agent.set_remote_parameters(0, other.agent.local_parameters, mine.now)
        for candidate in other.agent.local_candidates(0):
            mine.agent.add_remote_candidate(0, candidate, mine.now)


def carry(sent: Sequence[Transmit], receiver: Bench) -> list[Message]:
    """Through the NAT, if it is on the way; what cannot be routed is dropped."""
    carried = []
    for each in sent:
        message = Message.parse(each.data)
        carried.append(message)
        if each.path.remote == L_PRIV_1:
            continue
        source = OUT.get(each.path.local, each.path.local)
        destination = IN.get(each.path.remote, each.path.remote)
        path = Path(Transport.UDP, destination, source)
        receiver.agent.receive(each.data, path, receiver.now)
    return carried


def kinds(messages: Sequence[Message]) -> list[tuple[MessageClass, bool]]:
    return [(each.message_class, each.get(UseCandidate) is not None) for each in messages]


def pairs(bench: Bench) -> list[tuple[object, object, PairState]]:
    return [
        (each.local.address, each.remote.address, each.state)
        for each in bench.agent.statistics().pairs
    ]


def test_ipv4_pairs_are_formed_checked_and_nominated_as_in_figure_8() -> None:
    # RFC 8445 §15.1
    left, right = agents(L_PRIV_1, R_PUB_1)
    left.agent.add_local_candidate(0, reflexive(NAT_PUB_1, L_PRIV_1), left.now)
    # Messages 6 and 7: R's reflexive candidate is its host candidate, and redundant.
    redundant = reflexive(R_PUB_1, R_PUB_1)
    assert right.agent.add_local_candidate(0, redundant, right.now) is None
    # The priorities are those in RFC 8839 Appendix A.
    told = left.agent.local_candidates(0)
    assert [each.priority for each in told] == [2130706431, 1694498815]
    exchange_information(left, right)
    # L prunes the pair of its reflexive candidate; R has two.
    assert [each[:2] for each in pairs(left)] == [(L_PRIV_1, R_PUB_1)]
    assert [each[:2] for each in pairs(right)] == [(R_PUB_1, L_PRIV_1), (R_PUB_1, NAT_PUB_1)]
    # Message 9: dropped.
    assert kinds(carry(right.run(0.0), left)) == [(REQUEST, False)]
    assert left.agent.statistics().pairs[0].checks_received == 0
    # Messages 10 to 13.
    assert kinds(carry(left.run(0.0), right)) == [(REQUEST, False)]
    [answer] = carry(right.run(0.0), left)
    mapped = answer.get(XorMappedAddress)
    assert mapped is not None
    assert mapped.address == NAT_PUB_1
    assert pairs(left) == [(NAT_PUB_1, R_PUB_1, PairState.SUCCEEDED)]
    assert left.agent.send(0, 1, b"data", left.now)
    left.agent.transmits()
    # Messages 14 to 17: R's triggered check.
    assert kinds(carry(right.run(0.06), left)) == [(REQUEST, False)]
    assert kinds(carry(left.run(0.0), right)) == [(ANSWER, False)]
    assert pairs(right) == [
        (R_PUB_1, L_PRIV_1, PairState.IN_PROGRESS),
        (R_PUB_1, NAT_PUB_1, PairState.SUCCEEDED),
    ]
    assert right.agent.state is IceState.CONNECTED
    # Messages 18 to 21: the nomination.
    assert kinds(carry(left.run(0.06), right)) == [(REQUEST, True)]
    assert kinds(carry(right.run(0.0), left)) == [(ANSWER, False)]
    completed = [bench.agent.state for bench in (left, right)]
    assert completed == [IceState.COMPLETED, IceState.COMPLETED]
    nominated = [
        [(each.local.address, each.remote.address) for each in found if each.nominated]
        for found in (left.agent.statistics().pairs, right.agent.statistics().pairs)
    ]
    assert nominated == [[(NAT_PUB_1, R_PUB_1)], [(R_PUB_1, NAT_PUB_1)]]


def test_ipv6_pairs_are_checked_both_ways_and_nominated_as_in_the_second_example() -> None:
    # RFC 8445 §15.2
    left, right = agents(L_PUB_6, R_PUB_6)
    exchange_information(left, right)
    # Messages 7 and 8.
    assert kinds(carry(left.run(0.0), right)) == [(REQUEST, False)]
    answered = right.run(0.0)
    assert kinds(carry(answered, left))[0] == (ANSWER, False)
    assert pairs(left) == [(L_PUB_6, R_PUB_6, PairState.SUCCEEDED)]
    # Messages 9 and 10: R's own check, triggered.
    if len(answered) == 1:
        assert kinds(carry(right.run(0.06), left)) == [(REQUEST, False)]
    assert kinds(carry(left.run(0.0), right))[0] == (ANSWER, False)
    assert pairs(right) == [(R_PUB_6, L_PUB_6, PairState.SUCCEEDED)]
    # Messages 11 and 12.
    assert kinds(carry(left.run(0.06), right)) == [(REQUEST, True)]
    assert kinds(carry(right.run(0.0), left)) == [(ANSWER, False)]
    completed = [bench.agent.state for bench in (left, right)]
    assert completed == [IceState.COMPLETED, IceState.COMPLETED]
