"""coturn's test client against our server with several workers: what it does crosses them.

Its clients have sockets of their own, so they are spread over the workers, and what one of them
wants next is often at another worker than what it has.  The server's log is the evidence.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from natkit.address import Address
from tests.peering.turnutils import Totals, uclient
from tests.stun_server.place import ALLOW_HERE
from tests.stun_server.process import (
    PASSWORD,
    USER,
    StunServerProcess,
    stun_server,
)

pytestmark = pytest.mark.peer("coturn")

# Whether anything crosses in a run is chance; three times in four for each client that could.
ATTEMPTS = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StunServerProcess]:
    """Our server with four workers, with one line a permission and channel."""
    directory: Path = tmp_path_factory.mktemp("stun-server")
    config = directory / "config.toml"
    config.write_text("[log]\nlevel = 'debug'\n")
    with stun_server(directory, "--config", str(config), "--workers", "4", *ALLOW_HERE) as running:
        yield running


def run(server: StunServerProcess, *arguments: str, transport: str = "udp") -> Totals:
    totals = uclient(
        server.addresses(transport)[0], *arguments, "-y", username=USER, password=PASSWORD
    )
    assert totals.is_complete, totals.output
    return totals


def test_relays_reach_each_other_across_workers(server: StunServerProcess) -> None:
    opened = server.from_now_on("allocation opened")
    run(server, "-c", "-m", "8", "-n", "20")
    assert len({line["worker"] for line in opened()}) > 1


def test_a_port_reserved_at_one_worker_is_had_at_another(server: StunServerProcess) -> None:
    opened = server.from_now_on("allocation opened")
    crossed = 0
    for _ in range(ATTEMPTS):
        run(server, "-n", "3")
        worker_of = {Address.parse(str(line["relayed"])): line["worker"] for line in opened()}
        for address, worker in worker_of.items():
            # RTCP: the next port, by the reservation token of the even one.
            rtcp = worker_of.get(address._replace(port=address.port + 1))
            crossed += address.port % 2 == 0 and rtcp not in (None, worker)
        if crossed:
            return
    raise AssertionError(f"no reserved port crossed in {ATTEMPTS} runs:\n{server.log}")


def test_an_allocation_moves_to_the_worker_where_its_client_arrives(
    server: StunServerProcess,
) -> None:
    given = server.from_now_on("allocation given to another worker")
    for _ in range(ATTEMPTS):
        run(server, "-M", "-c", "-m", "4", "-n", "10")
        if given():
            return
    raise AssertionError(f"no allocation crossed in {ATTEMPTS} runs:\n{server.log}")


def test_tcp_allocations_lose_nothing_whichever_worker_their_connections_come_to(
    server: StunServerProcess,
) -> None:
    closed = server.from_now_on("peer connection closed")
    given = server.from_now_on("peer connection given to another worker")
    for _ in range(ATTEMPTS):
        run(server, "-T", "-X", "-n", "10", transport="tcp")
        if given():
            break
    assert given(), f"no connection crossed in {ATTEMPTS} runs:\n{server.log}"
    assert all(line["to"] != line["worker"] for line in given())
    # What crossed was bound there, and its owner heard of its end.
    crossed = {line["connection"] for line in given()}
    server.wait_until(lambda: crossed <= {line["connection"] for line in closed()})
    assert {line["bound"] for line in closed()} == {True}
