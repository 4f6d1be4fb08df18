"""What the plane in the kernel does while the processes that rule it stand still, die or change."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from natkit.relay.attaching import TOO_OLD_FOR_TC
from tests.natkit.relay.cabled import IPV4, LISTENERS
from tests.natkit.relay.hooks import programs_at_tc
from tests.netlab.relay_hosts import LISTEN, RELAY_CONFIG, RelayHosts, datagrams, relay_hosts
from tests.netlab.relay_pair import Pair, shorter_lives
from tests.stun_server.process import LIMIT, StunServerProcess, stun_server
from tests.stun_server.test_workers import workers

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

CONFIG = """
[policy]
allow_peer = ["0.0.0.0/0", "::/0"]
"""
BEFORE_LINUX_6_6 = (
    "import errno; from natkit.relay.libbpf import BpfError, Program; "
    "old = BpfError('tc: Invalid argument', errno.EINVAL); "
    "Program.attach_to_tc = lambda *_: (_ for _ in ()).throw(old); "
)
LIFETIME = 4.0
"""Seconds that channels and permissions live."""
PATIENCE = 0.5
ATTEMPTS = 5


@pytest.fixture(scope="module", name="hosts")
def three_hosts() -> Iterator[RelayHosts]:
    with relay_hosts() as hosts:
        yield hosts


@contextmanager
def serving(hosts: RelayHosts, directory: Path, *arguments: str) -> Iterator[StunServerProcess]:
    config = directory / "config.toml"
    config.write_text(RELAY_CONFIG + CONFIG)
    flags = ("--config", str(config), "--relay-plane", "kernel", *LISTEN, *arguments)
    with stun_server(directory, *flags, prefix=hosts.server.prefix) as server:
        yield server


def test_channels_and_permissions_die_at_their_time_though_the_server_is_stopped(
    hosts: RelayHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StunServerProcess, "prelude", shorter_lives(LIFETIME))
    with serving(hosts, tmp_path) as server, ExitStack() as stack:
        pair = Pair(hosts, stack, 0)
        pair.exchange(b"first")
        stack.callback(server.process.send_signal, signal.SIGCONT)
        for _ in range(ATTEMPTS):
            pair.bind()
            bound = time.monotonic()
            server.process.send_signal(signal.SIGSTOP)
            if pair.passes(PATIENCE):
                break
            # The machine stood still for as long as the channel lived.
            server.process.send_signal(signal.SIGCONT)
        else:
            raise AssertionError("nothing passes while the server is stopped")
        while pair.passes(PATIENCE):
            assert time.monotonic() < bound + LIMIT
        # Answers to the binding came a little after the time that it counts from.
        assert time.monotonic() - bound > LIFETIME - PATIENCE
        pair.throw_back(b"too late")
        server.process.send_signal(signal.SIGCONT)
        pair.bind()
        # Neither was kept for later.
        pair.exchange(b"alive again")


@pytest.mark.soak
def test_a_dead_workers_channels_are_dead_and_the_others_lose_nothing(
    hosts: RelayHosts, tmp_path: Path
) -> None:
    with serving(hosts, tmp_path, "--workers", "4") as server, ExitStack() as stack:
        pairs = [Pair(hosts, stack, number) for number in range(12)]
        server.wait_until(lambda: len(server.lines("allocation opened")) == len(pairs))
        victim = worker_of(server, pairs[0])
        dead = [pair for pair in pairs if worker_of(server, pair) == victim]
        others = [pair for pair in pairs if pair not in dead]
        for pair in pairs:
            pair.exchange(b"first")
        with busy(others) as rounds:
            os.kill(workers(server)[victim], signal.SIGKILL)
            server.wait_until(lambda: server.lines("worker restarted"))
            until_more(server, rounds)
        for pair in dead:
            pair.throw(b"of a dead worker")
            pair.throw_back(b"to a dead worker")
        for pair in others:
            pair.exchange(b"last")
        for pair in dead:
            for sock in (pair.peers[0], pair.client.socket):
                sock.setblocking(False)
                with pytest.raises((BlockingIOError, ConnectionRefusedError)):
                    sock.recv(2000)


@pytest.mark.tc
def test_a_second_server_on_the_same_interfaces_has_its_program_beside(
    hosts: RelayHosts, tmp_path: Path
) -> None:
    (tmp_path / "second").mkdir()
    flags = ("--listen", f"{LISTENERS[IPV4]}:3479", "--relay-plane", "kernel")
    with (
        serving(hosts, tmp_path),
        stun_server(tmp_path / "second", *flags, prefix=hosts.server.prefix) as second,
        ExitStack() as stack,
    ):
        (ready,) = second.lines("ready")
        assert ready["plane_reason"] == "clients tc"
        assert programs_at_tc(hosts.server, "clients") == 2
        # The second one has it first, and leaves to the first one's what is none of its own.
        pair = Pair(hosts, stack, 0)
        before = datagrams(hosts.server)
        pair.exchange(b"first")
        assert datagrams(hosts.server) == before


def test_where_tc_takes_no_such_program_a_server_has_the_others_and_says_so(
    hosts: RelayHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StunServerProcess, "prelude", BEFORE_LINUX_6_6)
    with serving(hosts, tmp_path, "--listen", "127.0.0.1:3478") as server, ExitStack() as stack:
        (ready,) = server.lines("ready")
        assert ready["plane_reason"] == (
            "clients generic, peers generic, not on lo: tc takes no such program before Linux 6.6"
        )
        Pair(hosts, stack, 0).exchange(b"by whichever plane")
        assert "another program of XDP runs there" in refused(hosts, tmp_path, LISTENERS[IPV4])
    assert f"lo: {TOO_OLD_FOR_TC}" in refused(hosts, tmp_path, "127.0.0.1")


def refused(hosts: RelayHosts, directory: Path, host: str) -> str:
    """What a server says that cannot have its program there."""
    flags = ("--listen", f"{host}:3479", "--relay-plane", "kernel")
    place = directory / host
    place.mkdir()
    state = ("--data-dir", str(place / "state"))
    return StunServerProcess(place, *state, *flags, prefix=hosts.server.prefix).refusal()


@pytest.mark.parametrize("count", ["1", pytest.param("2", marks=pytest.mark.soak)])
def test_a_reload_and_a_drain_lose_nothing_that_the_kernel_relays(
    hosts: RelayHosts, tmp_path: Path, count: str
) -> None:
    with serving(hosts, tmp_path, "--workers", count) as server, ExitStack() as stack:
        pairs = [Pair(hosts, stack, number) for number in range(6)]
        for pair in pairs:
            pair.exchange(b"first")
        before = datagrams(hosts.server)
        with busy(pairs) as rounds:
            config = tmp_path / "config.toml"
            config.write_text(f"{RELAY_CONFIG}{CONFIG}[limits]\nallocations_per_user = 90\n")
            server.process.send_signal(signal.SIGHUP)
            processes = int(count) + (count != "1")
            server.wait_until(lambda: len(server.lines("reloaded")) == processes)
            until_more(server, rounds)
            server.process.send_signal(signal.SIGTERM)
            server.wait_until(lambda: server.lines("draining"))
            until_more(server, rounds)
        assert rounds() > 0
        assert datagrams(hosts.server) == before
        assert hosts.runs_program


def worker_of(server: StunServerProcess, pair: Pair) -> int:
    """Which worker has its allocation."""
    host, port = pair.client.socket.getsockname()[:2]
    opened = {line["client"]: line["worker"] for line in server.lines("allocation opened")}
    worker = opened[f"{host}:{port}"]
    assert isinstance(worker, int)
    return worker


@contextmanager
def busy(pairs: list[Pair]) -> Iterator[Callable[[], int]]:
    """Data goes round meanwhile, of which nothing may be lost; gives how often it has."""
    done, failures, over = [0], list[BaseException](), threading.Event()

    def run() -> None:
        try:
            while not over.is_set():
                for pair in pairs:
                    pair.exchange(done[0].to_bytes(8, "big"))
                done[0] += 1
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            failures.append(error)

    def rounds() -> int:
        assert not failures, failures
        return done[0]

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield rounds
    finally:
        over.set()
        thread.join()
    assert not failures, failures


def until_more(server: StunServerProcess, rounds: Callable[[], int]) -> None:
    """Until data has gone round once more, at least."""
    before = rounds()
    server.wait_until(lambda: rounds() > before + 1)
