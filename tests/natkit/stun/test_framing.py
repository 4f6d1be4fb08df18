"""Cutting streams: however the bytes arrive, the same messages come out."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import StreamFraming
from natkit.stun.attributes import Data
from natkit.stun.framing import LONGEST_MESSAGE, StunFraming
from natkit.stun.message import MAXIMUM_LENGTH, Message
from natkit.stun.registry import Method
from tests.natkit.stun.strategies import messages
from tests.vectors import stun as vectors

BINDING = Message.request(Method.BINDING, bytes(12)).encode()

# Only methods that IANA may assign travel: the first byte of others is another protocol's.
stun_messages = messages.filter(lambda message: message.method < 0x100).map(Message.encode)
channel_data = st.builds(
    lambda channel, data: channel.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data,
    st.integers(0x4000, 0x7FFF),
    st.binary(max_size=70),
)


def padded(message: bytes) -> bytes:
    return message + bytes(-len(message) % 4)


def cut(stream: bytes, data: st.DataObject) -> list[bytes]:
    points = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    edges = [0, *points, len(stream)]
    return [stream[start:stop] for start, stop in pairwise(edges)]


@given(sent=st.lists(stun_messages | channel_data, max_size=6), data=st.data())
def test_messages_come_out_as_they_were_sent_however_the_stream_is_cut(
    sent: list[bytes], data: st.DataObject
) -> None:
    framing: StreamFraming = StunFraming()
    received = [
        message
        for chunk in cut(b"".join(padded(each) for each in sent), data)
        for message in framing.receive(chunk)
    ]
    assert received == sent


@given(stream=st.binary(max_size=200), data=st.data())
def test_any_bytes_are_framed_alike_however_they_are_cut(
    stream: bytes, data: st.DataObject
) -> None:
    def run(chunks: list[bytes]) -> tuple[list[bytes], bool]:
        framing = StunFraming(limit=64)
        received: list[bytes] = []
        # The empty chunk at the end asks for a failure that was put off.
        for chunk in [*chunks, b""]:
            try:
                received += framing.receive(chunk)
            except MalformedMessage:
                return received, True
            assert framing.buffered < 64
        return received, False

    assert run(cut(stream, data)) == run([stream])


def test_a_message_byte_by_byte_comes_out_with_its_last_byte() -> None:
    framing = StunFraming()
    stream = vectors.REQUEST.data
    for byte in stream[:-1]:
        assert framing.receive(bytes([byte])) == []
    assert framing.receive(stream[-1:]) == [stream]
    assert framing.buffered == 0


def test_channel_data_waits_for_its_padding_and_loses_it() -> None:
    framing = StunFraming()
    assert framing.receive(bytes.fromhex("4000 0001 61 0000")) == []
    assert framing.receive(b"\0" + BINDING) == [bytes.fromhex("4000 0001 61"), BINDING]


@pytest.mark.parametrize(
    "start",
    [
        b"\r\n\r\n",
        b"\x16\x03\x01",
        b"\x80",
        b"\xff",
        b"\x04",
        b"\0\1\0\0\x21\x13",
        b"\0\1\0\1\x21\x12\xa4\x42",
        b"\0\1\0\2",
    ],
)
def test_what_is_neither_stun_nor_channel_data_fails_at_once_and_for_good(start: bytes) -> None:
    framing = StunFraming()
    for data in (start, BINDING):
        with pytest.raises(MalformedMessage):
            framing.receive(data)
    assert framing.buffered == 0


def test_messages_before_garbage_are_still_delivered() -> None:
    framing = StunFraming()
    assert framing.receive(BINDING + b"\xff garbage") == [BINDING]
    with pytest.raises(MalformedMessage):
        framing.receive(b"")


def test_a_message_over_the_limit_is_refused_by_its_header() -> None:
    framing = StunFraming(limit=100)
    assert framing.receive(vectors.IPV4_RESPONSE.data) == [vectors.IPV4_RESPONSE.data]
    with pytest.raises(MalformedMessage, match="100 are allowed"):
        framing.receive(vectors.REQUEST.data[:4])
    with pytest.raises(MalformedMessage, match="100 are allowed"):
        StunFraming(limit=100).receive(bytes.fromhex("4000 0061"))


def test_the_longest_messages_of_both_kinds_pass() -> None:
    framing = StunFraming()
    longest = Message.indication(Method.SEND, bytes(12), Data(bytes(MAXIMUM_LENGTH - 4))).encode()
    assert len(longest) == LONGEST_MESSAGE
    channel = b"\x40\x00\xff\xff" + bytes(0xFFFF)
    assert framing.receive(longest + channel + b"\0") == [longest, channel]


def test_the_buffer_holds_no_more_than_one_incomplete_message() -> None:
    framing = StunFraming()
    framing.receive(BINDING * 100 + b"\x40\x00\xff\xff")
    for _ in range(64):
        framing.receive(bytes(1023))
        assert framing.buffered <= LONGEST_MESSAGE


@pytest.mark.parametrize("limit", [0, 19, LONGEST_MESSAGE + 1])
def test_a_senseless_limit_is_refused(limit: int) -> None:
    with pytest.raises(MisuseError):
        StunFraming(limit)


def test_after_a_message_to_hold_after_nothing_more_is_cut() -> None:
    bind = Message.request(Method.CONNECTION_BIND, bytes(12)).encode()
    other = Message.request(Method.BINDING, bytes(12)).encode()
    for cut in range(len(bind) + 1):
        framing = StunFraming(hold_after=(0x000B,))
        stream = bind + b"no message" + other
        messages = [*framing.receive(stream[:cut]), *framing.receive(stream[cut:])]
        assert messages == [bind]
        assert framing.is_held
        assert framing.take_rest() == b"no message" + other
        assert framing.take_rest() == b""


def test_what_was_held_is_cut_once_it_is_resumed() -> None:
    bind = Message.request(Method.CONNECTION_BIND, bytes(12)).encode()
    other = Message.request(Method.BINDING, bytes(12)).encode()
    framing = StunFraming(hold_after=(0x000B,))
    assert framing.receive(other + bind + other + bind + other) == [other, bind]
    assert framing.receive(other) == []
    assert framing.resume() == [other, bind]
    assert framing.resume() == [other, other]
    assert not framing.is_held


def test_a_taker_is_offered_what_follows_and_the_rest_is_cut() -> None:
    framing, offered = StunFraming(), list[bytes]()

    def take(data: bytes) -> int:
        offered.append(data)
        return 8 if data.startswith(b"\x40") else 0

    framing.taker = take
    taken = b"\x40\x00\x00\x04data"
    assert framing.receive(taken + BINDING + taken) == [BINDING, taken]
    assert framing.receive(taken) == []
    assert offered == [taken + BINDING + taken, taken]


def test_a_taker_is_not_asked_while_the_stream_is_held_or_after_it_failed() -> None:
    framing, offered = StunFraming(hold_after=(0x0001,)), list[bytes]()

    def take(data: bytes) -> int:
        offered.append(data)
        return 0

    framing.taker = take
    assert framing.receive(BINDING) == [BINDING]
    assert framing.receive(BINDING) == []
    assert offered == [BINDING]
    assert framing.resume() == [BINDING]
    framing.resume()
    offered.clear()
    failing = StunFraming()
    failing.taker = take
    assert failing.receive(BINDING + b"\xff") == [BINDING]
    with pytest.raises(MalformedMessage):
        failing.receive(BINDING)
    assert offered == [BINDING + b"\xff"]
