"""What a relay puts on the wires to clients and peers is the same for both planes.

Wireshark says so, for both families and both ways, of all header fields but those that are random:
an IPv4 packet's identification, and the flow label, which the kernel's plane leaves at zero.
"""

import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from natkit.address import Address, Family
from natkit.stun.attributes import (
    ChannelNumber,
    Data,
    RequestedAddressFamily,
    RequestedTransport,
    XorPeerAddress,
    XorRelayedAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import UDP_PROTOCOL, Method
from natkit.turn.channel_data import ChannelData
from tests.conftest import Sized
from tests.natkit.relay.cabled import IPV4, IPV6, LISTENERS, PEERS, inside
from tests.netlab.namespaces import run
from tests.netlab.relay_hosts import LISTEN, RELAY_CONFIG, RelayHosts, datagrams, relay_hosts
from tests.netlab.wire import Recording, Wire, wire
from tests.peering.roster import program_path
from tests.stun_server.by_hand import HandClient, code_of
from tests.stun_server.process import LIMIT, StunServerProcess, stun_server

pytestmark = [
    pytest.mark.netns,
    pytest.mark.peer("libbpf", "tshark"),
]

LARGEST = 1472
"""What an Ethernet frame holds over IPv4."""
CHANNEL = 0x4000
EXPEDITED = 46
MARKED = 10 << 2 | 1
"""What clients and peers send with: a code point and ECN, neither of which goes on."""
FIELDS = (
    *("eth.dst", "eth.src"),
    *("ip.src", "ip.dst", "ip.ttl", "ip.dsfield.dscp", "ip.dsfield.ecn", "ip.len"),
    *("ip.flags.df", "ip.flags.mf", "ip.frag_offset", "ip.checksum.status"),
    *("ipv6.src", "ipv6.dst", "ipv6.hlim", "ipv6.tclass.dscp", "ipv6.tclass.ecn", "ipv6.plen"),
    *("ipv6.fraghdr.offset", "ipv6.fraghdr.more"),
    *("udp.srcport", "udp.dstport", "udp.length", "udp.checksum.status", "udp.payload"),
)
GOOD = "1"
CONFIG = f"""{RELAY_CONFIG}
dscp = {EXPEDITED}
[policy]
allow_peer = ["0.0.0.0/0", "::/0"]
"""


def sizes_at_edges() -> set[int]:
    """Small ones, those that fill words and blocks, and those beside the largest that fit."""
    sizes = {0, 1, 2, 3, 4, 5, 31, 32, 33, 172, 1200, LARGEST - 1, LARGEST}
    for ip in (20, 40):
        for framing in (0, 4, 36, 48):
            most = 1500 - ip - 8 - framing
            sizes |= {most - 1, most, most + 1}
    return {size for size in sizes if size <= LARGEST}


class Pair:
    """A client with an allocation, a peer on its channel, and one that it has permitted alone."""

    def __init__(self, hosts: RelayHosts, client: int, peer: int, stack: ExitStack) -> None:
        place = (client == IPV6) * 2 + (peer == IPV6)
        families = {each.value: each for each in (IPV4, IPV6)}
        listener = Address(LISTENERS[families[client]], 3478)
        with inside(hosts.left):
            self.client = HandClient(listener, 50_000 + place)
        stack.callback(self.client.close)
        _mark(self.client.socket)
        host = PEERS[families[peer]][0]
        self.peers = []
        for port in (40_000 + place, 41_000 + place):
            with inside(hosts.right):
                sock = socket.socket(families[peer], socket.SOCK_DGRAM)
            stack.enter_context(sock)
            sock.bind((host, port))
            sock.settimeout(LIMIT)
            _mark(sock)
            self.peers.append(sock)
        self.relayed = self._allocate(Family.IPV4 if peer == IPV4 else Family.IPV6)
        on_channel, permitted = (Address(host, port) for port in (40_000 + place, 41_000 + place))
        self._permitted = permitted
        client_ = self.client
        answer = client_.request(
            Method.CHANNEL_BIND, ChannelNumber(CHANNEL), XorPeerAddress(on_channel)
        )
        assert code_of(answer) is None
        answer = client_.request(Method.CREATE_PERMISSION, XorPeerAddress(permitted))
        assert code_of(answer) is None

    def _allocate(self, family: Family) -> Address:
        answer = self.client.request(
            Method.ALLOCATE, RequestedTransport(UDP_PROTOCOL), RequestedAddressFamily(family)
        )
        relayed = answer.get(XorRelayedAddress)
        assert relayed is not None
        return relayed.address

    def exchange(self, data: bytes) -> None:
        """There and back on the channel, and by indications."""
        on_channel, permitted = self.peers
        self.client.throw(ChannelData(CHANNEL, data).encode(padded=False))
        assert on_channel.recv(2000) == data
        on_channel.sendto(data, self.relayed)
        assert ChannelData.parse(self.client.hear()) == ChannelData(CHANNEL, data)
        send = (XorPeerAddress(self._permitted), Data(data))
        self.client.throw(Message.indication(Method.SEND, bytes(range(12)), *send).encode())
        assert permitted.recv(2000) == data
        permitted.sendto(data, self.relayed)
        came = Message.parse(self.client.hear())
        assert came.attributes == send


def _mark(sock: socket.socket) -> None:
    if sock.family == IPV6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, MARKED)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, MARKED)


@dataclass(frozen=True, slots=True)
class Found:
    """What was on both wires, field by field, and what the server's sockets received."""

    rows: Sequence[Mapping[str, str]]
    received: int


def relay_all(
    hosts: RelayHosts, plane: str, directory: Path, sizes: Sequence[int], wires: Sequence[Wire]
) -> Found:
    """Relay data of all sizes between clients and peers of both families."""
    directory.mkdir()
    config = directory / "config.toml"
    config.write_text(CONFIG)
    flags = ("--config", str(config), "--relay-plane", plane, *LISTEN)
    recording = Recording(directory / "wires.pcap")
    with (
        stun_server(directory, *flags, prefix=hosts.server.prefix) as server,
        ExitStack() as stack,
    ):
        (ready,) = server.lines("ready")
        assert ready["plane"] == plane
        pairs = [
            Pair(hosts, client, peer, stack) for client in (IPV4, IPV6) for peer in (IPV4, IPV6)
        ]
        # Next hops are known, and the rest is the machine's.
        for pair in pairs:
            pair.exchange(b"first")
        for each in wires:
            list(each.frames())
        before = datagrams(hosts.server)
        for size in sizes:
            data = Random(size).randbytes(size)
            for pair in pairs:
                pair.exchange(data)
            recording.take(*wires)
        received = datagrams(hosts.server) - before
        relayed = {str(pair.relayed.port): "relayed" for pair in pairs}
        _counts_all(server, len(pairs) * (len(sizes) + 1) * 2)
    recording.write()
    rows = [_comparable(row, relayed) for row in dissect(recording.file)]
    return Found(rows, received)


def _counts_all(server: StunServerProcess, packets: int) -> None:
    """The server's own figures are the same, wherever its packets were counted."""
    assert server.stop() == 0
    (stopped,) = server.lines("stopped")
    assert stopped["to_peers"] == stopped["to_clients"] == packets


def dissect(file: Path) -> Iterator[dict[str, str]]:
    """What tshark reads of each IP packet but those of ICMP; it computes the checksums."""
    tshark = program_path("tshark")
    assert tshark is not None
    checks = [
        word
        for each in ("ip.check_checksum", "udp.check_checksum", "ip.defragment", "ipv6.defragment")
        for word in ("-o", f"{each}:TRUE")
    ]
    command = [tshark, "-n", "-r", str(file), *checks, "-Y", "(ip || ipv6) && !icmp && !icmpv6"]
    command += ["-T", "fields", "-E", "separator=/t", "-E", "occurrence=f"]
    command += [word for each in FIELDS for word in ("-e", each)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        yield dict(zip(FIELDS, line.split("\t"), strict=True))


def _comparable(row: dict[str, str], relayed: Mapping[str, str]) -> Mapping[str, str]:
    """Without what chance decides: relayed ports, and transaction ids, which hide addresses."""
    for port in ("udp.srcport", "udp.dstport"):
        row[port] = relayed.get(row[port], row[port])
    payload = row["udp.payload"]
    # A peer's data comes from a relayed address.
    if payload.startswith("0017") and row["udp.srcport"] == "3478":
        came = Message.parse(bytes.fromhex(payload))
        peer, data = came.get(XorPeerAddress), came.get(Data)
        assert peer is not None
        assert data is not None
        assert came.attributes == (peer, data)
        row["udp.payload"] = f"{peer.address} {data.value.hex()} of {len(payload)}"
    return row


@pytest.fixture(name="hosts")
def three_hosts() -> Iterator[RelayHosts]:
    """Where the system of no host leaves a checksum to a card."""
    with relay_hosts() as hosts:
        for interface in ("clients", "peers"):
            run(hosts.server, "ethtool", "-K", interface, "tx", "off")
        yield hosts


@pytest.mark.timeout(3600)
def test_wireshark_sees_the_same_of_both_planes_and_no_wrong_checksum(
    hosts: RelayHosts, tmp_path: Path, sized: Sized
) -> None:
    every_size = sized(quick=0, full=1)
    sizes = sorted(range(LARGEST + 1) if every_size else sizes_at_edges())
    with wire(hosts.left) as left, wire(hosts.right) as right:
        by_plane = {
            plane: relay_all(hosts, plane, tmp_path / plane, sizes, (left, right))
            for plane in ("userspace", "kernel")
        }
    rows = by_plane["userspace"].rows
    whole = [row for row in rows if row["udp.payload"] or row["udp.length"] == "8"]
    assert len(whole) == 4 * 4 * len(sizes)
    for row in whole:
        assert row["udp.checksum.status"] == GOOD, row
    for row in rows:
        assert row["ip.checksum.status"] == ("" if row["ipv6.src"] else GOOD), row
        assert (row["ip.dsfield.dscp"] or row["ipv6.tclass.dscp"]) == str(EXPEDITED)
        assert (row["ip.dsfield.ecn"] or row["ipv6.tclass.ecn"]) == "0"
    for one, other in zip(rows, by_plane["kernel"].rows, strict=True):
        assert one == other
    # The kernel's plane left to sockets only what came in fragments, or had to leave so.
    assert by_plane["userspace"].received == len(whole)
    fragmented = sum(row["ip.flags.mf"] == "1" or row["ipv6.fraghdr.more"] == "1" for row in rows)
    print(f"{len(sizes)} sizes, {len(rows)} packets, {fragmented} in fragments;")
    print(f"sockets received {[each.received for each in by_plane.values()]}")
    assert by_plane["kernel"].received < len(whole) / 2
