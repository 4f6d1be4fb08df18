"""VLAN tags in the kernel's plane, by frames that the program is run on.

No VLAN interfaces are needed: bridges stand for them, and the program is told that they are such.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.net.links import NetworkLink, read_links
from natkit.relay import attaching
from natkit.relay.attaching import Mode
from natkit.relay.libbpf import BpfError, Ran
from natkit.relay.plane import Counters
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.cabled import (
    IPV4,
    IPV6,
    MACS,
    NOW,
    PATIENCE,
    PEERS,
    RELAYS,
    Cabled,
    inside,
)
from tests.natkit.relay.frames import Frame, Reader, Seen
from tests.natkit.relay.twins import FAR, NEAR
from tests.netlab.namespaces import Lab, run

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

FAMILIES = [pytest.param(family, id=family.name) for family in (IPV4, IPV6)]
PASSED, SENT_BACK, REDIRECTED = 2, 3, 4
# <linux/if_packet.h>
SOL_PACKET, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 263, 8, 23
ETH_P_ALL = 3
CHECKSUM_NOT_READY, TAG_VALID = 1 << 3, 1 << 4
TAG, OTHER_TAG, STRANGE_TAG = 7, 8, 9
LISTENERS = {IPV4: "10.7.0.1", IPV6: "fd07::1"}
CLIENTS = {IPV4: ("10.7.0.2", 50_000), IPV6: ("fd07::2", 50_000)}
NEXT_TO = {IPV4: ("10.8.0.2", 40_000), IPV6: ("fd08::2", 40_000)}
PORT, CHANNEL, RELAY_PORT = 3478, 0x4001, 49_152
DATA = b"through a VLAN"
BINDING = Message.request(Method.BINDING, b"0123456789ab").encode()


class Tagged:
    """A client on one VLAN of a wire, peers on another one and on another wire without any."""

    def __init__(self, cabled: Cabled) -> None:
        self.cabled = cabled
        for name, own in (("vlan7", "10.7.0.1/24 fd07::1/64"), ("vlan8", "10.8.0.1/24 fd08::1/64")):
            cabled.server.configure("link", "add", name, "type", "bridge")
            mac = MACS["server", "clients"]
            cabled.server.configure("link", "set", name, "address", mac, "up")
            for address in own.split():
                flags = ("nodad",) if ":" in address else ()
                cabled.server.configure("address", "add", address, "dev", name, *flags)
        for name, ends in (("vlan7", CLIENTS), ("vlan8", NEXT_TO)):
            for host, _ in ends.values():
                where = ("lladdr", MACS["left", "eth0"], "dev", name, "nud", "permanent")
                cabled.server.configure("neighbour", "replace", host, *where)
        with inside(cabled.server):
            self.numbers = {each.name: each.number for each in read_links()}
            cabled.attachment.refresh()

    def allocate(self, family: socket.AddressFamily) -> None:
        """For the client, with a channel to each peer."""
        cabled = self.cabled
        listener = cabled.listen_on(cabled.socket_on(cabled.server, LISTENERS[family], PORT))
        path = Path(Transport.UDP, listener, Address(*CLIENTS[family]))
        cabled.plane.open(1, path, cabled.relay_socket(family, RELAY_PORT), NOW + 600)
        peers = (Address(PEERS[family][0], 40_000), Address(*NEXT_TO[family]))
        for channel, peer in enumerate(peers, CHANNEL):
            cabled.plane.permit(1, peer.host, NOW + 300)
            cabled.plane.bind_channel(1, channel, peer, NOW + 600)

    def run(self, frame: bytes, interface: str = "clients") -> Ran:
        """What the program makes of a frame that comes in there."""
        with inside(self.cabled.server):
            return self.cabled.relay.program.run(frame, self.numbers[interface])


@pytest.fixture(autouse=True)
def _bridges_are_vlans(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_vlans() -> tuple[NetworkLink, ...]:
        links = read_links()
        below = {each.name: each.number for each in links}["clients"]
        tags = {"vlan7": TAG, "vlan8": OTHER_TAG}
        return tuple(
            replace(each, kind="vlan", below=below, vlan=tags[each.name])
            if each.name in tags
            else each
            for each in links
        )

    monkeypatch.setattr(attaching, "read_links", as_vlans)


@pytest.fixture(name="tagged")
def with_tags(lab: Lab) -> Iterator[Tagged]:
    cabled = Cabled(lab, Mode.NATIVE)
    try:
        yield Tagged(cabled)
    finally:
        cabled.close()


def from_client(family: socket.AddressFamily, data: bytes, vlan: int | None = TAG) -> Frame:
    return Frame(
        NEAR["left"], FAR["left"], CLIENTS[family], (LISTENERS[family], PORT), data, vlan=vlan
    )


def on_channel(channel: int = CHANNEL) -> bytes:
    return ChannelData(channel, DATA).encode(padded=False)


def read(ran: Ran) -> Seen:
    """A datagram that left, whose sums are right."""
    seen = Reader().read(ran.packet, may_be_partial=False)
    assert seen is not None
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_data_of_a_client_on_a_vlan_leaves_without_its_tag(
    tagged: Tagged, family: socket.AddressFamily
) -> None:
    tagged.allocate(family)
    ran = tagged.run(from_client(family, on_channel()).encode())
    assert ran.verdict == REDIRECTED
    seen = read(ran)
    assert (seen.source, seen.destination, seen.vlan) == (RELAYS[family], PEERS[family][0], 0)
    assert seen.body[8:] == DATA
    assert ran.packet[:12] == FAR["right"] + NEAR["right"]


@pytest.mark.parametrize("family", FAMILIES)
def test_data_for_a_client_on_a_vlan_leaves_with_its_tag(
    tagged: Tagged, family: socket.AddressFamily
) -> None:
    tagged.allocate(family)
    relayed = (RELAYS[family], RELAY_PORT)
    frame = Frame(NEAR["right"], FAR["right"], (PEERS[family][0], 40_000), relayed, DATA)
    ran = tagged.run(frame.encode(), "peers")
    assert ran.verdict == REDIRECTED
    seen = read(ran)
    assert (seen.source, seen.vlan) == (LISTENERS[family], TAG)
    assert seen.body[8:] == on_channel()
    assert ran.packet[:12] == FAR["left"] + NEAR["left"]


@pytest.mark.parametrize("family", FAMILIES)
def test_from_one_vlan_to_another_of_the_same_wire_the_tag_is_changed(
    tagged: Tagged, family: socket.AddressFamily
) -> None:
    tagged.allocate(family)
    ran = tagged.run(from_client(family, on_channel(CHANNEL + 1)).encode())
    assert ran.verdict == SENT_BACK
    seen = read(ran)
    assert (seen.destination, seen.vlan) == (NEXT_TO[family][0], OTHER_TAG)
    assert seen.body[8:] == DATA


@pytest.mark.parametrize("family", FAMILIES)
def test_a_binding_request_on_a_vlan_is_answered_there(
    tagged: Tagged, family: socket.AddressFamily
) -> None:
    tagged.allocate(family)
    # A priority beside the number of the VLAN is the sender's.
    for tag in (TAG, TAG | 5 << 13, TAG | 1 << 12):
        ran = tagged.run(from_client(family, BINDING, tag).encode())
        assert ran.verdict == SENT_BACK
        seen = read(ran)
        assert (seen.destination, seen.vlan) == (CLIENTS[family][0], TAG)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_priority_alone_is_no_vlan(tagged: Tagged, family: socket.AddressFamily) -> None:
    tagged.allocate(family)
    ran = tagged.run(from_client(family, on_channel(), 5 << 13).encode())
    assert ran.verdict == REDIRECTED
    assert read(ran).body[8:] == DATA


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_tagged_for_others_or_twice_passes_as_it_came(
    tagged: Tagged, family: socket.AddressFamily
) -> None:
    tagged.allocate(family)
    once = from_client(family, on_channel()).encode()
    outer = TAG.to_bytes(2, "big")
    for frame in (
        from_client(family, on_channel(), STRANGE_TAG).encode(),
        once[:12] + b"\x81\x00" + outer + once[12:],
        once[:12] + b"\x88\xa8" + outer + once[12:],
        # IEEE 802.1ad's tag by itself.
        once[:12] + b"\x88\xa8" + once[14:],
    ):
        ran = tagged.run(frame)
        assert (ran.verdict, ran.packet) == (PASSED, frame)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tag_that_leaves_no_room_for_an_ip_header_passes(
    tagged: Tagged, family: socket.AddressFamily
) -> None:
    tagged.allocate(family)
    whole = from_client(family, on_channel()).encode()
    for length in range(14, len(whole)):
        ran = tagged.run(whole[:length])
        assert (ran.verdict, ran.packet) == (PASSED, whole[:length])


def test_after_a_driver_that_takes_tags_off_it_does_not_run(lab: Lab) -> None:
    cabled = Cabled(lab, Mode.GENERIC)
    try:
        # No VLAN yet: no tags that could be missed.
        assert {each.interface.name for each in cabled.attachment.attached} == {"clients", "peers"}
        Tagged(cabled)
        assert {each.interface.name for each in cabled.attachment.attached} == {"peers"}
        with inside(cabled.server):
            (port,) = [each for each in read_links() if each.name == "clients"]
            with pytest.raises(BpfError, match=r"^clients .* `ethtool -K clients rxvlan off`$"):
                cabled.attachment.add(port, Mode.GENERIC)
        run(cabled.server, "ethtool", "-K", "clients", "rxvlan", "off")
        with inside(cabled.server):
            assert cabled.attachment.add(port, Mode.GENERIC) is Mode.GENERIC
            cabled.attachment.refresh()
        assert len(cabled.attachment.attached) == 2
    finally:
        cabled.close()


class TaggedWire:
    """What passes the far end of a wire, where the system keeps tags beside packets."""

    def __init__(self, tagged: Tagged, side: str) -> None:
        self._wire = tagged.cabled.wire(side, protocol=ETH_P_ALL)
        self._wire.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._wire.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._wire.settimeout(PATIENCE)

    def put(self, frame: Frame) -> None:
        self.send(frame.encode())

    def send(self, frame: bytes) -> None:
        self._wire.send(frame)

    def until(self, source: tuple[str, int]) -> tuple[Seen, int]:
        """The next datagram of that source, whose sums are right; and its tag."""
        while True:
            frame, ancillary, _, _ = self._wire.recvmsg(4_000, 100)
            status, tag = struct.unpack_from("=I12xH", ancillary[0][2])
            seen = Reader().read(frame, may_be_partial=bool(status & CHECKSUM_NOT_READY))
            if seen is not None and seen.source == source[0]:
                return seen, tag if status & TAG_VALID else 0


@pytest.mark.tc
@pytest.mark.parametrize("family", FAMILIES)
def test_at_tc_tags_that_the_system_took_off_are_read_and_put_back(
    lab: Lab, family: socket.AddressFamily
) -> None:
    cabled = Cabled(lab, Mode.TC)
    try:
        tagged = Tagged(cabled)
        tagged.allocate(family)
        left, right = TaggedWire(tagged, "left"), TaggedWire(tagged, "right")
        listener, relayed = (LISTENERS[family], PORT), (RELAYS[family], RELAY_PORT)
        # Without its tag, though a priority is beside it.
        left.put(from_client(family, on_channel(), TAG | 5 << 13))
        seen, tag = right.until(relayed)
        assert (seen.destination, seen.body[8:], tag) == (PEERS[family][0], DATA, 0)
        # With one.
        peer = (PEERS[family][0], 40_000)
        right.put(Frame(NEAR["right"], FAR["right"], peer, relayed, DATA))
        seen, tag = left.until(listener)
        assert (seen.destination, seen.body[8:], tag) == (CLIENTS[family][0], on_channel(), TAG)
        # With another.
        left.put(from_client(family, on_channel(CHANNEL + 1)))
        seen, tag = left.until(relayed)
        assert (seen.destination, seen.body[8:], tag) == (NEXT_TO[family][0], DATA, OTHER_TAG)
        # With the same.
        left.put(from_client(family, BINDING))
        seen, tag = left.until(listener)
        assert (seen.destination, tag) == (CLIENTS[family][0], TAG)
        # What is for others, tagged twice, or tagged by a provider: first of all, there is no more.
        once = from_client(family, on_channel()).encode()
        for strange in (
            from_client(family, on_channel(), STRANGE_TAG).encode(),
            once[:12] + b"\x81\x00" + TAG.to_bytes(2, "big") + once[12:],
            once[:12] + b"\x88\xa8" + once[14:],
        ):
            left.send(strange)
        left.put(from_client(family, on_channel(CHANNEL + 1)))
        left.until(relayed)
        assert cabled.plane.counters(1).packets_to_peers == 3
        assert cabled.behind.totals() == Counters()
    finally:
        cabled.close()
