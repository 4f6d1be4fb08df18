"""The handshakes with SOCKS 5 and HTTP proxies, byte by byte."""

import pytest

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError, UnreachableError
from natkit.net.proxy import Handshake, Proxy, ProxyKind, handshake_with

SERVER = Address("192.0.2.1", 3478)
SERVER6 = Address("2001:db8::1", 3478)
SOCKS = Proxy(ProxyKind.SOCKS5, "192.0.2.8", 1080)
SOCKS_USER = Proxy(ProxyKind.SOCKS5, "192.0.2.8", 1080, "ann", "secret")
HTTP = Proxy(ProxyKind.HTTP, "192.0.2.8", 8080)
HTTP_USER = Proxy(ProxyKind.HTTP, "192.0.2.8", 8080, "ann", "secret")

BOUND = bytes.fromhex("05 00 00 01 c0000208 1f90")


def fed(handshake: Handshake, data: bytes) -> bytes:
    """Give it byte by byte, as a network may; all that it sends."""
    return b"".join(handshake.receive(data[at : at + 1]) for at in range(len(data)))


def test_socks_without_a_user_connects_to_an_ipv4_server() -> None:
    handshake = handshake_with(SOCKS, SERVER)
    assert handshake.begin() == bytes.fromhex("05 01 00")
    assert fed(handshake, bytes.fromhex("05 00")) == bytes.fromhex("05 01 00 01 c0000201 0d96")
    assert fed(handshake, BOUND[:-1]) == b""
    assert not handshake.is_done
    assert fed(handshake, BOUND[-1:]) == b""
    assert handshake.is_done


def test_socks_with_a_user_proves_who_it_is() -> None:
    handshake = handshake_with(SOCKS_USER, SERVER6)
    assert handshake.begin() == bytes.fromhex("05 02 00 02")
    assert fed(handshake, bytes.fromhex("05 02")) == b"\x01\x03ann\x06secret"
    connect = fed(handshake, bytes.fromhex("01 00"))
    assert connect == bytes.fromhex("05 01 00 04") + SERVER6.packed + b"\x0d\x96"
    assert fed(handshake, b"\x05\x00\x00\x03\x04name\x1f\x90") == b""
    assert handshake.is_done


@pytest.mark.parametrize(
    ("proxy", "answers", "reason"),
    [
        (SOCKS, "05 ff", "wants a user name"),
        (SOCKS_USER, "05 ff", "another proof"),
        (SOCKS_USER, "05 02 01 01", "refuses the user name"),
        (SOCKS, "05 00 05 05 00 01 00", "refused the connection"),
        (SOCKS, "05 00 05 77 00 01 00", "reply 119"),
    ],
)
def test_what_a_socks_proxy_refuses_is_told(proxy: Proxy, answers: str, reason: str) -> None:
    handshake = handshake_with(proxy, SERVER)
    handshake.begin()
    with pytest.raises(UnreachableError, match=reason) as refused:
        fed(handshake, bytes.fromhex(answers))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("proxy", "answer"),
    [
        (SOCKS, b"HTTP/1.1 400 Bad"),
        (SOCKS, b"\x05\x02"),
        (SOCKS, b"\x05\x00\x05\x00\x00\x09\x00"),
        (SOCKS, b"\x05\x00" + BOUND + b"more"),
        (HTTP, b"\x05\x00\r\n\r\n"),
        (HTTP, b"HTTP/1.1 OK\r\n\r\n"),
        (HTTP, b"HTTP/1.1 200 OK\r\n\r\nmore"),
        (HTTP, b"x" * 20_000),
    ],
)
def test_another_protocol_is_malformed(proxy: Proxy, answer: bytes) -> None:
    handshake = handshake_with(proxy, SERVER)
    handshake.begin()
    with pytest.raises(MalformedMessage):
        handshake.receive(answer)


def test_http_connects_with_a_user_and_without() -> None:
    handshake = handshake_with(HTTP, SERVER6)
    request = handshake.begin().decode()
    assert request == ("CONNECT [2001:db8::1]:3478 HTTP/1.1\r\nHost: [2001:db8::1]:3478\r\n\r\n")
    assert fed(handshake, b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n") == b""
    assert handshake.is_done
    assert (
        b"Proxy-Authorization: Basic YW5uOnNlY3JldA==\r\n"
        in handshake_with(HTTP_USER, SERVER).begin()
    )


def test_what_an_http_proxy_refuses_is_told_with_its_words() -> None:
    handshake = handshake_with(HTTP, SERVER)
    handshake.begin()
    with pytest.raises(UnreachableError, match="403 Filtered"):
        fed(handshake, b"HTTP/1.1 403 Filtered\r\nContent-Length: 0\r\n\r\n")


def test_a_proxy_is_read_from_its_uri() -> None:
    assert Proxy.parse("socks5://192.0.2.8") == SOCKS
    assert Proxy.parse("http://ann:s%40cret@[2001:db8::8]:3128/") == Proxy(
        ProxyKind.HTTP, "2001:db8::8", 3128, "ann", "s@cret"
    )
    assert str(Proxy.parse("http://ann:secret@192.0.2.8")) == "http://192.0.2.8:8080"


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.8:1080",
        "socks4://192.0.2.8",
        "socks5://",
        "http://192.0.2.8:99999",
        "http://192.0.2.8/path",
        "http://a%3Ab:c@192.0.2.8",
        f"socks5://{'a' * 300}:b@192.0.2.8",
    ],
)
def test_a_wrong_uri_is_refused(text: str) -> None:
    with pytest.raises(MisuseError):
        Proxy.parse(text)
