"""Packets on a stream (RFC 4571)."""

import random
from itertools import pairwise

import pytest

from natkit.errors import MalformedMessage, MisuseError
from natkit.ice.framing import LONGEST_PACKET, PacketFraming, frame
from natkit.stun.message import Message
from natkit.stun.registry import Method

BINDING = Message.request(Method.BINDING, bytes(12)).encode()
RTP = bytes.fromhex("8008 0001 0000 00a0 dead beef") + bytes(160)


def outcome(pieces: list[bytes], limit: int = LONGEST_PACKET) -> tuple[list[bytes], bool]:
    """What a stream yields, and whether it broke."""
    framing = PacketFraming(limit)
    packets: list[bytes] = []
    try:
        for piece in [*pieces, b""]:
            packets += framing.receive(piece)
            assert framing.buffered < limit + 2
    except MalformedMessage:
        return packets, True
    return packets, False


def test_stun_and_data_share_a_connection() -> None:
    stream = frame(BINDING) + frame(RTP) + frame(b"x") + frame(BINDING)[:7]
    framing = PacketFraming()
    assert framing.receive(stream) == [BINDING, RTP, b"x"]
    assert framing.buffered == 7
    assert framing.receive(frame(BINDING)[7:]) == [BINDING]
    assert framing.buffered == 0


def test_the_length_is_in_network_order() -> None:
    assert frame(bytes(0x1234))[:2] == b"\x12\x34"


@pytest.mark.parametrize("seed", range(40))
def test_what_a_stream_yields_does_not_depend_on_how_it_was_cut(seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    sizes = chance.choices([0, 1, 20, 172, 1200, 3000, 0xFFFF], [2, 4, 4, 4, 4, 2, 1], k=8)
    stream = b"".join(frame(chance.randbytes(size)) for size in sizes)
    limit = chance.choice([1199, 1200, LONGEST_PACKET])
    whole = outcome([stream], limit)
    for _ in range(20):
        cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.randrange(12)))
        edges = [0, *cuts, len(stream)]
        assert outcome([stream[a:b] for a, b in pairwise(edges)], limit) == whole


def test_the_longest_packet_fits_and_nothing_longer() -> None:
    longest = bytes(LONGEST_PACKET)
    assert outcome([frame(longest)]) == ([longest], False)
    with pytest.raises(MisuseError):
        frame(longest + b"x")


def test_a_null_packet_is_nobodys() -> None:
    assert outcome([frame(b"") * 3 + frame(RTP)]) == ([RTP], False)


def test_a_length_beyond_the_limit_is_refused_after_what_came_before_it() -> None:
    assert outcome([frame(BINDING) + frame(RTP)], limit=100) == ([BINDING], True)


@pytest.mark.parametrize("limit", [0, -1, LONGEST_PACKET + 1])
def test_a_senseless_limit_is_refused(limit: int) -> None:
    with pytest.raises(MisuseError):
        PacketFraming(limit)
