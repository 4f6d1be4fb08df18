"""The plane in the kernel, between network namespaces."""

import errno
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from importlib.resources import files

import pytest

from natkit.relay import kernel_layout as layout
from natkit.relay import libbpf
from natkit.relay.attaching import Mode, attach
from natkit.relay.kernel_layout import DeviceFlag
from natkit.relay.kernel_tables import KernelRelay, Numbers, TableSizes
from natkit.relay.libbpf import BpfError, Link, Program, Table, load
from natkit.stun.attributes import Data, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.cabled import (
    CLIENTS,
    FAMILIES,
    IPV4,
    NOW,
    PEERS,
    SMALL,
    Cabled,
    inside,
)
from tests.natkit.relay.frames import Frame
from tests.natkit.relay.hooks import runs_program
from tests.natkit.relay.kernel_modes import MODES, count_at_tc
from tests.natkit.relay.rig import address_of
from tests.natkit.relay.twins import FAR, NEAR, on_one_processor
from tests.netlab.namespaces import Lab, ip, run

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

TRANSACTION = b"0123456789ab"
CHANNEL = 0x4001
XDP_REDIRECT = 4  # <linux/bpf.h>: enum xdp_action


@pytest.fixture(autouse=True)
def _one_processor() -> Iterator[None]:
    with on_one_processor():
        yield


class Pair:
    """A client with an allocation and a channel, and its peer."""

    def __init__(
        self,
        cabled: Cabled,
        client: socket.AddressFamily = IPV4,
        peer: socket.AddressFamily = IPV4,
    ) -> None:
        self.client = cabled.socket_on(cabled.left, CLIENTS[client][0])
        self.peer = cabled.socket_on(cabled.right, PEERS[peer][0])
        self.listener = cabled.listen(client)
        self.number, self.relayed = cabled.allocate(self.client, self.listener, peer)
        self.peer_address = address_of(self.peer)
        cabled.plane.permit(self.number, self.peer_address.host, NOW + 300)
        cabled.plane.bind_channel(self.number, CHANNEL, self.peer_address, NOW + 600)

    def send(self, data: bytes) -> None:
        """On the channel."""
        self.client.sendto(ChannelData(CHANNEL, data).encode(padded=False), self.listener)

    def answer(self, data: bytes) -> None:
        """To the relayed address."""
        self.peer.sendto(data, self.relayed)


def got(sock: socket.socket) -> bytes:
    return sock.recv(2000)


def nothing_came(cabled: Cabled, sock: socket.socket) -> bool:
    """Whether nothing is there, now that all that was on its way has arrived."""
    far = cabled.socket_on(cabled.right, PEERS[IPV4][0])
    near = cabled.socket_on(cabled.server, "10.2.0.1")
    far.sendto(b"after all", near.getsockname())
    assert got(near) == b"after all"
    sock.setblocking(False)
    try:
        sock.recv(2000)
    except BlockingIOError:
        return True
    finally:
        sock.settimeout(20)
    return False


@pytest.fixture(name="cabled")
def native(lab: Lab) -> Iterator[Cabled]:
    cabled = Cabled(lab, Mode.NATIVE)
    yield cabled
    cabled.close()


@pytest.mark.parametrize(("client", "peer"), FAMILIES)
def test_data_passes_both_ways_without_user_space(
    cabled: Cabled, client: socket.AddressFamily, peer: socket.AddressFamily
) -> None:
    pair = Pair(cabled, client, peer)
    for size in (0, 1, 172, 1400):
        pair.send(bytes(size))
        assert got(pair.peer) == bytes(size)
        pair.answer(bytes(size))
        assert got(pair.client) == ChannelData(CHANNEL, bytes(size)).encode(padded=False)
    # User space never had its turn.
    counters = cabled.plane.counters(pair.number)
    assert (counters.packets_to_peers, counters.packets_to_clients) == (4, 4)
    assert counters.bytes_to_peers == counters.bytes_to_clients == 1573
    assert cabled.behind.counters(pair.number).packets_to_peers == 0


@pytest.mark.parametrize("mode", MODES)
def test_indications_pass_as_well(lab: Lab, mode: Mode) -> None:
    cabled = Cabled(lab, mode)
    try:
        pair = Pair(cabled)
        other = cabled.socket_on(cabled.right, PEERS[IPV4][0])
        peer = address_of(other)
        message = Message.indication(
            Method.SEND, TRANSACTION, XorPeerAddress(peer), Data(b"for you")
        )
        pair.client.sendto(message.encode(), pair.listener)
        assert got(other) == b"for you"
        other.sendto(b"for me!", pair.relayed)
        came = Message.parse(got(pair.client))
        assert came.get(XorPeerAddress) == XorPeerAddress(peer)
        assert came.get(Data) == Data(b"for me!")
        assert cabled.behind.counters(pair.number).packets_to_clients == 0
    finally:
        cabled.close()


def test_a_packet_of_several_datagrams_is_left_to_user_space(lab: Lab) -> None:
    cabled = Cabled(lab, Mode.GENERIC)
    try:
        pair = Pair(cabled)
        # Before Linux 6.11 only a card that finishes checksums has several datagrams at once.
        for host in (cabled.left, cabled.right):
            run(host, "ethtool", "-K", "eth0", "tx", "on")
        # A local sender's cable carries it as one packet, and nobody but the system knows.
        pair.peer.setsockopt(socket.IPPROTO_UDP, 103, 100)
        pair.answer(bytes(250))
        cabled.turn()
        assert [len(got(pair.client)) for _ in range(3)] == [104, 104, 54]
        pair.client.setsockopt(socket.IPPROTO_UDP, 103, 104)
        pair.client.sendto(ChannelData(CHANNEL, bytes(100)).encode(padded=False) * 2, pair.listener)
        cabled.turn()
        assert [len(got(pair.peer)) for _ in range(2)] == [100, 100]
    finally:
        cabled.close()


def test_two_clients_of_one_server_talk_to_each_other_in_one_go(cabled: Cabled) -> None:
    one, other = Pair(cabled), Pair(cabled)
    for mine, theirs in ((one, other), (other, one)):
        cabled.plane.permit(mine.number, theirs.relayed.host, NOW + 300)
        cabled.plane.bind_channel(mine.number, 0x4005, theirs.relayed, NOW + 300)
    one.client.sendto(ChannelData(0x4005, b"hello").encode(padded=False), one.listener)
    assert got(other.client) == ChannelData(0x4005, b"hello").encode(padded=False)
    assert cabled.plane.counters(one.number).packets_to_peers == 1
    assert cabled.plane.counters(other.number).packets_to_clients == 1
    assert cabled.behind.totals().packets_to_peers == 0


def test_time_ends_permissions_and_channels_while_user_space_sleeps(cabled: Cabled) -> None:
    pair = Pair(cabled)
    cabled.plane.permit(pair.number, pair.peer_address.host, NOW + 5)
    cabled.plane.bind_channel(pair.number, CHANNEL, pair.peer_address, NOW + 7)
    assert cabled.tables is not None
    cabled.tables.stand_still(NOW + 5)
    pair.answer(b"too late")
    assert nothing_came(cabled, pair.client)
    pair.send(b"in time")
    assert got(pair.peer) == b"in time"
    cabled.tables.stand_still(NOW + 7)
    pair.send(b"too late")
    assert nothing_came(cabled, pair.peer)
    cabled.plane.extend(pair.number, NOW + 10)
    cabled.plane.bind_channel(pair.number, CHANNEL, pair.peer_address, NOW + 20)
    cabled.tables.stand_still(NOW + 10)
    pair.send(b"the allocation is over")
    assert nothing_came(cabled, pair.peer)
    counters = cabled.plane.counters(pair.number)
    assert counters.dropped_no_permission == 1
    assert counters.dropped_no_channel == 1
    assert cabled.plane.totals().dropped_no_allocation == 1


def test_its_own_clock_is_that_of_the_event_loop(lab: Lab) -> None:
    cabled = Cabled(lab, Mode.NATIVE)
    try:
        assert cabled.tables is not None
        cabled.tables.stand_still(0)  # it goes again
        pair = Pair(cabled)
        soon = time.monotonic() + 100
        cabled.plane.bind_channel(pair.number, CHANNEL, pair.peer_address, soon)
        cabled.plane.extend(pair.number, time.monotonic())
        pair.send(b"too late")
        assert nothing_came(cabled, pair.peer)
        cabled.plane.extend(pair.number, soon)
        pair.send(b"in time")
        assert got(pair.peer) == b"in time"
    finally:
        cabled.close()


def test_interfaces_with_high_numbers_and_with_tags_are_known_as_well(cabled: Cabled) -> None:
    pair, high = Pair(cabled), layout.LOW_DEVICES + 1
    cabled.server.configure("link", "add", "high", "index", str(high), "type", "veth")
    data = ChannelData(CHANNEL, b"there").encode(padded=False)
    frame = Frame(NEAR["left"], FAR["left"], address_of(pair.client), pair.listener, data)
    tagged = replace(frame, vlan=7)
    tables = cabled.tables
    assert tables is not None
    with inside(cabled.server):
        low, out = socket.if_nametoindex("clients"), socket.if_nametoindex("peers")

        def relays(frame: Frame, interface: int) -> bool:
            return cabled.relay.program.run(frame.encode(), interface).verdict == XDP_REDIRECT

        assert [relays(frame, low), relays(frame, high), relays(tagged, high)] == [
            True,
            False,
            False,
        ]
        device = layout.device_value(high, 0, NEAR["left"], DeviceFlag(0), 64)
        known = {(out, 0): layout.device_value(out, 0, NEAR["right"], DeviceFlag(0), 64)}
        for more in ((high, 0), (high, 7)):
            known[more] = device
            tables.set_devices(known)
        assert [relays(frame, low), relays(frame, high), relays(tagged, high)] == [
            False,
            True,
            True,
        ]
        tables.set_devices({(high, 0): device})
        assert not relays(frame, high)


def test_what_has_no_room_in_a_table_is_relayed_by_user_space(lab: Lab) -> None:
    cabled = Cabled(lab, Mode.NATIVE, sizes=TableSizes(halves=4, permissions=2, channels=64))
    try:
        pairs = [Pair(cabled) for _ in range(5)]
        assert cabled.full
        for pair in pairs:
            pair.send(b"there")
            cabled.turn()
            assert got(pair.peer) == b"there"
            pair.answer(b"back")
            cabled.turn()
            assert got(pair.client) == ChannelData(CHANNEL, b"back").encode(padded=False)
            counters = cabled.plane.counters(pair.number)
            assert (counters.packets_to_peers, counters.packets_to_clients) == (1, 1)
        behind = [cabled.behind.counters(each.number).packets_to_peers for each in pairs]
        # Two have all that they need; the third has no permission, and the others no place.
        assert behind == [0, 0, 1, 1, 1]
        assert cabled.tables is not None
        assert cabled.tables.unmirrored == 2
        for pair in pairs:
            cabled.plane.close(pair.number)
        assert cabled.tables.unmirrored == 0
        again = Pair(cabled)
        again.send(b"there")
        assert got(again.peer) == b"there"
    finally:
        cabled.close()


def test_nothing_is_left_of_allocations_that_are_closed(cabled: Cabled) -> None:
    pairs = [Pair(cabled) for _ in range(3)]
    pairs[0].send(b"there")
    assert got(pairs[0].peer) == b"there"
    tables = cabled.tables
    assert tables is not None
    for pair in pairs:
        cabled.plane.close(pair.number)
    for table in (tables.permissions, tables.channels, *tables.flows):
        assert table.list_keys() == []
    cabled.plane.stop()
    assert tables.locals.list_keys() == []
    # And yet what they counted stays in the totals.
    assert cabled.plane.totals().packets_to_peers == 1


def test_a_place_that_is_used_again_counts_for_its_new_holder_alone(lab: Lab) -> None:
    cabled = Cabled(lab, Mode.NATIVE, sizes=TableSizes(halves=2, permissions=64, channels=64))
    try:
        for round_ in range(3):
            pair = Pair(cabled)
            for _ in range(round_ + 1):
                pair.send(b"there")
                assert got(pair.peer) == b"there"
            assert cabled.plane.counters(pair.number).packets_to_peers == round_ + 1
            cabled.plane.close(pair.number)
        assert cabled.plane.totals().packets_to_peers == 6
    finally:
        cabled.close()


HOLDER = """
import sys
from natkit.relay.attaching import Mode, attach
from natkit.relay.kernel_tables import KernelRelay, TableSizes
relay = KernelRelay.load(TableSizes(halves=4, permissions=4, channels=4))
attachment = attach(relay, ["peers"], Mode(sys.argv[1]))
print("attached", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("mode", MODES)
def test_the_program_is_gone_with_the_process_that_attached_it(lab: Lab, mode: Mode) -> None:
    server, other = lab.host("server"), lab.host("other")
    lab.cable((server, "peers", "10.2.0.1/24"), (other, "eth0", "10.2.0.2/24"))
    with subprocess.Popen(
        [*server.prefix, sys.executable, "-c", HOLDER, mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "attached\n"
        assert runs_program(server, "peers")
        process.kill()
        process.wait()
    assert not runs_program(server, "peers")


@pytest.fixture(name="two")
def two_programs(lab: Lab) -> Iterator[tuple[KernelRelay, KernelRelay]]:
    """On a host of their own, where one has XDP's hook of an interface."""
    server = lab.host("server")
    lab.cable((server, "clients", ""), (server, "peers", ""))
    with (
        inside(server),
        closing(KernelRelay.load(SMALL)) as one,
        closing(KernelRelay.load(SMALL)) as other,
        closing(attach(one, ["clients"], Mode.GENERIC)),
    ):
        yield one, other


def test_xdp_has_one_program_on_an_interface(two: tuple[KernelRelay, KernelRelay]) -> None:
    with pytest.raises(BpfError, match=r"^clients: another program of XDP runs there"):
        attach(two[1], ["clients"], Mode.GENERIC)


@pytest.mark.tc
def test_tc_has_any_number_of_programs(two: tuple[KernelRelay, KernelRelay]) -> None:
    one, other = two
    clients, lo = map(socket.if_nametoindex, ("clients", "lo"))
    with closing(attach(other, ["clients", "lo"])) as beside:
        assert {each.mode for each in beside.attached} == {Mode.TC}
        with closing(attach(one, ["clients"], Mode.TC)):
            assert count_at_tc(clients) == 2
        assert count_at_tc(clients) == count_at_tc(lo) == 1
    assert count_at_tc(lo) == 0


def test_the_program_is_told_where_the_far_end_of_a_cable_is(lab: Lab) -> None:
    server, other = lab.host("server"), lab.host("other")
    lab.cable((server, "peers", ""), (other, "far", ""))
    with (
        inside(server),
        closing(KernelRelay.load(SMALL)) as relay,
        closing(attach(relay, ["peers"])) as attachment,
    ):

        def flags() -> int:
            (device,) = relay.tables.devices()
            return device[6]

        assert flags() == DeviceFlag.RUNS_ON_SKB | DeviceFlag.FAR_END_ELSEWHERE
        # Nothing may be sent on to there any more, for it would be lost.
        ip("-n", other.namespace, "link", "set", "far", "netns", server.namespace)
        attachment.refresh()
        assert flags() == DeviceFlag.RUNS_ON_SKB


def test_where_tc_takes_no_such_program_xdp_runs_after_the_driver(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before Linux 6.6, which knows neither the hook nor perhaps what the program calls."""

    def refuse(_: Program, __: int) -> Link:
        raise BpfError("tc: Invalid argument", errno.EINVAL)

    monkeypatch.setattr(Program, "attach_to_tc", refuse)
    server = lab.host("server")
    lab.cable((server, "clients", ""), (server, "peers", ""))
    with inside(server), closing(KernelRelay.load(SMALL)) as relay:
        with closing(attach(relay, ["clients"])) as attachment:
            assert [each.mode for each in attachment.attached] == [Mode.GENERIC]
        with pytest.raises(BpfError, match=r"^lo: tc takes no such program before Linux 6\.6$"):
            attach(relay, ["lo"])
        relay.at_tc = None
        with closing(attach(relay, ["clients"])) as attachment:
            assert [each.mode for each in attachment.attached] == [Mode.GENERIC]


def test_a_kernel_that_refuses_the_program_for_tc_has_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = libbpf.load_all

    def picky(
        image: bytes, sizes: Mapping[str, int], programs: tuple[str, ...], without: str
    ) -> tuple[dict[str, Table], dict[str, Program]]:
        if "natkit_relay_tc" in programs:
            raise BpfError("the kernel refuses the BPF program")
        return loaded(image, sizes, programs, without)

    monkeypatch.setattr(libbpf, "load_all", picky)
    with closing(KernelRelay.load(SMALL)) as relay:
        assert relay.at_tc is None
    with pytest.raises(BpfError, match=r"^the object file has no program 'missing'$"):
        load(files("natkit.relay").joinpath("relay.bpf.o").read_bytes(), {}, (), "missing")


def test_what_the_kernel_refuses_is_said_in_one_line() -> None:
    with pytest.raises(BpfError, match=r"^BPF object file: "):
        load(b"no object file", {}, ())
    relay = KernelRelay.load(SMALL)
    with pytest.raises(BpfError, match=r"^keys here have 20 bytes and values 12$"):
        relay.tables.locals.put(b"short", bytes(12))
    relay.close()
    with pytest.raises(BpfError, match=r"^BPF table: "):
        Table(-1)


def test_numbers_are_given_out_again_when_all_others_were() -> None:
    numbers = Numbers(1, 4)
    assert [numbers.take() for _ in range(4)] == [1, 2, 3, None]
    numbers.give_back(2)
    numbers.give_back(1)
    assert [numbers.take() for _ in range(3)] == [2, 1, None]
