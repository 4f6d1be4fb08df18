"""ChannelData messages in bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.errors import MalformedMessage, MisuseError
from natkit.turn import ChannelData, is_channel_data

channels = st.integers(0x4000, 0x7FFF)


def test_a_message_is_number_length_and_data() -> None:
    assert ChannelData(0x4001, b"hello").encode(padded=False) == b"\x40\x01\x00\x05hello"


def test_a_message_for_a_stream_is_padded_to_four_bytes_and_its_length_is_not() -> None:
    assert ChannelData(0x4001, b"hello").encode(padded=True) == b"\x40\x01\x00\x05hello\0\0\0"


@given(channel=channels, data=st.binary(max_size=2000), padded=st.booleans())
def test_every_message_survives_a_round_trip(channel: int, data: bytes, padded: bool) -> None:
    message = ChannelData(channel, data)
    encoded = message.encode(padded=padded)
    assert ChannelData.parse(encoded) == message
    assert len(encoded) % 4 == 0 or not padded


@given(st.binary(max_size=64))
def test_arbitrary_bytes_parse_or_are_malformed(data: bytes) -> None:
    try:
        message = ChannelData.parse(data)
    except MalformedMessage:
        return
    assert data.startswith(message.encode(padded=False))


@pytest.mark.parametrize("message", [b"", b"\x40", b"\x40\x00\x00", b"\x40\x00\x00\x01"])
def test_a_message_shorter_than_it_claims_is_malformed(message: bytes) -> None:
    with pytest.raises(MalformedMessage):
        ChannelData.parse(message)


def test_only_first_bytes_64_to_127_mean_channel_data() -> None:
    assert [first for first in range(256) if is_channel_data(bytes([first]))] == [*range(64, 128)]
    assert not is_channel_data(b"")


def test_data_longer_than_the_length_field_can_tell_is_misuse() -> None:
    with pytest.raises(MisuseError):
        ChannelData(0x4000, bytes(65536)).encode(padded=False)
