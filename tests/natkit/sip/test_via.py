import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import Transport
from natkit.sip.registry import DEFAULT_PORTS
from natkit.sip.via import ResponseAddress, SentBy, Via, response_destination

VALID = [
    "SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776asdhds",
    "SIP/2.0/UDP bobspc.biloxi.com:5060",
    "SIP/2.0/UDP 192.0.2.1:4000;rport;branch=z9hG4bKa",
    "SIP/2.0/UDP 10.1.1.1:4540;received=192.0.2.1;rport=9988;branch=z9hG4bKkjshdyff",
    "SIP/2.0/UDP [2001:db8::9:1]:6050;received=2001:db8::9:255;branch=z9hG4bKas3-111",
    "SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111",
    "SIP/2.0/TLS proxy.example.com:5061;branch=z9hG4bK1;alias",
    "SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bK56sdasks",
    "SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en",
    "SIP/2.0/UDP 224.2.0.1:5060;maddr=239.1.2.3;ttl=16",
    'SIP/2.0/TCP a.example;word="a;b, \\"c\\"";branch=z9hG4bK1',
    "SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~",
]

SPACED = [
    ("SIP  /   2.0  /UDP     192.0.2.2;branch=390skdjuw", "SIP/2.0/UDP 192.0.2.2;branch=390skdjuw"),
    (
        "SIP  / 2.0  / TCP     spindle.example.com   ;   branch  =   z9hG4bK9ikj8  ",
        "SIP/2.0/TCP spindle.example.com;branch=z9hG4bK9ikj8",
    ),
    ("\tSIP/2.0/UDP\t[::1] : 5062 ; rport", "SIP/2.0/UDP [::1]:5062;rport"),
]

MALFORMED = [
    "",
    "SIP/2.0",
    "SIP/2.0/UDP",
    "SIP/2.0/UDP ",
    "SIP/2.0/UDPhost",
    "SIP/2.0 UDP host",
    "SIP/2.0/UDP host;",
    "SIP/2.0/UDP host;;branch=a",
    "SIP/2.0/UDP 192.0.2.15;;,;,,",
    "SIP/2.0/UDP host;branch=",
    "SIP/2.0/UDP host;branch=a;BRANCH=b",
    'SIP/2.0/UDP host;branch="a b"',
    "SIP/2.0/UDP host:port",
    "SIP/2.0/UDP host:65536",
    "SIP/2.0/UDP host:" + "9" * 5000,
    "SIP/2.0/UDP ho_st",
    "SIP/2.0/UDP 2001:db8::1",
    "SIP/2.0/UDP [192.0.2.1]",
    "SIP/2.0/UDP [::1",
    "SIP/2.0/UDP host;received=host.example",
    "SIP/2.0/UDP host;received=fe80::1%eth0",
    "SIP/2.0/UDP host;rport=65536",
    "SIP/2.0/UDP host;rport=a",
    "SIP/2.0/UDP host;maddr=",
    "SIP/2.0/UDP host;maddr=..",
    "SIP/2.0/UDP host;ttl=256",
    'SIP/2.0/UDP host;word="a',
    "SIP/2.0/UDP host extra",
]


@pytest.mark.parametrize("text", VALID)
def test_a_via_is_written_as_it_was_read(text: str) -> None:
    assert str(Via.parse(text)) == text


@pytest.mark.parametrize(("text", "plain"), SPACED)
def test_white_space_may_stand_around_each_separator(text: str, plain: str) -> None:
    assert Via.parse(text) == Via.parse(plain)


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_no_via_is_malformed(text: str) -> None:
    with pytest.raises(MalformedMessage):
        Via.parse(text)


@given(
    st.text(alphabet=st.sampled_from(list('SIP/2.0UDP a.b:1;="[]\\,\t<>rportbranch')), max_size=60)
)
def test_any_text_is_a_via_or_malformed(text: str) -> None:
    for candidate in (text, "SIP/2.0/UDP host" + text):
        try:
            via = Via.parse(candidate)
        except MalformedMessage:
            continue
        assert Via.parse(str(via)) == via
        # No property of a parsed Via raises.
        assert (via.rport, via.received, via.ttl, via.branch) is not None


def test_the_parts_of_a_via() -> None:
    via = Via.parse(
        "SIP/2.0/udp [2001:DB8::1]:5070;Branch=z9hG4bK1;RECEIVED=192.0.2.9"
        ";rport=7;ttl=3;maddr=m.example"
    )
    assert via.transport is Transport.UDP
    assert via.address == ipaddress.ip_address("2001:db8::1")
    assert (via.host, via.port) == ("[2001:DB8::1]", 5070)
    assert (via.branch, via.names_transaction) == ("z9hG4bK1", True)
    assert (via.received, via.rport) == (ipaddress.ip_address("192.0.2.9"), 7)
    assert (via.maddr, via.ttl) == ("m.example", 3)
    bare = Via.parse("SIP/2.0/SCTP host")
    assert (bare.branch, bare.received, bare.rport, bare.maddr, bare.ttl) == (None,) * 5
    assert (bare.names_transaction, bare.wants_rport) == (False, False)


@pytest.mark.parametrize("branch", ["z9hG4bK", "z9hg4bk1", "390skdjuw"])
def test_a_branch_of_older_rfcs_names_no_transaction(branch: str) -> None:
    assert not Via.parse(f"SIP/2.0/UDP host;branch={branch}").names_transaction


@pytest.mark.parametrize("transport", DEFAULT_PORTS)
def test_each_transport_of_sip_has_its_via(transport: Transport) -> None:
    via = Via.of(transport, Address("2001:db8::1", 5070), "z9hG4bKx")
    assert str(via) == f"SIP/2.0/{transport.upper()} [2001:db8::1]:5070;branch=z9hG4bKx;rport"
    assert Via.parse(str(via)).transport is transport


def test_a_via_of_ours_may_have_a_name_and_need_no_rport() -> None:
    via = Via.of(Transport.TLS, "sip1.example.org", "z9hG4bKx", port=5061, rport=False)
    assert str(via) == "SIP/2.0/TLS sip1.example.org:5061;branch=z9hG4bKx"


@pytest.mark.parametrize(
    ("transport", "host", "branch"),
    [
        (Transport.DTLS, "host", "z9hG4bKx"),
        (Transport.UDP, "ho st", "z9hG4bKx"),
        (Transport.UDP, "host", "a b"),
        (Transport.UDP, "host", "a;received=192.0.2.1"),
        (Transport.UDP, "host", "a\r\nX: y"),
    ],
)
def test_what_cannot_stand_in_a_via_is_a_misuse(
    transport: Transport, host: str, branch: str
) -> None:
    with pytest.raises(MisuseError):
        Via.of(transport, host, branch)


@pytest.mark.parametrize(
    ("text", "source", "stamped"),
    [
        ("192.0.2.1:5060;branch=b", "192.0.2.1:5060", "192.0.2.1:5060;branch=b"),
        ("192.0.2.1:5060;branch=b", "192.0.2.1:9", "192.0.2.1:5060;branch=b"),
        ("192.0.2.1;branch=b", "192.0.2.7:9", "192.0.2.1;branch=b;received=192.0.2.7"),
        ("host.example;branch=b", "192.0.2.1:9", "host.example;branch=b;received=192.0.2.1"),
        ("192.0.2.1;rport;b=c", "192.0.2.1:9", "192.0.2.1;rport=9;b=c;received=192.0.2.1"),
        ("192.0.2.1;rport=1", "192.0.2.1:9", "192.0.2.1;rport=9;received=192.0.2.1"),
        ("192.0.2.1;received=198.51.100.1", "192.0.2.1:9", "192.0.2.1"),
        ("host;received=198.51.100.1", "192.0.2.1:9", "host;received=192.0.2.1"),
        ("[2001:DB8::1];branch=b", "[2001:db8::1]:9", "[2001:DB8::1];branch=b"),
        ("[::1];rport", "[fe80::1%lo]:9", "[::1];rport=9;received=fe80::1"),
    ],
)
def test_the_receiver_marks_where_a_request_came_from(text: str, source: str, stamped: str) -> None:
    via = Via.parse(f"SIP/2.0/UDP {text}").stamped(Address.parse(source))
    assert str(via) == f"SIP/2.0/UDP {stamped}"


UDP, TCP, TLS = Transport.UDP, Transport.TCP, Transport.TLS


@pytest.mark.parametrize(
    ("via", "expected"),
    [
        # RFC 3581 §4.
        (
            "UDP 10.1.1.1:4540;received=192.0.2.1;rport=9988",
            ResponseAddress(UDP, Address("192.0.2.1", 9988)),
        ),
        # RFC 3261 §18.2.2, in its order.
        (
            "TCP 10.1.1.1:4540;received=192.0.2.1;rport=9988",
            ResponseAddress(
                TCP, Address("192.0.2.1", 4540), fallback=SentBy(TCP, "10.1.1.1", 4540)
            ),
        ),
        (
            "TLS host.example;received=192.0.2.1",
            ResponseAddress(
                TLS, Address("192.0.2.1", 5061), fallback=SentBy(TLS, "host.example", None)
            ),
        ),
        (
            "TCP host.example;maddr=198.51.100.1;received=192.0.2.1",
            ResponseAddress(
                TCP, Address("192.0.2.1", 5060), fallback=SentBy(TCP, "host.example", None)
            ),
        ),
        (
            "UDP host.example;maddr=239.1.2.3;received=192.0.2.1",
            ResponseAddress(UDP, Address("239.1.2.3", 5060), ttl=1),
        ),
        (
            "UDP host.example:7000;maddr=239.1.2.3;ttl=16",
            ResponseAddress(UDP, Address("239.1.2.3", 7000), ttl=16),
        ),
        (
            "UDP host.example;maddr=198.51.100.1;ttl=9",
            ResponseAddress(UDP, Address("198.51.100.1", 5060)),
        ),
        ("UDP host.example;maddr=m.example", SentBy(UDP, "m.example", 5060)),
        (
            "UDP host.example:7000;received=2001:db8::9",
            ResponseAddress(
                UDP, Address("2001:db8::9", 7000), fallback=SentBy(UDP, "host.example", 7000)
            ),
        ),
        (
            "UDP host.example;received=192.0.2.1;rport",
            ResponseAddress(
                UDP, Address("192.0.2.1", 5060), fallback=SentBy(UDP, "host.example", None)
            ),
        ),
        # RFC 3263 §5: a literal needs no lookup.
        ("UDP 192.0.2.4", ResponseAddress(UDP, Address("192.0.2.4", 5060))),
        ("TLS [2001:db8::4]", ResponseAddress(TLS, Address("2001:db8::4", 5061))),
        ("UDP 192.0.2.4:7000;rport=9", ResponseAddress(UDP, Address("192.0.2.4", 7000))),
        ("TCP host.example:7000", SentBy(TCP, "host.example", 7000)),
        ("TLS host.example", SentBy(TLS, "host.example", None)),
    ],
)
def test_where_a_response_goes(via: str, expected: ResponseAddress | SentBy) -> None:
    assert response_destination(Via.parse(f"SIP/2.0/{via}")) == expected


def test_a_name_without_any_port_has_its_transports_default() -> None:
    assert SentBy(TLS, "host.example", None).default_port == 5061


def test_no_response_goes_over_a_transport_that_nobody_knows() -> None:
    with pytest.raises(MalformedMessage, match="UNKNOWN"):
        response_destination(Via.parse("SIP/2.0/UNKNOWN host.example"))
