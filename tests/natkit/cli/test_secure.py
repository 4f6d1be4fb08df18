"""What the commands say about servers that are not to be trusted, or speak no TLS: one line."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from natkit.address import Address
from tests.certificates import Authority
from tests.natkit.cli.command import Ended, natkit
from tests.stun_server.place import ALLOW_HERE
from tests.stun_server.process import PASSWORD, USER, stun_server

CREDENTIALS = ("--user", USER, "--password", PASSWORD)


@contextmanager
def server(
    directory: Path, authority: Authority, name: str, *, self_signed: bool = False
) -> Iterator[dict[str, Address]]:
    """Our server with such a certificate: where it takes TLS and DTLS."""
    issued = authority.issue(name, self_signed=self_signed)
    files = ("--certificate", str(issued.chain), "--key", str(issued.key))
    listen = [word for each in ("tls", "dtls") for word in ("--listen", f"{each}:127.0.0.1:0")]
    with stun_server(directory, *listen, *files, *ALLOW_HERE) as running:
        yield {each: running.addresses(each)[0] for each in ("tls", "dtls")}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def uri(address: Address, transport: str) -> str:
    wanted = {"tls": "tcp", "dtls": "udp"}[transport]
    return f"turns:localhost:{address.port}?transport={wanted}"


async def ask(address: Address, transport: str, *options: str) -> tuple[Ended, Ended]:
    """``natkit turn`` and ``natkit stun``."""
    over = ("--dtls",) if transport == "dtls" else ()
    return (
        await natkit("turn", uri(address, transport), *CREDENTIALS, *options),
        await natkit("stun", f"stuns:localhost:{address.port}", *over, *options),
    )


async def test_the_commands_work_over_tls_and_dtls(tmp_path: Path, authority: Authority) -> None:
    with server(tmp_path, authority, "localhost") as addresses:
        for transport, address in addresses.items():
            for options in (("--ca-file", str(authority.file)), ("--insecure",)):
                for ended in await ask(address, transport, *options, "--json"):
                    assert ended.status == 0, ended.errors
                    at = ended.result["server"]
                    assert isinstance(at, dict)
                    assert at["transport"] == transport


async def test_a_certificate_for_another_name_is_said_to_be_so(
    tmp_path: Path, authority: Authority
) -> None:
    with server(tmp_path, authority, "other.example.org") as addresses:
        for transport, address in addresses.items():
            for ended in await ask(address, transport, "--ca-file", str(authority.file)):
                assert ended.status == 1
                assert "certificate" in ended.error
                assert "localhost" in ended.error


async def test_a_certificate_of_nobody_trusted_is_said_to_be_so(
    tmp_path: Path, authority: Authority
) -> None:
    with server(tmp_path, authority, "localhost", self_signed=True) as addresses:
        for transport, address in addresses.items():
            for ended in await ask(address, transport):
                assert ended.status == 1
                assert "its certificate is not trusted: " in ended.error
                assert "self-signed" in ended.error


async def test_a_plain_server_on_the_port_is_said_to_be_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer() -> None:
            for _ in range(2):
                connection, _name = plain.accept()
                with connection:
                    connection.recv(1)
                    connection.sendall(b"220 mail.example.org ESMTP\r\n")
                    connection.recv(1000)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            for ended in await ask(Address(*plain.getsockname()), "tls"):
                assert ended.status == 1
                assert "what it speaks is not TLS" in ended.error
        finally:
            thread.join()


async def test_nobody_on_the_port_is_said_to_be_so() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        address = Address(*sock.getsockname())
    for transport in ("tls", "dtls"):
        for ended in await ask(address, transport):
            assert ended.status == 3
            assert "connection refused" in ended.error
