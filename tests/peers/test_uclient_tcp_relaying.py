"""coturn's test client with TCP allocations (RFC 6062) at our server, whose log is the evidence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.peering.turnutils import uclient
from tests.stun_server.place import ALLOW_HERE, SERVER
from tests.stun_server.process import (
    PASSWORD,
    USER,
    StunServerProcess,
    stun_server,
)

pytestmark = pytest.mark.peer("coturn")

DEBUG_LOG = "[log]\nlevel = 'debug'\n"


@contextmanager
def serving(directory: Path, *arguments: str) -> Iterator[StunServerProcess]:
    """Our server on TCP and TLS, with one line a connection to a peer."""
    config = directory / "config.toml"
    config.write_text(DEBUG_LOG)
    issued = Authority(directory).issue("localhost", SERVER)
    listen = ("--listen", f"{SERVER}:0", "--listen", f"tls:{SERVER}:0")
    secure = ("--certificate", str(issued.chain), "--key", str(issued.key))
    with stun_server(directory, "--config", str(config), *listen, *secure, *arguments) as server:
        yield server


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_uclient_loses_nothing_on_tcp_allocations(tmp_path: Path, transport: str) -> None:
    with serving(tmp_path, *ALLOW_HERE) as server:
        totals = uclient(
            server.addresses(transport)[0],
            *("-T", *(("-S",) if transport == "tls" else ())),
            *("-X", "-n", "20"),
            username=USER,
            password=PASSWORD,
        )
        assert totals.is_complete, totals.output
        server.wait_until(lambda: server.lines("peer connection closed"))
        opened = server.lines("allocation opened")
        assert {line["transport"] for line in opened} == {transport}
        # Its clients are each other's peers: one connects, and the other one is connected to.
        relayed = {line["relayed"] for line in opened}
        connected = server.lines("peer connected")
        assert {line["peer"] for line in connected} <= relayed
        assert sorted(bool(line["attempted"]) for line in connected) == [False, True]
        assert {line["bound"] for line in server.lines("peer connection closed")} == {True}
    (stopped,) = server.lines("stopped")
    for direction in ("bytes_to_peers", "bytes_to_clients"):
        assert int(str(stopped[direction])) == totals.sent_bytes
