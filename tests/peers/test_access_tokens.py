"""Access tokens of coturn's tools at our server, and ours at coturn's (RFC 7635)."""

import asyncio
import re
import sqlite3
import subprocess
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import closing
from os import urandom
from pathlib import Path

import pytest

from natkit.aio.turn import allocate
from natkit.errors import Unauthenticated
from natkit.stun.attributes import AccessToken
from natkit.stun.authentication import TokenCredential
from natkit.stun.tokens import (
    COTURN_KEY_LENGTH,
    SHA1_KEY_LENGTH,
    Token,
    TokenKey,
    grant,
    seal,
    unseal,
)
from tests.peering.coturn import Coturn
from tests.peering.plugin import StartCoturn
from tests.peering.roster import program_path
from tests.peering.turnutils import uclient
from tests.stun_server.place import ALLOW_HERE
from tests.stun_server.process import (
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
    with stun_server(tmp_path, "--config", str(config), *ALLOW_HERE) as running:
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


LIMIT = 20.0
"""Seconds after which a test is taken for hanging; nothing is measured by it."""


@pytest.fixture
def taking_tokens(start_coturn: StartCoturn, tmp_path: Path) -> Coturn:
    """A coturn that shares a key with us, as its table of keys has it."""
    database = tmp_path / "turndb"
    coturn = start_coturn("--oauth", f"--server-name={SERVER}", f"--userdb={database}")
    with closing(sqlite3.connect(database, timeout=LIMIT)) as keys, keys:
        keys.execute(
            "insert into oauth_key (kid, ikm_key, timestamp, lifetime, as_rs_alg, realm)"
            " values ('north', ?, 0, 0, 'A256GCM', '')",
            (b64encode(KEYS["north"]).decode(),),
        )
    return coturn


def made_by(key: bytes) -> TokenCredential:
    """A token of ours for coturn: it wants 20 bytes of session key there, and signs with 16."""
    granted = grant(
        TokenKey("north", key),
        SERVER,
        now=time.time(),
        lifetime=600,
        random=urandom,
        key_length=SHA1_KEY_LENGTH,
    )
    return TokenCredential(granted.kid, granted.access_token, granted.mac_key[:COTURN_KEY_LENGTH])


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_coturn_lets_our_client_in_by_a_token_of_ours_and_goes_on_with_the_next(
    taking_tokens: Coturn, transport: str
) -> None:
    uri = f"turn:{taking_tokens.address}?transport={transport}"
    async with (
        asyncio.timeout(LIMIT),
        allocate(uri, token=made_by(KEYS["north"])) as one,
        allocate(uri, token=made_by(KEYS["north"])) as other,
    ):
        await one.permit(other.relayed_address)
        await other.bind_channel(one.relayed_address)
        await one.renew(made_by(KEYS["north"]))
        await one.send(b"there", other.relayed_address)
        assert await other.receive() == (b"there", one.relayed_address)
        await other.send(b"back", one.relayed_address)
        assert await one.receive() == (b"back", other.relayed_address)


async def test_coturn_refuses_a_token_that_another_key_sealed(taking_tokens: Coturn) -> None:
    with pytest.raises(Unauthenticated):
        async with allocate(
            f"turn:{taking_tokens.address}", token=made_by(bytes(32)), timeout=LIMIT
        ):
            pass
