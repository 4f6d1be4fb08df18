"""coturn's test client against our server over TLS and DTLS, and openssl's for what it agrees on.

uclient tries TLS 1.0 and 1.1 first; that those are refused is noise in its output and our log.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from natkit.address import Address
from tests.certificates import Authority
from tests.peering.roster import program_path
from tests.peering.turnutils import Totals, uclient
from tests.peers.test_uclient import peer  # noqa: F401 - a fixture
from tests.stun_server.place import ALLOW_HERE, HERE_IPV6, SERVER, SERVER_IPV6
from tests.stun_server.process import (
    PASSWORD,
    USER,
    StunServerProcess,
    stun_server,
)

pytestmark = pytest.mark.peer("coturn")

TRANSPORTS = {"tls": ("-t", "-S"), "dtls": ("-S",)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StunServerProcess]:
    directory = tmp_path_factory.mktemp("stun-server")
    issued = Authority(directory).issue("localhost", SERVER, SERVER_IPV6)
    config = directory / "config.toml"
    config.write_text("[log]\nlevel = 'debug'\n")
    listen = [
        word
        for transport in TRANSPORTS
        for host in (SERVER, f"[{SERVER_IPV6}]")
        for word in ("--listen", f"{transport}:{host}:0")
    ]
    files = ("--certificate", str(issued.chain), "--key", str(issued.key))
    with stun_server(directory, "--config", str(config), *listen, *files, *ALLOW_HERE) as running:
        yield running


def run(
    server: StunServerProcess,
    transport: str,
    peer: Address,  # noqa: F811 - the fixture's value
    *arguments: str,
    host: str = SERVER,
) -> Totals:
    address = next(each for each in server.addresses(transport) if each.host == host)
    if "-y" not in arguments:
        peer_host = HERE_IPV6 if "-x" in arguments else peer.host
        arguments = (*arguments, "-e", peer_host, "-r", str(peer.port))
    return uclient(address, *TRANSPORTS[transport], *arguments, username=USER, password=PASSWORD)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("way", [(), ("-s",), ("-D",)], ids=["channels", "indications", "padded"])
def test_uclient_loses_nothing(
    server: StunServerProcess,
    peer: Address,  # noqa: F811
    transport: str,
    way: tuple[str, ...],
) -> None:
    channels = server.from_now_on("channel bound")
    opened = server.from_now_on("allocation opened")
    totals = run(server, transport, peer, *way, "-X")
    assert totals.is_complete, totals.output
    assert {line["transport"] for line in opened()} == {transport}
    assert bool(channels()) == (way != ("-s",))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_uclient_relays_over_ipv6(
    server: StunServerProcess,
    peer: Address,  # noqa: F811
    transport: str,
) -> None:
    totals = run(server, transport, peer, "-x", host=SERVER_IPV6)
    assert totals.is_complete, totals.output


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_uclient_relays_from_relay_to_relay_with_several_clients(
    server: StunServerProcess,
    peer: Address,  # noqa: F811
    transport: str,
) -> None:
    totals = run(server, transport, peer, "-y", "-c", "-m", "4", "-n", "50")
    assert totals.is_complete, totals.output


@pytest.mark.peer("openssl")
@pytest.mark.parametrize("alpn", ["stun.turn", "stun.nat-discovery"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_openssl_agrees_on_a_protocol_by_alpn(
    server: StunServerProcess, transport: str, alpn: str
) -> None:
    openssl = program_path("openssl")
    assert openssl is not None
    address = server.addresses(transport)[0]
    version = ["-dtls1_2"] if transport == "dtls" else []
    ended = subprocess.run(
        [openssl, "s_client", *version, "-connect", str(address), "-alpn", alpn],
        input="Q\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert f"ALPN protocol: {alpn}" in ended.stdout, ended.stdout + ended.stderr
    expected = "DTLSv1.2" if transport == "dtls" else "TLSv1.3"
    assert expected in ended.stdout


def test_the_certificate_is_in_the_log(server: StunServerProcess, tmp_path: Path) -> None:
    (line,) = server.lines("certificate")
    assert line["names"] == f"localhost, {SERVER}, {SERVER_IPV6}"
