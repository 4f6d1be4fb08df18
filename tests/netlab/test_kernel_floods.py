"""The plane in the kernel amid strangers' packets of every kind: calls that it relays go on.

They do while the configuration is read again, a worker is killed and the server drains.  What each
kind of flood by itself leaves of a server is in :mod:`tests.netlab.test_floods`.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import Sized
from tests.floods.measuring import tables_of
from tests.floods.raw_flood import KINDS
from tests.natkit.relay.cabled import IPV4, LISTENERS
from tests.netlab.relay_hosts import LISTEN, RELAY_CONFIG, RelayHosts, relay_hosts
from tests.netlab.relay_pair import Pair
from tests.netlab.test_floods import HALF_OF_BINDING_RATE, SOURCES, started
from tests.netlab.test_kernel_plane_alone import busy, until_more, worker_of
from tests.stun_server.process import LIMIT, StunServerProcess, stun_server
from tests.stun_server.test_workers import workers

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

CONFIG = f"""{RELAY_CONFIG}
[policy]
allow_peer = ["0.0.0.0/0", "::/0"]
"""
PAIRS = 4


@pytest.fixture(name="hosts")
def three_hosts() -> Iterator[RelayHosts]:
    """Answers to those who are not there end on the left."""
    with relay_hosts() as hosts:
        hosts.server.configure("route", "add", "11.0.0.0/8", "via", "10.1.0.2")
        yield hosts


@contextmanager
def flooded(hosts: RelayHosts, rate: int, seconds: float) -> Iterator[None]:
    """Meanwhile the listener has packets of all kinds, from forged sources."""
    target = f"{LISTENERS[IPV4]}:3478"
    sources = min(SOURCES, int(rate * seconds))
    arguments = (",".join(KINDS), target, str(sources), str(rate), str(seconds))
    with started(hosts.left, "tests.floods.raw_flood", *arguments) as flood:
        yield
        printed, complaint = flood.communicate(timeout=seconds + 2 * LIMIT)
    assert int(printed) > 0, complaint


@contextmanager
def serving(hosts: RelayHosts, directory: Path, count: int) -> Iterator[StunServerProcess]:
    config = directory / "config.toml"
    config.write_text(CONFIG)
    flags = ("--config", str(config), "--relay-plane", "kernel", *LISTEN)
    with stun_server(
        directory, *flags, "--workers", str(count), prefix=hosts.server.prefix
    ) as server:
        yield server


def test_calls_lose_nothing_amid_packets_of_every_kind_while_their_server_is_reloaded_and_drains(
    hosts: RelayHosts, tmp_path: Path, sized: Sized
) -> None:
    seconds = float(min(sized(quick=2, full=30), 30))
    rate = min(sized(quick=1_000, full=HALF_OF_BINDING_RATE), HALF_OF_BINDING_RATE)
    with serving(hosts, tmp_path, 1) as server, ExitStack() as stack:
        pairs = [Pair(hosts, stack, number) for number in range(PAIRS)]
        for pair in pairs:
            pair.exchange(b"first")
        tables = tables_of(server.process.pid)
        with busy(pairs) as rounds, flooded(hosts, rate, seconds):
            until_more(server, rounds)
            (tmp_path / "config.toml").write_text(f"{CONFIG}[limits]\nallocations = 90\n")
            server.process.send_signal(signal.SIGHUP)
            server.wait_until(lambda: server.lines("reloaded"))
            until_more(server, rounds)
            server.process.send_signal(signal.SIGTERM)
            server.wait_until(lambda: server.lines("draining"))
            until_more(server, rounds)
        # No table of the kernel's has an entry of a stranger's.
        assert tables_of(server.process.pid) == tables
        print(f"{rounds()} rounds of {PAIRS} calls")


@pytest.mark.soak
def test_calls_of_other_workers_lose_nothing_amid_them_while_one_worker_is_killed(
    hosts: RelayHosts, tmp_path: Path
) -> None:
    with serving(hosts, tmp_path, 2) as server, ExitStack() as stack:
        pairs = [Pair(hosts, stack, number) for number in range(3 * PAIRS)]
        server.wait_until(lambda: len(server.lines("allocation opened")) == len(pairs))
        victim = worker_of(server, pairs[0])
        others = [pair for pair in pairs if worker_of(server, pair) != victim]
        assert others
        for pair in pairs:
            pair.exchange(b"first")
        with busy(others) as rounds, flooded(hosts, HALF_OF_BINDING_RATE, 20.0):
            until_more(server, rounds)
            os.kill(workers(server)[victim], signal.SIGKILL)
            server.wait_until(lambda: server.lines("worker restarted"))
            until_more(server, rounds)
        print(f"{rounds()} rounds of {len(others)} calls")
