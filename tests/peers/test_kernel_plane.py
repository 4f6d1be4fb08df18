"""``stun-server`` with its relay plane in the kernel, and coturn's client and peer around it.

Each is on a host of its own, at the end of a virtual cable that is as the system makes it.
"""

import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.relay.kernel_ability import CAPABILITIES
from stun_server.shell.planes import ON_LOOPBACK
from tests.natkit.relay.cabled import CLIENTS, IPV4, IPV6, LISTENERS, PEERS, RELAYS
from tests.natkit.relay.hooks import runs_program
from tests.natkit.relay.kernel_modes import ON_CABLES
from tests.netlab.namespaces import Host, lab, run
from tests.netlab.relay_hosts import (
    LISTEN,
    ON_BOTH,
    RELAY_CONFIG,
    RelayHosts,
    datagrams,
    relay_hosts,
)
from tests.peering.process import PeerProcess
from tests.peering.roster import program_path
from tests.peering.turnutils import Totals, uclient
from tests.stun_server.process import PASSWORD, USER, Line, StunServerProcess, stun_server
from tests.stun_server.test_operating import command, state

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf"), pytest.mark.peer("coturn")]

PEER_PORT = 3480
PEER_PROGRAM = program_path("turnutils_peer") or ""
SESSIONS = 4
BRIEFLY = ("-m", str(SESSIONS), "-n", "50", "-z", "2")
# All of these that come to one listener find room at its socket, however long the server that has
# to check them waits for a processor.
FEW = (*BRIEFLY, "-n", "15")
CONFIG = f"""{RELAY_CONFIG}
relay_plane = "kernel"
[policy]
allow_peer = ["0.0.0.0/0", "::/0"]
[limits]
bandwidth_per_user = 2_000_000
bandwidth = 4_000_000
"""


@pytest.fixture(scope="module", name="hosts")
def three_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayHosts]:
    """With coturn's peer on the right."""
    with relay_hosts() as hosts:
        words = [*hosts.right.prefix, PEER_PROGRAM, "-p", str(PEER_PORT)]
        words += [part for each in PEERS.values() for part in ("-L", each[0])]
        peer = PeerProcess("turnutils_peer", words, tmp_path_factory.mktemp("peer"))
        try:
            yield hosts
        finally:
            peer.stop()


def flags(directory: Path) -> tuple[str, ...]:
    config = directory / "config.toml"
    config.write_text(CONFIG)
    return ("--config", str(config), "--relay-plane", "kernel", *LISTEN)


def relay(hosts: RelayHosts, *arguments: str, client: str = "ipv4", peer: str = "ipv4") -> Totals:
    """What coturn's client sent to its peer and had back."""
    families = {"ipv4": IPV4, "ipv6": IPV6}
    there = LISTENERS[families[client]], PEERS[families[peer]][0]
    return run_uclient(hosts.left, *there, *arguments)


def run_uclient(host: Host, server: str, peer: str, *arguments: str) -> Totals:
    """The same, of one on that host."""
    totals = uclient(
        Address(server, 3478),
        *("-e", peer, "-r", str(PEER_PORT)),
        *(("-x",) if ":" in peer else ()),
        *(arguments or (*BRIEFLY, "-c")),
        username=USER,
        password=PASSWORD,
        prefix=host.prefix,
    )
    assert totals.is_complete, totals.output
    return totals


FAMILIES = [("ipv4", "ipv4"), ("ipv4", "ipv6"), ("ipv6", "ipv4"), ("ipv6", "ipv6")]


def test_the_kernel_relays_between_coturns_client_and_its_peer(
    hosts: RelayHosts, tmp_path: Path
) -> None:
    with (
        stun_server(tmp_path, *flags(tmp_path), prefix=hosts.server.prefix) as server,
        ThreadPoolExecutor(2 * len(FAMILIES)) as pool,
    ):
        (ready,) = server.lines("ready")
        assert ready["plane"] == "kernel"
        assert ready["plane_reason"] == f"clients {ON_CABLES}, peers {ON_CABLES}"
        assert hosts.runs_program
        before = datagrams(hosts.server)
        runs = [
            pool.submit(relay, hosts, *how, client=client, peer=peer)
            for client, peer in FAMILIES
            for how in ((*BRIEFLY, "-c"), (*FEW, "-c", "-s"))
        ]
        channels = [run.result() for run in runs[::2]]
        indications = [run.result() for run in runs[1::2]]
        sent = sum(each.sent_messages for each in channels + indications)
        by_send = sum(each.sent_messages for each in indications)
        # Of twice as many, both ways, the system had requests to deliver, and Send indications:
        # coturn gives them a FINGERPRINT, which is the machine's to check.
        assert datagrams(hosts.server) - before < by_send + sent / 2
        server.wait_until(lambda: len(server.lines("allocation closed")) == SESSIONS * len(runs))
        closed = server.lines("allocation closed")
        assert sum(_number(line, "to_peers") for line in closed) == sent - by_send
        assert sum(_number(line, "to_clients") for line in closed) == sent
    assert not hosts.runs_program


def test_workers_share_the_tables_and_what_is_killed_leaves_nothing_behind(
    hosts: RelayHosts, tmp_path: Path
) -> None:
    with killed(hosts, tmp_path, "--workers", "2") as server:
        (ready,) = server.lines("ready")
        assert ready["plane"] == "kernel"
        before = datagrams(hosts.server)
        totals = relay(hosts, *BRIEFLY, "-c")
        assert datagrams(hosts.server) - before < totals.sent_messages / 2
        opened = server.lines("allocation opened")
        assert {line["worker"] for line in opened} == {0, 1}
        os.kill(_children(server)[1], signal.SIGKILL)
        server.wait_until(lambda: server.lines("worker restarted"))
        # Its successor has its numbers, and both count from nothing.  An interface that is gone and
        # comes back has the program again, of which all workers hear.
        hosts.server.configure("link", "delete", "clients")
        server.wait_until(lambda: _last_reason(server) == f"peers {ON_CABLES}")
        hosts.lay_clients()
        server.wait_until(lambda: _last_reason(server) == f"peers {ON_CABLES}, clients {ON_CABLES}")
        status = command("status", "--json", *state(tmp_path))
        assert json.loads(status.stdout)["status"]["plane_reason"] == _last_reason(server)
        before = datagrams(hosts.server)
        totals = relay(hosts, *BRIEFLY, "-c")
        assert datagrams(hosts.server) - before < totals.sent_messages / 2
        assert hosts.runs_program
    # The workers end when they see it; what they have of the tables attaches nothing.
    assert not hosts.runs_program


def test_three_capabilities_and_two_settings_are_enough(hosts: RelayHosts, tmp_path: Path) -> None:
    for family in ("ipv4", "ipv6"):
        setting = f"/proc/sys/net/{family}/conf/lo/forwarding"
        run(hosts.server, "tee", setting, text="1")
    program = program_path("setpriv")
    assert program is not None
    # As systemd starts a service with AmbientCapabilities=.  To the kernel root is nobody special
    # then, and the interpreter may be where nobody else finds it.
    few = "-all," + ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in CAPABILITIES)
    sets = ("--bounding-set", "--inh-caps", "--ambient-caps")
    limits = (
        "--securebits=+noroot",
        "--no-new-privs",
        *(part for each in sets for part in (each, few)),
    )
    prefix = (*hosts.server.prefix, program, *limits)
    with stun_server(tmp_path, *flags(tmp_path), "--workers", "2", prefix=prefix) as server:
        worker = _children(server)[0]
        held = re.findall(r"Cap(?:Eff|Amb):\t(\w+)", Path(f"/proc/{worker}/status").read_text())
        assert {int(each, 16) for each in held} == {
            sum(1 << each for each in CAPABILITIES.values())
        }
        before = datagrams(hosts.server)
        totals = relay(hosts, *BRIEFLY, "-c")
        assert datagrams(hosts.server) - before < totals.sent_messages / 2
        (ready,) = server.lines("ready")
        assert ready["plane"] == "kernel"


def test_a_service_address_on_lo_is_relayed_for_where_routes_lead_out(
    hosts: RelayHosts, tmp_path: Path
) -> None:
    """As many machines have the same one, and routers know the way to each."""
    service = "192.0.2.1"
    routers = {"clients": (hosts.left, CLIENTS[IPV4][0]), "peers": (hosts.right, PEERS[IPV4][0])}
    hosts.server.configure("address", "add", f"{service}/32", "dev", "lo")
    hops = [word for each in routers.values() for word in ("nexthop", "via", each[1])]
    hosts.server.configure("route", "add", "default", *hops)
    for (host, _), back in zip(routers.values(), (LISTENERS, RELAYS), strict=True):
        host.configure("route", "add", service, "via", back[IPV4])
    listen = ("--listen", f"{service}:3478", "--allow-peer", "10.2.0.0/24")
    auto = (*listen, "--relay-plane", "auto")
    with stun_server(tmp_path, *auto, prefix=hosts.server.prefix) as server:
        (ready,) = server.lines("ready")
        assert ready["plane"] == "kernel"
        assert set(str(ready["plane_reason"]).split(", ")) == ON_BOTH
        before = datagrams(hosts.server)
        totals = run_uclient(hosts.left, service, PEERS[IPV4][0])
        assert datagrams(hosts.server) - before < totals.sent_messages / 2


@pytest.mark.tc
def test_loopback_is_relayed_on_where_the_kernel_is_asked_for_by_name(tmp_path: Path) -> None:
    own = ("127.0.0.1", "::1")
    listen = [word for each in own for word in ("--listen", str(Address(each, 3478)))]
    listen += ["--allow-peer", "127.0.0.1/32", "--allow-peer", "::1/128", "--relay-plane"]
    with lab() as made:
        alone = made.host("alone")
        words = [*alone.prefix, PEER_PROGRAM, "-p", str(PEER_PORT)]
        words += [word for each in own for word in ("-L", each)]
        peer = PeerProcess("turnutils_peer", words, tmp_path)
        made.at_the_end(peer.stop)
        with stun_server(tmp_path, *listen, "auto", prefix=alone.prefix) as server:
            (ready,) = server.lines("ready")
            assert (ready["plane"], ready["plane_reason"]) == ("userspace", ON_LOOPBACK)
            assert not runs_program(alone, "lo")
        with stun_server(tmp_path, *listen, "kernel", prefix=alone.prefix) as server:
            (ready,) = server.lines("ready")
            assert (ready["plane"], ready["plane_reason"]) == ("kernel", "lo tc")
            assert runs_program(alone, "lo")
            before = datagrams(alone)
            sent = sum(run_uclient(alone, each, each).sent_messages for each in own)
            # The client and the peer are here, too, and hear each message; the server does not.
            assert datagrams(alone) - before < 3 * sent
        assert not runs_program(alone, "lo")


@contextmanager
def killed(hosts: RelayHosts, directory: Path, *arguments: str) -> Iterator[StunServerProcess]:
    """A server that is ready, and ends by SIGKILL."""
    account = ("--user", f"{USER}:{PASSWORD}", "--data-dir", str(directory / "state"))
    server = StunServerProcess(
        directory,
        *(*account, "--log-json", *flags(directory), *arguments),
        prefix=hosts.server.prefix,
    )
    try:
        server.wait_until(lambda: server.lines("ready"))
        yield server
    finally:
        server.kill()


def _children(server: StunServerProcess) -> list[int]:
    process = server.process.pid
    return [
        int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


def _last_reason(server: StunServerProcess) -> object:
    """Where the program runs, as the log had it last."""
    told = server.lines("relay plane")
    return told[-1]["plane_reason"] if told else ""


def _number(line: Line, name: str) -> int:
    number = line[name]
    assert isinstance(number, int)
    return number
