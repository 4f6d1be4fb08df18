"""STUN and TURN URIs, and what their user is told when one is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.errors import MisuseError
from natkit.machine import Transport
from natkit.stun.uri import Scheme, ServerUri

UDP, TCP = Transport.UDP, Transport.TCP


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        # RFC 7064 §A.1 and RFC 7065 §A.1.
        ("stun:example.org", ServerUri(Scheme.STUN, "example.org")),
        ("stuns:example.org", ServerUri(Scheme.STUNS, "example.org")),
        ("stun:example.org:8000", ServerUri(Scheme.STUN, "example.org", 8000)),
        ("turn:example.org", ServerUri(Scheme.TURN, "example.org")),
        ("turns:example.org", ServerUri(Scheme.TURNS, "example.org")),
        ("turn:example.org:8000", ServerUri(Scheme.TURN, "example.org", 8000)),
        ("turn:example.org?transport=udp", ServerUri(Scheme.TURN, "example.org", None, UDP)),
        ("turn:example.org?transport=tcp", ServerUri(Scheme.TURN, "example.org", None, TCP)),
        ("turns:example.org?transport=tcp", ServerUri(Scheme.TURNS, "example.org", None, TCP)),
        ("turn:192.0.2.1:3478", ServerUri(Scheme.TURN, "192.0.2.1", 3478)),
        ("turns:192.0.2.1", ServerUri(Scheme.TURNS, "192.0.2.1")),
        ("stun:[2001:db8::1]", ServerUri(Scheme.STUN, "2001:db8::1")),
        ("stun:[2001:db8::1]:65535", ServerUri(Scheme.STUN, "2001:db8::1", 65535)),
        ("stun:[fe80::1%25eth0]:1", ServerUri(Scheme.STUN, "fe80::1%eth0", 1)),
    ],
)
def test_a_uri_is_read_and_written(text: str, uri: ServerUri) -> None:
    assert ServerUri.parse(text) == uri
    assert str(uri) == text


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("STUN:example.org", "stun:example.org"),
        ("stun:example.org:", "stun:example.org"),
        ("turn:example.org?Transport=TCP", "turn:example.org?transport=tcp"),
        ("stun:[2001:DB8:0::1]", "stun:[2001:db8::1]"),
    ],
)
def test_case_and_empty_ports_do_not_matter(text: str, same: str) -> None:
    assert str(ServerUri.parse(text)) == same


@pytest.mark.parametrize(
    ("text", "port", "transport", "is_address"),
    [
        ("stun:example.org", 3478, Transport.UDP, False),
        ("stuns:example.org", 5349, Transport.TLS, False),
        ("turn:192.0.2.1?transport=tcp", 3478, Transport.TCP, True),
        ("turns:[2001:db8::1]", 5349, Transport.TLS, True),
        ("turns:example.org?transport=tcp", 5349, Transport.TLS, False),
        ("turns:example.org?transport=udp", 5349, Transport.DTLS, False),
    ],
)
def test_what_to_do_without_the_dns_follows_from_the_scheme(
    text: str, port: int, transport: Transport, is_address: bool
) -> None:
    uri = ServerUri.parse(text)
    assert uri.default_port == port
    assert uri.wire_transport is transport
    assert uri.is_address is is_address


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no STUN or TURN URI"),
        ("example.org", "no STUN or TURN URI"),
        ("example.org:3478", "no STUN or TURN URI"),
        ("http:example.org", "no STUN or TURN URI"),
        ("stun", "names no server"),
        ("stun:", "names no server"),
        ("turn://example.org", "without slashes: turn:example.org"),
        ("turn:user@example.org", "user name"),
        ("stun:example.org?transport=udp", "query"),
        ("turn:example.org?transport=sctp", "transport other than udp or tcp"),
        ("turn:example.org?transport=", "transport other than udp or tcp"),
        ("turn:example.org?ttl=5", "query other than"),
        ("turn:?transport=udp", "no valid host"),
        ("stun:2001:db8::1", "brackets"),
        ("stun:[2001:db8::1", r"\[IPv6\]:port"),
        ("stun:[2001:db8::1]x", r"\[IPv6\]:port"),
        ("stun:[192.0.2.1]", "no IPv6 address"),
        ("stun:192.0.2.256", "no IPv4 address"),
        ("stun:1.2.3", "no IPv4 address"),
        ("stun:example.org:0", "no port between 1 and 65535"),
        ("stun:example.org:65536", "no port"),
        ("stun:example.org:+1", "no port"),
        ("stun:exa mple.org", "no valid host"),
        ("stun:example.org/path", "no valid host"),
        ("stun:example%zz.org", "no valid host"),
        ("stun:" + "a" * 256, "no valid host"),
        ("stun:b\u00fccher.example", "xn--"),
        ("stuns:192.0.2.1", "needs a domain name, since no certificate proves the address"),
        ("stuns:[2001:db8::1]:5349", "needs a domain name"),
    ],
)
def test_a_wrong_uri_is_refused_in_one_line_that_shows_it(text: str, complaint: str) -> None:
    with pytest.raises(MisuseError, match=complaint) as refused:
        ServerUri.parse(text)
    line = str(refused.value)
    assert "\n" not in line
    assert repr(text)[1:200] in line


@given(text=st.text(max_size=60) | st.text("stunrs:[]?=.@/%0123456789abcdef", max_size=40))
def test_any_text_after_a_scheme_is_a_uri_or_misuse(text: str) -> None:
    for scheme in Scheme:
        try:
            uri = ServerUri.parse(f"{scheme}:{text}")
        except MisuseError as error:
            line = str(error)
        else:
            line = ""
            assert ServerUri.parse(str(uri)) == uri
        assert "\n" not in line
