import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.machine import Transport
from sipdns.cache import LONGEST_DENIAL, LONGEST_LIFETIME, RECHECK, Cache, lifetime
from sipdns.plan import Candidate, Plan
from sipdns.records import (
    AddressRecord,
    Answer,
    CnameRecord,
    Question,
    Record,
    RecordType,
    Status,
)
from sipdns.targets import RankedTarget

A = Question("example.org", RecordType.A)
AAAA = Question("example.org", RecordType.AAAA)


def answer(*ttls: int) -> Answer:
    return Answer(
        Status.RECORDS, tuple(AddressRecord(f"192.0.2.{one}", ttl) for one, ttl in enumerate(ttls))
    )


def denial(status: Status, negative_ttl: int | None = 60) -> Answer:
    return Answer(status, negative_ttl=negative_ttl)


@given(st.integers(1, 10_000), st.floats(0, 1e6))
def test_an_answer_is_kept_for_exactly_its_ttl(ttl: int, now: float) -> None:
    cache = Cache()
    cache.put(A, answer(ttl), now)
    assert cache.get(A, now) is not None
    just_before = cache.get(A, now + ttl - 0.001)
    assert just_before is not None
    assert just_before.answer == answer(ttl)
    assert just_before.age == pytest.approx(ttl - 0.001)
    assert just_before.expires_at == now + ttl
    assert not just_before.is_stale
    assert cache.get(A, now + ttl) is None


def test_the_shortest_ttl_of_records_and_aliases_counts() -> None:
    assert lifetime(answer(300, 60, 120)) == 60
    aliased = Answer(
        Status.RECORDS,
        (AddressRecord("192.0.2.1", 300),),
        ("b.example",),
        cnames=(CnameRecord("example.org", "b.example", 20),),
    )
    assert lifetime(aliased) == 20


def test_a_ttl_of_zero_is_for_one_lookup_and_replaces_what_was_known() -> None:
    cache = Cache()
    cache.put(A, answer(60), 0)
    cache.put(A, answer(60, 0), 1)
    assert cache.get(A, 1) is None


def test_very_long_ttls_are_cut() -> None:
    assert lifetime(answer(2**31 - 1)) == LONGEST_LIFETIME
    assert lifetime(denial(Status.NO_DATA, 10**6)) == LONGEST_DENIAL


@pytest.mark.parametrize("status", [Status.NO_DATA, Status.NO_NAME])
def test_a_denial_is_kept_as_long_as_its_soa_says(status: Status) -> None:
    cache = Cache()
    cache.put(A, denial(status, 30), 0)
    known = cache.get(A, 29.9)
    assert known is not None
    assert known.answer.status is status
    assert cache.get(A, 30) is None


@pytest.mark.parametrize("status", [Status.NO_DATA, Status.NO_NAME])
def test_a_denial_without_soa_is_not_kept(status: Status) -> None:
    cache = Cache()
    cache.put(A, denial(status, None), 0)
    assert cache.get(A, 0) is None


def test_a_referral_is_not_kept() -> None:
    cache = Cache()
    cache.put(A, Answer(Status.REFERRAL, answer(60).records), 0)
    assert cache.get(A, 0) is None


def test_that_a_name_does_not_exist_holds_for_all_types_until_one_is_seen() -> None:
    cache = Cache()
    cache.put(A, denial(Status.NO_NAME), 0)
    known = cache.get(AAAA, 1)
    assert known is not None
    assert known.answer.status is Status.NO_NAME
    cache.put(AAAA, answer(60), 2)
    assert cache.get(A, 3) is None
    assert cache.get(AAAA, 3) is not None


def test_that_a_name_is_gone_replaces_what_was_known_of_it() -> None:
    cache = Cache()
    cache.put(A, answer(600), 0)
    cache.put(A, denial(Status.NO_NAME, 60), 1)
    known = cache.get(A, 2)
    assert known is not None
    assert known.answer.status is Status.NO_NAME
    assert cache.statistics.entries == 1


def test_the_cache_is_bounded_and_what_was_not_used_makes_room() -> None:
    cache = Cache(most_units=200)
    used = Question("used.example", RecordType.A)
    cache.put(used, answer(600), 0)
    for index in range(1000):
        cache.put(Question(f"h{index}.example", RecordType.A), answer(600), 1)
        assert cache.get(used, 1) is not None
        assert cache.statistics.units <= 200
    assert cache.statistics.entries == 100
    assert cache.statistics.evicted == 901
    assert cache.get(Question("h0.example", RecordType.A), 1) is None
    assert cache.get(Question("h999.example", RecordType.A), 1) is not None


def test_records_count_against_the_bound_wherever_they_are() -> None:
    cache = Cache(most_units=50)
    extra: tuple[tuple[Question, tuple[Record, ...]], ...] = tuple(
        (Question(f"h{index}.example", RecordType.A), answer(60).records) for index in range(30)
    )
    cache.put(A, answer(60), 0)
    cache.put(AAAA, Answer(Status.RECORDS, answer(60).records, (), extra), 0)
    assert cache.get(AAAA, 0) is None
    assert cache.get(A, 0) is not None


def test_a_cache_of_nothing_keeps_nothing() -> None:
    cache = Cache(most_units=0)
    cache.put(A, answer(60), 0)
    assert cache.get(A, 0) is None
    assert cache.statistics.units == 0


def test_a_stale_answer_serves_only_when_asked_for_and_then_for_a_while() -> None:
    cache = Cache(stale_for=3600)
    cache.put(A, answer(60), 0)
    assert cache.get(A, 100) is None
    assert cache.may_serve_stale(A, 100)
    stale = cache.stale(A, 100)
    assert stale is not None
    assert stale.is_stale
    again = cache.get(A, 100 + RECHECK - 0.1)
    assert again is not None
    assert again.is_stale
    assert again.expires_at == 100 + RECHECK
    assert cache.get(A, 100 + RECHECK) is None
    assert cache.statistics.stale == 1


def test_an_answer_is_stale_for_no_longer_than_allowed() -> None:
    cache = Cache(stale_for=3600)
    cache.put(A, answer(60), 0)
    assert cache.may_serve_stale(A, 3659)
    assert not cache.may_serve_stale(A, 3660)
    assert cache.stale(A, 3660) is None
    plain = Cache()
    plain.put(A, answer(60), 0)
    assert plain.stale(A, 60) is None


def test_a_fresh_answer_ends_staleness() -> None:
    cache = Cache(stale_for=3600)
    cache.put(A, answer(60), 0)
    cache.stale(A, 100)
    cache.put(A, answer(60), 101)
    known = cache.get(A, 102)
    assert known is not None
    assert not known.is_stale


def test_use_is_counted() -> None:
    cache = Cache()
    cache.put(A, answer(60), 0)
    cache.get(A, 1)
    cache.get(A, 2)
    cache.get(AAAA, 2)
    statistics = cache.statistics
    assert (statistics.hits, statistics.misses, statistics.stored) == (2, 1, 1)
    cache.clear()
    assert cache.get(A, 3) is None
    assert cache.statistics.entries == 0


def test_a_plan_is_kept_until_its_first_answer_ends() -> None:
    cache = Cache()
    target = RankedTarget(Transport.UDP, Address("192.0.2.1", 5060), "h.example", "example.org")
    plan = Plan(((Candidate(0, ((target,),)),),))
    cache.keep_plan(("sip:example.org", ""), plan, 60)
    assert cache.plan(("sip:example.org", ""), 59.9) is plan
    assert cache.plan(("sip:example.org", "other"), 0) is None
    assert cache.plan(("sip:example.org", ""), 60) is None
    assert cache.statistics.units == 0
    cache.keep_plan(("sip:example.org", ""), plan, 60)
    cache.clear()
    assert cache.plan(("sip:example.org", ""), 0) is None


def test_plans_are_bounded() -> None:
    cache = Cache(most_units=100)
    target = RankedTarget(Transport.UDP, Address("192.0.2.1", 5060), "h.example", "example.org")
    for index in range(1000):
        plan = Plan(((Candidate(0, ((target,),)),),))
        cache.keep_plan((f"sip:h{index}.example", ""), plan, 60)
        assert cache.statistics.units <= 100
