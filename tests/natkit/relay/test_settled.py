"""What was found once is asked no more, and still every change counts for the next packet."""

import ipaddress
import socket
from collections.abc import Callable

import pytest

from natkit.address import Address, Family
from natkit.machine import Path, Transport
from natkit.relay.rates import SMALLEST_BURST, Rates, TokenBucket
from natkit.stun.message import Message
from natkit.stun.registry import Method
from tests.natkit.relay.relayed import CHANNEL, FAMILIES, Relayed, channel_data
from tests.natkit.relay.rig import Rig, address_of, received

OTHER_CHANNEL = CHANNEL + 1
LOOPBACKS = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def settle(relayed: Relayed) -> None:
    """Let packets pass both ways, so that nothing more is asked for the next ones."""
    for _ in range(2):
        assert relayed.up(channel_data(b"up")) == [(b"up", relayed.address)]
        assert relayed.down(b"down") == [channel_data(b"down")]


def permit(rig: Rig, relayed: Relayed, until: float = 1_300.0, *, only_relayed: bool) -> None:
    host = relayed.peer_address.host
    rig.plane.permit(relayed.allocation, host, until, only_relayed=only_relayed)


def wait_until_permission_ends(rig: Rig, relayed: Relayed) -> None:
    rig.now = 1_300.0


def wait_until_channel_ends(rig: Rig, relayed: Relayed) -> None:
    rig.now = 1_600.0


def wait_until_allocation_ends(rig: Rig, relayed: Relayed) -> None:
    permit(rig, relayed, 3_000.0, only_relayed=False)
    rig.plane.bind_channel(relayed.allocation, CHANNEL, relayed.peer_address, 3_000.0)
    settle(relayed)
    rig.now = 2_000.0


def end_allocation(rig: Rig, relayed: Relayed) -> None:
    rig.plane.extend(relayed.allocation, rig.now)


def withhold_permission(rig: Rig, relayed: Relayed) -> None:
    permit(rig, relayed, only_relayed=True)


def end_permission(rig: Rig, relayed: Relayed) -> None:
    permit(rig, relayed, rig.now, only_relayed=False)


def withhold_channel(rig: Rig, relayed: Relayed) -> None:
    rig.plane.bind_channel(
        relayed.allocation, CHANNEL, relayed.peer_address, 1_600.0, only_relayed=True
    )


def limit(rig: Rig, relayed: Relayed) -> None:
    bucket = TokenBucket(1)
    assert bucket.has(SMALLEST_BURST, rig.now)
    bucket.take(SMALLEST_BURST)
    rig.plane.limit(relayed.allocation, Rates((bucket,), (bucket,)))


def refuse(rig: Rig, relayed: Relayed) -> None:
    rig.plane.refuse(LOOPBACKS)


def lose_client(rig: Rig, relayed: Relayed) -> None:
    rig.plane.move(relayed.allocation, None)


def bind_to_another(rig: Rig, relayed: Relayed) -> None:
    another = Address(relayed.peer_address.host, 9)
    rig.plane.bind_channel(relayed.allocation, CHANNEL, another, 1_600.0)


def expect_on_its_path(rig: Rig, relayed: Relayed) -> None:
    client = rig.new_socket(relayed.client.family)
    other, _ = rig.allocate(client, relayed.listener)
    here = Path(Transport.UDP, relayed.listener, address_of(relayed.client))
    rig.plane.expect(other, here)


Change = Callable[[Rig, Relayed], None]
CHANGES: list[tuple[Change, str | None, str | None]] = [
    (wait_until_permission_ends, None, "dropped_no_permission"),
    (wait_until_channel_ends, "dropped_no_channel", "dropped_no_permission"),
    (wait_until_allocation_ends, "dropped_no_allocation", "dropped_no_allocation"),
    (end_allocation, "dropped_no_allocation", "dropped_no_allocation"),
    (withhold_permission, None, "dropped_no_permission"),
    (end_permission, None, "dropped_no_permission"),
    (withhold_channel, "dropped_no_permission", None),
    (limit, "dropped_over_rate", "dropped_over_rate"),
    (refuse, "dropped_no_channel", "dropped_no_permission"),
    (lose_client, "dropped_no_allocation", "dropped_no_client"),
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("change", "up", "down"), CHANGES)
def test_a_change_counts_from_the_next_packet_on(
    rig: Rig, change: Change, up: str | None, down: str | None, family: socket.AddressFamily
) -> None:
    relayed = Relayed(rig, family, family)
    settle(relayed)
    change(rig, relayed)
    before = rig.plane.totals()
    assert bool(relayed.up(channel_data(b"up"))) == (up is None)
    assert bool(relayed.down(b"down")) == (down is None)
    after = rig.plane.totals()
    for reason in {up, down} - {None}:
        assert reason is not None
        dropped = getattr(after, reason) - getattr(before, reason)
        assert dropped == [up, down].count(reason), reason


def test_data_of_a_peer_whose_channel_has_ended_is_indicated(rig: Rig) -> None:
    relayed = Relayed(rig)
    permit(rig, relayed, 3_000.0, only_relayed=False)
    settle(relayed)
    rig.now = 1_600.0
    (data,) = relayed.down(b"down")
    assert Message.parse(data).method == Method.DATA


def test_a_channel_that_is_bound_anew_leads_elsewhere_at_once(rig: Rig) -> None:
    relayed = Relayed(rig)
    settle(relayed)
    second = rig.new_socket()
    rig.plane.bind_channel(relayed.allocation, CHANNEL, address_of(second), 1_600.0)
    rig.plane.bind_channel(relayed.allocation, OTHER_CHANNEL, relayed.peer_address, 1_600.0)
    assert relayed.up(channel_data(b"up")) == []
    assert received(second) == [(b"up", relayed.address)]
    assert relayed.down(b"down") == [channel_data(b"down", OTHER_CHANNEL)]
    assert relayed.up(channel_data(b"up", OTHER_CHANNEL)) == [(b"up", relayed.address)]


def test_what_is_expected_where_a_client_is_goes_up(rig: Rig) -> None:
    relayed = Relayed(rig)
    settle(relayed)
    expect_on_its_path(rig, relayed)
    assert relayed.up(channel_data(b"up")) == []
    assert [data for data, _, _ in rig.unhandled] == [channel_data(b"up")]


def test_a_client_that_moves_is_served_where_it_is(rig: Rig) -> None:
    relayed = Relayed(rig)
    settle(relayed)
    moved = rig.new_socket()
    here = Path(Transport.UDP, relayed.listener, address_of(moved))
    rig.plane.move(relayed.allocation, here)
    assert relayed.down(b"down") == []
    assert received(moved) == [(channel_data(b"down"), relayed.listener)]
    assert relayed.up(channel_data(b"up")) == []
    relayed.client = moved
    settle(relayed)


@pytest.mark.parametrize("left", [Family.IPV4, Family.IPV6])
def test_each_half_of_a_dual_allocation_ends_for_itself(rig: Rig, left: Family) -> None:
    relayed = Relayed(rig)
    second = rig.new_socket(socket.AF_INET6)
    rig.plane.open_second(relayed.allocation, second, 2_000.0)
    peer = rig.new_socket(socket.AF_INET6)
    rig.plane.permit(relayed.allocation, "::1", 1_900.0)
    rig.plane.bind_channel(relayed.allocation, OTHER_CHANNEL, address_of(peer), 1_900.0)

    def ways() -> set[Family]:
        relayed.client.sendto(channel_data(b"up", OTHER_CHANNEL), relayed.listener)
        passed = {Family.IPV4} if relayed.up(channel_data(b"up")) else set()
        return passed | ({Family.IPV6} if received(peer) else set())

    assert ways() == ways() == {Family.IPV4, Family.IPV6}
    closed = relayed.address if left is Family.IPV6 else address_of(second)
    rig.plane.close_one(relayed.allocation, closed)
    assert ways() == {left}


def test_ports_that_are_permitted_are_asked_for_once_and_others_always(rig: Rig) -> None:
    relayed = Relayed(rig)
    other = rig.new_socket()
    rig.plane.bind_channel(relayed.allocation, OTHER_CHANNEL, address_of(other), 1_600.0)
    port = relayed.peer_address.port
    rig.plane.permit(
        relayed.allocation, "127.0.0.1", 1_300.0, only_relayed=True, ports=[(port, port)]
    )
    for _ in range(2):
        assert relayed.down(b"down") == [channel_data(b"down")]
        assert relayed.down(b"down", other) == []
        rig.elsewhere.add(address_of(other))
        assert relayed.down(b"down", other) == [channel_data(b"down", OTHER_CHANNEL)]
        rig.elsewhere.clear()


def test_packets_of_one_run_that_may_not_pass_are_left_out(rig: Rig) -> None:
    relayed = Relayed(rig)
    settle(relayed)
    stranger = rig.new_socket(host="127.0.0.2")
    for number in range(9):
        source = stranger if number % 3 == 1 else relayed.peer
        source.sendto(bytes([number]), relayed.address)
    assert relayed.down(b"9") == [
        channel_data(bytes([number])) for number in range(9) if number % 3 != 1
    ] + [channel_data(b"9")]
    assert relayed.counters.dropped_no_permission == 3
    assert relayed.counters.packets_to_clients == 2 + 7


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sizes", [[172] * 9, [171] * 9, [0] * 9, [5, 5, 5, 5, 6]], ids=str)
def test_a_burst_of_a_peer_arrives_as_it_was(
    rig: Rig, sizes: list[int], family: socket.AddressFamily
) -> None:
    relayed = Relayed(rig, family, family)
    settle(relayed)
    burst = [bytes([place]) * size for place, size in enumerate(sizes)]
    for data in burst[:-1]:
        relayed.peer.sendto(data, relayed.address)
    assert relayed.down(burst[-1]) == [channel_data(data) for data in burst]
    counters = relayed.counters
    assert counters.packets_to_clients == 2 + len(sizes)
    assert counters.bytes_to_clients == 2 * len(b"down") + sum(sizes)


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS, Transport.DTLS])
@pytest.mark.parametrize("size", [4, 5])
def test_a_burst_for_a_stream_is_padded_and_joined_as_the_transport_has_it(
    rig: Rig, transport: Transport, size: int
) -> None:
    written: list[bytes] = []
    client = Path(transport, Address("127.0.0.1", 3478), Address("127.0.0.1", 50_000))
    allocation, address = rig.allocate_stream(client, written)
    peer = rig.new_socket()
    rig.plane.permit(allocation, "127.0.0.1", 1_300.0)
    rig.plane.bind_channel(allocation, CHANNEL, address_of(peer), 1_600.0)
    padding = -size % 4 if transport is not Transport.DTLS else 0
    for _ in range(3):
        burst = [bytes([place]) * size for place in range(6)]
        for data in burst:
            peer.sendto(data, address)
        rig.turn()
        expected = [channel_data(data, padding=padding) for data in burst]
        assert b"".join(written) == b"".join(expected)
        if transport is not Transport.TCP:
            assert written == expected
        written.clear()
    assert rig.plane.counters(allocation).packets_to_clients == 18


def test_a_burst_that_may_not_pass_is_dropped_whole(rig: Rig) -> None:
    relayed = Relayed(rig)
    settle(relayed)
    end_permission(rig, relayed)
    for _ in range(9):
        relayed.peer.sendto(b"down", relayed.address)
    assert relayed.down(b"down") == []
    assert relayed.counters.dropped_no_permission == 10
