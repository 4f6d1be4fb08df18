from random import Random

import pytest

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import Transport
from natkit.sip import (
    HeaderField,
    Headers,
    NameAddress,
    Plural,
    Request,
    Response,
    Singular,
    SipUri,
    Via,
    parse_message,
)
from natkit.sip.headers import Kind
from natkit.sip.kinds import (
    ALLOW,
    CALL_ID,
    CONTACT,
    CONTENT_LENGTH,
    CSEQ,
    EXPIRES,
    FROM,
    MAX_FORWARDS,
    RETRY_AFTER,
    ROUTE,
    SERVER,
    SUPPORTED,
    TO,
    VIA,
    CSeq,
    RetryAfter,
    Wildcard,
)
from natkit.sip.parser import MessageLimits
from natkit.sip.remembering import LONGEST_TEXT, MOST_FIELDS, Memory
from natkit.sip.values import HeaderParameter

HEAD = b"OPTIONS sip:bob@example.org SIP/2.0\r\n"
FIELDS = (
    b"v:  SIP/2.0/UDP a.example ; branch=z9hG4bK1 ,\r\n\t SIP/2.0/TCP b.example;branch=z9hG4bK2\r\n"
    b"VIA: SIP/2.0/TLS c.example;branch=z9hG4bK3\r\n"
    b"From: Alice <sip:alice@example.com>;tag=1\r\n"
    b"To   : sip:bob@example.org\r\n"
    b"i: 1@example.com\r\n"
    b"CSeq: 1 OPTIONS\r\n"
    b"X-Odd:\xff\xfe kept\r\n \t as it is  \r\n"
)
EXAMPLE = HEAD + FIELDS + b"\r\n"


def options(data: bytes = EXAMPLE) -> Request:
    request = parse_message(data)
    assert isinstance(request, Request)
    return request


def address(text: str) -> NameAddress:
    return NameAddress.parse(text)


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


def test_a_message_is_written_byte_for_byte_as_it_came() -> None:
    assert bytes(options()) == EXAMPLE


def test_empty_lines_before_a_message_are_ignored() -> None:
    assert bytes(options(b"\r\n\r\n\r\n" + EXAMPLE)) == EXAMPLE


def test_compact_names_lists_and_repeated_fields_are_one() -> None:
    vias = options().headers.get_all(VIA)
    assert [via.host for via in vias] == ["a.example", "b.example", "c.example"]
    assert options().headers.get(CALL_ID) == "1@example.com"
    assert len(options().headers.fields("v")) == 2
    assert options().headers.has("V")
    assert not options().headers.has("Subject")


def test_a_value_is_read_once() -> None:
    reads = []

    def read(text: str) -> str:
        reads.append(text)
        return text

    headers = Headers([HeaderField.parse(b"X: 1\r\n")])
    kind = Singular("X", read)
    assert (headers.get(kind), headers.get(kind), reads) == ("1", "1", ["1"])


def test_a_kind_of_ones_own_is_read_like_the_others() -> None:
    event = Plural("Event", str.upper, str.lower, in_one_field=True)
    headers = Headers().append(event, "A", "B")
    assert bytes(headers) == b"Event: a, b\r\n"
    assert headers.get_all(event) == ("A", "B")
    assert Headers([HeaderField.parse(b"o: c\r\n")]).get_all(event) == ("C",)


def test_nothing_is_read_that_nobody_asks_for() -> None:
    request = options(HEAD + FIELDS + b"Contact: <<<\r\nExpires: soon\r\n\r\n")
    request.check()
    with pytest.raises(MalformedMessage, match="Contact"):
        request.headers.get_all(CONTACT)
    with pytest.raises(MalformedMessage, match="Expires"):
        request.headers.get(EXPIRES)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n",
        b"\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\n",
        b"OPTIONS sip:a SIP/2.0\r\n\r",
        b"OPTIONS sip:a SIP/2.0\n\n",
        b"OPTIONS sip:a SIP/2.0\r\nX: a\nVia: b\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nX: a\rVia: b\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\n folded\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nno colon\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\n: no name\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nna me: x\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nn\xc3\xa4me: x\r\n\r\n",
        b"OPTIONS\r\n\r\n",
        b"OPTIONS sip:a\r\n\r\n",
        b"SIP/2.0\r\n\r\n",
        b"SIP/2.0 20 OK\r\n\r\n",
        b"SIP/2.0 099 OK\r\n\r\n",
        b"SIP/2.0 700 OK\r\n\r\n",
        b"SIP/2.0 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        bytes(100),
    ],
)
def test_what_cannot_be_taken_apart_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_message(data)


def test_each_limit_holds() -> None:
    limits = MessageLimits(head=200, fields=4, message=300)
    few = HEAD + b"X: 1\r\n" * 4 + b"\r\n"
    assert len(parse_message(few, limits).headers) == 4
    with pytest.raises(MalformedMessage, match="more than 4 header fields"):
        parse_message(HEAD + b"X: 1\r\n" * 5 + b"\r\n", limits)
    with pytest.raises(MalformedMessage, match="200 are allowed"):
        parse_message(HEAD + b"X: " + b"1" * 200 + b"\r\n\r\n", limits)
    with pytest.raises(MalformedMessage, match="300 are allowed"):
        parse_message(HEAD + b"\r\n" + b"1" * 300, limits)


@pytest.mark.parametrize(
    ("removed", "added", "words"),
    [
        (VIA, b"", "no Via"),
        (FROM, b"", "no From"),
        (TO, b"", "no To"),
        (CALL_ID, b"", "no Call-ID"),
        (CSEQ, b"", "no CSeq"),
        (CSEQ, b"CSeq: 1 INVITE\r\n", "the request is a OPTIONS"),
        (CSEQ, b"CSeq: OPTIONS 1\r\n", "CSeq"),
        (CSEQ, b"CSeq: 2147483648 OPTIONS\r\n", "CSeq"),
        (CALL_ID, b"Call-ID: a b\r\n", "Call-ID"),
        (EXPIRES, b"Max-Forwards: 256\r\n", "Max-Forwards"),
        (EXPIRES, b"Max-Forwards: 1\r\nMax-Forwards: 1\r\n", "stands 2 times"),
        (EXPIRES, b"Content-Length: 1\r\n", "0 bytes follow"),
    ],
)
def test_what_every_element_relies_on_is_checked(removed: Kind, added: bytes, words: str) -> None:
    headers = options().headers.remove(removed)
    request = options(HEAD + bytes(headers) + added + b"\r\n")
    with pytest.raises(MalformedMessage, match=words):
        request.check()


def test_a_response_of_another_version_is_dropped() -> None:
    response = parse_message(b"SIP/3.0 200 OK\r\n" + FIELDS + b"\r\n")
    with pytest.raises(MalformedMessage, match=r"SIP/3\.0"):
        response.check()
    parse_message(b"sip/2.0 200\r\n" + FIELDS + b"\r\n").check()


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("sip:a@b.example", "<sip:a@b.example>"),
        ("sip:a@b.example;tag=1", "<sip:a@b.example>;tag=1"),
        ("<sip:a@b.example;lr>;tag=1", "<sip:a@b.example;lr>;tag=1"),
        ('"A \\"B\\" \\\\"<sip:a@b.example>', '"A \\"B\\" \\\\" <sip:a@b.example>'),
        ("A B<tel:+1-2>", '"A B" <tel:+1-2>'),
        ('"" <sip:a@b.example>', '"" <sip:a@b.example>'),
        ('<urn:x:y> ; p = "a;b"', '<urn:x:y>;p="a;b"'),
        ("Jörg <sip:a@b.example>", '"Jörg" <sip:a@b.example>'),
    ],
)
def test_a_name_address_is_read_and_written(text: str, written: str) -> None:
    assert str(address(text)) == written
    assert address(written) == address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "<>",
        "<sip:>",
        "<sip:a@b.example",
        '"a <sip:a@b.example>',
        '"a" b <sip:a@b.example>',
        "<sip:a@b.example>;",
        "<sip:a@b.example> x",
        "sip:a@b.example?x=y",
        "sip:a,b@b.example",
        "1:2",
        "x: y",
    ],
)
def test_what_is_no_name_address_is_malformed(text: str) -> None:
    with pytest.raises(MalformedMessage):
        address(text)


def test_the_fields_of_an_answer_to_options() -> None:
    response = parse_message(
        b"SIP/2.0 503 Busy\r\n" + FIELDS + b"Allow: INVITE,ACK , BYE\r\nk:\r\nServer: x/1 (y)\r\n"
        b"Retry-After: 120 (in (a\\) while) ;duration=60\r\nm: *\r\n\r\n"
    )
    assert isinstance(response, Response)
    headers = response.headers
    assert headers.get_all(ALLOW) == ("INVITE", "ACK", "BYE")
    assert headers.get_all(SUPPORTED) == ()
    assert headers.get(SERVER) == "x/1 (y)"
    assert headers.get_all(CONTACT) == (Wildcard.ALL,)
    with pytest.raises(MalformedMessage, match="Retry-After"):
        headers.get(RETRY_AFTER)


def test_retry_after_has_a_duration_and_may_have_a_comment() -> None:
    after = RetryAfter.parse("120 (in a while);duration=60")
    assert (after.seconds, after.duration, str(after)) == (120, 60, "120;duration=60")
    assert RetryAfter.parse("5").duration is None


# ── building ────────────────────────────────────────────────────────────────────────────────────


def built(**changed: str) -> Request:
    via = Via.of(Transport.UDP, Address("192.0.2.1", 5060), changed.get("branch", "z9hG4bKx"))
    return Request.build(
        changed.get("method", "OPTIONS"),
        SipUri.build("example.org"),
        [
            HeaderField.of(VIA, via),
            HeaderField.of(MAX_FORWARDS, 70),
            HeaderField.of(FROM, address("<sip:a@example.org>").with_tag("t1")),
            HeaderField.of(TO, address("<sip:example.org>")),
            HeaderField.of(CALL_ID, changed.get("call_id", "abc")),
            HeaderField.of(CSEQ, CSeq(1, "OPTIONS")),
        ],
    )


def test_a_request_is_built() -> None:
    assert bytes(built()) == (
        b"OPTIONS sip:example.org SIP/2.0\r\n"
        b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx;rport\r\n"
        b"Max-Forwards: 70\r\n"
        b"From: <sip:a@example.org>;tag=t1\r\n"
        b"To: <sip:example.org>\r\n"
        b"Call-ID: abc\r\n"
        b"CSeq: 1 OPTIONS\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    assert parse_message(bytes(built())) == built()


@pytest.mark.parametrize(
    "changed", [{"method": "INVITE"}, {"method": "OPT IONS"}, {"call_id": "a b"}]
)
def test_a_request_that_others_would_refuse_is_not_built(changed: dict[str, str]) -> None:
    with pytest.raises(MisuseError):
        built(**changed)


@pytest.mark.parametrize("value", ["a\r\nVia: b", "a\nb", "a\rb"])
def test_no_value_can_smuggle_a_field_in(value: str) -> None:
    with pytest.raises(MisuseError):
        HeaderField.of(SERVER, value)
    with pytest.raises(MisuseError):
        HeaderField.of_text("X", value)
    with pytest.raises(MisuseError):
        Response.to(options(), 200, reason=value)
    with pytest.raises(MisuseError):
        str(NameAddress(SipUri.build("example.org"), value))


def test_a_response_copies_what_identifies_its_request_as_it_came() -> None:
    response = Response.to(options(), 200, tag="t2", fields=[HeaderField.of(ALLOW, "OPTIONS")])
    assert bytes(response) == (
        b"SIP/2.0 200 OK\r\n"
        + FIELDS[: FIELDS.index(b"X-Odd")].replace(b"org\r\ni", b"org;tag=t2\r\ni")
        + b"Allow: OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
    tagged = options(EXAMPLE.replace(b"bob@example.org\r\ni", b"bob@example.org;tag=old\r\ni"))
    to = Response.to(tagged, 200, tag="t2").headers.get(TO)
    assert to is not None
    assert to.tag == "old"


def test_a_response_may_be_built_from_nothing() -> None:
    fields = [field for field in options().headers if field.key != "x-odd"]
    response = Response.build(486, fields, b"busy")
    assert bytes(response).startswith(b"SIP/2.0 486 Busy Here\r\n")
    assert response.headers.get(CONTENT_LENGTH) == 4
    with pytest.raises(MisuseError):
        Response.build(486, fields[1:3])
    for status in (99, 700):
        with pytest.raises(MisuseError):
            Response.build(status, fields)


# ── changing ────────────────────────────────────────────────────────────────────────────────────


def changed(headers: Headers) -> list[str]:
    return [field.raw.decode("latin-1") for field in headers if field not in options().headers]


def test_a_proxys_changes_touch_nothing_else() -> None:
    headers = options().headers
    new = Via.parse("SIP/2.0/UDP p.example;branch=z9hG4bKp")
    pushed = headers.prepend(VIA, new)
    assert next(iter(pushed)).raw == b"Via: SIP/2.0/UDP p.example;branch=z9hG4bKp\r\n"
    assert list(pushed)[1:] == list(headers)
    assert list(pushed.remove_first(VIA)) == list(headers)
    assert changed(headers.append(MAX_FORWARDS, 69)) == ["Max-Forwards: 69\r\n"]
    assert changed(headers.replace(MAX_FORWARDS, 69)) == ["Max-Forwards: 69\r\n"]
    lowered = headers.replace(CALL_ID, "2")
    assert changed(lowered) == ["Call-ID: 2\r\n"]
    assert [field.key for field in lowered] == [field.key for field in headers]
    assert [field.key for field in headers.remove("V")] == [
        field.key for field in headers if field.key != "via"
    ]


def test_the_first_of_several_values_in_one_field_is_changed_alone() -> None:
    headers = options().headers
    stamped = headers.replace_first(VIA, Via.parse("SIP/2.0/UDP a.example;received=192.0.2.1"))
    assert changed(stamped) == [
        "Via: SIP/2.0/UDP a.example;received=192.0.2.1\r\n",
        "Via: SIP/2.0/TCP b.example;branch=z9hG4bK2\r\n",
    ]
    popped = headers.remove_first(VIA).remove_first(VIA)
    assert [via.host for via in popped.get_all(VIA)] == ["c.example"]
    with pytest.raises(MisuseError, match="no Route"):
        headers.remove_first(ROUTE)


def test_a_prepended_value_stands_before_its_like_and_otherwise_first() -> None:
    headers = options().headers.remove(VIA).append(ROUTE, address("<sip:r1.example;lr>"))
    routed = headers.prepend(ROUTE, address("<sip:r0.example;lr>"))
    assert [str(route) for route in routed.get_all(ROUTE)] == [
        "<sip:r0.example;lr>",
        "<sip:r1.example;lr>",
    ]
    assert routed.fields(ROUTE)[0] in list(routed)[-2:]


def test_tags_are_replaced_and_must_be_tokens() -> None:
    one = NameAddress(SipUri.build("a.example"), None, (HeaderParameter("TAG", "x"),))
    assert str(one.with_tag("y")) == "<sip:a.example>;tag=y"
    with pytest.raises(MisuseError):
        one.with_tag("a b")


def test_what_fields_meant_is_remembered_within_a_bound() -> None:
    memory = Memory[int]()
    for number in range(3 * MOST_FIELDS):
        memory.keep(b"%d" % number, number)
        assert len(memory) <= MOST_FIELDS
    memory.keep(b"x" * (LONGEST_TEXT + 1), 0)
    assert b"x" * (LONGEST_TEXT + 1) not in memory
    assert memory[b"%d" % (3 * MOST_FIELDS - 1)] == 3 * MOST_FIELDS - 1


def test_a_via_of_ours_is_what_its_bytes_would_be_read_as() -> None:
    for via in (
        Via.of(Transport.UDP, Address("192.0.2.1", 5062), "z9hG4bKa"),
        Via.of(Transport.TLS, "proxy.example", "z9hG4bKa", alias=True),
        Via.of(Transport.TCP, Address("2001:db8::1", 5060), "z9hG4bKa", rport=False),
        Via.parse('SIP / 2.0 / UDP a.example : 05060 ; x="a;b" ;rport').stamped(
            Address("192.0.2.9", 4000)
        ),
    ):
        assert Via.parse(str(via)) == via


def changed_somehow(headers: Headers, random: Random) -> Headers:
    number = random.randrange(70)
    via = Via.of(Transport.UDP, "p.example", f"z9hG4bK{number}")
    route = address(f"<sip:r{number}.example;lr>")
    match random.randrange(14):
        case 0 | 1 | 2:
            return headers.prepend(VIA, via)
        case 3 if headers.has(VIA):
            return headers.replace_first(VIA, via)
        case 4 | 5 if headers.has(VIA):
            return headers.remove_first(VIA)
        case 6 | 7:
            return headers.prepend(ROUTE, route)
        case 8:
            return headers.append(ROUTE, route, route)
        case 9 | 10 if headers.has(ROUTE):
            return headers.remove_first(ROUTE)
        case 11:
            return headers.replace(ROUTE, route)
        case 12:
            return headers.replace(MAX_FORWARDS, number)
        case _:
            return headers.remove(MAX_FORWARDS)


@pytest.mark.parametrize("seed", range(20))
def test_fields_are_found_in_a_changed_copy_as_in_what_it_is_written_as(seed: int) -> None:
    random = Random(seed)
    original = options().headers
    headers, before = original, bytes(original)
    for _ in range(40):
        headers = changed_somehow(headers, random)
        again = options(HEAD + bytes(headers) + b"\r\n").headers
        assert list(headers) == list(again)
        assert (headers.lengths, headers.size) == (again.lengths, len(bytes(headers)))
        assert (headers.raw(VIA), headers.first(VIA)) == (again.raw(VIA), again.first(VIA))
        assert (headers.raw(ROUTE), headers.first(ROUTE)) == (again.raw(ROUTE), again.first(ROUTE))
        assert headers.get_all(VIA) == again.get_all(VIA)
        assert headers.has(ROUTE) == again.has(ROUTE)
        assert headers.get(MAX_FORWARDS) == again.get(MAX_FORWARDS)
    assert bytes(original) == before
