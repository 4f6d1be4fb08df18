"""A flood of Allocates with forged sources, in a network of namespaces, and users beside it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Sized
from tests.floods.legal import SETTLED, Outcome
from tests.netlab.namespaces import Host, Lab
from tests.netlab.world import CLIENT, SERVER, client_and_server
from tests.stun_server.process import LIMIT, PASSWORD, USER, StunServerProcess

pytestmark = pytest.mark.netns

SOURCES = 60_000
PEERS = "198.51.100.0/24"
# A server that keeps nothing of strangers grows by what its interpreter holds back at most.
GROWTH = 24 << 20


def resident(server: StunServerProcess) -> int:
    """Bytes of memory in use by the server alone."""
    # `ip netns exec` became the server.
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in text.splitlines() if "VmRSS" in line))


def start(host: Host, module: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [*host.prefix, sys.executable, "-m", module, *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_users_are_served_beside_a_flood_from_60000_forged_sources(
    lab: Lab, tmp_path: Path, sized: Sized
) -> None:
    """In soak for a minute, at half of what one core answers of Binding requests."""
    seconds = float(min(sized(quick=3, full=60), 60))
    rate = min(sized(quick=2_000, full=80_000), 80_000)
    there = client_and_server(lab)
    flooder = lab.host("flooder")
    lab.cable((flooder, "eth0", "192.0.2.2/24"), (there.server, "eth1", "192.0.2.1/24"))
    # Answers go back to where the flood comes from, and end there.
    flooder.configure("route", "add", "198.51.100.0/24", "via", "192.0.2.1")
    there.server.configure("route", "add", "11.0.0.0/8", "via", "192.0.2.2")
    listen = ("--listen", f"udp:{SERVER}:3478", "--allow-peer", PEERS)
    with there.serve(tmp_path, *listen) as server:
        uri = f"turn:{SERVER}:3478"
        lasting = str(seconds + 1.0)
        legal = start(there.client, "tests.floods.legal", uri, USER, PASSWORD, CLIENT, lasting)
        flood = None
        try:
            assert legal.stdout is not None
            assert legal.stdout.readline() == "ready\n", legal.communicate(timeout=LIMIT)
            before = resident(server)
            arguments = (SERVER, "3478", str(SOURCES), str(rate), str(seconds))
            flood = start(flooder, "tests.floods.raw_flood", *arguments)
            sent, complaint = flood.communicate(timeout=seconds + 2 * LIMIT)
            output, trouble = legal.communicate(timeout=SETTLED + 2 * LIMIT)
        finally:
            for process in (legal, flood):
                if process is not None and process.poll() is None:
                    process.kill()
                    process.wait()
        grown = resident(server) - before
    outcome = Outcome(**json.loads(output))
    print(f"{int(sent)} packets of {SOURCES} sources, {grown} bytes grown, {outcome}")
    assert int(sent) > 0.3 * rate * seconds, complaint
    assert outcome.is_kept, (outcome, trouble)
    assert grown < GROWTH
    (stopped,) = server.lines("stopped")
    assert "requests_refused_with_508" not in stopped
