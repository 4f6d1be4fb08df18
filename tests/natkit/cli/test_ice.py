"""``natkit ice`` between processes on loopback, with our server between them."""

import asyncio
import io
import os
import zlib
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from natkit.cli.ice_exchange import LONGEST_TEXT, from_line, read_line, to_line
from natkit.cli.main import run
from natkit.errors import MisuseError
from tests.natkit.aio.running_server import PASSWORD, USER, running_server
from tests.natkit.cli.command import Ended, natkit

HERE = ("--interface", "lo", "--loopback", "--ipv4")
CREDENTIALS = ("--user", USER, "--password", PASSWORD)


def objects(ended: Ended, name: str) -> list[dict[str, object]]:
    return cast("list[dict[str, object]]", ended.result[name])


async def test_each_candidate_is_shown_with_its_server_and_time() -> None:
    async with running_server() as server:
        ended = await natkit(
            "ice", "gather", f"stun:{server.address}", server.uri, *CREDENTIALS, *HERE
        )
    assert ended.status == 0
    lines = [line.split() for line in ended.output.splitlines()]
    assert ["host", "udp"] in [line[2:4] for line in lines]
    assert ["relay", "udp"] in [line[2:4] for line in lines]
    assert f"{server.uri} over UDP" in ended.output
    assert lines[-1][:2] == ["2", "candidates"]


async def test_a_program_gets_candidates_in_sdp_and_failures_with_their_server() -> None:
    async with running_server() as server:
        wrong = ("--user", USER, "--password", "wrong")
        ended = await natkit("ice", "gather", server.uri, *wrong, *HERE, "--json")
    assert ended.status == 1
    (host,) = objects(ended, "candidates")
    assert (host["type"], host["address"]) == ("host", "127.0.0.1")
    assert str(host["sdp"]).startswith("candidate:1 1 UDP ")
    (failure,) = objects(ended, "failures")
    source = cast("dict[str, object]", failure["source"])
    assert (source["method"], source["name"], source["transport"]) == ("turn", server.uri, "udp")
    assert str(failure["error"]).startswith("401")
    assert server.uri in ended.error


@dataclass(frozen=True)
class Here:
    """Runs the command within this process, which is quicker."""

    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Ended:
        status = run(arguments)
        captured = self.capture.readouterr()
        return Ended(status, captured.out, captured.err)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(capsys)


def test_a_silent_server_ends_the_wait_at_the_limit(command: Here) -> None:
    ended = command("ice", "gather", "stun:127.0.0.1:9", *HERE, "--timeout", "0.5")
    assert ended.status == 1
    assert "no answer within 0.5 s" in ended.output
    assert "stun:127.0.0.1:9" in ended.error


def test_without_any_candidate_it_could_not_be_tested(command: Here) -> None:
    ended = command("ice", "gather", "--interface", "none0")
    assert ended.status == 3
    assert "no address" in ended.error


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("stun.example.org",), "no STUN or TURN URI"),
        (("stuns:stun.example.org",), "asked over TLS"),
        (("turn:turn.example.org",), "--user"),
        (("--relay-only",), "--relay-only needs"),
        (("--user", "ann"), "none is given"),
        (("-4", "-6"), "exclude"),
        (("--ports", "many"), "no range"),
        (("--ports", "9-1"), "no range"),
        (("--proxy", "ftp://192.0.2.1"), "socks5://"),
    ],
)
def test_a_wrong_flag_is_one_line(command: Here, arguments: tuple[str, ...], reason: str) -> None:
    ended = command("ice", "gather", *arguments)
    assert ended.status == 2
    assert reason in ended.error


# ── connect ─────────────────────────────────────────────────────────────────────────────────────


async def test_two_commands_meet_by_files_and_tell_latency_and_loss(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    quick = ("--probes", "5", "--interval", "0.01")
    async with running_server() as server:
        relayed = (server.uri, *CREDENTIALS, "--relay-only", "--ipv4")
        first, second = await asyncio.gather(
            natkit("ice", "connect", *relayed, *quick, "--local", f"{one}", "--remote", f"{two}"),
            natkit(
                "ice", "connect", *HERE, *quick, "--local", f"{two}", "--remote", f"{one}", "--json"
            ),
        )
    assert (first.status, second.status) == (0, 0)
    assert "Connected, relayed by the TURN server of one side" in first.output
    assert "lost        0 of 5" in first.output
    assert second.result["connected"] is True
    probes = cast("dict[str, object]", second.result["probes"])
    assert (probes["sent"], probes["lost"]) == (5, 0)
    pair = cast("dict[str, dict[str, object]]", second.result["pair"])
    assert pair["remote"]["type"] == "relay"
    assert any(each["selected"] for each in objects(second, "pairs"))
    assert one.stat().st_mode & 0o077 == 0


def test_a_peer_that_is_not_there_is_explained_by_its_pairs(command: Here, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text(
        "m=audio 9 RTP/AVP 0\na=ice-ufrag:abcd\na=ice-pwd:abcdefghijklmnopqrstuv\n"
        "a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\na=end-of-candidates\n"
    )
    ended = command(
        "ice",
        "connect",
        *HERE,
        "--local",
        str(tmp_path / "ours"),
        "--remote",
        str(theirs),
        "--timeout",
        "1",
    )
    assert ended.status == 1
    assert "127.0.0.1:9" in ended.output
    assert "1 pairs were tried, on 0 of them the peer was heard" in ended.error


@pytest.mark.parametrize("text", ["nonsense", "ice1:%%%", "ice1:AAAA", "ice1:"])
def test_what_is_no_description_is_wrong_use(command: Here, tmp_path: Path, text: str) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text(text)
    files = ("--local", str(tmp_path / "ours"), "--remote", str(theirs))
    ended = command("ice", "connect", *HERE, *files)
    assert ended.status == 2
    assert "description" in ended.error


def test_without_a_description_of_the_peer_nothing_is_tested(command: Here, tmp_path: Path) -> None:
    files = ("--local", str(tmp_path / "ours"), "--remote", str(tmp_path / "never"))
    ended = command("ice", "connect", *HERE, *files, "--wait", "1")
    assert ended.status == 3
    assert "no description came" in ended.error


def test_an_input_that_ends_is_wrong_use(command: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    ended = command("ice", "connect", *HERE)
    assert ended.status == 2
    assert "ice1:" in ended.output


async def test_a_pasted_line_is_waited_for_and_blank_ones_are_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as pasted, os.fdopen(writing, "w", buffering=1) as terminal:
        monkeypatch.setattr("sys.stdin", pasted)
        async with asyncio.timeout(30.0):
            line = asyncio.ensure_future(read_line())
            for text in ("\n", "  \nice1:", "abc"):
                await asyncio.sleep(0)
                assert not line.done()
                terminal.write(text)
                terminal.flush()
            terminal.write("\n")
            assert await line == "ice1:abc"
            waiting = asyncio.ensure_future(read_line())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting


def test_a_description_survives_its_line_and_terminals_that_break_it() -> None:
    text = "a=ice-ufrag:abcd\r\n" * 50
    line = to_line(text)
    assert from_line(line) == text
    assert from_line(f"  {line[:40]}\n{line[40:]} \n") == text


def test_a_line_that_unpacks_without_end_is_refused() -> None:
    bomb = zlib.compress(bytes(LONGEST_TEXT * 100), 9)
    with pytest.raises(MisuseError):
        from_line("ice1:" + urlsafe_b64encode(bomb).decode())
