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

from natkit.stun.attributes import Data, XorPeerAddress
from natkit.stun.message import Message
from tests.conftest import Sized
from tests.natkit.relay.cabled import IPV4, IPV6
from tests.netlab.namespaces import run
from tests.netlab.relay_hosts import LISTEN, RELAY_CONFIG, RelayHosts, datagrams, relay_hosts
from tests.netlab.relay_pair import Pair
from tests.netlab.wire import Recording, Wire, wire
from tests.peering.roster import program_path
from tests.stun_server.process import LIMIT, StunServerProcess, stun_server

pytestmark = [
    pytest.mark.netns,
    pytest.mark.peer("libbpf", "tshark"),
]

LARGEST = 1472
"""What an Ethernet frame holds over IPv4."""
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
        families = [(client, peer) for client in (IPV4, IPV6) for peer in (IPV4, IPV6)]
        pairs = [Pair(hosts, stack, number, *each) for number, each in enumerate(families)]
        for pair in pairs:
            for sock in (pair.client.socket, *pair.peers):
                _mark(sock)
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
        for far in (hosts.left, hosts.right):
            run(far, "ethtool", "-K", "eth0", "tx", "off")
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
