"""From and To are judged alike, whether they are taken apart or not."""

import pytest

from natkit.errors import MalformedMessage
from natkit.sip.headers import HeaderField, Headers
from natkit.sip.kinds import FROM
from natkit.sip.parties import check_party, tag_of

GOOD = [
    ("<sip:alice@example.org>;tag=1", "1"),
    ('"Alice B" <sip:alice@example.org:5060>;tag=a.b', "a.b"),
    ("Alice <sips:example.org>", None),
    ("sip:alice@example.org;tag=2", "2"),
    ("<sip:alice@192.0.2.1>;TAG=3", "3"),
    ('"A \\" B" <sip:alice%20b@[2001:db8::1];user=phone>;x=y;tag=4', "4"),
    ("<tel:+15551234>;tag=5", "5"),
]

BAD = [
    "<sip:alice@>;tag=1",
    "<sip:alice@exa_mple.org>;tag=1",
    "<sip:alice@example.4>;tag=1",
    "<sip:alice@192.0.2.256>;tag=1",
    "<sip:alice@-example.org>;tag=1",
    "<sip:alice@example-.org>;tag=1",
    "<sip:alice@example..org>;tag=1",
    "<sip:alice@example.org:70000>;tag=1",
    "<sip:ali ce@example.org>;tag=1",
    "<sip:alice@example.org>;tag=1;tag=2",
    "<sip:alice@example.org>tag=1",
    '"Alice <sip:alice@example.org>;tag=1',
]


def headers(text: str) -> Headers:
    return Headers([HeaderField.of_text("From", text)])


@pytest.mark.parametrize(("text", "tag"), GOOD)
def test_a_good_one_passes_and_its_tag_is_found(text: str, tag: str | None) -> None:
    check_party(headers(text), FROM)
    assert tag_of(headers(text), FROM) == tag
    read = headers(text).get(FROM)
    assert read is not None
    assert read.tag == tag


@pytest.mark.parametrize("text", BAD)
def test_a_bad_one_is_malformed(text: str) -> None:
    with pytest.raises(MalformedMessage):
        check_party(headers(text), FROM)
    with pytest.raises(MalformedMessage):
        headers(text).get(FROM)


def test_there_is_exactly_one() -> None:
    with pytest.raises(MalformedMessage, match="no From"):
        check_party(Headers(), FROM)
    twice = Headers([*headers("<sip:a@example.org>"), *headers("<sip:b@example.org>")])
    with pytest.raises(MalformedMessage, match="2 times"):
        check_party(twice, FROM)
    with pytest.raises(MalformedMessage, match="2 times"):
        tag_of(twice, FROM)
