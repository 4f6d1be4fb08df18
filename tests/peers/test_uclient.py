"""coturn's test clients against our server.

``turnutils_uclient`` exits with 0 though packets were lost, so its totals decide.  What it does not
tell, as whether a channel was used, is asked of the server's log.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Protocol

import pytest

from natkit.address import Address
from tests.conftest import Sized
from tests.peering.process import PeerProcess
from tests.peering.roster import program_path
from tests.peering.turnutils import Totals, stunclient, uclient
from tests.stun_server.place import (
    ALLOW_HERE,
    HERE,
    HERE_IPV6,
    HERE_OF,
    IS_CABLED,
    SERVER,
    SERVER_IPV6,
)
from tests.stun_server.process import (
    PASSWORD,
    USER,
    StunServerProcess,
    stun_server,
)

pytestmark = pytest.mark.peer("coturn")

DEBUG_LOG = "[log]\nlevel = 'debug'\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StunServerProcess]:
    """Our server on addresses of both families, with one line a permission and channel."""
    directory = tmp_path_factory.mktemp("stun-server")
    config = directory / "config.toml"
    config.write_text(DEBUG_LOG)
    listen = ("--listen", f"{SERVER}:0", "--listen", f"[{SERVER_IPV6}]:0")
    with stun_server(directory, "--config", str(config), *listen, *ALLOW_HERE) as running:
        yield running


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """``turnutils_peer``, which sends back what it gets, on both our addresses."""
    program = program_path("turnutils_peer")
    assert program is not None
    with _free_port_pair() as port:
        command = [program, "-p", str(port), "-L", HERE, "-L", HERE_IPV6]
    process = PeerProcess("turnutils_peer", command, tmp_path_factory.mktemp("peer"))
    try:
        process.wait_until(lambda: all(map(_echoes, _ports_of(port))))
        yield Address(HERE, port)
    finally:
        process.stop()


@contextmanager
def _free_port_pair() -> Iterator[int]:
    """A port that is free for UDP with the next one, which uclient's RTCP goes to."""
    while True:
        with (
            socket.socket(type=socket.SOCK_DGRAM) as first,
            socket.socket(type=socket.SOCK_DGRAM) as second,
        ):
            first.bind((HERE, 0))
            port: int = first.getsockname()[1]
            try:
                second.bind((HERE, port + 1))
            except (OSError, OverflowError):
                continue
        yield port
        return


def _ports_of(port: int) -> list[tuple[str, int]]:
    return [(host, number) for host in (HERE, HERE_IPV6) for number in (port, port + 1)]


def _echoes(address: tuple[str, int]) -> bool:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        try:
            sock.sendto(b"ping", address)
            return sock.recv(100) == b"ping"
        except OSError:
            return False


class Run(Protocol):
    """Type of the ``run`` fixture."""

    def __call__(self, *arguments: str, host: str = SERVER, password: str = PASSWORD) -> Totals: ...


@pytest.fixture
def run(server: StunServerProcess, peer: Address) -> Run:
    """Run uclient against the server, with the peer unless ``-y`` makes clients their own peers."""

    def start(*arguments: str, host: str = SERVER, password: str = PASSWORD) -> Totals:
        address = next(each for each in server.addresses("udp") if each.host == host)
        if "-y" not in arguments:
            peer_host = HERE_IPV6 if "-x" in arguments else peer.host
            arguments = (*arguments, "-e", peer_host, "-r", str(peer.port))
        return uclient(address, *arguments, username=USER, password=password)

    return start


def test_stunclient_learns_its_own_address_over_ipv4_and_ipv6(server: StunServerProcess) -> None:
    for address in server.addresses("udp"):
        learnt = stunclient(address)
        assert learnt.exit_status == 0, learnt.output
        assert learnt.address is not None, learnt.output
        assert learnt.address.host == HERE_OF[address.host]


@pytest.mark.parametrize("transport", [(), ("-t",)], ids=["udp", "tcp"])
@pytest.mark.parametrize("way", [(), ("-s",), ("-D",)], ids=["channels", "indications", "padded"])
def test_uclient_loses_nothing(
    server: StunServerProcess, run: Run, transport: tuple[str, ...], way: tuple[str, ...]
) -> None:
    channels = server.from_now_on("channel bound")
    opened = server.from_now_on("allocation opened")
    totals = run(*transport, *way, "-X")
    assert totals.is_complete, totals.output
    assert {line["transport"] for line in opened()} == {"tcp" if transport else "udp"}
    assert bool(channels()) == (way != ("-s",))


def test_uclient_with_dont_fragment_and_a_reserved_port_loses_nothing(
    server: StunServerProcess, run: Run
) -> None:
    opened = server.from_now_on("allocation opened")
    totals = run("-g", "-X")
    assert totals.is_complete, totals.output
    ports = {Address.parse(str(line["relayed"])).port for line in opened()}
    # RTP and RTCP: an even port, and the next one by its reservation token.
    assert any(port % 2 == 0 and port + 1 in ports for port in ports)


@pytest.mark.parametrize("transport", [(), ("-t",)], ids=["udp", "tcp"])
def test_uclient_relays_from_relay_to_relay(run: Run, transport: tuple[str, ...]) -> None:
    totals = run("-y", "-c", "-m", "4", "-n", "50", *transport)
    assert totals.is_complete, totals.output


@pytest.mark.parametrize("host", [SERVER, SERVER_IPV6])
def test_uclient_relays_over_ipv6(server: StunServerProcess, run: Run, host: str) -> None:
    opened = server.from_now_on("allocation opened")
    totals = run("-x", host=host)
    assert totals.is_complete, totals.output
    assert {Address.parse(str(line["relayed"])).host for line in opened()} == {SERVER_IPV6}


@pytest.mark.parametrize("way", [(), ("-s",)], ids=["channels", "indications"])
@pytest.mark.parametrize("host", [SERVER, SERVER_IPV6])
def test_uclient_takes_its_allocation_along_to_another_port(
    server: StunServerProcess, run: Run, host: str, way: tuple[str, ...]
) -> None:
    permitted = server.from_now_on("peer permitted")
    moved = server.from_now_on("allocation moved")
    totals = run("-M", *way, "-c", "-m", "4", "-n", "20", host=host)
    assert totals.is_complete, totals.output
    # All that relay; some of its allocations are never used.
    assert {line["session"] for line in moved()} == {line["session"] for line in permitted()}
    assert len(moved()) == 4
    assert all(line["before"] != line["client"] for line in moved())


def test_a_peer_on_a_second_channel_gets_400(server: StunServerProcess, run: Run) -> None:
    refused = server.from_now_on("request refused")
    totals = run("-N", "-X")
    assert "error 400" in totals.output

    def bindings() -> list[object]:
        # Its Allocate gets 437 as well, where it has the port of a client before it.
        return [line["code"] for line in refused() if line["method"] == "channel_bind"]

    # The answer goes out before the line does.
    server.wait_until(bindings)
    assert set(bindings()) == {400}


def test_a_wrong_password_gets_401(server: StunServerProcess, run: Run) -> None:
    refused = server.from_now_on("request refused")
    opened = server.from_now_on("allocation opened")
    totals = run("-X", password="wrong")
    assert totals.exit_status != 0
    assert "Cannot complete Allocation" in totals.output
    assert not opened()
    server.wait_until(refused)
    assert {(line["code"], line["reason"]) for line in refused()} == {(401, "wrong password")}


@pytest.mark.parametrize("transport", [(), ("-t",)], ids=["udp", "tcp"])
def test_mutated_messages_leave_the_server_serving(
    server: StunServerProcess, peer: Address, run: Run, transport: tuple[str, ...], sized: Sized
) -> None:
    # The UDP run is the one of 20 s; over TCP a mutated length mostly ends the connection at once.
    seconds = sized(quick=5 if transport else 20, full=120)
    deadline = monotonic() + seconds
    rounds = 0
    while (left := deadline - monotonic()) > 0:
        uclient(
            server.address,
            *(*transport, "-R", "-X", "-c", "-n", "1000", "-e", peer.host, "-r", str(peer.port)),
            username=USER,
            password=PASSWORD,
            time_limit=left,
        )
        rounds += 1
    print(f"{rounds} runs in {seconds} s")
    assert server.process.poll() is None
    assert not server.lines("internal error")
    totals = run("-X")
    assert totals.is_complete, totals.output


def test_strict_channels_refuses_those_of_rfc_5766_only(tmp_path: Path, peer: Address) -> None:
    """The client draws from 0x4000 to 0x7FFF, so of 20 clients some must fail with 400."""
    with stun_server(tmp_path, "--strict-channels", *ALLOW_HERE) as server:
        totals = uclient(
            server.address,
            *("-c", "-m", "20", "-X", "-e", peer.host, "-r", str(peer.port)),
            username=USER,
            password=PASSWORD,
        )
        assert "error 400" in totals.output
        server.wait_until(lambda: server.lines("request refused"))
        refused = server.lines("request refused")
        assert {(line["method"], line["code"]) for line in refused} == {("channel_bind", 400)}


@pytest.mark.skipif(IS_CABLED, reason="the peer is on another host")
def test_loopback_peers_are_refused_by_default_and_the_log_says_how_to_allow_them(
    tmp_path: Path, peer: Address
) -> None:
    with stun_server(tmp_path) as server:
        totals = uclient(
            server.address,
            *("-X", "-e", peer.host, "-r", str(peer.port)),
            username=USER,
            password=PASSWORD,
            time_limit=20.0,
        )
        assert totals.received_messages == 0
        server.wait_until(lambda: server.lines("peer refused"))
        refused = server.lines("peer refused")
        assert refused[0]["rule"] == "127.0.0.0/8 (loopback, RFC 1122)"
        assert refused[0]["to_allow"] == "--allow-peer 127.0.0.0/8"


def test_uclient_with_many_clients_loses_nothing(run: Run) -> None:
    totals = run("-c", "-m", "50", "-n", "50", "-l", "170", "-X")
    assert totals.is_complete, totals.output


def test_clients_that_connect_and_leave_at_once_leave_the_server_serving(
    server: StunServerProcess, run: Run
) -> None:
    totals = uclient(
        server.address,
        *("-O", "-y", "-c", "-m", "4"),
        username=USER,
        password=PASSWORD,
        time_limit=3.0,
    )
    assert totals.received_messages == 0, totals.output
    totals = run("-X")
    assert totals.is_complete, totals.output
