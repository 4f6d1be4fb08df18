"""Floods in a network of namespaces, and users beside them, whichever plane relays.

Datagrams with forged sources, and one user who takes all that a user may have.  In soak each lasts
a minute, at half of what one core answers of Binding requests, from a processor of its own.  What
the kernel's plane treats by itself, its server never sees, and users lose nothing beside it.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.conftest import Sized
from tests.floods.legal import SETTLED, Outcome
from tests.floods.measuring import Memory, apart, tables_of
from tests.netlab.namespaces import Host, Lab
from tests.netlab.relay_hosts import datagrams
from tests.netlab.world import CLIENT, SERVER, ClientAndServer, client_and_server
from tests.stun_server.process import LIMIT, PASSWORD, PLANE, USER

pytestmark = pytest.mark.netns

SOURCES = 60_000
HALF_OF_BINDING_RATE = 136_000
"""Packets a second; see "Binding, 64 clients" in docs/benchmarks.md."""

FLOODER = "192.0.2.2"
GATEWAY = "192.0.2.1"
GREEDY = "greedy"
PEERS = "198.51.100.0/24"
LISTEN = ("--listen", f"udp:{SERVER}:3478", "--listen", f"udp:{GATEWAY}:3478")
"""On either cable, so that the kernel's plane runs there."""
# A server that keeps nothing of strangers grows by what its interpreter holds back at most.
GROWTH = 24 << 20
# And for each allocation, see docs/benchmarks.md.
GROWTH_PER_ALLOCATION = 16 << 10


class Beside:
    """Users of a server who are served, or not, beside what a flooder sends."""

    def __init__(self, lab: Lab) -> None:
        self.there: ClientAndServer = client_and_server(lab)
        self.flooder = lab.host("flooder")
        lab.cable(
            (self.flooder, "eth0", f"{FLOODER}/24"), (self.there.server, "eth1", f"{GATEWAY}/24")
        )
        # Answers go back to where the flood comes from, and end there.
        self.flooder.configure("route", "add", "198.51.100.0/24", "via", GATEWAY)
        self.there.server.configure("route", "add", "11.0.0.0/8", "via", FLOODER)

    @contextmanager
    def users(self, seconds: float) -> Iterator["subprocess.Popen[str]"]:
        """They are served for so long; the first one is, once this begins."""
        uri = f"turn:{SERVER}:3478"
        module = "tests.floods.legal"
        arguments = (uri, USER, PASSWORD, CLIENT, str(seconds))
        with started(self.there.client, module, *arguments) as legal:
            assert read_line(legal) == "ready\n", legal.communicate(timeout=LIMIT)
            yield legal


@contextmanager
def started(host: Host, module: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [*host.prefix, sys.executable, "-m", module, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def read_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def outcome_of(legal: "subprocess.Popen[str]") -> Outcome:
    output, trouble = legal.communicate(timeout=SETTLED + 2 * LIMIT)
    assert output, trouble
    return Outcome(**json.loads(output))


@dataclass(frozen=True, slots=True)
class Flood:
    """What strangers send: kinds of :mod:`tests.floods.raw_flood`."""

    kinds: str
    to_port: int | None = 3478
    """Of the server's; None: to the relayed address of a user."""
    is_the_kernels: bool = False
    """The kernel's plane treats all of it, where that one relays."""


FLOODS = (
    Flood("allocates"),
    Flood("dtls-hellos", to_port=5349),
    Flood("lengths"),
    Flood("udp-lengths"),
    Flood("fragments"),
    Flood("send-indications"),
    Flood("bindings", is_the_kernels=True),
    Flood("bindings-of-few", is_the_kernels=True),
    Flood("bindings-of-neighbours"),
    Flood("channel-data", is_the_kernels=True),
    Flood("peers", to_port=None, is_the_kernels=True),
)


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(each, id=each.kinds, marks=() if each is FLOODS[0] else pytest.mark.soak)
        for each in FLOODS
    ],
)
def test_users_are_served_beside_a_flood_from_60000_forged_sources(
    lab: Lab, tmp_path: Path, sized: Sized, flood: Flood
) -> None:
    seconds = float(min(sized(quick=3, full=60), 60))
    rate = min(sized(quick=2_000, full=HALF_OF_BINDING_RATE), HALF_OF_BINDING_RATE)
    beside = Beside(lab)
    issued = Authority(tmp_path).issue(SERVER)
    secure = ("--listen", f"dtls:{SERVER}:5349")
    certificate = ("--certificate", str(issued.chain), "--key", str(issued.key))
    options = (*LISTEN, *secure, *certificate, "--allow-peer", PEERS)
    with ExitStack() as stack:
        server = stack.enter_context(beside.there.serve(tmp_path, *options))
        # `ip netns exec` became the server.
        stack.enter_context(apart(server.process.pid))
        tables = tables_of(server.process.pid)
        legal = stack.enter_context(beside.users(seconds + 1.0))
        memory = Memory(server.process.pid)
        heard = datagrams(beside.there.server)
        relayed = server.lines("allocation opened")[0]["relayed"]
        target = relayed if flood.to_port is None else f"{SERVER}:{flood.to_port}"
        arguments = (flood.kinds, str(target), str(SOURCES), str(rate), str(seconds))
        sending = stack.enter_context(started(beside.flooder, "tests.floods.raw_flood", *arguments))
        printed, complaint = sending.communicate(timeout=seconds + 2 * LIMIT)
        outcome = outcome_of(legal)
        heard = datagrams(beside.there.server) - heard
        most, left = memory.most, memory.grown
        tables_then = tables_of(server.process.pid)
    print(
        f"{PLANE}, {flood.kinds}: {int(printed)} packets, {heard} heard,"
        f" {most} bytes grown, {left} in the end, {outcome}"
    )
    assert int(printed) > 0.3 * rate * seconds, complaint
    assert outcome.is_kept, outcome
    assert most < GROWTH
    # No table of the kernel's has an entry of a stranger's.
    assert tables_then == tables
    (stopped,) = server.lines("stopped")
    print(stopped)
    assert "requests_refused_with_508" not in stopped
    if PLANE == "kernel" and flood.is_the_kernels:
        assert outcome.received == outcome.sent
        assert heard < 0.1 * int(printed) + outcome.sent


@pytest.mark.parametrize(
    "kind",
    [
        "requests",
        pytest.param("channel-data", marks=pytest.mark.soak),
        pytest.param("send-indications", marks=pytest.mark.soak),
    ],
)
def test_users_are_served_beside_one_who_takes_all_that_a_user_may_have(
    lab: Lab, tmp_path: Path, sized: Sized, kind: str
) -> None:
    """From all its allocations it asks and refreshes again and again, or sends what is dropped."""
    seconds = float(min(sized(quick=3, full=60), 60))
    rate = min(sized(quick=2_000, full=HALF_OF_BINDING_RATE), HALF_OF_BINDING_RATE)
    allowed = min(sized(quick=100, full=5_000), 5_000)
    config = tmp_path / "config.toml"
    config.write_text(f"[limits]\nallocations_per_user = {allowed}\n")
    sockets = allowed * 11 // 10
    beside = Beside(lab)
    with ExitStack() as stack:
        users = ("--user", f"{GREEDY}:{PASSWORD}", "--allow-peer", PEERS)
        server = stack.enter_context(
            beside.there.serve(tmp_path, "--config", str(config), *LISTEN, *users)
        )
        stack.enter_context(apart(server.process.pid))
        memory = Memory(server.process.pid)
        module, target = "tests.floods.greedy", f"{SERVER}:3478"
        arguments = (kind, FLOODER, target, GREEDY, PASSWORD, str(sockets), str(rate), str(seconds))
        flood = stack.enter_context(started(beside.flooder, module, *arguments))
        assert read_line(flood) == f"{allowed}\n", flood.communicate(timeout=LIMIT)
        legal = stack.enter_context(beside.users(seconds))
        heard = datagrams(beside.there.server)
        printed, complaint = flood.communicate(timeout=seconds + 2 * LIMIT)
        outcome = outcome_of(legal)
        heard = datagrams(beside.there.server) - heard
        most = memory.most
    print(
        f"{PLANE}, {kind} of a user: {int(printed)} messages, {heard} heard,"
        f" {most} bytes grown, {outcome}"
    )
    assert int(printed) > 0.3 * rate * seconds, complaint
    assert outcome.is_kept, outcome
    assert most < GROWTH + allowed * GROWTH_PER_ALLOCATION
