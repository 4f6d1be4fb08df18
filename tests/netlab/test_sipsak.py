"""sipsak asks the proxy, registers, traces and floods; its other modes crash by themselves."""

import subprocess
from pathlib import Path

import pytest

from tests.netlab.namespaces import COMMAND_LIMIT, Lab
from tests.netlab.sip_world import ALICE, DOMAIN, PROXY, Home, home
from tests.peering.roster import program_path

pytestmark = [pytest.mark.netns, pytest.mark.peer("sipsak", "iproute2")]

BOB = ("-s", f"sip:bob@{DOMAIN}", "-u", "bob")
REQUESTS = 500


def sipsak(at: Home, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run it on Alice's host."""
    return subprocess.run(
        [
            *at.alice.prefix,
            program_path("sipsak") or "sipsak",
            "-p",
            PROXY,
            "-H",
            ALICE,
            *arguments,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_LIMIT,
        check=False,
    )


def test_what_sipsak_does_with_a_server(lab: Lab, tmp_path: Path) -> None:
    # It takes the first challenge alone, and knows MD5.
    with home(lab, tmp_path, '"MD5"') as at:
        asked = sipsak(at, "-vv", "-s", f"sip:{DOMAIN}")
        assert asked.returncode == 0, asked.stdout
        assert "Supported: gruu, outbound, path" in asked.stdout

        refused = sipsak(at, "-U", *BOB, "-a", "wrong", "-x", "60")
        assert refused.returncode == 2
        assert "401 Unauthorized" in refused.stdout
        brief = sipsak(at, "-U", *BOB, "-a", "secret")
        assert brief.returncode == 1
        assert "Min-Expires: 60" in brief.stdout
        registered = sipsak(at, "-U", *BOB, "-a", "secret", "-x", "60")
        assert registered.returncode == 0, registered.stdout

        traced = sipsak(at, "-T", "-s", f"sip:carol@{DOMAIN}", "-c", f"sip:bob@{DOMAIN}",
                        "-u", "bob", "-a", "secret")  # fmt: skip
        first, second = [line for line in traced.stdout.splitlines() if line.startswith("0: ")]
        assert first.endswith("483 Too Many Hops")
        assert second.endswith("480 Temporarily Unavailable")

        flooded = sipsak(at, "-F", "-e", str(REQUESTS), "-s", f"sip:carol@{DOMAIN}")
        assert flooded.returncode == 0
        assert f"to send {REQUESTS} request" in flooded.stdout
        assert sipsak(at, "-s", f"sip:{DOMAIN}").returncode == 0
