"""Floods in a network of namespaces, and users beside them.

Datagrams with forged sources, and one user who takes all that a user may have.  In soak each lasts
a minute, at half of what one core answers of Binding requests, from a processor of its own.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.conftest import Sized
from tests.floods.legal import SETTLED, Outcome
from tests.floods.measuring import Memory, apart
from tests.netlab.namespaces import Host, Lab
from tests.netlab.world import CLIENT, SERVER, ClientAndServer, client_and_server
from tests.stun_server.process import LIMIT, PASSWORD, USER

pytestmark = pytest.mark.netns

SOURCES = 60_000
HALF_OF_BINDING_RATE = 136_000
"""Packets a second; see "Binding, 64 clients" in docs/benchmarks.md."""

FLOODER = "192.0.2.2"
GREEDY = "greedy"
PEERS = "198.51.100.0/24"
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
            (self.flooder, "eth0", f"{FLOODER}/24"), (self.there.server, "eth1", "192.0.2.1/24")
        )
        # Answers go back to where the flood comes from, and end there.
        self.flooder.configure("route", "add", "198.51.100.0/24", "via", "192.0.2.1")
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


@pytest.mark.parametrize(
    "kind",
    [
        "allocates",
        pytest.param("dtls-hellos", marks=pytest.mark.soak),
        pytest.param("lengths", marks=pytest.mark.soak),
    ],
)
def test_users_are_served_beside_a_flood_from_60000_forged_sources(
    lab: Lab, tmp_path: Path, sized: Sized, kind: str
) -> None:
    seconds = float(min(sized(quick=3, full=60), 60))
    rate = min(sized(quick=2_000, full=HALF_OF_BINDING_RATE), HALF_OF_BINDING_RATE)
    beside = Beside(lab)
    issued = Authority(tmp_path).issue(SERVER)
    listen = ("--listen", f"udp:{SERVER}:3478", "--listen", f"dtls:{SERVER}:5349")
    options = (
        *listen,
        "--certificate",
        str(issued.chain),
        "--key",
        str(issued.key),
        "--allow-peer",
        PEERS,
    )
    with ExitStack() as stack:
        server = stack.enter_context(beside.there.serve(tmp_path, *options))
        # `ip netns exec` became the server.
        stack.enter_context(apart(server.process.pid))
        legal = stack.enter_context(beside.users(seconds + 1.0))
        memory = Memory(server.process.pid)
        target = f"{SERVER}:{5349 if kind == 'dtls-hellos' else 3478}"
        arguments = (kind, target, str(SOURCES), str(rate), str(seconds))
        flood = stack.enter_context(started(beside.flooder, "tests.floods.raw_flood", *arguments))
        printed, complaint = flood.communicate(timeout=seconds + 2 * LIMIT)
        outcome = outcome_of(legal)
        most, left = memory.most, memory.grown
    print(f"{kind}: {int(printed)} packets, {most} bytes grown, {left} in the end, {outcome}")
    assert int(printed) > 0.3 * rate * seconds, complaint
    assert outcome.is_kept, outcome
    assert most < GROWTH
    (stopped,) = server.lines("stopped")
    assert "requests_refused_with_508" not in stopped


def test_users_are_served_beside_one_who_takes_all_that_a_user_may_have(
    lab: Lab, tmp_path: Path, sized: Sized
) -> None:
    """The same allocations are asked for again and again, and refreshed, with the right key."""
    seconds = float(min(sized(quick=3, full=60), 60))
    rate = min(sized(quick=2_000, full=HALF_OF_BINDING_RATE), HALF_OF_BINDING_RATE)
    allowed = min(sized(quick=100, full=5_000), 5_000)
    config = tmp_path / "config.toml"
    config.write_text(f"[limits]\nallocations_per_user = {allowed}\n")
    sockets = allowed * 11 // 10
    beside = Beside(lab)
    with ExitStack() as stack:
        options = ("--config", str(config), "--listen", f"udp:{SERVER}:3478")
        users = ("--user", f"{GREEDY}:{PASSWORD}", "--allow-peer", PEERS)
        server = stack.enter_context(beside.there.serve(tmp_path, *options, *users))
        stack.enter_context(apart(server.process.pid))
        memory = Memory(server.process.pid)
        module, target = "tests.floods.greedy", f"{SERVER}:3478"
        arguments = (FLOODER, target, GREEDY, PASSWORD, str(sockets), str(rate), str(seconds))
        flood = stack.enter_context(started(beside.flooder, module, *arguments))
        assert read_line(flood) == f"{allowed}\n", flood.communicate(timeout=LIMIT)
        legal = stack.enter_context(beside.users(seconds))
        printed, complaint = flood.communicate(timeout=seconds + 2 * LIMIT)
        outcome = outcome_of(legal)
        most = memory.most
    print(f"{int(printed)} requests, {most} bytes grown, {outcome}")
    assert int(printed) > 0.3 * rate * seconds, complaint
    assert outcome.is_kept, outcome
    assert most < GROWTH + allowed * GROWTH_PER_ALLOCATION
