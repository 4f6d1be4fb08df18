"""The plane in the kernel at the hook of tc, where packets are the system's own."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from natkit.address import Address
from natkit.relay.attaching import Mode
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.cabled import CLIENTS, FAMILIES, IPV4, IPV6, NOW, PEERS, Cabled
from tests.natkit.relay.frames import checksum, pseudo_header
from tests.natkit.relay.rig import address_of
from tests.natkit.relay.twins import on_one_processor
from tests.netlab.namespaces import Lab, run

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf"), pytest.mark.tc]

CHANNEL = 0x4001
DATA = bytes(range(256)) * 4
UDP_HEADER = 8


@pytest.fixture(autouse=True)
def _one_processor() -> Iterator[None]:
    with on_one_processor():
        yield


class Pair:
    """A client and a peer on the server's machine, with cards that would finish checksums."""

    def __init__(
        self, cabled: Cabled, client: socket.AddressFamily, peer: socket.AddressFamily
    ) -> None:
        for host in (cabled.left, cabled.right):
            run(host, "ethtool", "-K", "eth0", "tx", "on")
        self.client = cabled.socket_on(cabled.left, CLIENTS[client][0])
        self.peer = cabled.socket_on(cabled.right, PEERS[peer][0])
        self.listener = cabled.listen(client)
        self.number, self.relayed = cabled.allocate(self.client, self.listener, peer)
        cabled.plane.permit(self.number, PEERS[peer][0], NOW + 300)
        cabled.plane.bind_channel(self.number, CHANNEL, address_of(self.peer), NOW + 600)


def on_channel(data: bytes) -> bytes:
    return ChannelData(CHANNEL, data).encode(padded=False)


@pytest.mark.parametrize(("client", "peer"), FAMILIES)
def test_data_of_senders_on_the_same_machine_passes_without_user_space(
    lab: Lab, client: socket.AddressFamily, peer: socket.AddressFamily
) -> None:
    with closing(Cabled(lab, Mode.TC)) as cabled:
        pair = Pair(cabled, client, peer)
        for size in (0, 1, 172, 1_400):
            data = bytes(each % 251 for each in range(size))
            pair.client.sendto(on_channel(data), pair.listener)
            assert pair.peer.recv(2_000) == data
            pair.peer.sendto(data, pair.relayed)
            assert pair.client.recv(2_000) == on_channel(data)
        counted = cabled.plane.counters(pair.number)
        assert (counted.packets_to_peers, counted.packets_to_clients) == (4, 4)
        assert cabled.reactor.idle


def with_equal_sums(source: Address, destination: Address, data: bytes) -> bytes:
    """``data`` with other last bytes: its checksum is the pseudo header's alone, and yet right."""
    length = UDP_HEADER + len(data)
    pseudo = pseudo_header(source.packed, destination.packed, length)
    head = b"".join(each.to_bytes(2, "big") for each in (source.port, destination.port, length, 0))
    of_all = ~checksum(pseudo + head + data[:-2]) & 0xFFFF
    return data[:-2] + ((checksum(pseudo) - of_all) % 0xFFFF).to_bytes(2, "big")


@pytest.mark.parametrize("card", ["on", "off"])
@pytest.mark.parametrize(("client", "peer"), FAMILIES)
def test_data_whose_checksum_is_right_before_it_is_finished_passes_without_user_space(
    lab: Lab, client: socket.AddressFamily, peer: socket.AddressFamily, card: str
) -> None:
    """One datagram in 65,536: beside a flood the server's socket may have no room for it."""
    with closing(Cabled(lab, Mode.TC)) as cabled:
        pair = Pair(cabled, client, peer)
        for host in (cabled.left, cabled.right):
            run(host, "ethtool", "-K", "eth0", "tx", card)
        sent = with_equal_sums(address_of(pair.client), pair.listener, on_channel(bytes(20)))
        pair.client.sendto(sent, pair.listener)
        assert pair.peer.recv(2_000) == sent[4:]
        back = with_equal_sums(address_of(pair.peer), pair.relayed, bytes(20))
        pair.peer.sendto(back, pair.relayed)
        assert pair.client.recv(2_000) == on_channel(back)
        assert cabled.behind.totals().packets_to_peers == 0
        assert cabled.reactor.idle


def test_data_that_lies_in_pages_of_a_file_passes_as_well(lab: Lab) -> None:
    """Such a packet begins in one place in memory and goes on in another."""
    with closing(Cabled(lab, Mode.TC)) as cabled:
        pair = Pair(cabled, IPV4, IPV6)
        file = os.memfd_create("data")
        try:
            os.write(file, on_channel(DATA))
            pair.client.connect(pair.listener)
            os.sendfile(pair.client.fileno(), file, 0, len(DATA) + 4)
            assert pair.peer.recv(2_000) == DATA
            pair.peer.connect(pair.relayed)
            os.sendfile(pair.peer.fileno(), file, 4, len(DATA))
            assert pair.client.recv(2_000) == on_channel(DATA)
        finally:
            os.close(file)
        assert cabled.reactor.idle


def test_what_a_driver_has_goes_to_a_cable_by_user_space(lab: Lab) -> None:
    """From XDP's native hook it would arrive only where another one is."""
    with closing(Cabled(lab, Mode.NATIVE, to_peers=Mode.TC)) as cabled:
        pair = Pair(cabled, IPV4, IPV4)
        pair.client.sendto(on_channel(DATA), pair.listener)
        while cabled.reactor.idle:
            pass
        cabled.turn()
        assert pair.peer.recv(2_000) == DATA
        assert cabled.behind.counters(pair.number).packets_to_peers == 1
        # The other way it is taken from the system.
        pair.peer.sendto(DATA, pair.relayed)
        assert pair.client.recv(2_000) == on_channel(DATA)
        assert cabled.plane.counters(pair.number).packets_to_clients == 1
        assert cabled.behind.counters(pair.number).packets_to_clients == 0
