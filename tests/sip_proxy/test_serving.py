"""``sip-proxy`` as a process: what it keeps, tells, shows and does when it is told to."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import ANY
from urllib.request import urlopen

import pytest

from natkit.machine import Transport
from natkit.server.attending import SOCKET
from natkit.server.state import KEYS_FILE
from natkit.sip.kinds import CALL_ID
from tests.peering.ports import free_port
from tests.server_process import LIMIT
from tests.sip_proxy.shell.world import agent
from tests.sip_proxy.watched import WatchedProxy, watched_proxy

COMMAND = "import sys; from sip_proxy.cli import run; sys.exit(run())"


def command(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def asked(proxy: WatchedProxy, directory: Path, *arguments: str) -> Mapping[str, object]:
    """What a command about the running proxy prints as JSON."""
    done = command(*arguments, "--json", "--data-dir", str(directory / "state"))
    assert done.returncode == 0, (done.stderr, proxy.log)
    answer: Mapping[str, object] = json.loads(done.stdout)
    return answer


def anybody(directory: Path, more: str = "", domain: str = "example.org") -> str:
    """A configuration that asks nobody for credentials."""
    file = directory / "sip-proxy.toml"
    file.write_text(f'domains = ["{domain}"]\n[users]\nauthenticate = false\n{more}')
    return str(file)


async def registered(proxy: WatchedProxy, *names: str, expires: int = 600) -> list[int]:
    """Have phones register; the answers."""
    statuses = []
    for name in names:
        async with agent(name, Transport.UDP, proxy.address) as phone:
            statuses.append((await phone.register(expires=expires).final()).status)
    return statuses


def fetched(url: str) -> bytes:
    """What is there; fails where it is not."""
    with urlopen(url, timeout=LIMIT) as answer:
        content: bytes = answer.read()
    return content


async def test_what_the_proxy_keeps_is_for_its_own_user_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with watched_proxy(tmp_path, "--config", anybody(tmp_path)) as proxy:
        assert await registered(proxy, "ann") == [200]
        assert (state / KEYS_FILE).stat().st_mode & 0o077 == 0
        assert (state / SOCKET).stat().st_mode & 0o077 == 0
        (ready,) = proxy.lines("ready")
        assert ready["domains"] == ["example.org"]
        assert str(ready["registrations"]).startswith(str(state))
        assert proxy.output.startswith("serving example.org on udp:127.0.0.1:")
        assert proxy.stop() == 0
    assert proxy.lines("stopped")[0]["requests"] == 1
    assert not (state / SOCKET).exists()
    with watched_proxy(tmp_path, "--config", anybody(tmp_path)) as again:
        (found,) = listed(again, tmp_path)
        assert found["address_of_record"] == "sip:ann@example.org"


def listed(proxy: WatchedProxy, directory: Path, *arguments: str) -> list[dict[str, object]]:
    """Who is registered."""
    found = asked(proxy, directory, "registrations", "list", *arguments)["registrations"]
    assert isinstance(found, list)
    return found


async def test_registrations_are_listed_and_taken_away(tmp_path: Path) -> None:
    with watched_proxy(tmp_path, "--config", anybody(tmp_path)) as proxy:
        assert await registered(proxy, "ann", "bob") == [200, 200]
        assert len(listed(proxy, tmp_path)) == 2
        assert len(listed(proxy, tmp_path, "--limit", "1")) == 1
        (ann,) = listed(proxy, tmp_path, "ann")
        contacts = ann["contacts"]
        assert isinstance(contacts, list)
        assert contacts[0]["uri"].startswith("sip:ann@127.0.0.1:")
        assert listed(proxy, tmp_path, "eve@example.org") == []
        done = asked(proxy, tmp_path, "registrations", "remove", "sip:ann@example.org")
        assert done["removed"] is True
        assert [each["address_of_record"] for each in listed(proxy, tmp_path)] == [
            "sip:bob@example.org"
        ]
        again = command(*("registrations", "remove", "ann", "--data-dir", str(tmp_path / "state")))
        assert (again.returncode, again.stdout) == (1, "")
        assert again.stderr.startswith("error: ann is not registered")


async def test_metrics_count_requests_and_health_is_told(tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    page = f"http://127.0.0.1:{port}"
    with watched_proxy(
        tmp_path, "--config", anybody(tmp_path), "--admin", f"127.0.0.1:{port}"
    ) as proxy:
        await registered(proxy, "ann", "bob")
        metrics = fetched(f"{page}/metrics").decode()
        assert 'sip_proxy_requests_total{method="REGISTER",status="200"} 2.0' in metrics
        assert "sip_proxy_registered_addresses 2.0" in metrics
        for path in ("/healthz", "/readyz", "/readyz?store"):
            assert fetched(page + path)
        status = json.loads(fetched(f"{page}/api/status"))
        assert status["status"]["registered"] == 2
        assert asked(proxy, tmp_path, "status")["status"] == {
            **status["status"],
            "descriptors": ANY,
        }


async def test_a_drain_ends_by_itself_once_nothing_is_left(tmp_path: Path) -> None:
    quick = anybody(tmp_path, "[timers]\nt1 = 0.01\nt2 = 0.02\nt4 = 0.02\ntimer_c = 60\n")
    with watched_proxy(tmp_path, "--config", quick) as proxy:
        await registered(proxy, "ann")
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(LIMIT) == 0
    assert proxy.lines("draining")
    assert proxy.lines("drained")


async def test_the_second_sigterm_ends_at_once(tmp_path: Path) -> None:
    with watched_proxy(tmp_path, "--config", anybody(tmp_path)) as proxy:
        # Its transaction waits for retransmissions for half a minute.
        await registered(proxy, "ann")
        proxy.process.send_signal(signal.SIGTERM)
        proxy.wait_until(lambda: proxy.lines("draining"))
        async with agent("bob", Transport.UDP, proxy.address) as phone:
            assert (await phone.register().final()).status == 503
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(LIMIT) == 0
    assert not proxy.lines("drained")


async def test_a_drain_by_command_has_its_limit(tmp_path: Path) -> None:
    with watched_proxy(tmp_path, "--config", anybody(tmp_path)) as proxy:
        await registered(proxy, "ann")
        drain = asked(proxy, tmp_path, "drain", "--limit", "0")["drain"]
        assert isinstance(drain, dict)
        assert drain["sessions"] == 1
        assert proxy.process.wait(LIMIT) == 0
    assert proxy.lines("drain over")


async def test_sighup_and_the_command_read_the_configuration_again(tmp_path: Path) -> None:
    file = anybody(tmp_path)
    with watched_proxy(tmp_path, "--config", file) as proxy:
        assert await registered(proxy, "ann") == [200]
        anybody(tmp_path, domain="example.net")
        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_until(lambda: proxy.lines("reloaded"))
        assert proxy.lines("reloaded")[0]["changed"] == ["domains"]
        assert (await registered(proxy, "ann"))[0] >= 400
        anybody(tmp_path, "nonsense")
        done = command("reload", "--data-dir", str(tmp_path / "state"))
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: nothing was changed: {file} is no TOML")


async def test_a_line_has_the_call_and_who_decided(tmp_path: Path) -> None:
    with watched_proxy(tmp_path) as proxy:
        async with agent("alice", Transport.UDP, proxy.address) as phone:
            to = "<sip:alice@elsewhere.example>"
            asked_for = phone.send("REGISTER", "sip:example.org", to=to)
            assert (await asked_for.final()).status == 404
        proxy.wait_until(lambda: proxy.lines("request answered"))
        (line,) = proxy.lines("request answered")
        assert (line["method"], line["status"], line["decided_by"]) == ("REGISTER", 404, "proxy")
        assert (line["call_id"], line["reason"]) == (
            asked_for.request.headers.get(CALL_ID),
            "Not Found",
        )
    assert "secret" not in proxy.log


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name the domain of the users: --domain example.org"),
        (("--domain", "no domain"), "--domain: 'no domain' is no host name"),
        (("--domain", "a", "--user", "alice"), "--user: a user is written NAME:PASSWORD"),
        (("--domain", "a", "--listen", "127.0.0.1"), "--listen: "),
        (("--domain", "a", "--admin", "192.0.2.1:80"), "admin: 192.0.2.1:80 is not on loopback"),
        (("--domain", "a", "--config", "/nowhere"), "cannot read the configuration /nowhere"),
        (("--domain", "a", "status"), "status takes only options that follow it"),
        (("status", "--data-dir", "/nowhere"), "there is no data directory /nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments: tuple[str, ...], said: str) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {said}")
    assert len(done.stderr.splitlines()) == 1


def test_a_busy_port_is_a_mistake_that_is_named(tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*taken.getsockname())
        done = command(
            *("--domain", "a", "--listen", f"udp:{address}", "--data-dir", str(tmp_path))
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert address in done.stderr.splitlines()[-1]


def test_a_data_directory_that_cannot_be_is_a_mistake_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command("--domain", "a", "--data-dir", str(tmp_path / "file" / "below"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "choose a directory by --data-dir" in done.stderr


def test_a_configuration_is_checked_without_serving(tmp_path: Path) -> None:
    done = command("--check-config", "--config", anybody(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/sip-proxy.toml: good\n"
