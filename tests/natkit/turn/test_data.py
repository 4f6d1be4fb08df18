"""What a client receives, and what it discards, from a server that the test plays."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from natkit.errors import (
    MisuseError,
)
from natkit.machine import (
    Path,
    Transport,
)
from natkit.stun.attributes import (
    Data,
    Icmp,
    UnknownAttribute,
    XorPeerAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn import AllocationState, ChannelData
from natkit.turn.allocation import MAX_DATA
from natkit.turn.events import (
    DataReceived,
    IcmpReceived,
)
from tests.natkit.turn.table import MAPPED, PEER, Table


def test_data_from_a_permitted_host_is_received_from_any_port(table: Table) -> None:
    table.permitted()
    peer = PEER._replace(port=77)
    indication = Message.indication(Method.DATA, bytes(12), XorPeerAddress(peer), Data(b""))
    table.receive(indication.encode())
    assert table.take(DataReceived) == DataReceived(b"", peer)


def test_an_icmp_error_is_told(table: Table) -> None:
    table.permitted()
    indication = Message.indication(Method.DATA, bytes(12), XorPeerAddress(PEER), Icmp(3, 4, 1280))
    table.receive(indication.encode())
    assert table.take(IcmpReceived) == IcmpReceived(PEER, 3, 4, 1280)


@pytest.mark.parametrize(
    "message",
    [
        Message.indication(Method.DATA, bytes(12), XorPeerAddress(MAPPED), Data(b"not permitted")),
        Message.indication(Method.DATA, bytes(12), Data(b"from nobody")),
        Message.indication(Method.DATA, bytes(12), XorPeerAddress(PEER)),
        Message.indication(Method.SEND, bytes(12), XorPeerAddress(PEER), Data(b"not ours")),
        Message.indication(
            Method.DATA, bytes(12), XorPeerAddress(PEER), Data(b""), UnknownAttribute(0x7777, b"")
        ),
        Message.request(Method.BINDING, bytes(12)),
        Message.request(Method.REFRESH, bytes(12)).success(),
    ],
    ids=lambda message: repr(message)[:60],
)
def test_messages_that_nobody_asked_for_are_discarded(table: Table, message: Message) -> None:
    table.permitted()
    table.receive(message.encode())
    assert (table.events, table.sent) == ([], [])
    assert table.allocation.discarded == 1


def test_channel_data_on_a_channel_that_is_not_bound_is_discarded(table: Table) -> None:
    table.permitted()
    table.receive(ChannelData(0x4000, b"data").encode(padded=False))
    assert table.events == []
    assert table.allocation.discarded == 1


def test_channel_data_may_come_before_the_channel_is_confirmed(table: Table) -> None:
    table.allocation.bind_channel(PEER, table.now)
    table.receive(ChannelData(0x4000, b"early").encode(padded=False))
    assert table.take(DataReceived) == DataReceived(b"early", PEER)


def test_messages_on_other_paths_are_ignored(table: Table) -> None:
    table.permitted()
    indication = Message.indication(Method.DATA, bytes(12), XorPeerAddress(PEER), Data(b"x"))
    stranger = Path(Transport.UDP, table.path.local, MAPPED)
    table.allocation.receive(indication.encode(), stranger, table.now)
    table.drain()
    assert table.events == []


def test_data_that_fits_no_datagram_is_misuse(table: Table) -> None:
    table.permitted()
    table.allocation.send(bytes(MAX_DATA), PEER, table.now)
    table.drain()
    assert len(table.sent[0]) <= 65507
    with pytest.raises(MisuseError):
        table.allocation.send(bytes(MAX_DATA + 1), PEER, table.now)


@given(data=st.binary(max_size=80))
@settings(max_examples=300)
def test_no_bytes_from_the_server_raise_or_break_anything(data: bytes) -> None:
    table = Table().allocated().permitted()
    for mutated in (data, b"\x40\x00" + data, b"\x01\x03" + data, b"\x00\x17" + data):
        table.receive(mutated)
    assert table.allocation.state is AllocationState.ALLOCATED
