"""What a nameserver could send to cost its reader time, memory or its wits."""

import random
import struct
from collections.abc import Callable

import dns.message
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from natkit.errors import MalformedMessage
from sipdns.message_size import MOST_LABELS, MOST_RECORDS, check_size
from sipdns.messages import make_query, matches, read_answer
from sipdns.records import Answer, NaptrRecord, Question, RecordType, SrvRecord, Status

A = Question("example.org", RecordType.A)
SRV = Question("_sip._udp.example.org", RecordType.SRV)
ASKED = b"\7example\3org\0" + struct.pack("!HH", 1, 1)
START = 12 + len(ASKED)
LONG_NAME = b"\1a" * 126 + b"\0"


def message(*records: bytes, counts: tuple[int, int, int] | None = None) -> bytes:
    header = struct.pack("!HHHHHH", 1, 0x8180, 1, *(counts or (len(records), 0, 0)))
    return header + ASKED + b"".join(records)


def record(owner: bytes, data: bytes = b"\xc0\0\2\1", kind: int = 1) -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


def pointer(offset: int) -> bytes:
    return struct.pack("!H", 0xC000 | offset)


LONG = record(LONG_NAME)
SELF = pointer(START)
AHEAD = pointer(START + 20)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (message(*[record(b"\xc0\x0c")] * (MOST_RECORDS + 1)), "records"),
        (message(counts=(65535, 65535, 65535)), "records"),
        (message(counts=(1000, 0, 0)), "breaks off"),
        (message(LONG, *[record(pointer(START))] * 1000), "labels"),
        (
            message(LONG, *[record(bytes([1, n]) + pointer(START + 2)) for n in range(250)]),
            "labels",
        ),
        (message(LONG, *[record(b"\xc0\x0c", pointer(START), 2)] * 1000), "labels"),
        (message(LONG, *[record(b"\xc0\x0c", bytes(6) + pointer(START), 33)] * 1000), "labels"),
        (message(LONG, *[record(b"\xc0\x0c", bytes(7) + pointer(START), 35)] * 1000), "labels"),
        (message(LONG, *[record(b"\xc0\x0c", bytes(18) + pointer(START), 46)] * 1000), "labels"),
        (message(record(SELF)), "points forward"),
        (message(record(AHEAD)), "points forward"),
        (message(record(b"\1a" + SELF)), "into itself"),
        (message(record(b"\1a\1b" + pointer(START + 2))), "into itself"),
        (message(record(b"\1a" * 60 + SELF)), "into itself"),
        (message(record(b"\xc0\x0c", b"\1a" + pointer(START + 12), 2)), "into itself"),
        (message(record(b"\x3f" + b"a" * 10)), "breaks off"),
    ],
)
def test_what_costs_too_much_is_malformed_before_it_is_read(data: bytes, words: str) -> None:
    assert len(data) <= 65535
    with pytest.raises(MalformedMessage, match=words):
        read_answer(data, A)


def test_the_largest_honest_answers_are_read() -> None:
    lines = [f"{n} 0 5060 host{n}.example.org." for n in range(1500)]
    query = dns.message.from_wire(make_query(SRV, 1))
    response = dns.message.make_response(query, recursion_available=True)
    response.answer.append(dns.rrset.from_text_list(f"{SRV.name}.", 60, "IN", "SRV", lines))
    answer = read_answer(response.to_wire(max_size=65535), SRV)
    assert isinstance(answer, Answer)
    assert len(answer.records) == 1500
    addresses = message(*[record(b"\xc0\x0c", struct.pack("!I", n)) for n in range(1000)])
    answer = read_answer(addresses, A)
    assert isinstance(answer, Answer)
    assert len(answer.records) == 1000


def test_the_bound_on_labels_is_exact() -> None:
    depth = 100
    deep = record(b"\1a" * depth + b"\0")
    rest = (MOST_LABELS - depth) // (depth + 1)
    check_size(message(deep, *[record(pointer(START))] * rest))
    with pytest.raises(MalformedMessage, match="labels"):
        check_size(message(deep, *[record(pointer(START))] * (rest + 1)))


def test_sections_that_belong_to_others_are_left_alone() -> None:
    strange = ["www.example.net. A 192.0.2.66", "sip.example.org. A 192.0.2.66"]
    query = dns.message.from_wire(make_query(A, 1))
    response = dns.message.make_response(query, recursion_available=True)
    for section in (response.answer, response.authority, response.additional):
        for line in strange:
            name, kind, data = line.split()
            section.append(dns.rrset.from_text(name, 60, "IN", kind, data))
    answer = read_answer(response.to_wire(), A)
    assert answer == Answer(Status.NO_DATA)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data[:2] + bytes([data[2] & 0x7F]) + data[3:],
        lambda data: data[:2] + bytes([data[2] | 0x28]) + data[3:],
        lambda data: data.replace(b"example", b"examplf"),
        lambda data: data.replace(b"\3org\0\0\1", b"\3org\0\0\x1c"),
        lambda data: data[:4] + b"\0\2" + data[6:],
        lambda data: data[:11],
        lambda data: data[12:],
    ],
)
def test_what_answers_another_query_matches_none(damage: Callable[[bytes], bytes]) -> None:
    query = make_query(A, 0x0001)
    honest = message(record(b"\xc0\x0c"))
    assert matches(query, honest)
    assert matches(query, honest.replace(b"example", b"EXAMPLE"))
    assert not matches(query, damage(honest))


def mutated(seed: int) -> bytes:
    """An honest answer with a few bytes changed, cut or repeated."""
    chance = random.Random(seed)
    query = dns.message.from_wire(make_query(SRV, 1))
    response = dns.message.make_response(query, recursion_available=True)
    lines = [
        (f"{SRV.name}.", "SRV", "0 0 5060 a\\.b\\000.example."),
        (f"{SRV.name}.", "CNAME", "other.example."),
        ("other.example.", "NAPTR", '1 1 "s" "SIP+D2U" "" _sip._udp.example.'),
        ("example.", "SOA", "a. b. 1 2 3 4 5"),
    ]
    for name, kind, text in chance.sample(lines, 3):
        response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, text))
    data = bytearray(response.to_wire())
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(12, len(data))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at : at + 2] = pointer(chance.randrange(len(data)))
            case 2:
                del data[at : at + chance.randrange(1, 9)]
            case _:
                data[at:at] = data[12 : 12 + chance.randrange(1, 40)]
        if len(data) < 14:
            break
    return bytes(data)


@given(st.integers(0, 2**32))
@example(0)
def test_damaged_answers_are_read_or_malformed(seed: int) -> None:
    try:
        answer = read_answer(mutated(seed), SRV)
    except MalformedMessage:
        return
    if isinstance(answer, Answer):
        for one in answer.records:
            # Whatever a name holds, it can be asked for again and stays one name.
            if isinstance(one, SrvRecord | NaptrRecord):
                name = one.target if isinstance(one, SrvRecord) else one.replacement
                make_query(Question(name, RecordType.A), 1)


@given(st.binary(max_size=300))
def test_junk_is_malformed_or_nothing(data: bytes) -> None:
    for whole in (data, message(data), message() + data):
        try:
            read_answer(whole, A)
        except MalformedMessage:
            pass
