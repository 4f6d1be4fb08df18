"""The sockets and tables of a plane in user space: failures, fairness, misuse, and its end."""

import asyncio
import errno
import ipaddress
import pathlib
import socket
import sys
from dataclasses import fields

import pytest
import uvloop

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.machine import Path, Transport
from natkit.net import linux_batch, sockaddr
from natkit.net.batch import CAPACITY
from natkit.net.libc import HAVE_MMSG
from natkit.relay.plane import BindingPolicy, Counters, RelayPlane
from natkit.relay.readiness import READABLE
from natkit.relay.userspace import ANSWERS_BUFFER, UserspacePlane
from natkit.stun.attributes import XorMappedAddress
from natkit.stun.message import Message
from tests.natkit.relay.relayed import (
    BINDING,
    CHANNEL,
    STREAM,
    Relayed,
    channel_data,
)
from tests.natkit.relay.rig import Rig, address_of, received


def test_what_the_system_refuses_to_send_is_counted_and_the_rest_goes_on(rig: Rig) -> None:
    relayed = Relayed(rig)
    rig.plane.bind_channel(relayed.allocation, 0x4001, Address("127.0.0.1", 0), 1_600.0)
    for packet in (channel_data(b"a"), channel_data(b"b", 0x4001), channel_data(b"c")):
        relayed.client.sendto(packet, relayed.listener)
    rig.turn()
    assert [data for data, _ in received(relayed.peer)] == [b"a", b"c"]
    assert relayed.counters == Counters(packets_to_peers=2, bytes_to_peers=2, dropped_send_failed=1)


@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that says its limit there")
def test_a_listener_has_room_for_answers_that_wait_for_hosts_that_are_not_there(rig: Rig) -> None:
    before, listener = rig.new_socket(), rig.new_socket()
    rig.plane.listen(listener, BindingPolicy())
    limit = 2 * int(pathlib.Path("/proc/sys/net/core/wmem_max").read_text())
    room = listener.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    # The privileged may have more than the limit.
    assert room >= min(2 * ANSWERS_BUFFER, limit)
    assert room >= before.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


@pytest.mark.parametrize("channel", [False, True])
@pytest.mark.parametrize(("family", "size"), [(socket.AF_INET, 65_507), (socket.AF_INET6, 65_527)])
def test_data_too_long_to_be_framed_for_the_client_is_counted(
    rig: Rig, family: socket.AddressFamily, size: int, *, channel: bool
) -> None:
    relayed = Relayed(rig, relay_family=family, channel=channel)
    relayed.peer.sendto(b"x" * size, relayed.address)
    assert len(relayed.down(b"short")) == 1
    assert relayed.counters == Counters(
        packets_to_clients=1, bytes_to_clients=5, dropped_send_failed=1
    )


def test_a_full_send_buffer_drops_and_counts_and_keeps_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    relayed = Relayed(rig)
    with monkeypatch.context() as patch:
        patch.setattr(linux_batch, "sendmmsg", lambda *_: -1)
        patch.setattr(linux_batch, "last_error", lambda: errno.EAGAIN)
        patch.setattr(socket.socket, "sendto", _full)
        _fill(relayed)
        rig.turn()
    rig.turn()
    assert received(relayed.peer) == received(relayed.client) == []
    assert relayed.counters == Counters(dropped_send_failed=6)


def _full(*_: object) -> int:
    raise BlockingIOError(errno.EAGAIN, "full")


def _fill(relayed: Relayed) -> None:
    # By sendmsg, since sendto is what the test breaks.
    for _ in range(3):
        relayed.client.sendmsg([channel_data(b"up")], [], 0, relayed.listener)
        relayed.peer.sendmsg([b"down"], [], 0, relayed.address)


def test_one_flooded_allocation_leaves_the_others_their_turn(rig: Rig) -> None:
    flooded, quiet = Relayed(rig), Relayed(rig)
    for _ in range(3 * CAPACITY):
        flooded.peer.sendto(b"flood", flooded.address)
    quiet.peer.sendto(b"hello", quiet.address)
    descriptors = [
        rig.plane._allocations[each.allocation].endpoint.descriptor for each in (flooded, quiet)
    ]
    rig.plane._relay([(descriptor, READABLE) for descriptor in descriptors])
    # One pass: one batch of the flood at most, and the quiet one's packet.
    assert [data for data, _ in received(quiet.client)] == [channel_data(b"hello")]
    assert 0 < len(received(flooded.client)) <= CAPACITY


def test_packets_for_several_listeners_leave_from_the_right_one(rig: Rig) -> None:
    relays = [Relayed(rig) for _ in range(4)]
    for round_number in range(3):
        for relayed in relays:
            relayed.peer.sendto(bytes([round_number]), relayed.address)
    rig.turn()
    for relayed in relays:
        assert received(relayed.client) == [
            (channel_data(bytes([number])), relayed.listener) for number in range(3)
        ]


def test_the_machine_may_close_the_allocation_whose_packets_lie_in_the_same_batch(
    rig: Rig,
) -> None:
    relayed = Relayed(rig)
    rig.plane.on_unhandled = lambda *_: rig.plane.close(relayed.allocation)
    relayed.client.sendto(b"\0" * 20, relayed.listener)
    relayed.client.sendto(channel_data(b"hello"), relayed.listener)
    relayed.client.sendto(BINDING, relayed.listener)
    rig.turn()
    assert [data for data, _ in received(relayed.peer)] == [b"hello"]
    assert len(received(relayed.client)) == 1
    assert rig.plane.totals().packets_to_peers == 1


def test_the_machine_may_stop_the_plane_from_within(rig: Rig) -> None:
    relayed, other = Relayed(rig), Relayed(rig)
    rig.plane.on_unhandled = lambda *_: rig.plane.stop()
    for each in (relayed, other):
        each.client.sendto(b"\0" * 20, each.listener)
        each.client.sendto(BINDING, each.listener)
    rig.turn()
    assert rig.reactor.watched == 0


def test_an_error_of_the_machine_leaves_the_plane_serving(rig: Rig) -> None:
    relayed = Relayed(rig)

    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    rig.plane.on_unhandled = fail
    relayed.client.sendto(b"\0" * 20, relayed.listener)
    relayed.client.sendto(channel_data(b"hello"), relayed.listener)
    with pytest.raises(RuntimeError, match="a bug"):
        rig.turn()
    assert [data for data, _ in received(relayed.peer)] == [b"hello"]
    assert relayed.up(channel_data(b"again")) == [(b"again", relayed.address)]


def test_closing_frees_socket_and_client_and_keeps_the_count(rig: Rig) -> None:
    relayed = Relayed(rig)
    relayed.up(channel_data(b"hello"))
    rig.plane.close(relayed.allocation)
    rig.plane.close(relayed.allocation)
    with pytest.raises(MisuseError, match="not open"):
        rig.plane.counters(relayed.allocation)
    assert rig.plane.totals() == Counters(packets_to_peers=1, bytes_to_peers=5)
    # The port is free again, and the client may come back.
    again = rig.new_socket()
    again.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
        relay.bind(relayed.address)
    assert rig.allocate(relayed.client, relayed.listener)[0] != relayed.allocation


def test_refused_networks_lose_their_permissions_and_channels(rig: Rig) -> None:
    relayed = Relayed(rig)
    rig.plane.permit(relayed.allocation, "127.0.0.2", 1_300.0)
    rig.plane.refuse([ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("::1/128")])
    assert relayed.up(channel_data(b"hello")) == []
    assert relayed.down(b"hello") == []
    assert relayed.counters == Counters(dropped_no_channel=1, dropped_no_permission=1)
    assert len(relayed.down(b"hello", rig.new_socket(host="127.0.0.2"))) == 1


class TestSend:
    """What the machine itself sends leaves from the plane's sockets."""

    def test_from_a_listener_and_from_a_relayed_address(self, rig: Rig) -> None:
        relayed = Relayed(rig)
        to_client = Path(Transport.UDP, relayed.listener, address_of(relayed.client))
        to_peer = Path(Transport.UDP, relayed.address, relayed.peer_address)
        assert rig.plane.send(b"answer", to_client)
        assert rig.plane.send(b"data", to_peer)
        assert rig.plane.send(b"whole", to_peer, dont_fragment=True)
        assert received(relayed.client) == [(b"answer", relayed.listener)]
        assert received(relayed.peer) == [
            (b"data", relayed.address),
            (b"whole", relayed.address),
        ]

    def test_from_an_unknown_address_or_to_nowhere_is_refused(self, rig: Rig) -> None:
        listener = rig.listen()
        nowhere = Path(Transport.UDP, listener, Address("127.0.0.1", 0))
        unknown = Path(Transport.UDP, Address("127.0.0.1", 1), listener)
        assert not rig.plane.send(b"data", nowhere)
        assert not rig.plane.send(b"data", unknown)


class TestMisuse:
    def test_a_wildcard_listener(self, rig: Rig) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("0.0.0.0", 0))
            with pytest.raises(MisuseError, match="names no one address"):
                rig.plane.listen(sock, BindingPolicy())

    def test_an_allocation_on_no_listener(self, rig: Rig) -> None:
        with pytest.raises(MisuseError, match="does not listen on"):
            rig.allocate(rig.new_socket(), Address("127.0.0.1", 1))

    def test_a_second_allocation_of_a_client(self, rig: Rig) -> None:
        relayed = Relayed(rig)
        with pytest.raises(MisuseError, match="has an allocation already"):
            rig.allocate(relayed.client, relayed.listener)
        rig.allocate_stream(STREAM, [])
        with pytest.raises(MisuseError, match="has an allocation already"):
            rig.allocate_stream(STREAM, [])

    def test_an_identifier_used_twice(self, rig: Rig) -> None:
        relayed = Relayed(rig)
        path = Path(Transport.UDP, relayed.listener, Address("127.0.0.1", 9))
        with pytest.raises(MisuseError, match="is open already"):
            rig.plane.open(relayed.allocation, path, rig.new_socket(), 2_000.0)

    def test_changes_to_an_allocation_that_is_not_open(self, rig: Rig) -> None:
        with pytest.raises(MisuseError, match="allocation 99 is not open"):
            rig.plane.extend(99, 2_000.0)
        with pytest.raises(MisuseError, match="not open"):
            rig.plane.permit(99, "127.0.0.1", 2_000.0)
        with pytest.raises(MisuseError, match="not open"):
            rig.plane.bind_channel(99, CHANNEL, Address("127.0.0.1", 9), 2_000.0)


def test_allocations_cost_the_event_loop_nothing_on_linux() -> None:
    rig = Rig(portable=not HAVE_MMSG)
    listener = rig.listen()
    before = rig.reactor.watched
    for _ in range(50):
        rig.allocate(rig.new_socket(), listener)
    assert rig.reactor.watched == (before if HAVE_MMSG else before + 50)
    rig.close()


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_runs_on_asyncio_and_on_uvloop(factory: object, *, portable: bool) -> None:
    assert callable(factory)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_echo_through_a_plane(portable=portable))


async def _echo_through_a_plane(*, portable: bool) -> None:
    loop = asyncio.get_running_loop()
    plane: RelayPlane = UserspacePlane(
        loop, lambda *_: None, random=bytes, clock=loop.time, portable=portable
    )
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    plane.listen(listener, BindingPolicy())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.setblocking(False)
        client.sendto(BINDING, listener.getsockname())
        async with asyncio.timeout(5):
            data = await loop.sock_recv(client, 100)
        assert Message.parse(data).get(XorMappedAddress) == XorMappedAddress(address_of(client))
    plane.stop()


def test_names_of_sockets_are_what_the_kernel_calls_them() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert sockaddr.from_python(sock.getsockname()) == sockaddr.pack(address_of(sock))


def test_counters_add_up_field_by_field() -> None:
    names = [field.name for field in fields(Counters)]
    sum_of_both = Counters(**{name: place for place, name in enumerate(names, 1)})
    sum_of_both.add(Counters(**{name: 100 * place for place, name in enumerate(names, 1)}))
    assert sum_of_both == Counters(**{name: 101 * place for place, name in enumerate(names, 1)})
