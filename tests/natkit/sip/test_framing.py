import random
from itertools import pairwise

import pytest

from natkit.errors import MalformedMessage, MisuseError
from natkit.sip.framing import PING, PONG, Expect, SipFraming
from natkit.sip.parser import MessageLimits

OPTIONS = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n"
MESSAGE = b"MESSAGE sip:a SIP/2.0\r\nl :\r\n 6\r\nX: y\r\n\r\nhi\r\n\r\n"


def chopped(data: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(12)))
    edges = [0, *cuts, len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


def test_messages_are_cut_by_their_content_length() -> None:
    framing = SipFraming()
    assert list(framing.receive(OPTIONS + MESSAGE + OPTIONS[:30])) == [OPTIONS, MESSAGE]
    assert framing.buffered == 30
    assert list(framing.receive(OPTIONS[30:])) == [OPTIONS]
    assert framing.buffered == 0


def test_a_server_sees_pings_and_passes_over_lone_line_ends() -> None:
    framing = SipFraming(Expect.PINGS)
    stream = PING + b"\r\n" + OPTIONS + PING + PING + b"\r\n"
    assert list(framing.receive(stream)) == [PING, OPTIONS, PING, PING]
    # Half a ping is waited for.
    assert list(framing.receive(b"\r")) == []
    assert list(framing.receive(b"\n")) == [PING]


def test_a_client_sees_pongs() -> None:
    framing = SipFraming(Expect.PONGS)
    assert list(framing.receive(PONG + OPTIONS + PONG + b"\r")) == [PONG, OPTIONS, PONG]
    assert list(framing.receive(b"\n" + MESSAGE)) == [PONG, MESSAGE]


@pytest.mark.parametrize("expect", Expect)
@pytest.mark.parametrize("seed", range(40))
def test_what_a_stream_yields_does_not_depend_on_how_it_was_cut(expect: Expect, seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    parts = [OPTIONS, MESSAGE, PING, PONG]
    if seed % 4 == 0:
        parts.append(b"INVITE sip:a SIP/2.0\r\n\r\n")
    stream = b"".join(chance.choices(parts, k=12))

    def outcome(pieces: list[bytes]) -> tuple[list[bytes], bool]:
        framing = SipFraming(expect)
        messages: list[bytes] = []
        try:
            for piece in pieces:
                messages += framing.receive(piece)
            messages += framing.receive(b"")
        except MalformedMessage:
            return messages, True
        return messages, False

    whole = outcome([stream])
    for _ in range(20):
        assert outcome(chopped(stream, chance)) == whole


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"OPTIONS sip:a SIP/2.0\r\nX: 1", "no Content-Length"),
        (b"OPTIONS sip:a SIP/2.0\r\nX-Content-Length: 1", "no Content-Length"),
        (b"OPTIONS sip:a SIP/2.0\r\nl: 1\r\nContent-Length: 2", "several Content-Lengths"),
        (b"OPTIONS sip:a SIP/2.0\r\nl: -1", "not a number"),
        (b"OPTIONS sip:a SIP/2.0\r\nl: 1, 1", "not a number"),
        (b"OPTIONS sip:a SIP/2.0\r\nl:", "not a number"),
        (b"OPTIONS sip:a SIP/2.0\r\nl: 99999999999999999999", "is more than"),
        (b"OPTIONS sip:a SIP/2.0\r\nl: 2147483648", "is more than"),
    ],
)
def test_a_stream_without_one_length_ends(head: bytes, words: str) -> None:
    framing = SipFraming()
    assert list(framing.receive(OPTIONS + head + b"\r\n\r\n")) == [OPTIONS]
    for _ in range(2):
        with pytest.raises(MalformedMessage, match=words):
            framing.receive(b"")
    assert framing.buffered == 0


def test_a_peer_that_ends_no_head_is_not_listened_to_for_long() -> None:
    framing = SipFraming(limits=MessageLimits(head=1000, message=2000))
    line = b"X: " + b"y" * 18 + b"\r\n"
    for _ in range(1000 // len(line)):
        assert list(framing.receive(line)) == []
    with pytest.raises(MalformedMessage, match="1000"):
        framing.receive(line)
    assert framing.buffered == 0


def test_a_head_or_message_of_just_the_allowed_size_passes() -> None:
    head = b"OPTIONS sip:a SIP/2.0\r\nl: 50\r\nX: " + b"y" * 60
    message = head + b"\r\n\r\n" + b"b" * 50
    exact = MessageLimits(head=len(head), message=len(message))
    assert list(SipFraming(limits=exact).receive(message)) == [message]
    tight = MessageLimits(head=len(head) - 1, message=len(message))
    with pytest.raises(MalformedMessage):
        SipFraming(limits=tight).receive(message)


@pytest.mark.parametrize("piece", [1, 7, 4096])
@pytest.mark.parametrize("length", [51, 100_000])
def test_of_a_message_that_is_too_long_the_head_comes_out_and_the_next_one_whole(
    length: int, piece: int
) -> None:
    head = b"OPTIONS sip:a SIP/2.0\r\nl: %d\r\n\r\n" % length
    framing = SipFraming(limits=MessageLimits(head=50, message=len(head) + 50))
    stream = head + b"b" * length + OPTIONS
    messages: list[bytes] = []
    for start in range(0, len(stream), piece):
        messages += framing.receive(stream[start : start + piece])
        assert framing.buffered <= len(OPTIONS) + piece
    assert not framing.is_unfinished
    assert messages == [head, OPTIONS]


def test_a_length_beyond_all_reason_ends_the_stream() -> None:
    with pytest.raises(MalformedMessage):
        SipFraming().receive(b"OPTIONS sip:a SIP/2.0\r\nl: 2147483648\r\n\r\n")


def test_limits_that_let_nothing_through_are_a_misuse() -> None:
    with pytest.raises(MisuseError):
        MessageLimits(head=100, message=50)
