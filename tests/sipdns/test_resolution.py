import pytest

from natkit.errors import DnsFailure, NoService
from natkit.machine import Failure, Transport
from sipdns.decisions import Step, Verdict
from sipdns.plan import Plan
from sipdns.procedure import Procedure
from sipdns.records import Question, RecordType
from sipdns.resolution import MOST_QUESTIONS, AskDns, Limits, Resolution, Resolved
from sipdns.search import read_uri
from tests.sipdns.world import (
    FULL,
    World,
    asked,
    look_up,
    look_up_at,
    plan,
    reasons,
)

UDP, TCP, TLS = Transport.UDP, Transport.TCP, Transport.TLS


# -- When the DNS does not answer


def test_a_nameserver_that_never_answers_for_naptr_delays_a_lookup_by_a_bounded_time() -> None:
    world = World(FULL, silent=lambda question: question.type is RecordType.NAPTR)
    outcome, took = look_up_at("sip:example.org", world)
    assert plan(outcome) == ["udp [2001:db8::1]:5060", "udp 192.0.2.1:5060"]
    assert Limits().straggler <= took <= Limits().straggler + 1
    assert reasons(outcome, Step.NAPTR, Verdict.FAILED) == [
        "example.org: NAPTR: no answer within 3 s"
    ]


def test_a_question_that_hangs_does_not_matter_when_its_answer_cannot() -> None:
    world = World(FULL, silent=lambda question: question.name == "_sip._udp.example.org")
    outcome, took = look_up_at("sip:example.org", world)
    assert outcome.targets[0].transport is TLS
    assert took < 0.2


def test_a_family_that_is_never_answered_leaves_the_other() -> None:
    world = World(FULL, silent=lambda question: question.type is RecordType.AAAA)
    outcome, took = look_up_at("sip:example.org", world)
    assert plan(outcome) == ["tls 192.0.2.1:5061", "tls 192.0.2.2:5061"]
    assert took < 4


def test_a_dns_that_is_silent_is_a_failure_of_the_dns_in_bounded_time() -> None:
    outcome, took = look_up_at("sip:example.org", World(silent=lambda _: True))
    assert isinstance(outcome.error, DnsFailure)
    assert took == Limits().query


def test_a_broken_srv_name_does_not_hide_the_others() -> None:
    outcome = look_up(
        "sip:example.org;transport=udp", World(FULL, broken=["_sip._udp.example.org"])
    )
    assert plan(outcome) == ["udp 192.0.2.9:5060"]
    assert reasons(outcome, Step.SRV, Verdict.FAILED)


def test_nothing_found_and_something_broken_is_a_failure_of_the_dns() -> None:
    world = World("example.net A 192.0.2.1", broken=["_sip._tcp.example.org"])
    assert isinstance(look_up("sip:example.org", world).error, DnsFailure)
    assert isinstance(look_up("sip:example.org", "example.net A 192.0.2.1").error, NoService)


def test_an_answer_after_its_deadline_is_dropped() -> None:
    resolution = Resolution(read_uri("sip:example.org:5060"), draw=lambda _: 0, now=0)
    requests = []
    while (event := resolution.next_event()) is not None:
        assert isinstance(event, AskDns)
        requests.append(event)
    resolution.handle_timer(100)
    ended = resolution.next_event()
    assert isinstance(ended, Resolved)
    world = World("example.org A 192.0.2.1")
    for request in requests:
        resolution.answer(request.request_id, world.answer(request.question), 101)
    resolution.answer(999, Failure("unknown"), 101)
    assert resolution.next_event() is None


# -- Hostile zones


def test_a_huge_srv_set_is_looked_at_in_order_of_priority_up_to_a_bound() -> None:
    lines = [
        f"_sip._udp.example.org SRV {index} 0 5060 h{index}.example.org" for index in range(900)
    ]
    lines += [f"h{index}.example.org A 192.0.2.1" for index in range(900)]
    outcome = look_up("sip:example.org", "\n".join(reversed(lines)))
    assert [one.priority for one in outcome.targets] == list(range(128))
    assert len(outcome.asked) <= MOST_QUESTIONS
    assert any("left out" in one.reason for one in outcome.decisions)


def test_many_naptr_records_to_many_srv_names_ask_a_bounded_number_of_questions() -> None:
    lines = [
        f'example.org NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.h{index}.example' for index in range(900)
    ]
    outcome = look_up("sip:example.org", "\n".join(lines))
    assert isinstance(outcome.error, NoService | DnsFailure)
    assert len(outcome.asked) <= MOST_QUESTIONS


def test_additional_records_save_a_round() -> None:
    world = World(FULL)
    resolution = Resolution(read_uri("sip:example.org;transport=udp"), draw=lambda _: 0, now=0)
    sip1 = [Question("sip1.example.org", kind) for kind in (RecordType.A, RecordType.AAAA)]
    while (event := resolution.next_event()) is not None:
        if isinstance(event, Resolved):
            assert event.outcome.rounds == 1
            assert len(event.outcome.targets) == 2
            return
        answer = world.answer(event.question)
        if event.question.type is RecordType.SRV:
            assert not isinstance(answer, Failure)
            extra = []
            for question in sip1:
                found = world.answer(question)
                assert not isinstance(found, Failure)
                extra.append((question, found.records))
            answer = type(answer)(answer.status, answer.records, (), tuple(extra))
        resolution.answer(event.request_id, answer, 0.1)
    raise AssertionError("the lookup does not end")


# -- Rounds, and how often the walk is run


def test_a_question_is_of_the_round_after_the_answer_that_made_it_necessary() -> None:
    resolution = Resolution(read_uri("sip:example.org"), draw=lambda _: 0, now=0)
    world = World(
        """
        example.org NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.hosted.example
        _sip._udp.hosted.example SRV 1 0 5060 a.hosted.example
        a.hosted.example A 192.0.2.1
        """
    )
    late = None
    rounds = {}
    while not isinstance(event := resolution.next_event(), Resolved):
        if event is None:
            # The nameserver was slow for NAPTR: all else has been answered by now.
            assert late is not None
            event, late = late, None
        elif event.question.type is RecordType.NAPTR:
            late = event
            continue
        rounds[str(event.question)] = event.round
        resolution.answer(event.request_id, world.answer(event.question), 0.1)
    assert rounds["_sip._udp.hosted.example SRV"] == 2
    assert rounds["a.hosted.example A"] == 3
    assert event.outcome.rounds == 3


def test_while_one_answer_is_overdue_the_next_round_is_asked() -> None:
    world = World(FULL, silent=lambda question: question.type is RecordType.NAPTR)
    outcome, took = look_up_at("sip:example.org", world)
    assert took == Limits().straggler
    assert asked(outcome, 2) == {"sip1.example.org A", "sip1.example.org AAAA"} | {
        "sip2.example.org A",
        "sip2.example.org AAAA",
    }


def test_the_walk_is_run_a_few_times_however_many_answers_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = 0
    run = Procedure.run

    def counted(walk: Procedure) -> Plan | None:
        nonlocal runs
        runs += 1
        return run(walk)

    monkeypatch.setattr(Procedure, "run", counted)
    lines = [f"_sip._udp.example.org SRV {n} 0 5060 h{n}.example.org" for n in range(128)]
    lines += [f"h{n}.example.org A 192.0.2.{n}" for n in range(128)]
    outcome = look_up("sip:example.org", "\n".join(lines))
    assert len(outcome.targets) == 128
    assert len(outcome.asked) == 6 + 256
    assert runs <= 5
