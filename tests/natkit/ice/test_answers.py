"""The peer's checks: what is answered, what is learnt of them, and what they set off."""

import pytest

from natkit.address import Address
from natkit.ice.candidate import CandidateType
from natkit.ice.events import CandidateDiscovered, IceState, RoleChanged
from natkit.ice.explanation import PairState
from natkit.ice.parameters import Parameters
from natkit.ice.settings import IceSettings
from natkit.machine import Path, Transmit
from natkit.stun.attributes import ErrorCode, UnknownAttribute, XorMappedAddress
from natkit.stun.credentials import short_term_key, verify
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass
from tests.natkit.ice.bench import HOST, PATH, PEER, REMOTE, Bench, remote_candidate

STRANGER = Address.of("198.51.100.9", 999)
FROM_STRANGER = PATH._replace(remote=STRANGER)
CONTROLLED = IceSettings(controlling=False)


def answer(sent: list[Transmit]) -> Message:
    [response] = [
        message
        for message in (Message.parse(each.data) for each in sent)
        if message.message_class is not MessageClass.REQUEST
    ]
    return response


def code(sent: list[Transmit]) -> int:
    error = answer(sent).get(ErrorCode)
    assert error is not None
    return error.code


def test_a_check_is_answered_with_its_source_and_our_password() -> None:
    bench = Bench()
    response = answer(bench.check(path=FROM_STRANGER))
    assert response.message_class is MessageClass.SUCCESS_RESPONSE
    mapped = response.get(XorMappedAddress)
    assert mapped is not None
    assert mapped.address == STRANGER
    assert verify(response, bench.key) is not None


def test_a_check_from_nowhere_known_reveals_a_candidate_and_is_returned() -> None:
    # RFC 8445 §7.3.1.3, §7.3.1.4
    bench = Bench()
    bench.check(path=FROM_STRANGER, priority=12345)
    [found] = [each for each in bench.events() if isinstance(each, CandidateDiscovered)]
    assert not found.is_local
    assert (found.candidate.address, found.candidate.priority) == (STRANGER, 12345)
    assert found.candidate.type is CandidateType.PEER_REFLEXIVE
    [(_, path)] = bench.requests()
    assert path.remote == STRANGER


def test_a_candidate_that_is_told_later_takes_the_place_of_the_revealed_one() -> None:
    bench = Bench()
    bench.check()
    bench.agent.add_remote_candidate(0, remote_candidate(priority=777), bench.now)
    [remote] = bench.agent.remote_candidates(0)
    [pair] = bench.agent.statistics().pairs
    assert remote.type is CandidateType.HOST
    assert pair.remote is remote


def test_a_check_under_way_is_stopped_for_a_triggered_one_and_its_answer_still_counts() -> None:
    # RFC 8445 §7.3.1.4
    bench = Bench(candidates=[remote_candidate()])
    [(first, path)] = bench.requests(0.01)
    bench.check()
    later = bench.requests(5.0)
    assert first not in [request for request, _ in later]
    assert len({request.transaction_id for request, _ in later}) == 1
    bench.respond(first, path)
    [pair] = bench.agent.statistics().pairs
    assert pair.state is PairState.SUCCEEDED


def test_the_retransmissions_of_one_check_set_off_one() -> None:
    bench = Bench()
    for _ in range(5):
        bench.check(transaction_id=bytes(12))
        bench.run(0.2)
    assert bench.agent.statistics().transactions == 1
    [pair] = bench.agent.statistics().pairs
    assert pair.checks_received == 5


def test_the_larger_number_keeps_the_controlling_role() -> None:
    # RFC 8445 §7.3.1.1
    bench = Bench()
    assert code(bench.check(controlling=True, tie_breaker=0)) == 487
    assert RoleChanged(controlling=False) not in bench.events()
    response = answer(bench.check(controlling=True, tie_breaker=2**64 - 1))
    assert response.message_class is MessageClass.SUCCESS_RESPONSE
    assert RoleChanged(controlling=False) in bench.events()


def test_the_larger_number_takes_the_controlling_role() -> None:
    bench = Bench(CONTROLLED)
    assert code(bench.check(controlling=False, tie_breaker=2**64 - 1)) == 487
    assert RoleChanged(controlling=True) not in bench.events()
    response = answer(bench.check(controlling=False, tie_breaker=0))
    assert response.message_class is MessageClass.SUCCESS_RESPONSE
    assert RoleChanged(controlling=True) in bench.events()


def test_a_check_without_priority_is_a_bad_request() -> None:
    assert code(Bench().check(priority=None)) == 400


def test_an_attribute_that_must_be_understood_is_named() -> None:
    sent = Bench().check(more=[UnknownAttribute(0x7777, b"")])
    assert code(sent) == 420


@pytest.mark.parametrize("wrong", ["username", "password"])
def test_foreign_credentials_get_a_401_no_longer_than_the_check_and_leave_no_trace(
    wrong: str,
) -> None:
    bench = Bench()
    username = "nobody:them" if wrong == "username" else None
    key = b"wrong" if wrong == "password" else None
    sent = bench.check(username=username, key=key, path=FROM_STRANGER)
    assert code(sent) == 401
    assert len(sent[0].data) <= 80
    assert bench.agent.statistics().pairs == ()
    assert bench.agent.remote_candidates(0) == ()
    assert bench.agent.statistics().dropped["foreign"] == 1


def test_checks_before_the_peers_parameters_are_answered_and_returned_afterwards() -> None:
    # RFC 8445 §7.3
    bench = Bench(remote=None)
    response = answer(bench.check())
    assert response.message_class is MessageClass.SUCCESS_RESPONSE
    assert bench.requests(1.0) == []
    bench.agent.set_remote_parameters(0, REMOTE, bench.now)
    [(_, path)] = bench.requests()
    assert path.remote == PEER


def test_a_check_of_another_of_the_peers_sessions_is_answered_and_sets_off_nothing() -> None:
    bench = Bench()
    fragment = bench.agent.local_parameters.username_fragment
    response = answer(bench.check(username=f"{fragment}:former"))
    assert response.message_class is MessageClass.SUCCESS_RESPONSE
    assert bench.agent.statistics().pairs == ()


def test_a_nomination_that_comes_before_the_description_of_its_session_counts_with_it() -> None:
    # Both restarted; what we have of the peer is its part of the session before.
    bench = Bench(CONTROLLED)
    bench.agent.restart(bench.now)
    bench.agent.set_remote_parameters(0, REMOTE, bench.now)
    bench.key = short_term_key(bench.agent.local_parameters.password)
    fragment = bench.agent.local_parameters.username_fragment
    bench.check(controlling=True, nominates=True, username=f"{fragment}:next")
    assert bench.requests(0.1) == []
    following = Parameters(username_fragment="next", password="n" * 24)
    bench.agent.set_remote_parameters(0, following, bench.now)
    [(request, path)] = bench.requests(0.1)
    bench.respond(request, path, key=short_term_key(following.password))
    assert bench.agent.state is IceState.COMPLETED


def test_what_comes_to_no_base_of_ours_is_counted_and_forgotten() -> None:
    bench = Bench()
    elsewhere = Path(PATH.transport, Address(HOST.host, 1), PEER)
    assert bench.check(path=elsewhere) == []
    assert bench.agent.statistics().dropped["homeless"] == 1
