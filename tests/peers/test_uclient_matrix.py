"""What coturn's test client can ask for, over every transport and both families.

All rows run at the same time, each as a user of its own: by the user the server's log tells which
of its lines belong to which row, and so whether it did what was asked for.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from natkit.address import Address
from tests.certificates import Authority
from tests.conftest import Sized
from tests.peering.turnutils import Totals, uclient
from tests.peers.test_uclient import peer  # noqa: F401 - a fixture
from tests.stun_server.place import ALLOW_HERE, HERE, HERE_IPV6, HERE_OF, SERVER, SERVER_IPV6
from tests.stun_server.process import (
    PASSWORD,
    Line,
    StunServerProcess,
    stun_server,
)

pytestmark = pytest.mark.peer("coturn")

AT_ONCE = 8
TIME_LIMIT = 100.0
TRANSPORTS: dict[str, tuple[str, ...]] = {
    "udp": (),
    "tcp": ("-t",),
    "tls": ("-t", "-S"),
    "dtls": ("-S",),
}
HOSTS = (SERVER, SERVER_IPV6)
PEERS = (HERE, HERE_IPV6)


@dataclass(frozen=True, slots=True)
class Seen:
    """The server's lines about one user, by event."""

    lines: Mapping[str, list[Line]]

    def values(self, event: str, name: str) -> list[str]:
        """What the lines of an event have under a name."""
        return [str(line[name]) for line in self.lines[event] if name in line]

    def hosts(self, event: str, name: str) -> set[str]:
        """The same, of addresses with ports, the hosts alone."""
        return {Address.parse(value).host for value in self.values(event, name)}

    @property
    def refusals(self) -> set[tuple[str, str]]:
        """The methods and codes of requests that were refused."""
        return {(str(line["method"]), str(line["code"])) for line in self.lines["request refused"]}


@dataclass(frozen=True, slots=True)
class Row:
    """Flags of uclient, the host of its peer, and how the server's log shows what they ask for."""

    flags: tuple[str, ...]
    evidence: Callable[[Seen], bool]
    peer_host: str = HERE


def has_next_port(seen: Seen) -> bool:
    """RTP and RTCP: an even port, and the next one by its reservation token."""
    ports = {Address.parse(each).port for each in seen.values("allocation opened", "relayed")}
    return any(port % 2 == 0 and port + 1 in ports for port in ports)


def is_dual(host: str) -> Callable[[Seen], bool]:
    return lambda seen: (
        set(
            zip(
                seen.hosts("allocation opened", "relayed"),
                seen.hosts("allocation opened", "second"),
                strict=True,
            )
        )
        == {HOSTS}
        and seen.hosts("channel bound", "peer") == {host}
    )


ROWS = {
    "channels": Row(("-X",), lambda seen: bool(seen.lines["channel bound"])),
    "indications": Row(
        ("-s", "-X"),
        lambda seen: bool(seen.lines["peer permitted"]) and not seen.lines["channel bound"],
    ),
    "padded": Row(("-D", "-X"), lambda seen: bool(seen.lines["channel bound"])),
    "reserved port, Don't Fragment": Row(("-g", "-X"), has_next_port),
    "IPv6": Row(
        ("-x",), lambda seen: seen.hosts("allocation opened", "relayed") == {SERVER_IPV6}, HERE_IPV6
    ),
    "dual, peer on IPv4": Row(("-Z",), is_dual(HERE)),
    "dual, peer on IPv6": Row(("-Z",), is_dual(HERE_IPV6), HERE_IPV6),
    "relay to relay": Row(
        ("-y", "-c", "-m", "4", "-n", "20"),
        lambda seen: (
            set(seen.values("channel bound", "peer"))
            <= set(seen.values("allocation opened", "relayed"))
        ),
    ),
    "extra requests": Row(
        # Each of the clients draws a number of peers, of a family that it draws too.
        ("-G", "-X", "-m", "4"),
        lambda seen: (
            bool(set(seen.values("peer permitted", "peer")) - set(PEERS))
            or ("create_permission", "443") in seen.refusals
            # All rows together may have more refused in a second than is logged.
            or bool(seen.lines["refusals not logged"])
        ),
    ),
    "no permission but the channel's": Row(
        ("-I", "-X"),
        lambda seen: len(seen.lines["peer permitted"]) == len(seen.lines["channel bound"]) > 0,
    ),
    "BANDWIDTH": Row(("-a", "100000", "-X"), lambda seen: not seen.refusals),
    "ORIGIN": Row(("-o", "http://example.org", "-X"), lambda seen: not seen.refusals),
}


def user_of(row: str, transport: str, host: str) -> str:
    """The user that a run is."""
    return f"{list(ROWS).index(row)}-{transport}-{HOSTS.index(host)}"


def _runs() -> Iterator[object]:
    for number, row in enumerate(ROWS):
        for place, transport in enumerate(TRANSPORTS):
            for family, host in enumerate(HOSTS):
                # Of each row and transport one family; the other one in soak.
                marks = () if (number + place) % 2 == family else (pytest.mark.soak,)
                yield pytest.param(row, transport, host, marks=marks)


@dataclass(frozen=True, slots=True)
class Matrix:
    """The server, and the runs that are under way or done."""

    server: StunServerProcess
    runs: Mapping[str, Future[Totals]]

    def seen(self, user: str) -> Seen:
        """What the log has about a user so far."""
        opened = [line for line in self.server.lines("allocation opened") if line["user"] == user]
        sessions = {line["session"] for line in opened}
        clients = {line["client"] for line in opened}
        lines = {"allocation opened": opened}
        lines["refusals not logged"] = self.server.lines("refusals not logged")
        for event in ("peer permitted", "channel bound"):
            lines[event] = [
                line for line in self.server.lines(event) if line["session"] in sessions
            ]
        lines["request refused"] = [
            line for line in self.server.lines("request refused") if line["client"] in clients
        ]
        return Seen(lines)


@pytest.fixture(scope="module")
def matrix(
    tmp_path_factory: pytest.TempPathFactory,
    peer: Address,  # noqa: F811
    request: pytest.FixtureRequest,
) -> Iterator[Matrix]:
    """Everything that the selected tests ask for, started."""
    wanted = [
        (str(params["row"]), str(params["transport"]), str(params["host"]))
        for params in (
            item.callspec.params
            for item in request.session.items
            if isinstance(item, pytest.Function)
            and getattr(item.function, "__name__", "") == test_a_row_of_the_matrix.__name__
        )
    ]
    directory = tmp_path_factory.mktemp("stun-server")
    issued = Authority(directory).issue("localhost", *HOSTS)
    config = directory / "config.toml"
    config.write_text("[log]\nlevel = 'debug'\n")
    arguments = ["--config", str(config), *ALLOW_HERE]
    arguments += ["--certificate", str(issued.chain), "--key", str(issued.key)]
    for listen in ("", "tls:", "dtls:"):
        for host in (SERVER, f"[{SERVER_IPV6}]"):
            arguments += ["--listen", f"{listen}{host}:0"]
    for run in wanted:
        arguments += ["--user", f"{user_of(*run)}:{PASSWORD}"]
    with (
        stun_server(directory, *arguments) as server,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        yield Matrix(
            server, {user_of(*run): pool.submit(start, server, peer, *run) for run in wanted}
        )


def start(
    server: StunServerProcess,
    peer: Address,  # noqa: F811
    row: str,
    transport: str,
    host: str,
) -> Totals:
    """Run one row to its end."""
    flags = ROWS[row].flags
    if "-y" not in flags:
        flags = (*flags, "-e", ROWS[row].peer_host, "-r", str(peer.port))
    address = next(each for each in server.addresses(transport) if each.host == host)
    return uclient(
        address,
        *TRANSPORTS[transport],
        *flags,
        username=user_of(row, transport, host),
        password=PASSWORD,
        time_limit=TIME_LIMIT,
    )


@pytest.mark.parametrize(("row", "transport", "host"), list(_runs()))
def test_a_row_of_the_matrix(matrix: Matrix, row: str, transport: str, host: str) -> None:
    user = user_of(row, transport, host)
    totals = matrix.runs[user].result()
    assert totals.is_complete, totals.output
    seen = matrix.seen(user)
    assert set(seen.values("allocation opened", "transport")) == {transport}
    assert seen.hosts("allocation opened", "client") == {HERE_OF[host]}
    matrix.server.wait_until(lambda: ROWS[row].evidence(matrix.seen(user)))


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_data_with_dont_fragment_is_sent_so(
    tmp_path: Path,
    peer: Address,  # noqa: F811
    transport: str,
) -> None:
    with stun_server(tmp_path, *ALLOW_HERE) as server:
        totals = uclient(
            server.address,
            *(*TRANSPORTS[transport], "-s", "-g", "-X", "-e", peer.host, "-r", str(peer.port)),
            username="user",
            password=PASSWORD,
        )
        assert totals.is_complete, totals.output
    (stopped,) = server.lines("stopped")
    assert stopped["unfragmented_datagrams"] == totals.sent_messages


@pytest.mark.parametrize(
    "transport",
    ["dtls", "tls", *(pytest.param(each, marks=pytest.mark.soak) for each in ("tcp", "udp"))],
)
def test_clients_that_leave_whenever_they_like_leave_the_server_serving(
    tmp_path: Path, transport: str
) -> None:
    issued = Authority(tmp_path).issue("localhost", SERVER)
    arguments = ["--certificate", str(issued.chain), "--key", str(issued.key), *ALLOW_HERE]
    for listen in ("", "tls:", "dtls:"):
        arguments += ["--listen", f"{listen}{SERVER}:0"]
    with stun_server(tmp_path, *arguments) as server:
        (address,) = server.addresses(transport)
        flags = (*TRANSPORTS[transport], "-y", "-c")

        def run(*more: str, time_limit: float) -> Totals:
            return uclient(
                address, *flags, *more, username="user", password=PASSWORD, time_limit=time_limit
            )

        for way in ("-B", "-O"):
            run(way, "-m", "4", time_limit=3.0)
        assert server.lines("allocation opened")
        totals = run("-m", "2", time_limit=TIME_LIMIT)
        assert totals.is_complete, totals.output


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_many_messages_from_relay_to_relay_are_not_lost(
    tmp_path: Path, transport: str, sized: Sized
) -> None:
    with stun_server(tmp_path, *ALLOW_HERE) as server:
        count = sized(quick=20, full=1000)
        totals = uclient(
            server.address,
            *(*TRANSPORTS[transport], "-y", "-c", "-m", "10", "-n", str(count)),
            username="user",
            password=PASSWORD,
            time_limit=TIME_LIMIT,
        )
        assert totals.is_complete, totals.output
        assert totals.sent_messages == 10 * count
