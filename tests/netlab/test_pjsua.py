"""A telephone of PJSIP and our ICE agent: an audio call, whoever calls."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import pytest

from tests.netlab.namespaces import Lab
from tests.netlab.world import CLIENT, SERVER, client_and_server
from tests.peering.process import PeerFailed

pytestmark = [pytest.mark.netns, pytest.mark.peer("pjsua2", "iproute2")]

ROOT = Path(__file__).parent.parent.parent


class Steered:
    """A process that is spoken to in lines of JSON."""

    def __init__(self, stdin: IO[str], stdout: IO[str]) -> None:
        self._stdin = stdin
        self._stdout = stdout

    def tell(self, **command: object) -> None:
        self._stdin.write(json.dumps(command) + "\n")
        self._stdin.flush()

    def hear(self, name: str) -> dict[str, object]:
        """The next line that has something of that name."""
        while line := self._stdout.readline():
            values = cast("dict[str, object]", json.loads(line))
            if name in values:
                return values
        raise PeerFailed(f"it ended before it told its {name}")


@contextmanager
def steered(prefix: Sequence[str], module: str, *arguments: str) -> Iterator[Steered]:
    with subprocess.Popen(
        [*prefix, sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if "pjsua" in module else None,
        cwd=ROOT,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Steered(process.stdin, process.stdout)
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.mark.parametrize("calls", ["pjsua", "natkit"])
def test_speech_passes_both_ways_over_the_pairs_that_ice_selected(
    lab: Lab, tmp_path: Path, calls: str
) -> None:
    network = client_and_server(lab)
    options = json.dumps({"host": CLIENT, "log_file": str(tmp_path / "pjsua.log")})
    with steered(network.client.prefix, "tests.peering.pjsua_driver", options) as phone:
        address = str(phone.hear("address")["address"])
        callee = [address] if calls == "natkit" else []
        ours_module = "tests.netlab.ice_phone"
        with steered(network.server.prefix, ours_module, SERVER, *callee) as ours:
            our_address = ours.hear("address")["address"]
            if calls == "pjsua":
                phone.tell(do="call", uri=f"sip:ours@{our_address}")
            told = ours.hear("echoed")
            # PCMA's packets are what some agents take for STUN.
            assert told["types"] == [8]
            assert told["controlling"] is (calls == "natkit")
            assert all(CLIENT in pair for pair in cast("list[str]", told["pairs"]))
            phone.tell(do="report")
            assert cast("int", phone.hear("received")["received"]) > 0
