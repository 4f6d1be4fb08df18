import asyncio
from dataclasses import replace
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from benchmarks.locate import measure
from benchmarks.locate.report import section
from benchmarks.locate.results import Cold, Results, bars
from benchmarks.locate.stub import Stub, start
from benchmarks.locate.zones import KINDS, Kind
from natkit.address import Address
from sipdns.messages import make_query
from sipdns.nameservers import Nameservers
from sipdns.records import Answer, Question, RecordType, Status

ZONE = [
    "example.org. A 192.0.2.1",
    "alias.example.org. CNAME example.org.",
    "deep.sub.example.org. AAAA 2001:db8::1",
]


def results(*, over: float = 1.0, warm: float = 30_000.0) -> Results:
    """Two domains of each kind; cold lookups take ``over`` times their round trips."""
    delay = 0.05
    return Results(
        commit="0123456789ab",
        date="2026-01-01",
        machine="a processor",
        python="3.11.2",
        sip_dig="1.12.11",
        delay=delay,
        real_time=False,
        cold={
            kind.title: Cold([kind.rounds] * 2, [over * kind.rounds * delay] * 2, [0.4] * 2)
            for kind in KINDS
        },
        warm_per_cpu_second=[warm, warm],
        warm_domains=1_000,
        explained_per_cpu_second=[3_000.0],
        cold_per_cpu_second=[300.0],
        cached_names=1_000,
        cached_bytes=[800_000],
    )


def test_missed_bars_are_told() -> None:
    assert all(bar.reached for bar in bars(results()))
    assert "**missed**" not in section(results())
    slow = results(over=1.2, warm=19_000)
    assert not any(bar.reached for bar in bars(slow))
    assert section(slow).count("**missed**") == len(KINDS) + 1


def test_the_section_says_if_it_was_measured_at_real_time_priority() -> None:
    assert "nothing else to do" in section(results())
    assert "real-time priority" in section(replace(results(), real_time=True))


def test_the_section_has_every_kind_and_its_tables_are_even() -> None:
    text = section(results())
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for kind in KINDS:
        assert f"| {kind.title} |" in text
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.title)
async def test_a_kind_is_found_in_as_many_rounds_as_it_says(kind: Kind) -> None:
    nameserver, listening = await start(Stub(kind.zone(measure.domain(kind, 0))))
    ((rounds, _),) = await measure.cold(nameserver, kind, range(1))
    listening.close()
    assert rounds == kind.rounds


@pytest.mark.parametrize(
    ("name", "kind", "status", "aliases"),
    [
        ("example.org", "A", Status.RECORDS, ()),
        ("alias.example.org", "A", Status.RECORDS, ("example.org",)),
        ("example.org", "AAAA", Status.NO_DATA, ()),
        ("sub.example.org", "A", Status.NO_DATA, ()),
        ("gone.example.org", "A", Status.NO_NAME, ()),
    ],
)
async def test_the_stub_answers_as_a_resolver_does(
    name: str, kind: str, status: Status, aliases: tuple[str, ...]
) -> None:
    stub = Stub(ZONE)
    nameserver, listening = await start(stub)
    answer = await Nameservers([nameserver]).ask(Question(name, RecordType(kind)))
    listening.close()
    assert isinstance(answer, Answer)
    assert (answer.status, answer.aliases) == (status, aliases)


def test_an_answer_of_the_stub_is_made_once_and_has_each_askers_id() -> None:
    stub = Stub(ZONE)
    question = Question("example.org", RecordType.A)
    one, other = (stub.reply(make_query(question, number)) for number in (1, 2))
    assert one is not None
    assert other is not None
    assert one[2:] == other[2:]
    assert [dns.message.from_wire(each).id for each in (one, other)] == [1, 2]
    assert dns.message.from_wire(one).rcode() == dns.rcode.NOERROR


def test_the_stub_loses_what_it_is_told_to_lose() -> None:
    stub = Stub(ZONE, is_lost=lambda _question, attempt: attempt < 2)
    query = make_query(Question("example.org", RecordType.A), 1)
    assert [stub.reply(query) is None for _ in range(4)] == [True, True, False, False]
    assert (stub.received, stub.lost) == (4, 2)


def test_the_stub_runs_in_a_process_of_its_own_and_ends(tmp_path: Path) -> None:
    with measure.resolver(tmp_path, ZONE, 0.01) as nameserver:
        assert isinstance(nameserver, Address)
        question = Question("example.org", RecordType.A)
        answer = asyncio.run(Nameservers([nameserver]).ask(question))
    assert isinstance(answer, Answer)


def test_memory_of_cached_names_is_counted_in_a_process_of_its_own() -> None:
    assert 0 <= measure.bytes_of_cached_names(200) < 50_000_000


@pytest.mark.peer("sofia-sip")
def test_sip_dig_finds_each_kind(tmp_path: Path) -> None:
    lines = [line for kind in KINDS for line in kind.zone(measure.domain(kind, 0))]
    with measure.resolver(tmp_path, lines, 0.0) as nameserver:
        for kind in KINDS:
            (seconds,) = measure.sip_dig(nameserver, kind, range(1), tmp_path)
            assert seconds > 0
