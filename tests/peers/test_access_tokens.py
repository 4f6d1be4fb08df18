"""Access tokens of coturn's tools at our server, and ours at coturn's (RFC 7635)."""

import re
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from natkit.stun.attributes import AccessToken
from natkit.stun.tokens import Token, TokenKey, seal, unseal
from tests.peering.roster import program_path
from tests.peering.turnutils import uclient
from tests.stun_server.process import (
    LOOPBACK_PEERS,
    PASSWORD,
    USER,
    StunServerProcess,
    stun_server,
)

pytestmark = pytest.mark.peer("coturn")

# The keys that uclient has built in, as long as their algorithms take them.
KEYS = {
    "north": b"01234567890123456789012345678901",
    "union": b"1234567890123456",
    "oldempire": b"12345678901234567890123456789012",
}
SERVER = "turn.example.org"
MADE = 1_700_000_000
"""When tokens were made, in Unix seconds."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StunServerProcess]:
    """Our server, which takes the tokens of uclient's keys."""
    config = tmp_path / "config.toml"
    keys = "".join(f'oauth_keys.{kid} = "{b64encode(key).decode()}"\n' for kid, key in KEYS.items())
    config.write_text(f"[users]\n{keys}")
    with stun_server(tmp_path, "--config", str(config), *LOOPBACK_PEERS) as running:
        yield running


@pytest.mark.parametrize("transport", [(), ("-t",)], ids=["udp", "tcp"])
def test_uclient_is_let_in_by_the_tokens_that_it_makes(
    server: StunServerProcess, transport: tuple[str, ...]
) -> None:
    totals = uclient(
        server.address,
        *("-J", "-y", "-c", "-m", "6", "-n", "20", *transport),
        username=USER,
        password=PASSWORD,
    )
    assert totals.is_complete, totals.output
    users = {str(line["user"]) for line in server.lines("allocation opened")}
    assert users
    assert users <= {f"oauth:{kid}" for kid in KEYS}


def oauth(*arguments: str) -> str:
    """What ``turnutils_oauth`` prints."""
    program = program_path("turnutils_oauth")
    assert program is not None
    common = ("-v", "-i", SERVER, "-j", "north", "-l", str(MADE), "-m", "3600", "-n", "A256GCM")
    done = subprocess.run(
        [program, *arguments, *common, "-k", b64encode(KEYS["north"]).decode()],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return done.stdout + done.stderr


def test_a_token_of_turnutils_oauth_is_read() -> None:
    key = b64encode(b"k" * 20).decode()
    output = oauth("-e", "-p", key, "-q", str(MADE << 16), "-r", "1800")
    found = re.search(r'"access_token":"([^"]+)"', output)
    assert found is not None, output
    sealed = AccessToken.decode(b64decode(found[1]))
    assert unseal(sealed, TokenKey("north", KEYS["north"]), SERVER) == Token(b"k" * 20, MADE, 1800)


def test_turnutils_oauth_reads_ours() -> None:
    token = Token(b"k" * 20, MADE, 1800)
    sealed = seal(token, TokenKey("north", KEYS["north"]), SERVER, b"n" * 12)
    output = oauth("-d", "-t", b64encode(sealed.encode()).decode())
    assert "Valid token" in output
    assert "mac key: kkkkkkkkkkkkkkkkkkkk\n" in output
    assert f"unixtime: {MADE} " in output
    assert "lifetime: 1800\n" in output
