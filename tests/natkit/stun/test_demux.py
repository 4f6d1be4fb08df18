"""Which protocol a packet belongs to (RFC 7983, RFC 9443)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.stun.demux import PacketKind, classify, is_classic_binding_request, is_stun
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method
from tests.natkit.stun.strategies import transaction_ids
from tests.vectors import stun as vectors

CLASSIC = bytes.fromhex("00010008") + bytes(range(16)) + bytes.fromhex("0003 0004 00000006")


@pytest.mark.parametrize("vector", vectors.ALL, ids=lambda vector: vector.source)
def test_the_rfcs_messages_are_stun(vector: vectors.Vector) -> None:
    assert is_stun(vector.data)
    assert classify(vector.data) is PacketKind.STUN


@given(
    method=st.integers(0, 0xFF), message_class=st.sampled_from(MessageClass), number=transaction_ids
)
def test_every_message_of_an_assignable_method_is_stun(
    method: int, message_class: MessageClass, number: bytes
) -> None:
    assert is_stun(Message(method, message_class, number).encode())


@pytest.mark.parametrize("payload_type", range(256))
def test_no_rtp_packet_of_any_payload_type_is_stun(payload_type: int) -> None:
    for first in range(0x80, 0xC0):
        # Even one whose timestamp is the cookie, and whose sequence number would be its length.
        packet = bytes([first, payload_type, 0, 20]) + bytes.fromhex("2112a442") + bytes(32)
        assert not is_stun(packet)
        assert not is_classic_binding_request(packet)
        assert classify(packet) is PacketKind.RTP


@pytest.mark.parametrize(
    ("first", "last", "kind"),
    [
        (0, 15, PacketKind.UNKNOWN),
        (16, 19, PacketKind.ZRTP),
        (20, 63, PacketKind.DTLS),
        (64, 79, PacketKind.CHANNEL_DATA),
        (80, 127, PacketKind.QUIC),
        (128, 191, PacketKind.RTP),
        (192, 255, PacketKind.QUIC),
    ],
)
def test_the_first_byte_tells_the_protocol(first: int, last: int, kind: PacketKind) -> None:
    for byte in range(first, last + 1):
        assert classify(bytes([byte]) + bytes(40)) is kind


def test_an_empty_packet_is_nobodys() -> None:
    assert classify(b"") is PacketKind.UNKNOWN
    assert not is_stun(b"")


@pytest.mark.parametrize("position", [0, 2, 3, 4, 7])
def test_cookie_length_and_first_bits_must_agree(position: int) -> None:
    data = bytearray(vectors.REQUEST.data)
    data[position] ^= 0x04
    assert not is_stun(bytes(data))


@given(data=st.binary(max_size=60))
def test_what_is_not_stun_by_its_header_is_never_parsed_as_stun(data: bytes) -> None:
    if not is_stun(data):
        assert classify(data) is not PacketKind.STUN


class TestClassicBindingRequest:
    def test_is_a_binding_request_without_the_cookie(self) -> None:
        assert is_classic_binding_request(CLASSIC)
        assert not is_stun(CLASSIC)
        message = Message.parse(CLASSIC, allow_classic=True)
        assert (message.method, message.message_class) == (Method.BINDING, MessageClass.REQUEST)

    def test_is_no_message_with_the_cookie(self) -> None:
        assert not is_classic_binding_request(vectors.REQUEST.data)

    @pytest.mark.parametrize("first_two", ["0101", "0111", "0002", "0003", "0011"])
    def test_is_no_other_message(self, first_two: str) -> None:
        assert not is_classic_binding_request(bytes.fromhex(first_two) + CLASSIC[2:])

    @pytest.mark.parametrize("data", [CLASSIC[:-1], CLASSIC + b"\0", CLASSIC[:19], b""])
    def test_has_the_length_that_it_states(self, data: bytes) -> None:
        assert not is_classic_binding_request(data)
