import random

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.errors import MalformedMessage
from sipdns.messages import (
    EDNS_PAYLOAD,
    Alias,
    Asking,
    Refusal,
    Truncated,
    make_query,
    matches,
    read_answer,
)
from sipdns.records import (
    AddressRecord,
    Answer,
    CnameRecord,
    NaptrRecord,
    Question,
    RecordType,
    SrvRecord,
    Status,
)

A = Question("example.org", RecordType.A)
SRV = Question("_sip._udp.example.org", RecordType.SRV)
NAPTR = Question("example.org", RecordType.NAPTR)


def respond(question: Question, *sections: str) -> dns.message.Message:
    """A response whose sections have these records: ``name TYPE data`` by lines."""
    query = dns.message.from_wire(make_query(question, 7))
    response = dns.message.make_response(query, recursion_available=True)
    for section, text in zip(
        (response.answer, response.authority, response.additional), sections, strict=False
    ):
        for line in filter(None, map(str.strip, text.splitlines())):
            name, kind, data = line.split(None, 2)
            section.append(dns.rrset.from_text(name, 60, "IN", kind, data))
    return response


def test_a_query_asks_for_recursion_with_edns_of_1232_bytes() -> None:
    query = dns.message.from_wire(make_query(SRV, 0xBEEF))
    assert query.id == 0xBEEF
    assert query.flags == dns.flags.RD | dns.flags.AD
    assert query.question[0].to_text() == "_sip._udp.example.org. IN SRV"
    assert (query.edns, query.payload) == (0, EDNS_PAYLOAD)
    assert dns.message.from_wire(make_query(SRV, 1, edns=False)).edns == -1


@pytest.mark.parametrize("name", ["a" * 64, "a." * 128, "a..b"])
def test_a_name_that_no_query_can_hold_is_malformed(name: str) -> None:
    with pytest.raises(MalformedMessage):
        make_query(Question(name, RecordType.A), 1)


def test_records_are_read() -> None:
    answer = read_answer(
        respond(
            SRV,
            "_SIP._udp.example.org. SRV 1 2 5060 SIP.Example.ORG.",
            "",
            """sip.example.org. A 192.0.2.1
            sip.example.org. AAAA 2001:DB8:0::1
            stranger.example. A 192.0.2.66""",
        ).to_wire(),
        SRV,
    )
    assert answer == Answer(
        Status.RECORDS,
        (SrvRecord(1, 2, 5060, "sip.example.org", 60),),
        (),
        (
            (Question("sip.example.org", RecordType.A), (AddressRecord("192.0.2.1", 60),)),
            (Question("sip.example.org", RecordType.AAAA), (AddressRecord("2001:db8::1", 60),)),
        ),
    )


def test_naptr_texts_are_kept_and_hostile_ones_escaped() -> None:
    text = 'example.org. NAPTR 1 2 "s" "SIP+D2U" "\\255" _sip._udp.example.org.'
    answer = read_answer(respond(NAPTR, text).to_wire(), NAPTR)
    assert isinstance(answer, Answer)
    assert answer.records == (
        NaptrRecord(1, 2, "s", "SIP+D2U", "\\xff", "_sip._udp.example.org", 60),
    )


def test_names_with_nul_and_dots_in_labels_stay_one_name() -> None:
    text = "_sip._udp.example.org. SRV 0 0 5060 a\\.b\\000.example."
    answer = read_answer(respond(SRV, text).to_wire(), SRV)
    assert isinstance(answer, Answer)
    record = answer.records[0]
    assert isinstance(record, SrvRecord)
    assert record.target == "a\\.b\\000.example"
    again = dns.message.from_wire(make_query(Question(record.target, RecordType.A), 1))
    assert again.question[0].name.labels == (b"a.b\x00", b"example", b"")


def test_a_chain_of_aliases_is_followed_within_the_answer() -> None:
    answer = read_answer(
        respond(
            A,
            """b.example. A 192.0.2.1
            a.example. CNAME b.example.
            example.org. CNAME a.example.""",
        ).to_wire(),
        A,
    )
    assert answer == Answer(
        Status.RECORDS, (AddressRecord("192.0.2.1", 60),), ("a.example", "b.example")
    )


def test_an_alias_that_leaves_the_answer_is_to_be_asked_for() -> None:
    answer = read_answer(respond(A, "example.org. CNAME a.example.").to_wire(), A)
    assert answer == Alias((CnameRecord("example.org", "a.example", 60),))


@pytest.mark.parametrize(
    "chain",
    [
        "example.org. CNAME example.org.",
        "example.org. CNAME a.example.\na.example. CNAME b.example.\nb.example. CNAME a.example.",
        "example.org. CNAME n0.example.\n"
        + "\n".join(f"n{index}.example. CNAME n{index + 1}.example." for index in range(20)),
    ],
)
def test_chains_of_aliases_that_loop_or_are_long_are_refused(chain: str) -> None:
    assert isinstance(read_answer(respond(A, chain).to_wire(), A), Refusal)


def test_denials_are_told_apart() -> None:
    soa = "example.org. SOA ns. host. 1 2 3 4 5"
    assert read_answer(respond(A, "", soa).to_wire(), A) == Answer(Status.NO_DATA)
    missing = respond(A, "", soa)
    missing.set_rcode(dns.rcode.NXDOMAIN)
    assert read_answer(missing.to_wire(), A) == Answer(Status.NO_NAME)


@pytest.mark.parametrize(
    ("rcode", "without_edns"),
    [("SERVFAIL", False), ("REFUSED", False), ("FORMERR", True), ("NOTIMP", True)],
)
def test_a_refusal_names_its_code(rcode: str, without_edns: bool) -> None:
    response = respond(A)
    response.set_rcode(dns.rcode.from_text(rcode))
    expected = Refusal(f"the nameserver says {rcode}", without_edns, rcode)
    assert read_answer(response.to_wire(), A) == expected


def test_a_referral_is_a_refusal() -> None:
    response = respond(A, "", "example.org. NS ns.example.org.")
    response.flags &= ~dns.flags.RA
    assert isinstance(read_answer(response.to_wire(), A), Refusal)


def test_truncation_is_seen_before_the_records() -> None:
    response = respond(A, "example.org. A 192.0.2.1")
    response.flags |= dns.flags.TC
    assert read_answer(response.to_wire(), A) == Truncated()


def test_records_of_other_names_are_ignored() -> None:
    response = respond(A, "stranger.example. A 192.0.2.66", "example.org. SOA ns. h. 1 2 3 4 5")
    assert read_answer(response.to_wire(), A) == Answer(Status.NO_DATA)


def test_only_an_answer_to_the_query_matches() -> None:
    query = make_query(A, 0x1234)
    good = respond(A, "example.org. A 192.0.2.1")
    good.id = 0x1234
    assert matches(query, good.to_wire())
    assert not matches(query, query)
    other_id = respond(A, "example.org. A 192.0.2.66")
    other_id.id = 0x1235
    assert not matches(query, other_id.to_wire())
    for other in (SRV, NAPTR, Question("example.net", RecordType.A)):
        stranger = respond(other)
        stranger.id = 0x1234
        assert not matches(query, stranger.to_wire())
    no_question = respond(A)
    no_question.id = 0x1234
    no_question.question = []
    assert not matches(query, no_question.to_wire())
    no_question.set_rcode(dns.rcode.FORMERR)
    assert matches(query, no_question.to_wire())
    assert not matches(query, b"")
    assert not matches(query, good.to_wire()[:11])


def test_a_question_in_another_case_matches() -> None:
    query = make_query(Question("Example.ORG", RecordType.A), 7)
    assert matches(query, respond(A).to_wire())


def test_compression_pointers_that_loop_are_malformed() -> None:
    header = bytes.fromhex("0007 8180 0001 0001 0000 0000")
    question = make_query(A, 7)[12:-11]
    for pointer in (b"\xc0\x1d", b"\xc0\xff", b"\xff\xff"):
        data = header + question + pointer + bytes.fromhex("0001 0001 0000003c 0004 c0000201")
        with pytest.raises(MalformedMessage):
            read_answer(data, A)


def test_an_answer_of_64_kb_is_read() -> None:
    text = "\n".join(f"_sip._udp.example.org. SRV {n} 0 5060 h{n}.example." for n in range(2000))
    response = respond(SRV)
    response.answer = [
        dns.rrset.from_text(
            "_sip._udp.example.org.",
            60,
            "IN",
            "SRV",
            *(one.split("SRV ")[1] for one in text.split("\n")),
        )
    ]
    answer = read_answer(response.to_wire(max_size=65535)[:65535], SRV)
    assert isinstance(answer, Answer)
    assert len(answer.records) == 2000


FULL = respond(
    SRV,
    """_sip._udp.example.org. CNAME x.example.
    x.example. SRV 1 2 5060 sip.example.org.
    x.example. SRV 1 2 5060 sip.example.net.""",
    "example.org. SOA ns. host. 1 2 3 4 5",
    "sip.example.org. A 192.0.2.1\nsip.example.org. AAAA 2001:db8::1",
).to_wire()


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    matches(make_query(SRV, 7), data)
    for question in (A, SRV, NAPTR):
        try:
            read_answer(data, question)
        except MalformedMessage:
            pass


@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_any_mutation_of_an_answer_is_read_or_malformed(source: random.Random, times: int) -> None:
    data = bytearray(FULL)
    for _ in range(times):
        match source.randrange(3):
            case 0:
                data[source.randrange(len(data))] = source.randrange(256)
            case 1:
                del data[source.randrange(len(data)) :]
                data += b"\xc0\x0c"
            case _:
                start = source.randrange(len(data))
                data[start:start] = data[start : start + source.randrange(20)]
    query = make_query(SRV, 7)
    if matches(query, bytes(data)):
        try:
            read_answer(bytes(data), SRV)
        except MalformedMessage:
            pass


@pytest.mark.parametrize("name", [".", "_sip._udp.example.org", "a\\.b\\000.example"])
@pytest.mark.parametrize("edns", [True, False])
@pytest.mark.parametrize("asking", [Asking(), Asking(signed=True), Asking(recursive=False)])
def test_a_query_is_the_one_that_dnspython_makes(name: str, edns: bool, asking: Asking) -> None:
    flags = dns.flags.CD if asking.signed else dns.flags.AD
    theirs = dns.message.make_query(
        dns.name.from_text(name),
        "SRV",
        use_edns=0 if edns else False,
        payload=EDNS_PAYLOAD,
        want_dnssec=asking.signed and edns,
        id=513,
        flags=flags | dns.flags.RD if asking.recursive else flags,
    )
    ours = make_query(Question(name, RecordType.SRV), 513, edns=edns, asking=asking)
    assert ours == theirs.to_wire()
