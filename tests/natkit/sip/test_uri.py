import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from natkit.errors import MalformedMessage, MisuseError
from natkit.sip import Header, Parameter, Scheme, SipUri, TelUri, UriForm, parse_uri

RFC_3261_19_1_3 = [
    "sip:alice@atlanta.com",
    "sip:alice:secretword@atlanta.com;transport=tcp",
    "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
    "sip:+1-212-555-1212:1234@gateway.com;user=phone",
    "sips:1212@gateway.com",
    "sip:alice@192.0.2.4",
    "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
    "sip:alice;day=tuesday@atlanta.com",
]

RFC_4475 = [
    (
        "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
        ":&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com"
    ),
    "sip:sips%3Auser%40example.com@example.net",
    "sip:null-%00-null@example.com",
    "sip:user;par=u%40example.net@example.com",
    "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
    "sip:user@example.com;unknownparam",
    "sip:services@example.com;lr;unknownwith=value;unknown-no-value",
    "sips:t.watson@[2001:db8::9:1]:5061;transport=tcp",
    "sip:+1972@[::ffff:192.0.2.1];maddr=[2001:db8::1]",
    "sip:host.example.com.:5060",
    "sip:a@example.com;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
]

MALFORMED = [
    "",
    "sip",
    "sip:",
    "sip:@host",
    "sip: alice@host",
    "http://example.com",
    "sip:alice@",
    "sip:alice@host:",
    "sip:alice@host:x",
    "sip:alice@host:65536",
    "sip:alice@host:-1",
    "sip:alice@host:٥٠٦٠",
    "sip:alice@ho st",
    "sip:alice@ho%73t",
    "sip:alice@-host",
    "sip:alice@host-",
    "sip:alice@a..b",
    "sip:alice@.",
    "sip:alice@example.1",
    "sip:alice@256.1.1.1",
    "sip:alice@192.0.2",
    "sip:alice@[::1",
    "sip:alice@[fe80::1%25eth0]",
    "sip:alice@[]",
    "sip:alice@[1.2.3.4]",
    "sip:alice@[::1]x",
    "sip:alice@2001:db8::1",
    "sip:al@ice@host",
    "sip:j@s0n@host",
    "sip:al%4@host",
    "sip:al%zzice@host",
    "sip:al ice@host",
    'sip:"alice"@host',
    "sip:alicé@host",
    "sip:alice:pass:word@host",
    "sip:alice@host;",
    "sip:alice@host;;lr",
    "sip:alice@host;=x",
    "sip:alice@host;a=",
    "sip:alice@host;a=b=c",
    "sip:alice@host;a=1;A=2",
    "sip:alice@host;transport",
    "sip:alice@host;transport=u/p",
    "sip:alice@host;method",
    "sip:alice@host;ttl=256",
    "sip:alice@host;ttl=x",
    "sip:alice@host;ttl",
    "sip:alice@host;maddr",
    "sip:alice@host;maddr=1.2.3",
    "sip:alice@host?",
    "sip:alice@host?subject",
    "sip:alice@host?=x",
    "sip:alice@host?a=b&",
    "sip:alice@host?a=b;c=d",
    "sip:host?route=<x>",
    "<sip:alice@host>",
    "sip:alice@host\r\n",
    "sip:alice@host\x00",
]


@pytest.mark.parametrize("text", RFC_3261_19_1_3 + RFC_4475)
def test_a_uri_of_the_rfcs_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_uri(text)) == text


@pytest.mark.parametrize("text", MALFORMED)
def test_what_the_grammar_forbids_is_malformed(text: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_uri(text)


def test_all_components_are_told_apart() -> None:
    uri = SipUri.parse(
        "SIPS:bob:p+w@[2001:DB8::1]:5071;Transport=TCP;user=ip;method=INVITE;ttl=16"
        ";maddr=239.255.255.1;lr;x=%20?a=b&c="
    )
    assert uri == SipUri(
        scheme=Scheme.SIPS,
        host="[2001:DB8::1]",
        user="bob",
        password="p+w",
        port=5071,
        parameters=(
            Parameter("Transport", "TCP"),
            Parameter("user", "ip"),
            Parameter("method", "INVITE"),
            Parameter("ttl", "16"),
            Parameter("maddr", "239.255.255.1"),
            Parameter("lr"),
            Parameter("x", "%20"),
        ),
        headers=(Header("a", "b"), Header("c", "")),
    )
    assert uri.is_secure
    assert uri.address == ipaddress.ip_address("2001:db8::1")
    assert (uri.transport, uri.user_parameter, uri.method) == ("tcp", "ip", "INVITE")
    assert (uri.ttl, uri.maddr, uri.loose_routing) == (16, "239.255.255.1", True)
    assert uri.parameter("lr") is None
    assert not uri.has_parameter("gr")


def test_what_is_absent_is_none() -> None:
    uri = SipUri.parse("sip:example.com")
    assert (uri.user, uri.user_text, uri.password, uri.port) == (None, None, None, None)
    assert (uri.transport, uri.method, uri.ttl, uri.maddr) == (None, None, None, None)
    assert uri.address is None
    assert not uri.loose_routing


def test_an_empty_password_is_a_password() -> None:
    uri = SipUri.parse("sip:bob:@example.com")
    assert uri.password == ""
    assert str(uri) == "sip:bob:@example.com"
    assert not uri.equivalent(SipUri.parse("sip:bob@example.com"))


def test_parameter_values_are_tokens_whatever_their_escapes() -> None:
    assert SipUri.parse("sip:example.com;transport=%75dp").transport == "udp"
    assert SipUri.parse("sip:example.com;%74ransport=udp").transport == "udp"


@pytest.mark.parametrize("value", ["on", "true"])
def test_lr_with_a_value_is_loose_routing_too(value: str) -> None:
    assert SipUri.parse(f"sip:example.com;lr={value}").loose_routing


# RFC 3261 §19.1.4, each example pair.
EQUIVALENT = [
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
    ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;security=off"),
    # The rules beside the examples.
    ("SIP:a@example.com", "sip:a@EXAMPLE.com."),
    ("sip:a@[2001:db8::1]", "sip:a@[2001:0DB8:0:0::1]"),
    ("sip:a@b.c;maddr=Host.example", "sip:a@b.c;MADDR=host.EXAMPLE"),
    ("sip:a@b.c;ttl=5", "sip:a@b.c;ttl=005"),
    ("sip:a%7eb@b.c", "sip:a~b@b.c"),
    ("sip:a%3bb@b.c", "sip:a%3Bb@b.c"),
    ("sip:a@b.c?Subject=x", "sip:a@b.c?sUBJECT=%78"),
    ("sip:a@b.c?priority=URGENT", "sip:a@b.c?priority=urgent"),
    ("sip:a@b.c?to=sip:x%40Y.com", "sip:a@b.c?to=sip:x%40y.com"),
    ("sip:a@b.c?x=1&y=2&x=3", "sip:a@b.c?y=2&x=1&x=3"),
]

DIFFERENT = [
    ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
    # The rules beside the examples.
    ("sip:a@b.c", "sips:a@b.c"),
    ("sip:a@b.c", "sip:b.c"),
    ("sip:a:x@b.c", "sip:a@b.c"),
    ("sip:a:x@b.c", "sip:a:X@b.c"),
    ("sip:a@b.c", "sip:a@b.c;user=ip"),
    ("sip:a@b.c", "sip:a@b.c;ttl=1"),
    ("sip:a@b.c", "sip:a@b.c;method=INVITE"),
    ("sip:a@b.c", "sip:a@b.c;maddr=b.c"),
    ("sip:a@b.c;method=INVITE", "sip:a@b.c;method=invite"),
    ("sip:a@b.c;x", "sip:a@b.c;x=1"),
    ("sip:a%3bb@b.c", "sip:a;b@b.c"),
    ("sip:a@b.c?x=1&x=3", "sip:a@b.c?x=3&x=1"),
    ("sip:a@b.c?x=1", "sip:a@b.c?y=1"),
    ("sip:a@b.c?to=sip:Bob%40b.c", "sip:a@b.c?to=sip:bob%40b.c"),
    ("sip:a@b.c?call-id=A", "sip:a@b.c?call-id=a"),
    ("sip:a@b.c?body=A", "sip:a@b.c?body=a"),
]


@pytest.mark.parametrize(("one", "other"), EQUIVALENT)
def test_equivalent_uris_are_equivalent_both_ways(one: str, other: str) -> None:
    assert SipUri.parse(one).equivalent(SipUri.parse(other))
    assert SipUri.parse(other).equivalent(SipUri.parse(one))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_uris_are_different_both_ways(one: str, other: str) -> None:
    assert not SipUri.parse(one).equivalent(SipUri.parse(other))
    assert not SipUri.parse(other).equivalent(SipUri.parse(one))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("sip:alice@example.com", UriForm.ADDRESS_OF_RECORD),
        ("sip:example.com", UriForm.FQDN),
        ("sip:192.0.2.1", UriForm.NUMERIC),
        ("sip:alice@[2001:db8::1]", UriForm.NUMERIC),
        ("sip:alice@example.com;gr=kjh29x97us97d", UriForm.PUBLIC_GRUU),
        ("sip:tgruu.7hs==jd7vnzga5w7fajsc7-ajd6fabz0f8g5@example.com;gr", UriForm.TEMPORARY_GRUU),
    ],
)
def test_forms_are_told_apart(text: str, form: UriForm) -> None:
    assert SipUri.parse(text).form is form


def test_the_address_of_record_is_canonical() -> None:
    uri = SipUri.parse("sip:%61lice%3Bx:pw@Example.COM.:5070;gr=x;lr?a=b")
    assert str(uri.address_of_record()) == "sip:alice;x@example.com:5070"


def test_a_uri_is_built_of_unescaped_parts() -> None:
    uri = SipUri.build(
        "2001:db8::1",
        scheme=Scheme.SIPS,
        user="j@s0n ü",
        password="a:b",
        port=5061,
        parameters={"x": "a=b", "lr": None},
        headers=[("subject", "project x"), ("body", "")],
    )
    assert str(uri) == (
        "sips:j%40s0n%20%C3%BC:a%3Ab@[2001:db8::1]:5061;x=a%3Db;lr?subject=project%20x&body="
    )
    assert uri.user_text == "j@s0n ü"


@pytest.mark.parametrize(
    "build",
    [
        lambda: SipUri.build("exa mple.com"),
        lambda: SipUri.build("a:b"),
        lambda: SipUri.build("example.com", port=70000),
        lambda: SipUri.build("example.com", user=""),
        lambda: SipUri.build("example.com", parameters={"ttl": "900"}),
        lambda: SipUri.build("example.com", parameters={"": "x"}),
        lambda: SipUri.build("example.com;lr"),
        lambda: SipUri.build("user@example.com"),
    ],
)
def test_parts_that_make_no_uri_are_misuse(build: object) -> None:
    assert callable(build)
    with pytest.raises(MisuseError):
        build()


# Characters that reach every branch of the parser, and some of which none is allowed.
hostile = st.text(alphabet="aA1+-.:;=?&@[]%/,$#*()~'! \x00é\udcff4", max_size=40)
prefix = st.sampled_from(["sip:", "SIPS:", "tel:", "sip:a@b.c", "sip:a@[::1]", "tel:+1", ""])


@given(prefix, hostile)
@example("sip:a@b.c;", "%")
def test_any_text_parses_or_is_malformed(start: str, rest: str) -> None:
    try:
        uri = parse_uri(start + rest)
    except MalformedMessage:
        return
    assert parse_uri(str(uri)) == uri
    if isinstance(uri, SipUri):
        assert uri.equivalent(uri)
        assert isinstance(uri.form, UriForm)
        aor = uri.address_of_record()
        assert aor == SipUri.parse(str(aor)).address_of_record()
        if subscriber := uri.telephone_subscriber:
            assert subscriber.equivalent(subscriber)
    else:
        assert uri.equivalent(uri)
        assert TelUri.from_user(uri.user_part()).equivalent(uri)


words = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
hosts = st.sampled_from(["example.com", "a-b.example", "x.", "192.0.2.1", "[2001:db8::1]"])
names = st.text(alphabet="abcxyz019", min_size=1, max_size=4).map(lambda name: f"x-{name}")


@given(
    host=hosts,
    user=st.none() | words,
    password=st.none() | words,
    port=st.none() | st.integers(0, 65535),
    parameters=st.dictionaries(names, st.none() | words, max_size=3),
    headers=st.lists(st.tuples(words, words), max_size=3),
)
def test_a_built_uri_is_read_back(
    host: str,
    user: str | None,
    password: str | None,
    port: int | None,
    parameters: dict[str, str | None],
    headers: list[tuple[str, str]],
) -> None:
    uri = SipUri.build(
        host,
        user=user,
        password=password if user is not None else None,
        port=port,
        parameters=parameters,
        headers=headers,
    )
    again = SipUri.parse(str(uri))
    assert again == uri
    assert again.user_text == user
    assert again.equivalent(uri)
