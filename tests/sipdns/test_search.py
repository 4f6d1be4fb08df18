import pytest

from natkit.errors import MisuseError
from natkit.machine import Transport
from sipdns.search import read_uri


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("example.org", "sip:example.org"),
        ("alice@example.org", "sip:alice@example.org"),
        ("example.org:5070", "sip:example.org:5070"),
        ("example.org:5070;transport=tcp", "sip:example.org:5070;transport=tcp"),
        ("192.0.2.1", "sip:192.0.2.1"),
        ("[2001:db8::1]:5061", "sip:[2001:db8::1]:5061"),
        ("SIPS:example.org", "sips:example.org"),
        ("sip:alice@MÜLLER.example:5070;lr", "sip:alice@xn--mller-kva.example:5070;lr"),
        ("müller.example", "sip:xn--mller-kva.example"),
        ("sip:BÜCHER.example.", "sip:xn--bcher-kva.example"),
        ("sip:example.org;maddr=müller.example", "sip:example.org;maddr=xn--mller-kva.example"),
        ("sip:ö.example;MADDR=ü.example;lr", "sip:xn--nda.example;MADDR=xn--tda.example;lr"),
        ("turn:müller.example?transport=tcp", "turn:xn--mller-kva.example?transport=tcp"),
    ],
)
def test_what_a_user_means_is_read(text: str, uri: str) -> None:
    assert read_uri(text).uri == uri


def test_a_guess_is_a_decision() -> None:
    decision = read_uri("example.org").decisions[0]
    assert decision.reason == "no scheme given, so it is read as sip:example.org"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip:",
        "tel:+1-201-555-0123",
        "http://example.org",
        "mailto:alice@example.org",
        "sip:exa mple.org",
        "sip:alice@",
        "sips:example.org;transport=udp",
        "sip:" + "a" * 64 + ".example",
        "sip:" + "a." * 130 + "example",
        "sip:ex\x00ample.org",
        "sip:" + "ü" * 64 + ".example",
        "stun:",
        "stuns:192.0.2.1",
        "stun:" + "a" * 64 + ".example",
    ],
)
def test_what_is_no_uri_is_misuse_in_one_line(text: str) -> None:
    with pytest.raises(MisuseError) as caught:
        read_uri(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_services_are_those_that_the_uri_and_we_allow() -> None:
    ours = [Transport.TLS, Transport.UDP, Transport.TLS, Transport.DTLS]
    found = read_uri("sip:example.org", ours).services
    assert [one.transport for one in found] == [Transport.TLS, Transport.UDP]
    assert [one.transport for one in read_uri("sips:example.org", ours).services] == [Transport.TLS]
