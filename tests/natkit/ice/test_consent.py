"""Consent to send, keep-alives, and another pair when the selected one goes silent (RFC 7675)."""

from itertools import pairwise

import pytest

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.ice.events import (
    ConsentLost,
    DataReceived,
    IceState,
    PairSelected,
    RestartNeeded,
    RestartReason,
)
from natkit.ice.parameters import Parameters
from natkit.ice.settings import IceSettings
from natkit.machine import Path
from natkit.stun.attributes import Nomination, UseCandidate
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass
from tests.natkit.ice.bench import HOST, PATH, PEER, REMOTE, Bench, remote_candidate

OTHER = Address.of("192.0.2.9", 6000)


def connected(settings: IceSettings | None = None, *, lite: bool = False) -> Bench:
    remote = REMOTE
    if lite:
        remote = Parameters(
            username_fragment=REMOTE.username_fragment, password=REMOTE.password, lite=True
        )
    bench = Bench(settings, remote=remote, candidates=[remote_candidate()])
    bench.connect()
    assert bench.agent.state is IceState.COMPLETED
    bench.events()
    return bench


def test_consent_is_asked_every_five_seconds_give_or_take_a_fifth_each_time_anew() -> None:
    # RFC 7675 §5.1
    bench = connected()
    times, identities = [], set()
    end = bench.now + 100
    while bench.now < end:
        deadline = bench.agent.next_deadline()
        assert deadline is not None
        for request, path in bench.requests(deadline - bench.now):
            times.append(bench.now)
            identities.add(request.transaction_id)
            bench.respond(request, path)
    steps = [b - a for a, b in pairwise(times)]
    assert 17 <= len(times) == len(identities)
    assert 4.0 <= min(steps) < 4.5
    assert 5.5 < max(steps) <= 6.0


def test_consent_ends_thirty_seconds_after_the_last_answer_and_nothing_is_sent_then() -> None:
    bench = connected()
    last_answer = bench.now
    assert bench.agent.send(0, 1, b"data", bench.now)
    while not (lost := [each for each in bench.events() if isinstance(each, ConsentLost)]):
        assert bench.now < last_answer + 40
        bench.run(0.1)
    assert lost == [ConsentLost(0, 1)]
    assert bench.now - last_answer == pytest.approx(30.0, abs=0.3)
    assert bench.agent.state is IceState.DISCONNECTED
    assert not bench.agent.send(0, 1, b"data", bench.now)
    assert bench.run(60.0) == []


def test_answers_that_take_long_keep_consent_for_minutes() -> None:
    # A round trip of 0.7 s is no reason to end anything, nor is one of 20 s.
    bench = connected()
    for delay in (0.7, 20.0):
        waiting: list[tuple[float, Message, Path]] = []
        end = bench.now + 300
        while bench.now < end:
            waiting += [(bench.now + delay, request, path) for request, path in bench.requests(0.1)]
            due = [each for each in waiting if each[0] <= bench.now]
            waiting = [each for each in waiting if each[0] > bench.now]
            for _, request, path in due:
                bench.respond(request, path)
        assert bench.agent.state is IceState.COMPLETED


def test_the_peer_may_revoke_its_consent() -> None:
    # RFC 7675 §5.2
    bench = connected()
    [(request, path), *_] = bench.requests(6.0)
    bench.refuse(request, 403, path)
    assert RestartNeeded(0, 1, RestartReason.CONSENT_LOST) in bench.events()
    assert not bench.agent.send(0, 1, b"data", bench.now)


def test_lite_peers_are_asked_with_use_candidate_since_many_hear_nothing_else() -> None:
    [(request, _), *_] = connected(lite=True).requests(6.0)
    assert request.get(UseCandidate) is not None
    [(request, _), *_] = connected().requests(6.0)
    assert request.get(UseCandidate) is None


def test_without_consent_indications_keep_the_binding_while_nothing_is_sent() -> None:
    # RFC 8445 §11
    bench = connected(IceSettings(consent=False))
    sent = bench.run(46.0)
    kinds = [Message.parse(each.data).message_class for each in sent]
    assert kinds == [MessageClass.INDICATION] * 3
    for _ in range(10):
        bench.run(10.0)
        bench.agent.send(0, 1, b"media", bench.now)
    assert [each.data for each in bench.run(0.0)] == [b"media"]


def test_a_peer_without_ice_gets_data_and_keep_alives_and_no_checks() -> None:
    bench = Bench(remote=None)
    bench.agent.use_without_ice(0, 1, HOST, PEER, bench.now)
    assert bench.agent.send(0, 1, b"media", bench.now)
    assert [each.data for each in bench.run(0.0)] == [b"media"]
    bench.receive(b"\x80media")
    assert any(isinstance(each, DataReceived) for each in bench.events())
    kinds = [Message.parse(each.data).message_class for each in bench.run(40.0)]
    assert kinds == [MessageClass.INDICATION] * 2
    bench.agent.use_without_ice(0, 1, HOST, OTHER, bench.now)
    selected = bench.agent.selected_pair(0, 1)
    assert selected is not None
    assert selected.path.remote == OTHER
    with pytest.raises(MisuseError):
        bench.agent.use_without_ice(0, 1, OTHER, PEER, bench.now)
    with pytest.raises(MisuseError):
        Bench().agent.use_without_ice(0, 1, HOST, PEER, 0.0)


def silent_after_selection(*, supported: bool) -> tuple[Bench, list[tuple[Message, Path]]]:
    """An agent with an alternate, whose selected pair dies; the nominations that follow."""
    remote = Parameters(
        username_fragment=REMOTE.username_fragment,
        password=REMOTE.password,
        renomination=supported,
    )
    bench = Bench(
        IceSettings(renominate=True),
        remote=remote,
        candidates=[remote_candidate(), remote_candidate(OTHER, foundation="g", priority=9)],
    )
    pending = bench.requests(0.2)
    for request, path in pending:
        bench.respond(request, path)
    for request, path in bench.requests(0.5):
        bench.respond(request, path)
    assert bench.agent.state is IceState.COMPLETED
    bench.events()
    nominations = []
    for _ in range(250):
        for request, path in bench.requests(0.1):
            if path.remote == OTHER:
                bench.respond(request, path)
                if request.get(UseCandidate) is not None:
                    nominations.append((request, path))
        if nominations:
            break
    return bench, nominations


@pytest.mark.parametrize("supported", [True, False])
def test_by_option_a_silent_pair_is_replaced_by_one_that_answers(supported: bool) -> None:
    bench, nominations = silent_after_selection(supported=supported)
    [(request, path)] = nominations
    assert path == Path(PATH.transport, HOST, OTHER)
    assert (request.get(Nomination) is not None) is supported
    [selected] = [each for each in bench.events() if isinstance(each, PairSelected)]
    assert selected.pair.path.remote == OTHER
    assert bench.agent.state is IceState.COMPLETED


def test_without_the_option_a_silent_pair_is_left_to_its_consent() -> None:
    bench = Bench(candidates=[remote_candidate(), remote_candidate(OTHER, foundation="g")])
    bench.connect()
    later = bench.requests(29.0)
    assert {path.remote for _, path in later} <= {PEER, OTHER}
    assert all(request.get(UseCandidate) is None for request, _ in later)
