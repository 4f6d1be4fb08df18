"""Validation on signed hierarchies made here: root, test, example.test."""

from collections.abc import Callable
from dataclasses import replace

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from natkit.machine import Failure
from sipdns.chain import MOST_ZONES, ChainCache
from sipdns.denial import MOST_ITERATIONS
from sipdns.dnssec import AskForKeys, Judged, Validation
from sipdns.records import (
    AddressRecord,
    Answer,
    CnameRecord,
    Question,
    RecordType,
    Security,
    Status,
)
from sipdns.signatures import Judgement
from tests.sipdns.signed_world import DAY, NOW, PLAIN, SignedWorld, Signing

EXAMPLE = """\
@ 60 IN A 192.0.2.1
@ 60 IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp
_sip._udp 60 IN SRV 0 0 5060 sip
sip 60 IN A 192.0.2.2
*.wild 60 IN A 192.0.2.3
near.wild 60 IN TXT "x"
alias 60 IN CNAME sip
away 60 IN CNAME www.other.test.
deep.empty 60 IN A 192.0.2.4
"""
OTHER = "www 60 IN A 192.0.2.9\n"
ZONES = {".": "", "test.": "", "example.test.": EXAMPLE, "other.test.": OTHER}
NSEC3 = Signing(nsec3=True)
OPT_OUT = Signing(nsec3=True, opt_out=True)
BOTH = pytest.mark.parametrize("default", [Signing(), NSEC3], ids=["nsec", "nsec3"])


def world(**signings: Signing) -> SignedWorld:
    return SignedWorld(ZONES, **signings)


def ask(name: str, kind: str = "A") -> Question:
    return Question(name, RecordType(kind))


Tampering = Callable[[dns.message.Message], None]


def drop(section: str, *kinds: str) -> Tampering:
    """Take record sets, or the signatures over them, out of a section of each response."""

    def tamper(message: dns.message.Message) -> None:
        sets: list[dns.rrset.RRset] = getattr(message, section)
        sets[:] = [
            one
            for one in sets
            if not any(kind in (_shown(one), dns.rdatatype.to_text(one.rdtype)) for kind in kinds)
        ]

    return tamper


def _shown(rrset: dns.rrset.RRset) -> str:
    covers = dns.rdatatype.to_text(rrset.covers) if rrset.covers else ""
    return f"RRSIG {covers}"


@BOTH
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("example.test", "A"),
        ("example.test", "NAPTR"),
        ("_sip._udp.example.test", "SRV"),
        ("SIP.example.TEST", "A"),
        ("alias.example.test", "A"),
        ("away.example.test", "A"),
        ("any.wild.example.test", "A"),
    ],
)
def test_what_is_signed_is_secure(name: str, kind: str, default: Signing) -> None:
    judgement = world(default=default).judge(ask(name, kind))
    assert judgement.security is Security.SECURE, judgement.reason
    assert judgement.expires == NOW + 30 * DAY


@BOTH
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("example.test", "AAAA"),
        ("nothing.example.test", "A"),
        ("a.b.c.example.test", "SRV"),
        ("empty.example.test", "A"),
        ("_udp.example.test", "SRV"),
        ("any.wild.example.test", "AAAA"),
        ("alias.example.test", "AAAA"),
        ("nothing.test", "A"),
        ("sip.example.test", "DS"),
    ],
)
def test_a_proved_absence_is_secure(name: str, kind: str, default: Signing) -> None:
    judgement = world(default=default).judge(ask(name, kind))
    assert judgement.security is Security.SECURE, judgement.reason


@BOTH
@pytest.mark.parametrize("name", ["example.test", "nothing.example.test", "sip.example.test"])
def test_a_delegation_without_ds_is_insecure(name: str, default: Signing) -> None:
    judgement = world(default=default, example_test=PLAIN).judge(ask(name))
    assert judgement.security is Security.INSECURE, judgement.reason
    assert "example.test" in judgement.reason


def test_an_unsigned_zone_below_an_opt_out_parent_is_insecure() -> None:
    judgement = world(default=OPT_OUT, example_test=PLAIN).judge(ask("example.test"))
    assert judgement.security is Security.INSECURE
    assert "opt-out" in judgement.reason


def test_a_name_denied_by_opt_out_is_insecure() -> None:
    judgement = world(default=OPT_OUT).judge(ask("nothing.test"))
    assert judgement.security is Security.INSECURE


def test_too_many_iterations_count_as_unsigned() -> None:
    signing = replace(NSEC3, iterations=MOST_ITERATIONS + 1)
    judgement = world(example_test=signing).judge(ask("nothing.example.test"))
    assert judgement.security is Security.INSECURE
    assert "RFC 9276" in judgement.reason
    allowed = replace(NSEC3, iterations=10)
    judgement = world(example_test=allowed).judge(ask("nothing.example.test"))
    assert judgement.security is Security.SECURE


@pytest.mark.parametrize("ds", ["sha1", "rsamd5"])
def test_a_zone_with_outworn_algorithms_alone_counts_as_unsigned(ds: str) -> None:
    judgement = world(example_test=Signing(ds=ds)).judge(ask("example.test"))
    assert judgement.security is Security.INSECURE
    assert "not supported" in judgement.reason


@pytest.mark.parametrize(
    ("signing", "words"),
    [
        (Signing(expiration=NOW - DAY, inception=NOW - 2 * DAY), "expired 24 hours ago"),
        (Signing(inception=NOW + DAY), "begins to hold in 24 hours"),
        (Signing(ds="wrong"), "is the one that the DS at test. names"),
        (Signing(signed=False), "example.test. has no DNSKEY"),
    ],
)
def test_a_zone_that_is_signed_wrongly_is_bogus(signing: Signing, words: str) -> None:
    judgement = world(example_test=signing).judge(ask("example.test"))
    assert judgement.security is Security.BOGUS
    assert words in judgement.reason


@BOTH
@pytest.mark.parametrize(
    ("name", "tampering", "words"),
    [
        ("sip.example.test", drop("answer", "RRSIG A"), "no signature"),
        ("any.wild.example.test", drop("authority", "NSEC", "NSEC3"), "no nearer name"),
        ("nothing.example.test", drop("authority", "NSEC", "NSEC3"), "it is not proved that"),
        ("nothing.example.test", drop("authority", "RRSIG NSEC", "RRSIG NSEC3"), "no signature"),
        ("sip.example.test", drop("answer", "DS"), "not proved that"),
        ("sip.example.test", drop("answer", "RRSIG DS"), "DS: no signature"),
    ],
)
def test_what_is_missing_on_the_way_is_bogus(
    name: str, tampering: Tampering, words: str, default: Signing
) -> None:
    signed = world(default=default)
    signed.tamper = tampering
    judgement = signed.judge(ask(name))
    assert judgement.security is Security.BOGUS
    assert words in judgement.reason


def test_a_forged_record_is_bogus() -> None:
    signed = world()

    def forge(message: dns.message.Message) -> None:
        for index, rrset in enumerate(message.answer):
            if rrset.rdtype == dns.rdatatype.A:
                forged = dns.rrset.from_text(rrset.name, 60, "IN", "A", "192.0.2.66")
                message.answer[index] = forged

    signed.tamper = forge
    judgement = signed.judge(ask("sip.example.test"))
    assert judgement.security is Security.BOGUS
    assert "is wrong" in judgement.reason


def test_an_existing_name_cannot_be_denied() -> None:
    for default in (Signing(), NSEC3):
        signed = world(default=default)

        def deny(message: dns.message.Message, signed: SignedWorld = signed) -> None:
            if message.question[0].name == dns.name.from_text("sip.example.test"):
                message.answer.clear()
                message.set_rcode(dns.rcode.NXDOMAIN)
                signed._deny(message, signed.zones[dns.name.from_text("example.test")])

        signed.tamper = deny
        judgement = signed.judge(ask("sip.example.test"))
        assert judgement.security is Security.BOGUS, judgement.reason


def test_a_parent_cannot_deny_what_its_child_has() -> None:
    for default in (Signing(), NSEC3):
        signed = world(default=default)

        def deny(message: dns.message.Message, signed: SignedWorld = signed) -> None:
            if message.question[0].rdtype == dns.rdatatype.A:
                message.answer.clear()
                message.set_rcode(dns.rcode.NXDOMAIN)
                signed._deny(message, signed.zones[dns.name.from_text("test")])

        signed.tamper = deny
        judgement = signed.judge(ask("sip.example.test"))
        assert judgement.security is Security.BOGUS, judgement.reason


def test_a_resolver_that_knows_no_dnssec_is_told_from_an_attack() -> None:
    signed = world()
    signed.tamper = drop("answer", "RRSIG")
    judgement = signed.judge(ask("sip.example.test"))
    assert judgement.security is Security.INDETERMINATE
    assert "may not pass them on" in judgement.reason


def test_without_an_anchor_above_nothing_is_said() -> None:
    signed = world()
    validation = Validation(
        [(ask("sip.example.test"), signed.response(ask("sip.example.test")))],
        anchors={dns.name.from_text("net"): ()},
        now=0,
        unix_offset=NOW,
    )
    ended = validation.next_event()
    assert isinstance(ended, Judged)
    assert ended.judgement.security is Security.INDETERMINATE


def test_a_chain_is_asked_for_once_and_kept_for_its_ttl() -> None:
    signed = world()
    cache = ChainCache()
    signed.judge(ask("sip.example.test"), cache=cache)
    assert [str(one) for one in signed.asked] == [
        ". DNSKEY",
        "test DS",
        "test DNSKEY",
        "example.test DS",
        "example.test DNSKEY",
    ]
    signed.judge(ask("example.test", "NAPTR"), cache=cache, now=NOW + 59)
    assert signed.asked == []
    signed.judge(ask("sip.example.test"), cache=cache, now=NOW + 61)
    assert len(signed.asked) == 5


def test_no_answer_is_kept_beyond_its_signatures() -> None:
    soon = world(example_test=Signing(expiration=NOW + 20))
    judgement = soon.judge(ask("sip.example.test"))
    assert (judgement.security, judgement.ttl) == (Security.SECURE, 20)


def test_a_ttl_that_was_raised_on_the_way_counts_as_it_was_signed() -> None:
    def raise_ttl(message: dns.message.Message) -> None:
        for rrset in message.answer:
            rrset.ttl = 86400

    signed = world()
    signed.tamper = raise_ttl
    judgement = signed.judge(ask("sip.example.test"))
    assert (judgement.security, judgement.ttl) == (Security.SECURE, 60)


def test_an_answer_is_cut_down_to_the_time_that_is_left() -> None:
    answer = Answer(
        Status.RECORDS,
        (AddressRecord("192.0.2.1", 60), AddressRecord("192.0.2.2", 10)),
        cnames=(CnameRecord("a.test", "b.test", 90),),
        negative_ttl=30,
    )
    cut = answer.at_most(20)
    assert [one.ttl for one in (*cut.records, *cut.cnames)] == [20, 10, 20]
    assert (cut.negative_ttl, cut.ttl) == (20, 10)


def test_the_cache_of_chains_is_bounded() -> None:
    signed = world()
    cache = ChainCache()
    for number in range(MOST_ZONES + 10):
        cut = cache.get(dns.name.root, 0)
        if cut is None:
            signed.judge(ask("example.test"), cache=cache)
            cut = cache.get(dns.name.root, 0)
        assert cut is not None
        cache.put(dns.name.from_text(f"z{number}"), cut, 60)
        cache.put(dns.name.root, cut, 60)
    assert len(cache) == MOST_ZONES


def test_no_answer_for_keys_leaves_it_open() -> None:
    signed = world()
    question = ask("sip.example.test")
    for result in (Failure("no answer"), b"junk", b"\0" * 12):
        validation = Validation(
            [(question, signed.response(question))],
            anchors=signed.anchors,
            now=0,
            unix_offset=NOW,
        )
        asked = validation.next_event()
        assert isinstance(asked, AskForKeys)
        validation.answer(asked.request_id, result, 0)
        ended = validation.next_event()
        assert isinstance(ended, Judged)
        assert ended.judgement.security in (Security.INDETERMINATE, Security.BOGUS)


def judge_damaged(signed: SignedWorld, name: str, damage: list[tuple[int, int, int]]) -> Judgement:
    """Change bytes of the responses: (which response, where, what)."""
    count = -1

    def damaged(data: bytes) -> bytes:
        nonlocal count
        count += 1
        changed = bytearray(data)
        for which, where, value in damage:
            if which == count:
                changed[12 + where % (len(data) - 12)] ^= value
        return bytes(changed)

    question = ask(name)
    first = damaged(signed.response(question))
    try:
        dns.message.from_wire(first, ignore_trailing=True)
    except Exception:  # noqa: BLE001 - read_answer has turned these away
        first = signed.response(question)
    validation = Validation([(question, first)], anchors=signed.anchors, now=0, unix_offset=NOW)
    for _ in range(100):
        match validation.next_event():
            case Judged(judgement):
                return judgement
            case AskForKeys(request_id, asked):
                validation.answer(request_id, damaged(signed.response(asked)), 0)
            case None:
                raise AssertionError("neither asks nor ends")
    raise AssertionError("does not end")


FIXED = {"nsec": world(), "nsec3": world(default=NSEC3)}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["nsec", "nsec3"]),
    st.sampled_from(["sip.example.test", "nothing.example.test", "any.wild.example.test"]),
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 2000), st.integers(1, 255)),
        min_size=1,
        max_size=4,
    ),
)
def test_damaged_responses_raise_nothing_and_end(
    kind: str, name: str, damage: list[tuple[int, int, int]]
) -> None:
    judge_damaged(FIXED[kind], name, damage)
