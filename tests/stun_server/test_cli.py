"""The command ``stun-server`` as its users run it: a process, its flags, its signals, its words."""

import json
import os
import resource
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from natkit import __version__
from natkit.address import Address
from natkit.aio.stun import binding
from natkit.aio.turn import allocate
from natkit.cli.entry import run
from natkit.errors import ErrorResponse, UnreachableError
from natkit.net.interfaces import expand_wildcard
from natkit.stun.attributes import (
    Nonce,
    PasswordAlgorithm,
    PasswordAlgorithms,
    Realm,
    RequestedTransport,
    Username,
)
from natkit.stun.credentials import long_term_key
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import Integrity, MessageClass, Method, PasswordAlgorithmNumber
from stun_server.shell.commands import app
from tests.stun_server.place import ALLOW_HERE
from tests.stun_server.process import (
    LIMIT,
    PASSWORD,
    USER,
    StunServerProcess,
    stun_server,
)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[type["Launch"]]:
    """Start processes in this test's directory; what still runs at its end is killed."""
    Launch.directory = tmp_path
    Launch.started = []
    yield Launch
    for each in Launch.started:
        each.kill()


class Launch(StunServerProcess):
    """A process that may also fail to start."""

    directory: Path
    started: list["Launch"]

    def __init__(self, *arguments: str, **environment: str) -> None:
        directory = self.directory / f"run{len(self.started)}"
        directory.mkdir()
        home = {"HOME": str(self.directory), "NO_COLOR": "1"}
        kept = {name: value for name, value in os.environ.items() if name not in _STATE_VARIABLES}
        super().__init__(directory, *arguments, env={**kept, **home, **environment})
        self.started.append(self)


_STATE_VARIABLES = ("STATE_DIRECTORY", "XDG_STATE_HOME")


# ── starting and stopping ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_clean_stop(launch: type[Launch], number: signal.Signals) -> None:
    server = launch("--listen", "127.0.0.1:0", "--log-json")
    server.wait_until(lambda: server.lines("ready"))
    assert server.stop(number) == 0
    assert [line["event"] for line in map(json.loads, server.log.splitlines())][-1] == "stopped"


async def test_sigterm_lets_allocations_end_and_refuses_new_ones(launch: type[Launch]) -> None:
    server = launch("--listen", "127.0.0.1:0", "--user", f"{USER}:{PASSWORD}", "--log-json")
    server.wait_until(lambda: server.lines("ready"))
    uri = f"turn:{server.address}?transport=udp"
    async with allocate(uri, username=USER, password=PASSWORD):
        server.process.send_signal(signal.SIGTERM)
        server.wait_until(lambda: server.lines("draining"))
        with pytest.raises(ErrorResponse) as refused:
            async with allocate(uri, username=USER, password=PASSWORD):
                pass
        assert refused.value.code == 508
    assert server.process.wait(LIMIT) == 0
    assert server.lines("drained")


async def test_a_second_sigterm_ends_at_once(launch: type[Launch]) -> None:
    server = launch("--listen", "127.0.0.1:0", "--user", f"{USER}:{PASSWORD}", "--log-json")
    server.wait_until(lambda: server.lines("ready"))
    uri = f"turn:{server.address}?transport=tcp"
    # The connection ends below the client.
    with suppress(UnreachableError):
        async with allocate(uri, username=USER, password=PASSWORD):
            for _ in range(2):
                server.process.send_signal(signal.SIGTERM)
                server.wait_until(lambda: server.lines("draining"))
            assert server.process.wait(LIMIT) == 0
    assert not server.lines("drained")


def test_port_0_is_one_port_for_udp_and_tcp_and_is_printed(tmp_path: Path) -> None:
    with stun_server(tmp_path) as server:
        (udp,), (tcp,) = server.addresses("udp"), server.addresses("tcp")
        assert udp == tcp
        assert udp.port != 0


def test_a_prefix_chooses_the_transport(tmp_path: Path) -> None:
    listen = ("--listen", "udp:127.0.0.1:0", "--listen", "tcp:[::1]:0")
    with stun_server(tmp_path, *listen) as server:
        assert [each.host for each in server.addresses("udp")] == ["127.0.0.1"]
        assert [each.host for each in server.addresses("tcp")] == ["::1"]


def test_a_wildcard_is_one_listener_for_each_local_address_on_one_port(tmp_path: Path) -> None:
    with stun_server(tmp_path, "--listen", "0.0.0.0:0") as server:
        hosts = {each.host for each in expand_wildcard(Address("0.0.0.0", 0))}
        assert {each.host for each in server.addresses("udp")} == hosts
        assert server.addresses("udp") == server.addresses("tcp")
        assert len({each.port for each in server.addresses("udp")}) == 1


def test_an_address_named_twice_is_one_listener(tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listen = ("--listen", f"udp:127.0.0.1:{port}", "--listen", f"127.0.0.1:{port}")
    with stun_server(tmp_path, *listen) as server:
        assert len(server.addresses("udp")) == len(server.addresses("tcp")) == 1


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_a_busy_port_is_one_line_that_names_it_and_its_holder(
    launch: type[Launch], transport: str
) -> None:
    kind = socket.SOCK_DGRAM if transport == "UDP" else socket.SOCK_STREAM
    with socket.socket(type=kind) as holder:
        holder.bind(("127.0.0.1", 0))
        if transport == "TCP":
            holder.listen()
        address = Address(*holder.getsockname())
        name = Path("/proc/self/comm").read_text().strip()
        for arguments in (("--listen", str(address)), ("quickstart", "--port", str(address.port))):
            line = launch(*arguments).refusal()
            assert line == (
                f"{transport} {address} is in use by {name} (process {os.getpid()}); "
                "stop that program or choose another port"
            )


def test_the_limit_on_descriptors_is_raised(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
    try:
        with stun_server(tmp_path) as server:
            limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
            assert limits == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# ── wrong use ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--listen", "x"), "--listen: 'x' has no port"),
        (("--listen", "localhost:3478"), "--listen: 'localhost' is not an IP address"),
        (("--user", "ann"), "--user: a user is written NAME:PASSWORD"),
        (("--realm", ""), "--realm: a realm has 1 to 127 characters, not 0"),
        (("--allow-peer", "10/8"), "--allow-peer: '10/8' does not appear to be"),
        (("--relay-ports", "5"), "--relay-ports: '5' is no range of ports like 49152-65535"),
        (("--relay-plane", "warp"), "--relay-plane: input should be 'auto', 'userspace' or 'ker"),
        (("--config", "/nowhere"), "cannot read the configuration /nowhere: No such file"),
        (("--data-dir", "/proc/nowhere"), "cannot keep keys in /proc/nowhere: "),
        (("--worker", "2"), "no such option: --worker"),
        (("--workers", "0"), "--workers: input should be greater than or equal to 1"),
        (("--admin", "127.0.0.1"), "--admin: '127.0.0.1' has no port"),
        (("--admin", "0.0.0.0:9478"), "admin: 0.0.0.0:9478 is not on loopback"),
        (("--listen", "127.0.0.1:0", "quickstart"), "quickstart takes only options that follow"),
        (("quickstart", "--port", "65536"), "invalid value for '--port'"),
        (("restart",), "no such command 'restart'"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], line: str
) -> None:
    assert run(app, "stun-server", server=True, arguments=arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert line in printed.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("--listen", "192.0.2.1:3478"),
            "cannot bind UDP 192.0.2.1:3478: cannot assign requested address",
        ),
        (("--user", "ann:a\x07b"), "user 'ann': text that OpaqueString forbids: "),
    ],
)
def test_a_mistake_that_shows_only_when_it_starts_is_one_line_too(
    launch: type[Launch], arguments: tuple[str, ...], line: str
) -> None:
    assert launch(*arguments).refusal().startswith(line)


def test_a_bare_installation_says_what_is_missing() -> None:
    code = (
        "import sys; sys.modules['structlog'] = None\n"
        "from stun_server.cli import run; sys.exit(run())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        "error: stun-server needs the Python package 'structlog': pip install 'natkit[server]'\n"
    )


def test_check_config_leaves_without_serving(launch: type[Launch], tmp_path: Path) -> None:
    file = tmp_path / "stun.toml"
    file.write_text('[users]\nrealm = "example.org"\n')
    good = launch("--config", str(file), "--check-config")
    assert good.process.wait(30) == 0
    assert (good.output, good.log) == (f"{file}: good\n", "")
    assert not (tmp_path / ".local").exists()
    file.write_text('[users]\nrealms = "example.org"\n')
    assert (
        launch("--config", str(file), "--check-config")
        .refusal()
        .startswith(f"{file}: users.realms: there is no such key; do you mean realm?")
    )


def test_version_and_help(launch: type[Launch]) -> None:
    version = launch("--version")
    assert version.process.wait(30) == 0
    assert version.output.startswith(f"natkit {__version__}, CPython ")
    for arguments in (("--help",), ("quickstart", "--help")):
        shown = launch(*arguments)
        assert shown.process.wait(30) == 0
        assert shown.output.startswith("Usage: stun-server ")


# ── what it serves ──────────────────────────────────────────────────────────────────────────────


async def test_the_flags_decide_who_may_allocate_and_reach_whom(tmp_path: Path) -> None:
    arguments = ("--user", "ann:secret:with:colons", "--realm", "example.org", *ALLOW_HERE)
    with stun_server(tmp_path, *arguments, "--relay-ports", "50000-50999") as server:
        assert (await binding(str(server.address))).host == "127.0.0.1"
        for transport in ("udp", "tcp"):
            uri = f"turn:{server.address}?transport={transport}"
            async with allocate(uri, username="ann", password="secret:with:colons") as relay:
                assert 50000 <= relay.relayed_address.port <= 50999
                await relay.permit(Address("127.0.0.1", 9))
            async with allocate(uri, username=USER, password=PASSWORD) as relay:
                await relay.send(b"to myself", relay.relayed_address)
                assert await relay.receive() == (b"to myself", relay.relayed_address)
            with pytest.raises(ErrorResponse, match="401"):
                async with allocate(uri, username=USER, password="wrong"):
                    pass
        assert "secret" not in server.log


async def test_peers_in_special_purpose_ranges_are_refused_unless_allowed(tmp_path: Path) -> None:
    with stun_server(tmp_path) as server:
        uri = f"turn:{server.address}"
        async with allocate(uri, username=USER, password=PASSWORD) as relay:
            with pytest.raises(ErrorResponse, match="403"):
                await relay.permit(Address("127.0.0.1", 9))
        (line,) = server.lines("peer refused")
        assert line["rule"] == "127.0.0.0/8 (loopback, RFC 1122)"
        assert line["to_allow"] == "--allow-peer 127.0.0.0/8"


def test_text_logs_are_plain_off_a_terminal(launch: type[Launch]) -> None:
    server = launch("--listen", "127.0.0.1:0")
    server.wait_until(lambda: "ready" in server.log)
    assert server.stop() == 0
    assert server.log.isascii()
    assert "\x1b" not in server.log
    assert "plane=userspace" in server.log
    assert "plane_reason='asked for'" in server.log
    assert "no users" in server.log


# ── what it keeps ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("given", ["--data-dir", "STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"])
def test_keys_are_kept_where_they_belong_for_the_owner_only(
    launch: type[Launch], tmp_path: Path, given: str
) -> None:
    flags: tuple[str, ...] = ("--listen", "127.0.0.1:0", "--log-json")
    environment: dict[str, str] = {}
    directory = tmp_path / "given"
    match given:
        case "--data-dir":
            flags += ("--data-dir", str(directory))
        case "STATE_DIRECTORY":
            environment[given] = f"{directory}:{tmp_path / 'second'}"
        case "XDG_STATE_HOME":
            environment[given] = str(directory)
            directory = directory / "natkit" / "stun-server"
        case _:
            directory = tmp_path / ".local" / "state" / "natkit" / "stun-server"
    server = launch(*flags, **environment)
    server.wait_until(lambda: server.lines("ready"))
    assert server.stop() == 0
    keys = directory / "keys.json"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    before = keys.read_text()
    again = launch(*flags, **environment)
    again.wait_until(lambda: again.lines("ready"))
    assert again.stop() == 0
    assert keys.read_text() == before
    assert json.loads(before)["nonce"] not in server.log


def test_a_nonce_outlives_a_restart(tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.bind(("127.0.0.1", 0))
        with stun_server(tmp_path) as server:
            address = server.address
            challenge = ask(client, address, allocate_request())
            nonce = challenge.get(Nonce)
            assert nonce is not None
        with stun_server(tmp_path, "--listen", str(address)):
            key = long_term_key(USER, "natkit", PASSWORD, PasswordAlgorithmNumber.SHA_256)
            request = allocate_request(
                Username(USER),
                Realm("natkit"),
                nonce,
                PasswordAlgorithms(
                    (
                        PasswordAlgorithm(PasswordAlgorithmNumber.SHA_256),
                        PasswordAlgorithm(PasswordAlgorithmNumber.MD5),
                    )
                ),
                PasswordAlgorithm(PasswordAlgorithmNumber.SHA_256),
            )
            answer = ask(client, address, request, IntegrityKey(key, Integrity.SHA256))
            assert answer.message_class is MessageClass.SUCCESS_RESPONSE


def allocate_request(
    *attributes: Username | Realm | Nonce | PasswordAlgorithms | PasswordAlgorithm,
) -> Message:
    udp = RequestedTransport(socket.IPPROTO_UDP)
    return Message.request(Method.ALLOCATE, os.urandom(12), udp, *attributes)


def ask(
    client: socket.socket, server: Address, request: Message, key: IntegrityKey | None = None
) -> Message:
    client.sendto(request.encode(integrity=key), server)
    return Message.parse(client.recv(2000))


# ── quickstart ──────────────────────────────────────────────────────────────────────────────────


def test_quickstart_shows_how_to_reach_it_and_its_command_works(launch: type[Launch]) -> None:
    server = launch("quickstart", "--port", "0")
    server.wait_until(lambda: "Test it" in server.output and server.output.endswith("\n\n"))
    words = server.output.split()
    for scheme in ("stun:127.0.0.1:", "turn:127.0.0.1:"):
        assert any(word.startswith(scheme) for word in words)
    assert any(word.endswith("?transport=tcp") for word in words)
    assert "loopback is allowed here" in server.output
    command = shlex.split(server.output.strip().splitlines()[-1])
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert server.stop(signal.SIGINT) == 0
    assert server.log == ""


def test_quickstart_names_natkit_as_it_was_started_itself() -> None:
    program = shutil.which("stun-server", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("the project is not installed with its commands")
    with subprocess.Popen(
        [program, "quickstart", "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line.strip())
                if " turn turn:" in line:
                    break
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert shlex.split(lines[-1])[0] in (str(Path(program).with_name("natkit")), "natkit")
