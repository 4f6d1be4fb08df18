"""Next hops whose hardware address the system has forgotten, or that have another one now."""

import socket
from collections.abc import Iterator
from time import monotonic

import pytest

from natkit.net.neighbours import refresh_neighbours
from natkit.relay.attaching import Mode
from tests.natkit.relay.cabled import IPV4, IPV6, MACS, PATIENCE, PEERS, Cabled, inside
from tests.natkit.relay.test_kernel import Pair, got
from tests.natkit.relay.twins import on_one_processor
from tests.netlab.namespaces import Lab, run

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

FAMILIES = [pytest.param(family, id=family.name) for family in (IPV4, IPV6)]
ANOTHER_MAC = "02:00:00:00:02:99"


@pytest.fixture(autouse=True)
def _one_processor() -> Iterator[None]:
    with on_one_processor():
        yield


@pytest.fixture(name="cabled")
def native(lab: Lab) -> Iterator[Cabled]:
    cabled = Cabled(lab, Mode.NATIVE)
    yield cabled
    cabled.close()


def passes_in_the_kernel(cabled: Cabled, pair: Pair) -> bool:
    """Whether data comes to the peer without user space."""
    before = cabled.behind.totals().packets_to_peers
    pair.send(b"data")
    cabled.turn()
    assert got(pair.peer) == b"data"
    return cabled.behind.totals().packets_to_peers == before


@pytest.mark.parametrize("family", FAMILIES)
def test_a_next_hop_that_was_forgotten_is_asked_for_by_user_space(
    cabled: Cabled, family: socket.AddressFamily
) -> None:
    pair = Pair(cabled, peer=family)
    assert passes_in_the_kernel(cabled, pair)
    cabled.server.configure("neighbour", "delete", PEERS[family][0], "dev", "peers")
    assert not passes_in_the_kernel(cabled, pair)
    assert passes_in_the_kernel(cabled, pair)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_next_hop_with_another_hardware_address_is_found_before_long(
    cabled: Cabled, family: socket.AddressFamily
) -> None:
    pair = Pair(cabled, peer=family)
    neighbours = f"/proc/sys/net/{'ipv4' if family is IPV4 else 'ipv6'}/neigh/peers"
    for setting, value in (("delay_first_probe_time", 0), ("retrans_time_ms", 50)):
        run(cabled.server, "tee", f"{neighbours}/{setting}", text=str(value))
    # As one is that the system has not heard of since it last sent there by itself.
    known = (PEERS[family][0], "lladdr", MACS["right", "eth0"], "dev", "peers", "nud", "stale")
    cabled.server.configure("neighbour", "replace", *known)
    assert passes_in_the_kernel(cabled, pair)
    cabled.right.configure("link", "set", "eth0", "address", ANOTHER_MAC)
    pair.peer.settimeout(0.05)
    deadline = monotonic() + PATIENCE
    while True:
        # What the server does every ten seconds.
        with inside(cabled.server):
            refresh_neighbours(cabled.attachment.numbers)
        pair.send(b"data")
        cabled.turn()
        try:
            assert got(pair.peer) == b"data"
        except TimeoutError:
            assert monotonic() < deadline
        else:
            break
    pair.peer.settimeout(PATIENCE)
    assert passes_in_the_kernel(cabled, pair)
    assert ANOTHER_MAC in cabled.server.configure("neighbour", "show", PEERS[family][0])
