"""RFC 6116 on a DNS made of data."""

import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.errors import DnsFailure, MisuseError, NoService
from natkit.machine import Failure
from sipdns.cli_enum import as_json
from sipdns.enum import (
    MOST_INDIRECTIONS,
    MOST_QUESTIONS,
    AskForNumber,
    EnumOutcome,
    EnumResolution,
    EnumResolved,
    Use,
    enum_domain,
    read_number,
)
from sipdns.records import Answer, NaptrRecord, Question, Status
from tests.sipdns.world import World

NUMBER = "+441632960083"
NAME = "3.8.0.0.6.9.2.3.6.1.4.4.e164.arpa"


def look_up(
    world: World | str,
    number: str = NUMBER,
    *,
    suffixes: Sequence[str] = ("e164.arpa",),
    service: str | None = None,
) -> EnumOutcome:
    world = World(world) if isinstance(world, str) else world
    return run(EnumResolution(number, suffixes=suffixes, service=service), world.answer)


def run(resolution: EnumResolution, answer: Callable[[Question], Answer | Failure]) -> EnumOutcome:
    for _ in range(200):
        event = resolution.next_event()
        assert event is not None
        if isinstance(event, EnumResolved):
            assert resolution.next_event() is None
            return event.outcome
        assert isinstance(event, AskForNumber)
        resolution.answer(event.request_id, answer(event.question), 0)
    raise AssertionError("the lookup does not end")


def uris(outcome: EnumOutcome) -> list[str]:
    return [one.uri for one in outcome.uris]


def test_the_digits_are_reversed_below_the_suffix() -> None:
    assert enum_domain(NUMBER) == NAME
    assert enum_domain("+1", "enum.example") == "1.enum.example"


@pytest.mark.parametrize(
    "text",
    ["+44 1632 960083", "+44-(1632)-960.083", "tel:+44-1632-960083;isub=1", " +441632960083"],
)
def test_numbers_are_read_as_people_write_them(text: str) -> None:
    assert read_number(text) == NUMBER


@pytest.mark.parametrize(
    "text", ["", "+", "441632960083", "+44x", "+1234567890123456", "tel:123;phone-context=a", "+٤٤"]
)
def test_what_has_no_country_code_is_refused(text: str) -> None:
    with pytest.raises(MisuseError):
        read_number(text)


def test_uris_come_by_order_then_preference() -> None:
    outcome = look_up(f"""
        {NAME} NAPTR 100 20 "u" "E2U+email:mailto" "!^.*$!mailto:b@example.com!" .
        {NAME} NAPTR 101 1 "u" "E2U+sip" "!^.*$!sip:c@example.com!" .
        {NAME} NAPTR 100 10 "U" "e2u+SIP+voice:tel" "!^(.*)$!sip:\\\\1@example.com!" .
    """)
    assert uris(outcome) == [
        "sip:+441632960083@example.com",
        "mailto:b@example.com",
        "sip:c@example.com",
    ]
    assert outcome.uris[0].services == ("sip", "voice:tel")
    assert outcome.uris[0].ttl == 60
    assert {rule.use for rule in outcome.rules} == {Use.URI}


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("sip", ["sip:a@example.com"]),
        ("SIP", ["sip:a@example.com"]),
        ("voice", ["tel:+1"]),
        ("voice:tel", ["tel:+1"]),
        ("voice:sip", []),
        ("si", []),
    ],
)
def test_a_service_is_filtered_by_type_and_subtype(service: str, expected: list[str]) -> None:
    outcome = look_up(
        f"""
        {NAME} NAPTR 1 1 "u" "E2U+sip" "!^.*$!sip:a@example.com!" .
        {NAME} NAPTR 1 2 "u" "E2U+voice:tel" "!^.*$!tel:+1!" .
        """,
        service=service,
    )
    assert uris(outcome) == expected
    if not expected:
        assert isinstance(outcome.error, NoService)


def test_records_that_do_not_apply_are_passed_over_with_the_reason() -> None:
    outcome = look_up(f"""
        {NAME} NAPTR 1 1 "s" "E2U+sip" "" _sip._udp.example.com.
        {NAME} NAPTR 1 2 "u" "sip+E2U" "!^.*$!sip:a@example.com!" .
        {NAME} NAPTR 1 3 "u" "E2U+sip" "!^.*$!no uri!" .
        {NAME} NAPTR 1 4 "u" "E2U+sip" "!^x$!sip:a@example.com!" .
        {NAME} NAPTR 1 5 "u" "E2U+sip" "!(!sip:a@example.com!" .
        {NAME} NAPTR 1 6 "u" "E2U+sip" "" .
        {NAME} NAPTR 1 7 "" "" "" .
    """)
    assert uris(outcome) == []
    assert isinstance(outcome.error, NoService)
    reasons = [rule.reason for rule in outcome.rules]
    for word, reason in zip(
        ["flag", "not of ENUM", "no URI", "match", "POSIX", "empty", "neither"],
        reasons,
        strict=True,
    ):
        assert word in reason


def test_a_record_without_flag_leads_on_and_its_uris_take_its_place() -> None:
    outcome = look_up(f"""
        {NAME} NAPTR 1 1 "" "" "" carrier.example.
        {NAME} NAPTR 2 1 "u" "E2U+sip" "!^.*$!sip:last@example.com!" .
        carrier.example NAPTR 9 9 "u" "E2U+sip" "!^.*$!sip:first@example.com!" .
    """)
    assert uris(outcome) == ["sip:first@example.com", "sip:last@example.com"]
    assert outcome.rules[0].use is Use.FOLLOWED


def test_chains_and_loops_end() -> None:
    lines = [f'{NAME} NAPTR 1 1 "" "" "" n0.example.']
    lines += [f'n{n}.example NAPTR 1 1 "" "" "" n{n + 1}.example.' for n in range(20)]
    outcome = look_up("\n".join(lines))
    assert len(outcome.asked) == MOST_INDIRECTIONS + 1
    assert "indirections" in outcome.rules[-1].reason
    loop = look_up(f"""
        {NAME} NAPTR 1 1 "" "" "" a.example.
        a.example NAPTR 1 1 "" "" "" {NAME}.
    """)
    assert loop.rules[-1].reason == "a loop"
    fan = look_up("\n".join(f'{NAME} NAPTR 1 {n} "" "" "" n{n}.example.' for n in range(300)))
    assert len(fan.asked) == MOST_QUESTIONS


def test_the_first_tree_with_a_uri_counts() -> None:
    private = NAME.replace("e164.arpa", "enum.example")
    world = f'{private} NAPTR 1 1 "u" "E2U+sip" "!^.*$!sip:p@example.com!" .'
    both = f'{world}\n{NAME} NAPTR 1 1 "u" "E2U+sip" "!^.*$!sip:q@example.com!" .'
    assert uris(look_up(world, suffixes=["e164.arpa", "Enum.Example."])) == ["sip:p@example.com"]
    assert uris(look_up(both, suffixes=["e164.arpa", "enum.example"])) == ["sip:q@example.com"]


@pytest.mark.parametrize("suffix", ["a..b", "a" * 64, "a." * 115])
def test_a_suffix_that_cannot_be_is_refused(suffix: str) -> None:
    with pytest.raises(MisuseError, match="not a domain name"):
        look_up("", suffixes=[suffix])


def test_a_service_that_cannot_be_is_refused() -> None:
    with pytest.raises(MisuseError, match="not an Enumservice"):
        look_up("", service="sip+voice")


def test_a_dns_that_fails_is_told_from_a_number_that_is_not_there() -> None:
    assert isinstance(look_up(World(broken=[NAME])).error, DnsFailure)
    assert isinstance(look_up("").error, NoService)


def test_what_a_program_gets_is_what_a_person_gets() -> None:
    outcome = look_up(f'{NAME} NAPTR 1 1 "u" "E2U+sip" "!^.*$!sip:a@example.com!" .')
    found = json.loads(json.dumps(as_json(outcome)))
    assert found["uris"][0]["uri"] == "sip:a@example.com"
    assert found["records"][0]["use"] == "uri"
    assert found["error"] is None


texts = st.text(alphabet=st.characters(codec="ascii"), max_size=40)
records = st.builds(
    NaptrRecord,
    order=st.integers(0, 65535),
    preference=st.integers(0, 65535),
    flags=st.sampled_from(["u", "", "s", "U", "x"]),
    service=st.one_of(st.just("E2U+sip"), texts),
    regexp=st.one_of(st.just("!^.*$!sip:a@b!"), texts.map(lambda text: f"!{text}!{text}!")),
    replacement=st.sampled_from([".", NAME, "a.example", "b.example", "c.example"]),
    ttl=st.just(60),
)


@given(st.lists(st.lists(records, max_size=8), min_size=4, max_size=4))
def test_whatever_a_zone_holds_a_lookup_ends(sets: list[list[NaptrRecord]]) -> None:
    names = [NAME, "a.example", "b.example", "c.example"]
    by_name = dict(zip(names, sets, strict=True))

    def answer(question: Question) -> Answer:
        found = tuple(by_name[question.name])
        return Answer(Status.RECORDS if found else Status.NO_DATA, found)

    outcome = run(EnumResolution(NUMBER), answer)
    assert (outcome.error is None) == bool(outcome.uris)
