"""A client's permissions and channels at a server that the test plays."""

import pytest

from natkit.address import Address
from natkit.errors import (
    InsufficientCapacity,
    MisuseError,
    TransactionTimeout,
)
from natkit.stun.attributes import (
    ChannelNumber,
    Data,
    XorPeerAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn import ChannelData
from natkit.turn.channels import MAX_CHANNELS
from natkit.turn.events import (
    ChannelBound,
    ChannelFailed,
    PermissionFailed,
    PermissionInstalled,
)
from natkit.turn.permissions import MAX_PERMISSIONS
from tests.natkit.turn.table import PEER, PEER6, Table


def test_peers_that_are_permitted_together_share_a_request(table: Table) -> None:
    peers = [PEER, Address("192.0.2.10", 1), Address("192.0.2.11", 2)]
    table.allocation.permit([*peers, PEER._replace(port=9)], table.now)
    request = table.request()
    assert request.method == Method.CREATE_PERMISSION
    assert {each.address.host for each in request.get_all(XorPeerAddress)} == {
        peer.host for peer in peers
    }


def test_permissions_are_refreshed_within_their_300_seconds(table: Table) -> None:
    table.permitted()
    table.pass_time(219.0)
    assert table.sent == []
    table.pass_time(1.0)
    refresh = table.request()
    assert refresh.method == Method.CREATE_PERMISSION
    table.succeed(refresh)
    assert table.events == []
    table.pass_time(220.0)
    assert table.request().method == Method.CREATE_PERMISSION


def test_a_permission_that_is_there_already_is_said_at_once(table: Table) -> None:
    table.permitted()
    table.allocation.permit([PEER], table.now)
    table.take(PermissionInstalled)
    assert table.sent == []


def test_a_permission_request_without_answer_fails_and_may_be_repeated(table: Table) -> None:
    table.allocation.permit([PEER], table.now)
    table.pass_time(40.0)
    table.sent.clear()
    failed = table.take(PermissionFailed)
    assert isinstance(failed.error, TransactionTimeout)
    table.permitted()


def test_a_refresh_of_a_permission_is_repeated_after_a_timeout_and_a_server_error(
    table: Table,
) -> None:
    table.permitted()
    table.pass_time(220.0)
    table.refuse(table.request(), 500)
    table.pass_time(10.0)
    first = table.request()
    table.pass_time(40.0)
    again = Message.parse(table.sent[-1])
    assert again.transaction_id != first.transaction_id
    table.sent.clear()
    table.succeed(again)
    assert table.events == []


def test_a_permission_that_nobody_could_refresh_has_failed(table: Table) -> None:
    table.permitted()
    table.pass_time(300.0)
    assert isinstance(table.take(PermissionFailed).error, TransactionTimeout)


def test_a_peer_of_another_family_is_misuse(table: Table) -> None:
    for action in table.wishes(PEER6):
        with pytest.raises(MisuseError):
            action()


def test_a_channel_brings_the_permission_with_it(table: Table) -> None:
    table.allocation.bind_channel(PEER, table.now)
    request = table.request()
    assert request.method == Method.CHANNEL_BIND
    assert request.get(ChannelNumber) == ChannelNumber(0x4000)
    assert request.get(XorPeerAddress) == XorPeerAddress(PEER)
    # Nothing more is sent for a second wish, nor for data.
    table.allocation.bind_channel(PEER, table.now)
    table.allocation.send(b"early", PEER, table.now)
    table.drain()
    assert table.sent == []
    table.succeed(request)
    assert table.events == [PermissionInstalled(PEER.host), ChannelBound(PEER, 0x4000)]
    assert table.request().get(Data) == Data(b"early")
    table.allocation.send(b"later", PEER, table.now)
    table.drain()
    assert table.sent == [ChannelData(0x4000, b"later").encode(padded=False)]


def test_channels_and_permissions_run_out_without_leaving_anything_behind(table: Table) -> None:
    table.permitted()
    for port in range(MAX_CHANNELS):
        table.allocation.bind_channel(PEER._replace(port=port), table.now)
    stranger = Address("192.0.2.77", 1)
    with pytest.raises(MisuseError, match="channels"):
        table.allocation.bind_channel(stranger, table.now)
    assert not table.allocation.is_permitted(stranger.host)
    crowded = Table().allocated()
    crowd = [Address(f"10.0.{n >> 8}.{n & 255}", 1) for n in range(MAX_PERMISSIONS)]
    crowded.allocation.permit(crowd, crowded.now)
    crowded.drain()
    crowded.sent.clear()
    with pytest.raises(MisuseError, match="permissions"):
        crowded.allocation.bind_channel(PEER, crowded.now)
    with pytest.raises(MisuseError, match="permissions"):
        crowded.allocation.send(b"data", PEER, crowded.now)
    crowded.drain()
    assert crowded.sent == []


def test_a_channel_that_is_bound_already_is_said_at_once(table: Table) -> None:
    table.allocation.bind_channel(PEER, table.now)
    table.succeed(table.request())
    table.events.clear()
    table.allocation.bind_channel(PEER, table.now)
    table.drain()
    assert table.events == [PermissionInstalled(PEER.host), ChannelBound(PEER, 0x4000)]
    assert table.sent == []


def test_a_refused_channel_leaves_the_permission_to_be_asked_for_alone(table: Table) -> None:
    table.allocation.bind_channel(PEER, table.now)
    table.allocation.send(b"data", PEER, table.now)
    table.refuse(table.request(), 508)
    assert isinstance(table.take(ChannelFailed).error, InsufficientCapacity)
    request = table.request()
    assert request.method == Method.CREATE_PERMISSION
    table.succeed(request)
    assert table.request().get(Data) == Data(b"data")


def test_an_unanswered_channel_keeps_its_number_from_other_peers(table: Table) -> None:
    table.permitted()
    table.allocation.bind_channel(PEER, table.now)
    table.pass_time(40.0)
    table.sent.clear()
    assert isinstance(table.take(ChannelFailed).error, TransactionTimeout)
    table.allocation.bind_channel(PEER._replace(port=1), table.now)
    assert table.request().get(ChannelNumber) == ChannelNumber(0x4001)
    table.allocation.bind_channel(PEER, table.now)
    assert table.request().get(ChannelNumber) == ChannelNumber(0x4000)


def test_a_channel_out_of_step_with_the_server_is_given_up(table: Table) -> None:
    table.allocation.bind_channel(PEER, table.now)
    table.succeed(table.request())
    table.events.clear()
    table.sent.clear()
    table.pass_time(519.0)
    table.sent.clear()
    table.events.clear()
    table.pass_time(1.0)
    (bind,) = (
        message
        for message in map(Message.parse, table.sent)
        if message.method == Method.CHANNEL_BIND
    )
    table.refuse(bind, 400)
    assert isinstance(table.events.pop(), ChannelFailed)
    table.receive(ChannelData(0x4000, b"whose?").encode(padded=False))
    assert table.allocation.discarded == 1
