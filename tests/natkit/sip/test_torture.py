"""RFC 4475's messages: for each, what a parser must do with it, by the section that has it.

Where the RFC leaves a choice between rejecting and being liberal, the table says which is ours.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from natkit.errors import MalformedMessage
from natkit.sip import AbsoluteUri, NameAddress, SipUri
from natkit.sip.framing import Expect, SipFraming
from natkit.sip.headers import HeaderField, Plural, Singular
from natkit.sip.kinds import (
    ALLOW,
    CALL_ID,
    CONTACT,
    CONTENT_TYPE,
    CSEQ,
    EXPIRES,
    FROM,
    MAX_FORWARDS,
    RECORD_ROUTE,
    REQUIRE,
    RETRY_AFTER,
    ROUTE,
    SUPPORTED,
    TO,
    VIA,
)
from natkit.sip.message import Request, Response, parse_message

T = TypeVar("T")

MESSAGES = Path(__file__).parents[2] / "vectors" / "rfc4475"


@dataclass(frozen=True, slots=True)
class Torture:
    """``parsed``: it can be taken apart.  ``fault``: words of what ``check`` says, None: valid."""

    section: str
    name: str
    fault: str | None = None
    parsed: bool = True

    @property
    def data(self) -> bytes:
        return (MESSAGES / f"{self.name}.dat").read_bytes()


TORTURES = [
    Torture("3.1.1.1", "wsinv"),
    Torture("3.1.1.2", "intmeth"),
    Torture("3.1.1.3", "esc01"),
    Torture("3.1.1.4", "escnull"),
    Torture("3.1.1.5", "esc02"),
    Torture("3.1.1.6", "lwsdisp"),
    Torture("3.1.1.7", "longreq"),
    Torture("3.1.1.8", "dblreq"),
    Torture("3.1.1.9", "semiuri"),
    Torture("3.1.1.10", "transports"),
    Torture("3.1.1.11", "mpart01"),
    Torture("3.1.1.12", "unreason"),
    Torture("3.1.1.13", "noreason"),
    Torture("3.1.2.1", "badinv01", "Via: .* is no parameter"),
    Torture("3.1.2.2", "clerr", "Content-Length is 9999"),
    Torture("3.1.2.3", "ncl", "Content-Length: '-999'"),
    Torture("3.1.2.4", "scalar02", "CSeq: .* is more than 2147483647"),
    Torture("3.1.2.5", "scalarlg", "CSeq: .* is more than 2147483647"),
    Torture("3.1.2.6", "quotbal", "To: "),
    Torture("3.1.2.7", "ltgtruri", "'<sip:user@example.com>' is not a URI"),
    Torture("3.1.2.8", "lwsruri", "needs an escape"),
    Torture("3.1.2.9", "lwsstart", "' sip:user@example.com ' is not a URI"),
    Torture("3.1.2.10", "trws", "'' at the end is not a version"),
    Torture("3.1.2.11", "escruri", "a Request-URI has no header fields"),
    # A Date is read by nobody here, and ignoring it is allowed.
    Torture("3.1.2.12", "baddate"),
    # The Contact is at fault, for those who read it.
    Torture("3.1.2.13", "regbadct"),
    # Blanks within brackets, and quotes that are missing, are forgiven, as the RFC allows.
    Torture("3.1.2.14", "badaspec"),
    # The published file lacks its empty line, so it ends before its end.
    Torture("3.1.2.15", "baddn", "no empty line", parsed=False),
    # Well-formed; 505 is for the one who answers.
    Torture("3.1.2.16", "badvers"),
    Torture("3.1.2.17", "mismatch01", "CSeq says 'INVITE', the request is a OPTIONS"),
    Torture("3.1.2.18", "mismatch02", "CSeq says 'INVITE', the request is a NEWMETHOD"),
    Torture("3.1.2.19", "bigcode", "not a status line", parsed=False),
    Torture("3.2.1", "badbranch"),
    Torture("3.3.1", "insuf", "there is no From"),
    Torture("3.3.2", "unkscm"),
    Torture("3.3.3", "novelsc"),
    Torture("3.3.4", "unksm2"),
    Torture("3.3.5", "bext01"),
    Torture("3.3.6", "invut"),
    Torture("3.3.7", "regaut01"),
    Torture("3.3.8", "multi01", "From stands 2 times"),
    Torture("3.3.9", "mcl01", "Content-Length stands 2 times"),
    Torture("3.3.10", "bcast"),
    Torture("3.3.11", "zeromf"),
    Torture("3.3.12", "cparam01"),
    Torture("3.3.13", "cparam02"),
    Torture("3.3.14", "regescrt"),
    Torture("3.3.15", "sdp01"),
    Torture("3.4.1", "inv2543"),
]
BY_NAME = {torture.name: torture for torture in TORTURES}
each = pytest.mark.parametrize("torture", TORTURES, ids=lambda one: f"{one.section}-{one.name}")
each_parsed = pytest.mark.parametrize(
    "torture",
    [one for one in TORTURES if one.parsed],
    ids=lambda one: f"{one.section}-{one.name}",
)


def message(name: str) -> Request | Response:
    return parse_message(BY_NAME[name].data)


def request(name: str) -> Request:
    found = message(name)
    assert isinstance(found, Request)
    return found


def test_all_49_messages_are_in_the_table() -> None:
    files = {file.stem for file in MESSAGES.glob("*.dat")}
    assert files == set(BY_NAME)
    assert len(TORTURES) == 49


@each
def test_what_a_parser_does_with_it(torture: Torture) -> None:
    if not torture.parsed:
        with pytest.raises(MalformedMessage, match=torture.fault):
            parse_message(torture.data)
        return
    found = parse_message(torture.data)
    if torture.fault is None:
        found.check()
    else:
        with pytest.raises(MalformedMessage, match=torture.fault):
            found.check()


@each_parsed
def test_it_is_written_as_it_was_read(torture: Torture) -> None:
    # What follows the body is no part of the message.
    assert torture.data.startswith(bytes(parse_message(torture.data)))


@each_parsed
def test_whatever_is_wrong_with_a_request_it_can_be_answered(torture: Torture) -> None:
    found = parse_message(torture.data)
    if not isinstance(found, Request):
        return
    answer = Response.to(found, 400, reason="Bad Request", tag="t1")
    again = parse_message(bytes(answer))
    assert isinstance(again, Response)
    copied = [field for field in found.headers if field.key in {"via", "call-id", "cseq", "from"}]
    assert [field for field in again.headers if field in copied] == copied


def test_bytes_beyond_the_body_are_dropped() -> None:
    assert request("dblreq").method == "REGISTER"
    assert request("dblreq").body == b""


def test_white_space_and_folds_are_seen_through() -> None:
    invite = request("wsinv")
    to = invite.headers.get(TO)
    sender = invite.headers.get(FROM)
    assert to is not None
    assert sender is not None
    assert (str(to.uri), to.tag) == ("sip:vivekg@chair-dnrc.example.com", "1918181833n")
    assert (sender.display_name, sender.tag) == ('J Rosenberg \\"', "98asjd8")
    assert invite.headers.get(MAX_FORWARDS) == 68
    assert str(invite.headers.get(CSEQ)) == "9 INVITE"
    assert [str(via) for via in invite.headers.get_all(VIA)] == [
        "SIP/2.0/UDP 192.0.2.2;branch=390skdjuw",
        "SIP/2.0/TCP spindle.example.com;branch=z9hG4bK9ikj8",
        "SIP/2.0/UDP 192.168.255.111;branch=z9hG4bK30239",
    ]
    (contact,) = invite.headers.get_all(CONTACT)
    assert isinstance(contact, NameAddress)
    assert contact.display_name == 'Quoted string ""'
    assert [str(one) for one in contact.parameters] == [
        "newparam=newvalue",
        "secondparam",
        "q=0.33",
    ]
    (route,) = invite.headers.get_all(ROUTE)
    assert isinstance(route.uri, SipUri)
    assert route.uri.loose_routing
    (folded,) = invite.headers.fields("NewFangledHeader")
    assert folded.text == "newfangled value continued newfangled value"
    (subject,) = invite.headers.fields("Subject")
    assert (subject.name, subject.text) == ("s", "")
    assert len(invite.body) == 150


def test_every_character_that_the_grammar_allows() -> None:
    odd = request("intmeth")
    assert odd.method == "!interesting-Method0123456789_*+`.%indeed'~"
    to = odd.headers.get(TO)
    sender = odd.headers.get(FROM)
    assert to is not None
    assert sender is not None
    assert to.display_name == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert sender.display_name == "token1~` token2'+_ token3*%!.-"
    assert sender.parameter("fromparam''~+*_!.-%") == "работающий"
    assert sender.tag == "_token~1'+`*%!-."
    (field,) = odd.headers.fields("extensionHeader-!.%*+_`'~")
    assert field.text == "\N{ZERO WIDTH NO-BREAK SPACE}大停電"


def test_escapes_belong_to_uris_only() -> None:
    escaped = request("esc01")
    assert isinstance(escaped.uri, SipUri)
    assert (escaped.uri.user_text, escaped.uri.host) == ("sips:user@example.com", "example.net")
    (contact,) = escaped.headers.get_all(CONTACT)
    assert isinstance(contact, NameAddress)
    assert isinstance(contact.uri, SipUri)
    assert contact.uri.loose_routing
    assert contact.uri.parameter("name") == "v%61lue%25%34%31"

    unescaped = request("esc02")
    assert unescaped.method == "RE%47IST%45R"
    sender = unescaped.headers.get(FROM)
    assert sender is not None
    assert sender.display_name == "%Z%45"
    # C%6Fntact is another field than Contact.
    assert [str(one) for one in unescaped.headers.get_all(CONTACT)] == [
        "<sip:alias1@host1.example.com>",
        "<sip:alias3@host3.example.com>",
    ]


def test_escaped_nulls_end_nothing() -> None:
    contacts = request("escnull").headers.get_all(CONTACT)
    assert [str(one) for one in contacts] == [
        "<sip:%00@host5.example.com>",
        "<sip:%00%00@host5.example.com>",
    ]


def test_long_values_are_kept_whole() -> None:
    long = request("longreq")
    assert len(long.headers.get_all(VIA)) == 34
    call_id = long.headers.get(CALL_ID)
    assert call_id is not None
    assert len(call_id) > 100


def test_parameters_belong_to_the_header_field_without_brackets_and_to_the_uri_within() -> None:
    (bare,) = request("cparam01").headers.get_all(CONTACT)
    (bracketed,) = request("cparam02").headers.get_all(CONTACT)
    assert isinstance(bare, NameAddress)
    assert isinstance(bracketed, NameAddress)
    assert (bare.parameter("unknownparam"), bracketed.parameter("unknownparam")) == ("", None)
    assert isinstance(bare.uri, SipUri)
    assert isinstance(bracketed.uri, SipUri)
    assert not bare.uri.has_parameter("unknownparam")
    assert bracketed.uri.has_parameter("unknownparam")


def test_any_transport_and_any_scheme_can_be_named() -> None:
    vias = request("transports").headers.get_all(VIA)
    assert [via.transport_token for via in vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]
    assert vias[3].transport is None
    assert request("unkscm").uri == AbsoluteUri("nobodyKnowsThisScheme:totallyopaquecontent")
    assert request("novelsc").uri == AbsoluteUri("soap.beep://192.0.2.103:3002")
    sender = request("unksm2").headers.get(FROM)
    assert sender is not None
    assert sender.uri == AbsoluteUri("http://www.example.com")


def test_a_reason_phrase_may_be_anything_or_nothing() -> None:
    unusual = message("unreason")
    empty = message("noreason")
    assert isinstance(unusual, Response)
    assert isinstance(empty, Response)
    assert unusual.reason == "= 2**3 * 5**2 но сто девяносто девять - простое"
    assert (empty.status, empty.reason) == (100, "")


def test_the_unknown_version_is_told() -> None:
    assert request("badvers").version == "SIP/7.0"


def test_a_branch_with_nothing_behind_its_cookie_names_no_transaction() -> None:
    via = request("badbranch").headers.first(VIA)
    assert via is not None
    assert not via.names_transaction


def test_a_contact_that_needs_brackets_is_malformed_for_those_who_read_it() -> None:
    with pytest.raises(MalformedMessage, match="needs angle brackets"):
        request("regbadct").headers.get_all(CONTACT)


def test_overlarge_numbers_are_malformed() -> None:
    with pytest.raises(MalformedMessage, match=r"Expires: .* is more than"):
        message("scalar02").headers.get(EXPIRES)
    with pytest.raises(MalformedMessage, match=r"Retry-After: .* is more than"):
        message("scalarlg").headers.get(RETRY_AFTER)


def test_blanks_within_brackets_and_missing_quotes_are_forgiven() -> None:
    to = request("badaspec").headers.get(TO)
    assert to is not None
    assert str(to.uri) == "sip:t.watson@example.org"
    complete = parse_message(BY_NAME["baddn"].data + b"\r\n")
    complete.check()
    sender = complete.headers.get(FROM)
    assert sender is not None
    assert sender.display_name == "Bell, Alexander"


def test_extensions_that_are_required_are_read() -> None:
    assert request("bext01").headers.get_all(REQUIRE) == (
        "nothingSupportsThis",
        "nothingSupportsThisEither",
    )


@each_parsed
def test_on_a_stream_its_content_length_decides(torture: Torture) -> None:
    framing = SipFraming(Expect.PINGS)
    whole = bytes(parse_message(torture.data))
    if torture.name in {"ncl", "mcl01", "inv2543"}:
        # A length below zero, two lengths, and none.
        with pytest.raises(MalformedMessage, match=r"Content-Length|is not a number"):
            framing.receive(torture.data)
    elif torture.name == "clerr":
        assert list(framing.receive(torture.data)) == []
    else:
        assert framing.receive(torture.data)[0] == whole


Reader = tuple[str, Callable[[HeaderField], object]]


def reader(kind: Singular[T] | Plural[T]) -> Reader:
    return kind.name, lambda field: field.values(kind)


READERS: list[Reader] = [
    reader(ALLOW), reader(CALL_ID), reader(CONTACT), reader(CONTENT_TYPE), reader(CSEQ),
    reader(EXPIRES), reader(FROM), reader(MAX_FORWARDS), reader(RECORD_ROUTE), reader(REQUIRE),
    reader(RETRY_AFTER), reader(ROUTE), reader(SUPPORTED), reader(TO), reader(VIA),
]  # fmt: skip


def read_everything(data: bytes) -> None:
    """What may raise nothing but MalformedMessage."""
    found = parse_message(data)
    assert parse_message(bytes(found)) == found
    for name, read in READERS:
        for field in found.headers.fields(name):
            try:
                read(field)
            except MalformedMessage:
                continue
    if isinstance(found, Request):
        bytes(Response.to(found, 400, tag="t"))
    found.check()


@pytest.mark.parametrize("seed", range(20))
def test_mutated_messages_are_read_or_malformed(seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    originals = [torture.data for torture in TORTURES]
    for _ in range(100):
        data = bytearray(chance.choice(originals))
        for _ in range(chance.randrange(1, 6)):
            position = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[position] = chance.randrange(256)
                case 1:
                    del data[position : position + chance.randrange(1, 30)]
                case 2:
                    data[position:position] = chance.choice(
                        [b"\r\n", b"\n", b"\r\n ", b'"', b"<", b">", b";", b",", b"\\", b":", b"\0"]
                    )
                case _:
                    other = chance.choice(originals)
                    data[position:position] = other[chance.randrange(len(other)) :][:40]
            if not data:
                break
        try:
            read_everything(bytes(data))
        except MalformedMessage:
            continue


def test_fields_compare_by_their_bytes() -> None:
    assert HeaderField.parse(b"v: a\r\n") == HeaderField.parse(b"v: a\r\n")
    assert HeaderField.parse(b"v: a\r\n") != HeaderField.parse(b"Via: a\r\n")
