"""Reading and writing network byte order: no read goes past the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.errors import MalformedMessage
from natkit.wire import Reader, Writer


def test_what_was_written_is_read_back() -> None:
    writer = Writer()
    writer.u8(0x01)
    writer.u16(0x0203)
    writer.u32(0x04050607)
    writer.u64(0x08090A0B0C0D0E0F)
    writer.raw(b"rest")

    reader = Reader(writer.getvalue())

    assert (reader.u8(), reader.u16(), reader.u32()) == (0x01, 0x0203, 0x04050607)
    assert reader.u64() == 0x08090A0B0C0D0E0F
    assert reader.offset == 15
    assert reader.remaining == len(writer) - 15
    assert reader.rest() == b"rest"
    reader.finish()


def test_a_length_can_be_filled_in_afterwards() -> None:
    writer = Writer()
    writer.u16(0)
    writer.raw(b"abc")
    writer.set_u16(0, len(writer) - 2)

    assert writer.getvalue() == b"\x00\x03abc"


def test_bytes_left_over_are_malformed() -> None:
    with pytest.raises(MalformedMessage, match="2 bytes left over"):
        Reader(b"ab").finish()


def test_a_reader_stays_within_the_part_it_was_given() -> None:
    reader = Reader(b"abcdef", offset=1, end=3)

    assert reader.raw(2) == b"bc"
    with pytest.raises(MalformedMessage):
        reader.u8()


@given(st.binary(max_size=12), st.lists(st.sampled_from([-1, 1, 2, 4, 8, 30]), max_size=8))
def test_no_sequence_of_reads_passes_the_end(data: bytes, lengths: list[int]) -> None:
    reader = Reader(data)
    taken = b""
    for length in lengths:
        try:
            taken += reader.raw(length)
        except MalformedMessage:
            assert length < 0 or length > reader.remaining
    assert data.startswith(taken)
    assert reader.offset == len(taken)
