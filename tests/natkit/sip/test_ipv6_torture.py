"""RFC 5118's messages: for each, what a parser must do with it, by the section that has it."""

from pathlib import Path

import pytest

from natkit.errors import MalformedMessage
from natkit.sip import NameAddress, SipUri
from natkit.sip.framing import Expect, SipFraming
from natkit.sip.grammar import numeric_host
from natkit.sip.kinds import CONTACT, TO, VIA
from natkit.sip.message import Request, Response, parse_message

MESSAGES = Path(__file__).parents[2] / "vectors" / "rfc5118"

# Host and port of each Request-URI; one is malformed.
TARGETS = [
    ("4.1", "ipv6-good", "2001:db8::10", None),
    ("4.2", "ipv6-bad", None, None),
    ("4.3", "port-ambiguous", "2001:db8::10:5070", None),
    ("4.4", "port-unambiguous", "2001:db8::10", 5070),
    ("4.5", "via-received-param-with-delim", "2001:db8::10", None),
    ("4.5", "via-received-param-no-delim", "2001:db8::10", None),
    ("4.6", "ipv6-in-sdp", "2001:db8::10", None),
    ("4.7", "mult-ip-in-header", "host.example.net", None),
    ("4.8", "mult-ip-in-sdp", "2001:db8::10", None),
    ("4.9", "ipv4-mapped-ipv6", "example.com", None),
    ("4.10", "ipv6-bug-abnf-3-colons", "2001:db8::192.0.2.1", None),
    ("4.10", "ipv6-correct-abnf-2-colons", "2001:db8::192.0.2.1", None),
]
each = pytest.mark.parametrize(
    ("name", "host", "port"),
    [target[1:] for target in TARGETS],
    ids=[f"{section}-{name}" for section, name, *_ in TARGETS],
)


def request(name: str) -> Request:
    found = parse_message((MESSAGES / f"{name}.dat").read_bytes())
    assert isinstance(found, Request)
    return found


def test_all_12_messages_are_in_the_table() -> None:
    assert {file.stem for file in MESSAGES.glob("*.dat")} == {name for _, name, *_ in TARGETS}
    assert len(TARGETS) == 12


@each
def test_whom_it_is_for(name: str, host: str | None, port: int | None) -> None:
    found = request(name)
    if host is None:
        with pytest.raises(MalformedMessage, match="'2001' is neither a host name"):
            found.check()
        return
    found.check()
    uri = found.uri
    assert isinstance(uri, SipUri)
    assert uri.port == port
    if ":" in host:
        assert uri.address == numeric_host(f"[{host}]")
        assert uri.address is not None
    else:
        assert uri.host == host


@each
def test_it_is_written_as_it_was_read(name: str, host: str | None, port: int | None) -> None:
    del host, port
    data = (MESSAGES / f"{name}.dat").read_bytes()
    assert bytes(request(name)) == data
    assert list(SipFraming(Expect.PINGS).receive(data)) == [data]
    again = parse_message(bytes(Response.to(request(name), 400, tag="t")))
    assert again.headers.fields(VIA) == request(name).headers.fields(VIA)


def test_received_is_an_address_with_brackets_and_without() -> None:
    for name in ("via-received-param-with-delim", "via-received-param-no-delim"):
        via = request(name).headers.first(VIA)
        assert via is not None
        assert via.received == numeric_host("[2001:db8::9:255]")
        assert via.address == numeric_host("[2001:db8::9:1]")


def test_hops_of_both_families_are_read() -> None:
    vias = request("mult-ip-in-header").headers.get_all(VIA)
    assert [(via.host, via.port, via.transport_token) for via in vias] == [
        ("[2001:db8::9:1]", 6050, "UDP"),
        ("192.0.2.1", None, "UDP"),
        ("[2001:db8::9:255]", None, "TCP"),
    ]
    assert [str(via.received) for via in vias] == ["None", "None", "192.0.2.200"]


def test_mapped_addresses_are_read() -> None:
    mapped = request("ipv4-mapped-ipv6")
    assert [str(via.address) for via in mapped.headers.get_all(VIA)] == [
        str(numeric_host("[::ffff:192.0.2.10]")),
        str(numeric_host("[::ffff:192.0.2.2]")),
    ]
    (contact,) = mapped.headers.get_all(CONTACT)
    assert isinstance(contact, NameAddress)
    assert isinstance(contact.uri, SipUri)
    assert contact.uri.host == "[::ffff:192.0.2.2]"


def test_a_colon_too_many_is_taken_where_the_grammar_once_had_it_and_nowhere_else() -> None:
    to = request("ipv6-bug-abnf-3-colons").headers.get(TO)
    assert to is not None
    assert str(to.uri) == "sip:user@[2001:db8:::192.0.2.1]"
    for other in ("2001:db8:::1", ":::", "2001:db8::::192.0.2.1", "1::2:::192.0.2.1", ":::192.0.2"):
        assert numeric_host(f"[{other}]") is None
