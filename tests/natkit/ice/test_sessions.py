"""Restarts, trickled candidates, names, failures and their explanations, and lite agents."""

import pytest

from natkit.address import Address
from natkit.ice.candidate import Candidate, CandidateType, NamedAddress
from natkit.ice.events import (
    ConsentLost,
    DataReceived,
    Failed,
    IceState,
    PairSelected,
    ResolveName,
    Restarted,
    RestartNeeded,
    RestartReason,
    StateChanged,
)
from natkit.ice.parameters import Parameters
from natkit.ice.settings import IceSettings
from natkit.machine import Failure, Transport
from natkit.stun.attributes import ErrorCode
from natkit.stun.credentials import short_term_key
from natkit.stun.message import Message
from tests.natkit.ice.bench import (
    HOST,
    PATH,
    PEER,
    REMOTE,
    Bench,
    host_candidate,
    remote_candidate,
)

LITE = IceSettings(lite=True, controlling=False)
NEXT = Parameters(username_fragment="next", password="n" * 24)
THIRD = Parameters(username_fragment="third", password="t" * 24)


def connected() -> Bench:
    bench = Bench(candidates=[remote_candidate()])
    bench.check()
    bench.connect()
    assert bench.agent.state is IceState.COMPLETED
    bench.events()
    return bench


def tagged(fragment: str, address: Address = PEER) -> Candidate:
    return Candidate(
        foundation="f",
        component=1,
        transport=Transport.UDP,
        priority=2130706431,
        address=address,
        type=CandidateType.HOST,
        username_fragment=fragment,
    )


# ── restart (RFC 8445 §9) ───────────────────────────────────────────────────────────────────────


def test_a_restart_draws_new_parameters_and_data_keeps_to_the_old_pair() -> None:
    bench = connected()
    before = bench.agent.local_parameters
    bench.agent.restart(bench.now)
    after = bench.agent.local_parameters
    assert (before.username_fragment, before.password) != (after.username_fragment, after.password)
    assert [each for each in bench.events() if isinstance(each, Restarted)] == [
        Restarted(1, by_peer=False)
    ]
    assert bench.agent.send(0, 1, b"data", bench.now)
    bench.receive(b"\x80data")
    assert any(isinstance(each, DataReceived) for each in bench.events())
    [local] = bench.agent.local_candidates(0)
    assert local.username_fragment == after.username_fragment


def test_the_old_sessions_checks_are_answered_until_the_new_one_has_its_pairs() -> None:
    bench = connected()
    old = f"{bench.agent.local_parameters.username_fragment}:{REMOTE.username_fragment}"
    bench.agent.restart(bench.now)
    [response] = bench.check(username=old)
    assert Message.parse(response.data).get(ErrorCode) is None
    bench.agent.set_remote_parameters(0, NEXT, bench.now)
    bench.agent.add_remote_candidate(0, tagged("next"), bench.now)
    key = short_term_key(NEXT.password)
    for _ in range(2):
        for request, path in bench.requests(0.1):
            bench.respond(request, path, key=key)
    assert any(isinstance(each, PairSelected) for each in bench.events())
    [response] = bench.check(username=old)
    assert Message.parse(response.data).get(ErrorCode) is not None


def test_new_parameters_of_the_peer_restart_this_side() -> None:
    bench = connected()
    before = bench.agent.local_parameters
    bench.agent.set_remote_parameters(0, NEXT, bench.now)
    assert Restarted(1, by_peer=True) in bench.events()
    assert bench.agent.local_parameters.username_fragment != before.username_fragment


def test_a_description_of_a_session_that_is_over_changes_nothing() -> None:
    bench = connected()
    bench.agent.set_remote_parameters(0, NEXT, bench.now)
    bench.events()
    bench.agent.set_remote_parameters(0, REMOTE, bench.now)
    assert bench.agent.generation == 1
    assert bench.agent.statistics().dropped["stale"] == 1


def test_two_restarts_at_once_do_not_set_off_each_other_without_end() -> None:
    bench = connected()
    bench.agent.restart(bench.now)
    bench.agent.set_remote_parameters(0, NEXT, bench.now)
    bench.agent.set_remote_parameters(0, THIRD, bench.now)
    assert bench.agent.generation == 1
    told = [each for each in bench.events() if isinstance(each, Restarted)]
    assert told == [Restarted(1, by_peer=False), Restarted(1, by_peer=True)]


def test_candidates_wait_for_the_session_that_they_name() -> None:
    # RFC 8838 §11
    bench = Bench()
    bench.agent.add_remote_candidate(0, tagged("next"), bench.now)
    assert bench.agent.remote_candidates(0) == ()
    bench.agent.set_remote_parameters(0, NEXT, bench.now)
    assert [each.address for each in bench.agent.remote_candidates(0)] == [PEER]


def test_candidates_of_the_session_before_are_stale() -> None:
    bench = connected()
    bench.agent.set_remote_parameters(0, NEXT, bench.now)
    bench.agent.add_remote_candidate(0, tagged("them", Address(PEER.host, 1)), bench.now)
    assert bench.agent.remote_candidates(0) == ()
    assert bench.agent.statistics().dropped["stale"] == 1


def test_a_socket_that_is_gone_takes_its_pair_along() -> None:
    bench = connected()
    bench.agent.remove_base(0, HOST, bench.now)
    assert RestartNeeded(0, 1, RestartReason.BASE_REMOVED) in bench.events()
    assert bench.agent.local_candidates(0) == ()


# ── trickle, names ──────────────────────────────────────────────────────────────────────────────


def test_the_order_in_which_things_come_does_not_matter() -> None:
    bench = Bench(remote=None, bases=[])
    bench.agent.add_remote_candidate(0, remote_candidate(), bench.now)
    bench.agent.add_remote_candidate(0, remote_candidate(), bench.now)
    bench.agent.set_remote_parameters(0, REMOTE, bench.now)
    bench.agent.add_local_candidate(0, host_candidate(), bench.now)
    assert bench.agent.add_local_candidate(0, host_candidate(), bench.now) is None
    assert [path for _, path in bench.requests()] == [PATH]


def test_a_name_is_resolved_by_multicast_dns_alone() -> None:
    bench = Bench()
    for name in ("0a1b.local", "host.example.org"):
        candidate = Candidate(
            foundation="f",
            component=1,
            transport=Transport.UDP,
            priority=1,
            address=NamedAddress(name, PEER.port),
            type=CandidateType.HOST,
        )
        bench.agent.add_remote_candidate(0, candidate, bench.now)
    [request] = [each for each in bench.events() if isinstance(each, ResolveName)]
    assert request.name.name == "0a1b.local"
    bench.agent.answer(request.request_id, (PEER.host,), bench.now)
    assert [path for _, path in bench.requests()] == [PATH]


def test_a_name_that_nobody_has_is_explained_and_then_given_up() -> None:
    candidate = tagged("them")
    named = Candidate(
        foundation="f",
        component=1,
        transport=Transport.UDP,
        priority=1,
        address=NamedAddress("0a1b.local", 9),
        type=candidate.type,
    )
    for answers in (True, False):
        bench = Bench()
        bench.agent.add_remote_candidate(0, named, bench.now)
        assert "has not found 0a1b.local:9" in str(bench.agent.explain(0))
        [request] = [each for each in bench.events() if isinstance(each, ResolveName)]
        if answers:
            bench.agent.answer(request.request_id, Failure("no such name"), bench.now)
        else:
            bench.run(11.0)
        assert "has not found" not in str(bench.agent.explain(0))


# ── failure ─────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_fails_no_earlier_than_rfc_8863_lets_it() -> None:
    bench = Bench(candidates=[remote_candidate()])
    start = bench.now
    bench.agent.end_of_local_candidates(0, bench.now)
    bench.agent.end_of_remote_candidates(0, bench.now)
    [(request, path)] = bench.requests()
    bench.refuse(request, 400, path)
    bench.run(39.0)
    assert not any(isinstance(each, Failed) for each in bench.events())
    bench.run(1.0)
    assert bench.agent.state is IceState.FAILED
    [failed] = [each for each in bench.events() if isinstance(each, Failed)]
    [pair] = failed.explanation.pairs
    assert pair.reason == "the peer refused: 400"
    assert bench.now - start == pytest.approx(40.0)


def test_a_peer_reflexive_candidate_may_save_a_stream_that_has_none() -> None:
    bench = Bench()
    bench.agent.end_of_local_candidates(0, bench.now)
    bench.agent.end_of_remote_candidates(0, bench.now)
    bench.run(30.0)
    bench.check()
    bench.connect()
    assert bench.agent.state is IceState.COMPLETED


def test_candidates_that_come_after_the_failure_are_tried() -> None:
    bench = Bench()
    bench.agent.end_of_local_candidates(0, bench.now)
    bench.agent.end_of_remote_candidates(0, bench.now)
    bench.run(45.0)
    assert bench.agent.state is IceState.FAILED
    assert "no remote candidate came" in str(bench.agent.explain(0))
    bench.agent.add_remote_candidate(0, remote_candidate(), bench.now)
    bench.connect()
    states = [each.state for each in bench.events() if isinstance(each, StateChanged)]
    assert states[-1] is IceState.COMPLETED


def test_the_explanation_tells_a_one_way_path_from_a_silent_peer() -> None:
    bench = Bench(candidates=[remote_candidate()])
    bench.run(0.1)
    assert "nothing came from the peer" in str(bench.agent.explain(0))
    bench.check()
    bench.run(0.1)
    assert "checks came from the peer over paths" in str(bench.agent.explain(0))


# ── lite (RFC 8445 §2.5, §7.3.2, §8.2) ──────────────────────────────────────────────────────────


def test_a_lite_agent_checks_nothing_and_takes_what_the_peer_nominates() -> None:
    bench = Bench(LITE, candidates=[remote_candidate()])
    bench.check(controlling=True)
    assert bench.requests(5.0) == []
    assert not any(isinstance(each, PairSelected) for each in bench.events())
    bench.check(controlling=True, nominates=True)
    assert bench.agent.state is IceState.COMPLETED
    assert bench.agent.send(0, 1, b"data", bench.now)


def test_a_lite_agent_never_controls() -> None:
    bench = Bench(LITE)
    [response] = bench.check(controlling=False, tie_breaker=0)
    error = Message.parse(response.data).get(ErrorCode)
    assert error is not None
    assert error.code == 487
    assert not bench.agent.controlling


def test_a_full_agent_controls_a_lite_one() -> None:
    # RFC 8445 §6.1.1
    remote = Parameters(
        username_fragment=REMOTE.username_fragment, password=REMOTE.password, lite=True
    )
    bench = Bench(IceSettings(controlling=False), remote=remote)
    assert bench.agent.controlling


def test_two_lite_agents_use_their_best_addresses_unchecked() -> None:
    # RFC 8445 §8.2
    remote = Parameters(
        username_fragment=REMOTE.username_fragment, password=REMOTE.password, lite=True
    )
    bench = Bench(LITE, remote=remote)
    worse = remote_candidate(Address(PEER.host, 1), foundation="g", priority=5)
    for candidate in (worse, remote_candidate()):
        bench.agent.add_remote_candidate(0, candidate, bench.now)
    assert bench.requests(1.0) == []
    selected = bench.agent.selected_pair(0, 1)
    assert selected is not None
    assert selected.path == PATH
    assert not any(isinstance(each, ConsentLost) for each in bench.events())
