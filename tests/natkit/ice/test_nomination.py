"""Which pair is selected: by this side's nomination, or by the peer's (RFC 8445 §8)."""

import pytest

from natkit.address import Address
from natkit.ice.candidate import CandidateType, LocalCandidate
from natkit.ice.events import BaseReleased, IceState, PairSelected
from natkit.ice.parameters import Parameters
from natkit.ice.settings import IceSettings
from natkit.machine import Path, Transport
from natkit.stun.attributes import Nomination, UseCandidate
from tests.natkit.ice.bench import HOST, PATH, PEER, REMOTE, Bench, remote_candidate

OTHER = Address.of("192.0.2.9", 6000)
BETTER = remote_candidate(OTHER, foundation="g", priority=2**31 - 1)
CONTROLLED = IceSettings(controlling=False)
AGGRESSIVE = Parameters(
    username_fragment=REMOTE.username_fragment, password=REMOTE.password, ice2=False
)
TO_OTHER = Path(Transport.UDP, HOST, OTHER)


def selections(bench: Bench) -> list[Address]:
    return [e.pair.path.remote for e in bench.events() if isinstance(e, PairSelected)]


def test_the_best_pair_is_nominated_at_once_and_selected_by_its_answer() -> None:
    bench = Bench(candidates=[remote_candidate()])
    [(request, path)] = bench.requests()
    bench.respond(request, path)
    [(nomination, path)] = bench.requests(0.06)
    assert nomination.get(UseCandidate) is not None
    assert selections(bench) == []
    bench.respond(nomination, path)
    assert selections(bench) == [PEER]
    assert bench.agent.state is IceState.COMPLETED


def test_a_direct_pair_waits_a_little_for_a_better_one() -> None:
    bench = Bench(candidates=[BETTER, remote_candidate()])
    for request, path in bench.requests(0.06):
        if path.remote == PEER:
            bench.respond(request, path)
    assert bench.requests(0.2) == []
    [(nomination, path), *_] = bench.requests(0.1)
    assert nomination.get(UseCandidate) is not None
    assert path.remote == PEER


def test_a_relayed_pair_waits_longer() -> None:
    relayed = Address.of("203.0.113.6", 40000)
    bench = Bench(candidates=[BETTER])
    local = LocalCandidate(component=1, type=CandidateType.RELAYED, address=relayed, base=relayed)
    bench.agent.add_local_candidate(0, local, bench.now)
    for request, path in bench.requests(0.2):
        if path.local == relayed:
            bench.respond(request, path)
    early = bench.requests(1.7)
    assert all(request.get(UseCandidate) is None for request, _ in early)
    late = bench.requests(0.5)
    assert [path.local for request, path in late if request.get(UseCandidate)] == [relayed]


def test_one_pair_alone_is_nominated() -> None:
    # RFC 8445 §8.1.1
    bench = Bench(candidates=[remote_candidate(), remote_candidate(OTHER, foundation="g")])
    nominated = set()
    for _ in range(100):
        for request, path in bench.requests(0.1):
            if request.get(UseCandidate) is not None:
                nominated.add(path)
            bench.respond(request, path)
    assert len(nominated) == 1
    assert len(selections(bench)) == 1


def test_when_the_nominated_pair_fails_the_next_one_is_nominated() -> None:
    bench = Bench(candidates=[remote_candidate(), remote_candidate(OTHER, foundation="g")])
    first = bench.requests(0.06)
    for request, path in first:
        bench.respond(request, path)
    [(nomination, path), *_] = [
        each for each in bench.requests(0.4) if each[0].get(UseCandidate) is not None
    ]
    bench.refuse(nomination, 500, path)
    [(second, other)] = [
        each for each in bench.requests(0.1) if each[0].get(UseCandidate) is not None
    ]
    assert other != path
    bench.respond(second, other)
    assert selections(bench) == [other.remote]


def test_a_nomination_without_an_answer_is_made_again_while_the_peer_is_heard() -> None:
    bench = Bench(candidates=[remote_candidate()])
    [(request, path)] = bench.requests()
    bench.respond(request, path)
    identities = set()
    for _ in range(60):
        for each, _ in bench.requests(1.0):
            if each.get(UseCandidate) is not None:
                identities.add(each.transaction_id)
        bench.check()
    assert len(identities) == 2
    assert bench.agent.state is IceState.CONNECTED


def test_the_peers_nomination_counts_once_our_own_check_has_succeeded() -> None:
    # RFC 8445 §7.3.1.5
    bench = Bench(CONTROLLED, candidates=[remote_candidate()])
    bench.check(controlling=True, nominates=True)
    assert selections(bench) == []
    [(request, path)] = bench.requests(0.1)
    assert request.get(UseCandidate) is None
    bench.respond(request, path)
    assert selections(bench) == [PEER]


def test_the_last_nomination_of_an_ice2_peer_counts() -> None:
    bench = Bench(CONTROLLED, candidates=[BETTER, remote_candidate()])
    for request, path in bench.requests(0.2):
        bench.respond(request, path)
    bench.check(controlling=True, nominates=True, path=TO_OTHER)
    bench.check(controlling=True, nominates=True, path=PATH)
    assert selections(bench) == [OTHER, PEER]


def test_of_an_aggressive_peers_nominations_the_best_pair_counts() -> None:
    # RFC 8445 §8.1.1 and RFC 5245 §8.1.1.2
    bench = Bench(CONTROLLED, remote=AGGRESSIVE, candidates=[BETTER, remote_candidate()])
    for request, path in bench.requests(0.2):
        bench.respond(request, path)
    bench.check(controlling=True, nominates=True, path=PATH)
    bench.check(controlling=True, nominates=True, path=TO_OTHER)
    bench.check(controlling=True, nominates=True, path=PATH)
    assert selections(bench) == [PEER, OTHER]


def test_the_highest_nomination_value_counts_whatever_comes_last() -> None:
    bench = Bench(CONTROLLED, candidates=[BETTER, remote_candidate()])
    for request, path in bench.requests(0.2):
        bench.respond(request, path)
    for value, path in ((2, TO_OTHER), (1, PATH), (3, PATH)):
        bench.check(controlling=True, nominates=True, path=path, more=[Nomination(value)])
    assert selections(bench) == [OTHER, PEER]


def test_a_late_retransmission_of_a_nomination_changes_nothing() -> None:
    bench = Bench(CONTROLLED, candidates=[BETTER, remote_candidate()])
    for request, path in bench.requests(0.2):
        bench.respond(request, path)
    for identity, path in ((b"a" * 12, TO_OTHER), (b"b" * 12, PATH), (b"a" * 12, TO_OTHER)):
        bench.check(controlling=True, nominates=True, path=path, transaction_id=identity)
    assert selections(bench) == [OTHER, PEER]


def test_after_selection_nothing_more_is_checked_and_unused_sockets_are_given_up() -> None:
    # RFC 8445 §8.1.2, §8.3
    spare = Address.of("192.0.2.7", 5000)
    bench = Bench(bases=[HOST, spare], candidates=[remote_candidate()])
    for request, path in bench.requests(0.0):
        bench.respond(request, path)
    for request, path in bench.requests(0.4):
        if path.local == HOST:
            bench.respond(request, path)
    assert bench.agent.state is IceState.COMPLETED
    assert all(path.local == HOST for _, path in bench.requests(20.0))
    assert [e.base for e in bench.events() if isinstance(e, BaseReleased)] == [spare]


@pytest.mark.parametrize("nominates", [True, False])
def test_with_use_candidate_from_a_controlled_peer_nothing_is_selected(nominates: bool) -> None:
    bench = Bench(candidates=[remote_candidate()])
    bench.check(controlling=False, nominates=nominates)
    [(request, path), *_] = bench.requests(0.06)
    bench.respond(request, path)
    assert selections(bench) == []
