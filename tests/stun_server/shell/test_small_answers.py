"""What strangers are sent, byte by byte on the wire of a real server."""

import socket
from collections.abc import Iterator

import pytest

from natkit.address import Address
from natkit.stun.attributes import (
    ErrorCode,
    Nonce,
    PasswordAlgorithms,
    Realm,
    RequestedTransport,
    Software,
    Username,
    XorMappedAddress,
)
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import UDP_PROTOCOL, Method
from tests.stun_server.place import HERE_OF, SERVER, SERVER_IPV6
from tests.stun_server.process import LIMIT, StunServerProcess, stun_server

REALM = "example.org"
ID = bytes(range(12))
HOSTS = [SERVER, SERVER_IPV6]
ALLOCATE = RequestedTransport(UDP_PROTOCOL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StunServerProcess]:
    listen = ("--listen", f"{SERVER}:0", "--listen", f"[{SERVER_IPV6}]:0", "--realm", REALM)
    with stun_server(tmp_path_factory.mktemp("stun-server"), *listen) as running:
        yield running


def exchange(server: StunServerProcess, host: str, data: bytes) -> tuple[bytes, Address]:
    """What a socket of that family gets, and its own address."""
    to = next(each for each in server.addresses("udp") if each.host == host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(LIMIT)
        sock.bind((HERE_OF[host], 0))
        sock.sendto(data, to)
        answer = sock.recv(65_535)
        return answer, Address(*sock.getsockname()[:2])


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("plain", [True, False])
def test_a_binding_response_is_the_mapped_address_alone(
    server: StunServerProcess, host: str, *, plain: bool
) -> None:
    """The plane answers a plain request, the machine every other."""
    attributes = () if plain else (Software("a client"),)
    answer, own = exchange(server, host, Message.request(Method.BINDING, ID, *attributes).encode())
    assert Message.parse(answer).attributes == (XorMappedAddress(own),)
    assert len(answer) == (44 if ":" in host else 32)


@pytest.mark.parametrize("host", HOSTS)
def test_a_challenge_is_small_and_says_what_it_must_alone(
    server: StunServerProcess, host: str
) -> None:
    request = Message.request(Method.ALLOCATE, ID, ALLOCATE)
    answer, _ = exchange(server, host, request.encode())
    response = Message.parse(answer)
    assert response.get(ErrorCode) == ErrorCode(401, "")
    assert {type(each) for each in response.attributes} == {
        ErrorCode,
        Realm,
        Nonce,
        PasswordAlgorithms,
    }
    assert len(answer) <= 80 + len(REALM)


@pytest.mark.parametrize("host", HOSTS)
def test_a_stale_nonce_is_answered_as_small(server: StunServerProcess, host: str) -> None:
    request = Message.request(
        Method.ALLOCATE, ID, ALLOCATE, Username("nobody"), Realm(REALM), Nonce(b"old")
    )
    answer, _ = exchange(server, host, request.encode(integrity=IntegrityKey(bytes(16))))
    response = Message.parse(answer)
    assert response.get(ErrorCode) == ErrorCode(438, "")
    assert response.get(Software) is None
    assert len(answer) <= 80 + len(REALM)
