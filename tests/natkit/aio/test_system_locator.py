"""What the system's resolver says, as targets and as natkit's errors; nobody is asked here."""

import asyncio
import socket

import pytest

from natkit.address import Address
from natkit.aio.system_locator import SystemLocator
from natkit.errors import DnsFailure, LocateError, NoService
from natkit.locate import Target
from natkit.machine import Transport

FOUND = [
    (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("2001:db8::1", 0, 0, 0)),
    (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.1", 0)),
    (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.1", 0)),
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that the system was asked for; it knows them all."""
    names: list[str] = []

    def getaddrinfo(host: str, *_: object, **__: object) -> object:
        names.append(host)
        return FOUND

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return names


def locate(uri: str) -> list[Target]:
    return list(asyncio.run(SystemLocator().locate(uri)))


def test_each_address_is_a_target_once_in_the_systems_order(asked: list[str]) -> None:
    host = "turn.example.org"
    assert locate(f"turn:{host}:5000?transport=tcp") == [
        Target(Transport.TCP, Address("2001:db8::1", 5000), host, host),
        Target(Transport.TCP, Address("192.0.2.1", 5000), host, host),
    ]
    assert asked == [host]


@pytest.mark.parametrize("uri", ["stun:example.org", "turn:example.org"])
def test_port_and_transport_have_defaults(uri: str, asked: list[str]) -> None:
    first = locate(uri)[0]
    assert (first.transport, first.address.port) == (Transport.UDP, 3478)
    assert asked == ["example.org"]


@pytest.mark.parametrize(
    ("uri", "transport", "port"),
    [
        ("stuns:example.org", Transport.TLS, 5349),
        ("turns:example.org", Transport.TLS, 5349),
        ("turns:example.org:443", Transport.TLS, 443),
        ("turns:example.org?transport=udp", Transport.DTLS, 5349),
    ],
)
def test_a_secure_uri_has_defaults_of_its_own_and_the_name_to_prove(
    uri: str, transport: Transport, port: int, asked: list[str]
) -> None:
    first = locate(uri)[0]
    assert (first.transport, first.address.port) == (transport, port)
    assert first.tls_name == "example.org"


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (socket.EAI_NONAME, NoService),
        (socket.EAI_AGAIN, DnsFailure),
        (socket.EAI_FAIL, DnsFailure),
    ],
)
def test_the_systems_errors_become_natkits(
    number: int, error: type[LocateError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*_: object, **__: object) -> object:
        raise socket.gaierror(number, "the reason")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(error, match=r"'example\.org': the reason"):
        locate("stun:example.org")
