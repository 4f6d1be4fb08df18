import pytest

from natkit.errors import MalformedMessage
from natkit.sip import Parameter, SipUri, TelUri


@pytest.mark.parametrize(
    "text",
    [
        "tel:+1-201-555-0123",
        "tel:7042;phone-context=example.com",
        "tel:863-1234;phone-context=+1-914-555",
        "tel:+358-555-1234567;postd=pp22",
        "tel:+358-555-1234567;postd=pp22;isub=1411",
        "tel:+1(800)555-0100;ext=12.34",
        "tel:*21#;phone-context=example.com",
        "tel:+1;isub=a?b@c,d",
        "tel:+358-555-1234567;phone-context=5;tsp=a.b",
    ],
)
def test_a_number_is_written_as_it_was_read(text: str) -> None:
    assert str(TelUri.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "tel:",
        "tel:+",
        "tel:+-()",
        "tel:+12a",
        "tel:7042",
        "tel:7042;phone-context=",
        "tel:7042;phone-context=1.2.3.4",
        "tel:7042;phone-context=+x",
        "tel:7042;phone-context=+",
        "tel:+1;ext=x",
        "tel:+1;ext",
        "tel:+1;a_b=c",
        "tel:+1;a=%",
        "tel:+1;a=b;A=c",
        "tel:+1;",
        "tel:+1;b=a?c",
        "tel:+1 2",
        "tel:hello;phone-context=example.com",
        "sip:+1@example.com",
    ],
)
def test_what_the_grammar_forbids_is_malformed(text: str) -> None:
    with pytest.raises(MalformedMessage):
        TelUri.parse(text)


def test_the_parts_of_a_number_are_told_apart() -> None:
    uri = TelUri.parse("tel:7-0.4(2);phone-context=Example.com;ext=9")
    assert uri.number == "7-0.4(2)"
    assert uri.digits == "7042"
    assert uri.phone_context == "Example.com"
    assert uri.parameters == (Parameter("phone-context", "Example.com"), Parameter("ext", "9"))
    assert not uri.is_global


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tel:+1-201-555-0123", "TEL:+1(201)555.0123"),
        ("tel:+358-555-1234567;postd=pp22", "tel:+358-555-1234567;POSTD=PP22"),
        ("tel:+358555;postd=pp22;isub=1411", "tel:+358555;isub=1411;postd=pp22"),
        ("tel:7042;phone-context=Example.COM", "tel:7042;phone-context=example.com."),
        ("tel:7042;phone-context=+1-914", "tel:7042;phone-context=+1914"),
        ("tel:7A;phone-context=b.c", "tel:7a;phone-context=b.c"),
        ("tel:+1;ext=1-2", "tel:+1;ext=12"),
    ],
)
def test_equivalent_numbers_are_equivalent(one: str, other: str) -> None:
    assert TelUri.parse(one).equivalent(TelUri.parse(other))
    assert TelUri.parse(other).equivalent(TelUri.parse(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tel:+1", "tel:+2"),
        ("tel:+1", "tel:1;phone-context=b.c"),
        ("tel:+1", "tel:+1;x=y"),
        ("tel:+1;x", "tel:+1;x=y"),
        ("tel:1;phone-context=b.c", "tel:1;phone-context=c.c"),
    ],
)
def test_different_numbers_are_different(one: str, other: str) -> None:
    assert not TelUri.parse(one).equivalent(TelUri.parse(other))


@pytest.mark.parametrize(
    ("tel", "user"),
    [
        ("tel:+358-555-1234567;postd=pp22", "+358-555-1234567;postd=pp22"),
        ("tel:+358-555-1234567;POSTD=PP22", "+358-555-1234567;postd=pp22"),
        (
            "tel:+358-555-1234567;tsp=a.b;phone-context=5",
            "+358-555-1234567;phone-context=5;tsp=a.b",
        ),
        (
            "tel:+358-555-1234567;phone-context=5;tsp=a.b",
            "+358-555-1234567;phone-context=5;tsp=a.b",
        ),
        ("tel:+1;b=1;postd=2;a=3;isub=4", "+1;isub=4;postd=2;a=3;b=1"),
        ("tel:*1#;phone-context=b.c", "*1%23;phone-context=b.c"),
        ("tel:+1;x=[a:b]", "+1;x=%5Ba%3Ab%5D"),
    ],
)
def test_a_number_becomes_the_user_that_rfc_3261_recommends(tel: str, user: str) -> None:
    assert TelUri.parse(tel).user_part() == user
    sip = SipUri.parse(f"sip:{user}@foo.com;user=phone")
    assert sip.telephone_subscriber is not None
    assert sip.telephone_subscriber.equivalent(TelUri.parse(tel))


def test_a_user_that_is_no_number_has_no_subscriber() -> None:
    assert SipUri.parse("sip:bob@foo.com;user=phone").telephone_subscriber is None
    assert SipUri.parse("sip:+1@foo.com").telephone_subscriber is None


def test_numbers_in_sip_uris_compare_as_case_sensitive_text() -> None:
    one = SipUri.parse("sip:+358-555-1234567;postd=pp22@foo.com;user=phone")
    other = SipUri.parse("sip:+358-555-1234567;POSTD=PP22@foo.com;user=phone")
    assert not one.equivalent(other)
