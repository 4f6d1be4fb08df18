"""coturn's test client makes time-limited credentials by itself, and our server takes them."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from natkit.turn.credentials import time_limited
from tests.peering.coturn import Coturn
from tests.peering.plugin import StartCoturn
from tests.peering.turnutils import uclient
from tests.stun_server.place import ALLOW_HERE
from tests.stun_server.process import StunServerProcess, stun_server

pytestmark = pytest.mark.peer("coturn")

SECRET = "north of the river"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StunServerProcess]:
    config = tmp_path / "stun.toml"
    config.write_text(f'[users]\nsecrets = ["a newer one", "{SECRET}"]\n')
    with stun_server(tmp_path, "--config", str(config), *ALLOW_HERE) as running:
        yield running


@pytest.mark.parametrize("transport", [(), ("-t",)], ids=["udp", "tcp"])
def test_uclient_with_the_secret_loses_nothing(
    server: StunServerProcess, transport: tuple[str, ...]
) -> None:
    totals = uclient(
        server.address,
        *("-W", SECRET, "-y", "-c", "-m", "4", "-n", "50", *transport),
        username="alice",
        password="not used",
    )
    assert totals.is_complete, totals.output
    opened = server.lines("allocation opened")
    assert {line["user"] for line in opened} == {"alice"}


def test_uclient_with_another_secret_gets_401(server: StunServerProcess) -> None:
    totals = uclient(
        server.address,
        *("-W", "south", "-y", "-c"),
        username="alice",
        password="not used",
    )
    assert totals.received_messages == 0
    server.wait_until(lambda: server.lines("request refused"))
    refused = server.lines("request refused")
    assert {(line["code"], line["reason"]) for line in refused} == {(401, "wrong password")}


def test_coturn_takes_the_credentials_that_we_make(start_coturn: StartCoturn) -> None:
    coturn: Coturn = start_coturn("--use-auth-secret", f"--static-auth-secret={SECRET}")
    made = time_limited(SECRET, now=time.time(), lifetime=600, name="alice")
    totals = uclient(
        coturn.address,
        *("-y", "-c", "-n", "5"),
        username=made.username,
        password=made.password,
    )
    assert totals.is_complete, totals.output
