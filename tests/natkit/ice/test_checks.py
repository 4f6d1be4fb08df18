"""What this side checks, how often, in which order, and what it makes of the answers."""

from itertools import pairwise

import pytest

from natkit.address import Address
from natkit.ice.candidate import CandidateType
from natkit.ice.events import CandidateDiscovered, PairValid, RoleChanged
from natkit.ice.explanation import PairState
from natkit.ice.pacing import Pacer
from natkit.ice.parameters import Parameters
from natkit.ice.priority import candidate_priority
from natkit.ice.settings import IceSettings
from natkit.machine import Path, Transport
from natkit.stun.attributes import (
    Fingerprint,
    IceControlled,
    IceControlling,
    Priority,
    UseCandidate,
    Username,
)
from natkit.stun.credentials import verify
from natkit.stun.message import Message
from tests.natkit.ice.bench import HOST, PATH, PEER, REMOTE, REMOTE_KEY, Bench, remote_candidate

OTHERS = [Address.of(f"192.0.2.{number}", 6000) for number in range(10, 19)]
CONTROLLED = IceSettings(controlling=False)


def many(count: int) -> list[object]:
    return [remote_candidate(each, foundation=str(i)) for i, each in enumerate(OTHERS[:count])]


def states(bench: Bench) -> list[PairState]:
    return [pair.state for pair in bench.agent.statistics().pairs]


def test_a_check_says_who_asks_whom_in_which_role_and_proves_it() -> None:
    bench = Bench(candidates=[remote_candidate()])
    [(request, path)] = bench.requests()
    mine = bench.agent.local_parameters.username_fragment
    assert path == PATH
    username, priority = request.get(Username), request.get(Priority)
    assert username is not None
    assert priority is not None
    assert username.value == f"{REMOTE.username_fragment}:{mine}"
    assert priority.value == candidate_priority(CandidateType.PEER_REFLEXIVE, 65535, 1)
    assert request.get(IceControlling) is not None
    assert request.get(UseCandidate) is None
    assert isinstance(request.attributes[-1], Fingerprint)
    assert verify(request, REMOTE_KEY) is not None
    [(controlled, _)] = Bench(CONTROLLED, candidates=[remote_candidate()]).requests()
    assert controlled.get(IceControlled) is not None


@pytest.mark.parametrize(
    ("mine", "theirs", "used"),
    [(0.05, 0.05, 0.05), (0.02, 0.05, 0.05), (0.02, 0.01, 0.02), (0.05, 0.1, 0.1)],
)
def test_one_check_begins_each_ta_and_the_slower_agent_says_how_long_that_is(
    mine: float, theirs: float, used: float
) -> None:
    # RFC 8445 §14.2, RFC 8839 §5.7
    remote = Parameters(
        username_fragment=REMOTE.username_fragment, password=REMOTE.password, pacing=theirs
    )
    bench = Bench(IceSettings(pacing=mine), remote=remote)
    for each in many(5):
        bench.agent.add_remote_candidate(0, each, bench.now)  # type: ignore[arg-type]
    times = []
    for _ in range(400):
        if bench.requests():
            times.append(bench.now)
        if len(times) == 5:
            break
        bench.now += 0.0025
    assert [b - a for a, b in pairwise(times)] == pytest.approx([used] * 4, abs=0.003)


def test_two_agents_with_one_pacer_leave_five_milliseconds_between_their_checks() -> None:
    pacer = Pacer()
    first = Bench(candidates=[remote_candidate()], pacer=pacer)
    second = Bench(candidates=[remote_candidate()], pacer=pacer)
    assert len(first.requests()) == 1
    assert second.requests(0.004) == []
    assert len(second.requests(0.002)) == 1


def test_a_dead_path_is_given_up_by_the_schedule_of_rfc_8489() -> None:
    bench = Bench(candidates=[remote_candidate()])
    start = bench.now
    times = []
    while states(bench) != [PairState.FAILED]:
        deadline = bench.agent.next_deadline()
        assert deadline is not None
        bench.now = deadline
        if bench.requests():
            times.append(bench.now - start)
    assert times == pytest.approx([0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5])
    assert bench.now - start == pytest.approx(39.5)
    [pair] = bench.agent.explain(0).pairs
    assert pair.reason == "no answer to 7 transmissions"


def test_the_first_interval_grows_with_the_checks_that_wait() -> None:
    # RFC 8445 §14.3: 9 pairs at Ta 100 ms leave 0.9 s.
    remote = Parameters(
        username_fragment=REMOTE.username_fragment, password=REMOTE.password, pacing=0.1
    )
    bench = Bench(remote=remote)
    for each in many(9):
        bench.agent.add_remote_candidate(0, each, bench.now)  # type: ignore[arg-type]
    [(first, _)] = bench.requests()
    again = [path for request, path in bench.requests(0.85) if request == first]
    assert again == []
    assert first.transaction_id in {each.transaction_id for each, _ in bench.requests(0.1)}


def test_an_answer_makes_the_pair_valid_with_its_round_trip() -> None:
    bench = Bench(candidates=[remote_candidate()])
    [(request, path)] = bench.requests()
    bench.run(0.03)
    bench.respond(request, path)
    [valid] = [each for each in bench.events() if isinstance(each, PairValid)]
    assert valid.pair.path == PATH
    assert valid.pair.round_trip == pytest.approx(0.03)


def test_no_round_trip_is_taken_from_a_check_that_was_sent_twice() -> None:
    bench = Bench(candidates=[remote_candidate()])
    [(request, path)] = bench.requests()
    bench.run(0.6)
    bench.respond(request, path)
    [pair] = bench.agent.statistics().pairs
    assert pair.state is PairState.SUCCEEDED
    assert pair.round_trip is None


def test_a_mapped_address_that_is_no_candidate_becomes_a_peer_reflexive_one() -> None:
    # RFC 8445 §7.2.5.3.1
    bench = Bench(candidates=[remote_candidate()])
    [(request, path)] = bench.requests()
    mapped = Address.of("198.51.100.7", 777)
    bench.respond(request, path, mapped=mapped)
    events = bench.events()
    [found] = [each for each in events if isinstance(each, CandidateDiscovered)]
    [valid] = [each for each in events if isinstance(each, PairValid)]
    assert found.is_local
    assert valid.pair.local == found.candidate
    assert (found.candidate.address, found.candidate.type) == (
        mapped,
        CandidateType.PEER_REFLEXIVE,
    )
    sent = request.get(Priority)
    assert sent is not None
    assert found.candidate.priority == sent.value


def test_an_answer_by_another_path_fails_the_pair() -> None:
    # RFC 8445 §7.2.5.2.1
    bench = Bench(candidates=[remote_candidate()])
    [(request, path)] = bench.requests()
    bench.respond(request, path, by=PATH._replace(remote=OTHERS[0]))
    assert states(bench) == [PairState.FAILED]
    [pair] = bench.agent.explain(0).pairs
    assert str(OTHERS[0]) in pair.reason


def test_answers_without_the_password_change_nothing() -> None:
    bench = Bench(candidates=[remote_candidate()])
    [(request, path)] = bench.requests()
    bench.respond(request, path, key=b"another")
    assert states(bench) == [PairState.IN_PROGRESS]
    assert bench.agent.statistics().dropped["foreign"] == 1
    bench.respond(request, path)
    assert states(bench) == [PairState.SUCCEEDED]


def test_a_refusal_fails_the_pair_and_is_explained() -> None:
    bench = Bench(candidates=[remote_candidate()])
    [(request, path)] = bench.requests()
    bench.refuse(request, 403, path)
    [pair] = bench.agent.explain(0).pairs
    assert (pair.state, pair.reason) == (PairState.FAILED, "the peer refused: 403")


def test_487_makes_the_agent_change_its_role_and_ask_again() -> None:
    # RFC 8445 §7.2.5.1
    bench = Bench(candidates=[remote_candidate()])
    [(request, path)] = bench.requests()
    bench.refuse(request, 487, path)
    assert not bench.agent.controlling
    assert any(each == RoleChanged(controlling=False) for each in bench.events())
    [(again, _)] = bench.requests(0.1)
    assert again.get(IceControlled) is not None
    assert again.transaction_id != request.transaction_id
    bench.refuse(request, 487, path)
    assert not bench.agent.controlling, "an answer to what was said in the old role counts no more"


def test_of_one_foundation_one_pair_is_checked_until_it_succeeds() -> None:
    # RFC 8445 §6.1.2.6, §7.2.5.3.3
    bases = [HOST, Address.of("192.0.2.1", 5002)]
    bench = Bench(components=2, bases=bases[:1], candidates=[])
    from tests.natkit.ice.bench import host_candidate

    bench.agent.add_local_candidate(0, host_candidate(bases[1], 2), bench.now)
    for component in (1, 2):
        bench.agent.add_remote_candidate(
            0,
            remote_candidate(Address(PEER.host, PEER.port + component), component=component),
            bench.now,
        )
    assert states(bench) == [PairState.WAITING, PairState.FROZEN]
    [(request, path)] = bench.requests()
    assert states(bench) == [PairState.IN_PROGRESS, PairState.FROZEN]
    bench.respond(request, path)
    assert PairState.FROZEN not in states(bench)


def test_a_frozen_pair_is_tried_when_nothing_else_of_its_foundation_goes_on() -> None:
    # RFC 8445 §6.1.4.2
    bench = Bench(
        bases=[HOST],
        candidates=[
            remote_candidate(PEER, foundation="same"),
            remote_candidate(OTHERS[0], foundation="same", priority=5000),
        ],
    )
    [(request, path)] = bench.requests(0.4)
    assert path.remote == PEER
    bench.refuse(request, 400, path)
    [(_, second)] = bench.requests(0.1)
    assert second.remote == OTHERS[0]


def test_pairs_are_checked_by_falling_priority() -> None:
    candidates = [
        remote_candidate(each, foundation=str(number), priority=1000 + number)
        for number, each in enumerate(OTHERS)
    ]
    bench = Bench(candidates=candidates)
    order = [path.remote for _, path in bench.requests(0.45)]
    assert order[: len(OTHERS)] == list(reversed(OTHERS))


def test_families_transports_and_components_are_not_mixed() -> None:
    bench = Bench(
        candidates=[
            remote_candidate(Address.of("2001:db8::1", 1)),
            remote_candidate(Address.of("fe80::1", 1)),
            remote_candidate(PEER, component=2),
        ]
    )
    assert bench.agent.statistics().pairs == ()
    assert "no local and remote candidate share" in str(bench.agent.explain(0))


def test_link_local_addresses_pair_with_each_other_in_one_zone() -> None:
    base = Address.of("fe80::1%eth0", 5000)
    bench = Bench(bases=[base], candidates=[remote_candidate(Address.of("fe80::2", 6000))])
    [(_, path)] = bench.requests()
    assert path == Path(Transport.UDP, base, Address.of("fe80::2%eth0", 6000))


def test_a_message_of_another_method_is_no_answer() -> None:
    bench = Bench(candidates=[remote_candidate()])
    [(request, _)] = bench.requests()
    other = Message(3, request.success().message_class, request.transaction_id)
    bench.receive(other.encode(fingerprint=True))
    assert bench.agent.statistics().dropped["unexpected"] == 1
