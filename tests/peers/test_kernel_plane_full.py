"""``stun-server`` whose clients want more than the kernel's tables hold."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.stun.attributes import ChannelNumber, RequestedTransport, XorPeerAddress
from natkit.stun.registry import UDP_PROTOCOL, Method
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.cabled import IPV4, LISTENERS, PEERS, inside
from tests.netlab.relay_hosts import LISTEN, RELAY_CONFIG, RelayHosts, datagrams, relay_hosts
from tests.stun_server.by_hand import HandClient, code_of
from tests.stun_server.process import LIMIT, stun_server
from tests.stun_server.test_operating import command, state

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

ROOM = 8 * 1024
"""Permissions that the tables of a small server hold."""
EACH = 64
CHANNEL = 0x4000
PACKETS = 20
CONFIG = f"""{RELAY_CONFIG}
[policy]
allow_peer = ["0.0.0.0/0"]
[limits]
allocations = 200
allocations_per_user = 200
permissions_per_allocation = {EACH + 1}
permissions_per_user = 100_000
"""


def test_what_has_no_room_in_the_kernel_is_relayed_logged_and_counted(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    flags = ("--config", str(config), "--relay-plane", "kernel", *LISTEN)
    with (
        relay_hosts() as hosts,
        stun_server(tmp_path, *flags, prefix=hosts.server.prefix) as server,
    ):
        clients = [_client(hosts) for _ in range(ROOM // EACH + 1)]
        with inside(hosts.right):
            peer = socket.socket(IPV4, socket.SOCK_DGRAM)
        peer.bind((PEERS[IPV4][0], 0))
        peer.settimeout(LIMIT)
        address = Address(*peer.getsockname())
        first, last = clients[0], clients[-1]
        _bind(first, address)
        *others, one_more, _ = clients
        for client in others:
            _permit_many(client)
        assert not server.lines("kernel plane full")
        _permit_many(one_more)
        server.wait_until(lambda: server.lines("kernel plane full"))
        _bind(last, address)
        try:
            heard = _heard(hosts, lambda: _relay(first, peer))
            handed_up = _heard(hosts, lambda: _relay(last, peer))
        finally:
            peer.close()
            for client in clients:
                client.close()
        assert heard < PACKETS <= handed_up
        assert len(server.lines("kernel plane full")) == 1
        status = json.loads(command("status", "--json", *state(tmp_path)).stdout)["status"]
        assert status["counts"]["entries that the kernel plane had no room for"] > 0


def _client(hosts: RelayHosts) -> HandClient:
    with inside(hosts.left):
        client = HandClient(Address(LISTENERS[IPV4], 3478))
    assert code_of(client.request(Method.ALLOCATE, RequestedTransport(UDP_PROTOCOL))) is None
    return client


def _permit_many(client: HandClient) -> None:
    peers = [XorPeerAddress(Address(f"10.2.7.{number}", 1)) for number in range(1, EACH + 1)]
    assert code_of(client.request(Method.CREATE_PERMISSION, *peers)) is None


def _bind(client: HandClient, peer: Address) -> None:
    attributes = ChannelNumber(CHANNEL), XorPeerAddress(peer)
    assert code_of(client.request(Method.CHANNEL_BIND, *attributes)) is None


def _relay(client: HandClient, peer: socket.socket) -> None:
    for number in range(PACKETS):
        data = number.to_bytes(4, "big")
        client.throw(ChannelData(CHANNEL, data).encode(padded=False))
        got, relayed = peer.recvfrom(100)
        assert got == data
        peer.sendto(data, relayed)
        assert client.hear() == ChannelData(CHANNEL, data).encode(padded=False)


def _heard(hosts: RelayHosts, do: Callable[[], None]) -> int:
    """How many datagrams the sockets of the server's host had meanwhile."""
    before = datagrams(hosts.server)
    do()
    return datagrams(hosts.server) - before
