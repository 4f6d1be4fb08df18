from collections.abc import Iterator

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.machine import Failure
from sipdns.query import MOST_EXCHANGES, Answered, Exchange, Query, QueryLimits
from sipdns.records import (
    AddressRecord,
    Answer,
    Carrier,
    Question,
    RecordType,
    Security,
    Status,
    Unanswered,
)
from sipdns.servers import HttpsServer, Server, TlsServer
from tests.sipdns.world import World

ONE = Address("192.0.2.53", 53)
TWO = Address("192.0.2.54", 53)
QUESTION = Question("example.org", RecordType.A)
WORLD = World("example.org A 192.0.2.1")
FOUND = Answer(Status.RECORDS, (AddressRecord("192.0.2.1", 60),))


def start(*nameservers: Address, question: Question = QUESTION) -> Query:
    ids = iter(range(1000))
    return Query(
        question, nameservers, random=lambda length: next(ids).to_bytes(length, "big"), now=0
    )


def events(query: Query) -> Iterator[Exchange | Answered]:
    while (event := query.next_event()) is not None:
        yield event


def exchanges(query: Query) -> list[Exchange]:
    found = list(events(query))
    assert all(isinstance(one, Exchange) for one in found)
    return [one for one in found if isinstance(one, Exchange)]


def end(query: Query) -> Answer | Failure:
    (ended,) = events(query)
    assert isinstance(ended, Answered)
    assert query.next_deadline() is None
    return ended.result


def response(exchange: Exchange, world: World = WORLD, *, flags: int = 0, rcode: int = 0) -> bytes:
    query = dns.message.from_wire(exchange.query)
    assert isinstance(query, dns.message.QueryMessage)
    message = world.response(query)
    message.flags |= flags
    if rcode:
        message.set_rcode(dns.rcode.Rcode(rcode))
    return message.to_wire()


def test_a_question_goes_to_the_first_nameserver_over_udp() -> None:
    query = start(ONE, TWO)
    (first,) = exchanges(query)
    assert (first.server, first.carrier) == (ONE, Carrier.UDP)
    query.answer(first.request_id, response(first), 0.1)
    assert end(query) == FOUND


def test_silence_brings_the_next_nameserver_and_then_the_first_again_ever_slower() -> None:
    query = start(ONE, TWO)
    asked = []
    while True:
        found = list(events(query))
        if any(isinstance(one, Answered) for one in found):
            break
        deadline = query.next_deadline()
        assert deadline is not None
        asked += [(one.server, deadline) for one in found if isinstance(one, Exchange)]
        query.handle_timer(deadline)
    assert [server for server, _ in asked] == [ONE, TWO, ONE, TWO, ONE, TWO, ONE]
    assert [due for _, due in asked] == [0.5, 1.0, 1.75, 2.5, 3.625, 4.75, 5.0]
    assert deadline == QueryLimits().whole


def test_each_retransmission_has_its_own_id() -> None:
    query = start(ONE)
    (first,) = exchanges(query)
    query.handle_timer(0.5)
    (second,) = exchanges(query)
    assert first.query[:2] != second.query[:2]


def test_a_late_answer_to_an_earlier_exchange_counts() -> None:
    query = start(ONE, TWO)
    (first,) = exchanges(query)
    query.handle_timer(0.5)
    (second,) = exchanges(query)
    query.answer(first.request_id, response(first), 0.6)
    assert end(query) == FOUND
    query.answer(second.request_id, response(second), 0.7)
    assert not list(events(query))


def test_truncation_brings_tcp_to_the_same_nameserver() -> None:
    query = start(ONE, TWO)
    (first,) = exchanges(query)
    query.answer(first.request_id, response(first, flags=dns.flags.TC), 0.1)
    (second,) = exchanges(query)
    assert (second.server, second.carrier) == (ONE, Carrier.TCP)
    query.answer(second.request_id, response(second), 0.2)
    assert end(query) == FOUND


def test_truncation_over_tcp_fails_that_nameserver() -> None:
    query = start(ONE, TWO)
    (first,) = exchanges(query)
    query.answer(first.request_id, response(first, flags=dns.flags.TC), 0.1)
    (second,) = exchanges(query)
    query.answer(second.request_id, response(second, flags=dns.flags.TC), 0.2)
    (third,) = exchanges(query)
    assert third.server == TWO


def test_a_server_that_does_not_know_edns_is_asked_without() -> None:
    query = start(ONE)
    (first,) = exchanges(query)
    assert dns.message.from_wire(first.query).edns == 0
    query.answer(first.request_id, response(first, rcode=dns.rcode.FORMERR), 0.1)
    (second,) = exchanges(query)
    assert dns.message.from_wire(second.query).edns == -1
    query.answer(second.request_id, response(second), 0.2)
    assert end(query) == FOUND


def test_a_refusal_brings_the_next_nameserver_at_once() -> None:
    query = start(ONE, TWO)
    (first,) = exchanges(query)
    query.answer(first.request_id, response(first, rcode=dns.rcode.SERVFAIL), 0.1)
    (second,) = exchanges(query)
    assert second.server == TWO
    query.answer(second.request_id, response(second), 0.2)
    assert end(query) == FOUND


def test_when_all_nameservers_refuse_the_end_names_each() -> None:
    query = start(ONE, TWO)
    (first,) = exchanges(query)
    query.answer(first.request_id, Failure("connection refused"), 0.1)
    (second,) = exchanges(query)
    query.answer(second.request_id, b"\0" * 5, 0.1)
    result = end(query)
    assert isinstance(result, Failure)
    assert result.reason.startswith("192.0.2.53:53: connection refused; 192.0.2.54:53: an answer")


def test_a_refusal_of_one_leaves_the_silent_one_to_its_time() -> None:
    query = start(ONE, TWO)
    (first,) = exchanges(query)
    query.handle_timer(0.5)
    (second,) = exchanges(query)
    query.answer(second.request_id, response(second, rcode=dns.rcode.REFUSED), 0.6)
    assert not list(events(query))
    query.answer(first.request_id, response(first), 2)
    assert end(query) == FOUND


def test_an_alias_that_leaves_the_answer_is_asked_for() -> None:
    partial = World("example.org CNAME www.example.net")
    query = start(ONE)
    (first,) = exchanges(query)
    message = dns.message.from_wire(response(first, partial))
    message.authority = []
    message.set_rcode(dns.rcode.NOERROR)
    query.answer(first.request_id, message.to_wire(), 0.1)
    (second,) = exchanges(query)
    assert dns.message.from_wire(second.query).question[0].name.to_text() == "www.example.net."
    query.answer(second.request_id, response(second, World("www.example.net A 192.0.2.9")), 0.2)
    expected = Answer(Status.RECORDS, (AddressRecord("192.0.2.9", 60),), ("www.example.net",))
    assert end(query) == expected


def follow_aliases(target: str) -> Answer | Failure:
    """Answer each exchange with a CNAME to ``target``, formatted with the count."""
    query = start(ONE)
    for count in range(100):
        found = list(events(query))
        if isinstance(found[0], Answered):
            return found[0].result
        exchange = found[0]
        message = dns.message.make_response(dns.message.from_wire(exchange.query))
        alias = dns.rrset.from_text(
            message.question[0].name, 60, "IN", "CNAME", target.format(count)
        )
        message.answer = [alias]
        query.answer(exchange.request_id, message.to_wire(), count / 100)
    raise AssertionError("aliases are followed without end")


def test_aliases_over_several_answers_are_bounded() -> None:
    for target in ("n{}.example.", "a.example.", "example.org."):
        result = follow_aliases(target)
        assert isinstance(result, Failure)
        assert "CNAME" in result.reason


def test_a_name_that_fits_no_query_does_not_exist() -> None:
    query = start(ONE, question=Question("_sip._udp." + "a." * 125, RecordType.SRV))
    assert end(query) == Answer(Status.NO_NAME)


LOOPBACK = Address("127.0.0.1", 53)


@pytest.mark.parametrize(
    ("server", "flags", "security"),
    [
        (LOOPBACK, dns.flags.AD, Security.SECURE),
        (Address("::1", 53), dns.flags.AD, Security.SECURE),
        (TlsServer(ONE), dns.flags.AD, Security.SECURE),
        (HttpsServer("https://192.0.2.53/"), dns.flags.AD, Security.SECURE),
        (ONE, dns.flags.AD, Security.INDETERMINATE),
        (LOOPBACK, 0, Security.INDETERMINATE),
        (TlsServer(ONE), 0, Security.INDETERMINATE),
    ],
)
def test_the_ad_bit_counts_from_those_alone_whose_answers_nobody_can_change(
    server: Server, flags: int, security: Security
) -> None:
    query = Query(QUESTION, [server], random=bytes, now=0)
    (first,) = exchanges(query)
    query.answer(first.request_id, response(first, flags=flags), 0.1)
    result = end(query)
    assert isinstance(result, Answer)
    assert result.security is security


def test_one_answer_of_a_chain_without_ad_is_enough_to_doubt_all() -> None:
    partial = World("example.org CNAME www.example.net")
    query = Query(QUESTION, [LOOPBACK], random=bytes, now=0)
    (first,) = exchanges(query)
    message = dns.message.from_wire(response(first, partial))
    message.authority = []
    message.set_rcode(dns.rcode.NOERROR)
    query.answer(first.request_id, message.to_wire(), 0.1)
    (second,) = exchanges(query)
    data = response(second, World("www.example.net A 192.0.2.9"), flags=dns.flags.AD)
    query.answer(second.request_id, data, 0.2)
    result = end(query)
    assert isinstance(result, Answer)
    assert result.security is Security.INDETERMINATE
    assert [one.name for one in result.attempts] == ["example.org", "www.example.net"]


@pytest.mark.parametrize(
    ("server", "security"), [(LOOPBACK, Security.BOGUS), (ONE, Security.INDETERMINATE)]
)
def test_a_trusted_resolver_may_say_that_an_answer_is_bogus(
    server: Address, security: Security
) -> None:
    query = Query(QUESTION, [server], random=bytes, now=0)
    (first,) = exchanges(query)
    message = dns.message.from_wire(response(first, rcode=dns.rcode.SERVFAIL))
    message.use_edns(options=[dns.edns.EDEOption(dns.edns.EDECode.DNSSEC_BOGUS, "bad\n key")])
    query.answer(first.request_id, message.to_wire(), 0.1)
    result = end(query)
    assert isinstance(result, Unanswered)
    assert result.security is security
    assert "SERVFAIL (dnssec bogus: bad key)" in result.reason


def test_without_nameservers_the_end_says_so() -> None:
    assert end(start()) == Unanswered("no nameserver is configured")


actions = st.lists(
    st.tuples(
        st.sampled_from(["good", "junk", "failure", "truncated", "servfail", "formerr", "late"]),
        st.floats(0, 2),
    ),
    max_size=60,
)


@given(st.integers(1, 3), actions)
def test_whatever_nameservers_do_a_query_ends_once_and_in_time(
    servers: int, steps: list[tuple[str, float]]
) -> None:
    query = start(*[Address(f"192.0.2.{index}", 53) for index in range(servers)])
    now = 0.0
    waiting: list[Exchange] = []
    ends = 0
    started = 0
    for action, wait in [*steps, *[("late", 1.0)] * 20]:
        for event in events(query):
            if isinstance(event, Answered):
                ends += 1
            else:
                started += 1
                waiting.append(event)
        now += wait
        query.handle_timer(now)
        if action == "late" or not waiting:
            continue
        exchange = waiting.pop(0)
        result: bytes | Failure
        match action:
            case "good":
                result = response(exchange)
            case "junk":
                result = b"\0" * 12
            case "failure":
                result = Failure("gone")
            case "truncated":
                result = response(exchange, flags=dns.flags.TC)
            case "servfail":
                result = response(exchange, rcode=dns.rcode.SERVFAIL)
            case _:
                result = response(exchange, rcode=dns.rcode.FORMERR)
        query.answer(exchange.request_id, result, now)
    ends += sum(isinstance(event, Answered) for event in events(query))
    assert ends == 1
    assert started <= MOST_EXCHANGES
    assert query.next_deadline() is None
