"""The fields of the IP headers that the plane's packets have (RFC 8656 §13, §14), on loopback."""

import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.rig import Rig, address_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux")

FAMILIES = [pytest.param(family, id=family.name) for family in (socket.AF_INET, socket.AF_INET6)]
EXPEDITED = 46
CONGESTION_EXPERIENCED = 0x03
ETH_P_IP = 0x0800
DONT_FRAGMENT = 0x4000


def reads_marks(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_RECVTOS", 13), 1)


def mark_of(sock: socket.socket) -> int:
    """The eight bits of DSCP and ECN that the next datagram came with."""
    _, ((_, _, value),), _, _ = sock.recvmsg(2000, 100)
    return value[0]


def sends_marked(sock: socket.socket, value: int) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, value)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, value)


@pytest.mark.parametrize("dscp", [0, EXPEDITED])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_that_is_relayed_has_the_code_point_that_was_set_and_no_ecn(
    family: socket.AddressFamily, dscp: int
) -> None:
    rig = Rig(dscp=dscp)
    try:
        client, peer = rig.new_socket(family), rig.new_socket(family)
        listener = rig.listen(family)
        number, relayed = rig.allocate(client, listener, family)
        there = address_of(peer)
        rig.plane.permit(number, there.host, 3_000.0)
        rig.plane.bind_channel(number, 0x4000, there, 3_000.0)
        for sock in (client, peer):
            reads_marks(sock)
            # What comes in does not matter: that is the alternate behaviour of §14.
            sends_marked(sock, 10 << 2 | CONGESTION_EXPERIENCED)
        client.sendto(ChannelData(0x4000, b"hello").encode(padded=False), listener)
        peer.sendto(b"back", relayed)
        rig.turn()
        assert mark_of(peer) == dscp << 2
        assert mark_of(client) == dscp << 2
    finally:
        rig.close()


@contextmanager
def wiretap() -> Iterator[socket.socket]:
    """A socket that hears all that passes the loopback interface, from the IP header on."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP)) as sock:
        sock.bind(("lo", ETH_P_IP))
        sock.settimeout(10)
        yield sock


def is_unfragmentable(tap: socket.socket, source: Address, payload: bytes) -> bool:
    """Whether the packet from ``source`` that ends in ``payload`` has the DF bit."""
    while True:
        packet = tap.recv(2000)
        # An IPv4 header without options, then the UDP header.
        if packet.endswith(payload) and packet[20:22] == source.port.to_bytes(2, "big"):
            flags: int = struct.unpack_from("!H", packet, 6)[0]
            return bool(flags & DONT_FRAGMENT)


@pytest.mark.skipif(os.geteuid() != 0, reason="hearing packets needs root")
def test_packets_may_be_fragmented_unless_the_client_says_otherwise() -> None:
    rig = Rig()
    try:
        client, peer = rig.new_socket(), rig.new_socket()
        listener = rig.listen()
        number, relayed = rig.allocate(client, listener)
        there = address_of(peer)
        rig.plane.permit(number, there.host, 3_000.0)
        rig.plane.bind_channel(number, 0x4000, there, 3_000.0)
        path = Path(Transport.UDP, relayed, there)
        with wiretap() as tap:
            client.sendto(ChannelData(0x4000, b"on the channel").encode(padded=False), listener)
            peer.sendto(b"back to the client", relayed)
            rig.turn()
            # The system sets the bit for sockets that do not care.
            assert is_unfragmentable(tap, address_of(client), b"on the channel")
            assert not is_unfragmentable(tap, relayed, b"on the channel")
            assert not is_unfragmentable(tap, listener, b"back to the client")
            rig.plane.send(b"not in fragments", path, dont_fragment=True)
            assert is_unfragmentable(tap, relayed, b"not in fragments")
            rig.plane.send(b"may be in fragments", path)
            assert not is_unfragmentable(tap, relayed, b"may be in fragments")
    finally:
        rig.close()
