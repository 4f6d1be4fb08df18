"""The plane's formats, read and written by offset, are those of the codec."""

from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address, Family
from natkit.errors import MalformedMessage
from natkit.net import sockaddr
from natkit.relay.packets import data_indication_header, parse_send
from natkit.stun.attributes import Attribute, Data, Software, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method

addresses = st.builds(
    Address.from_packed,
    st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
    st.integers(0, 65535),
)
ids = st.binary(min_size=12, max_size=12)
data = st.builds(Data, st.binary(max_size=9))
peers = st.builds(XorPeerAddress, addresses)


def general(packet: bytes) -> tuple[bytes, bytes] | None:
    """What the codec reads: the peer and the data of a Send indication that has nothing else."""
    try:
        message = Message.parse(packet)
    except MalformedMessage:
        return None
    peer, sent = message.get(XorPeerAddress), message.get(Data)
    if (
        (message.method, message.message_class) != (Method.SEND, MessageClass.INDICATION)
        or len(message.attributes) != 2
        or peer is None
        or sent is None
    ):
        return None
    return sockaddr.pack(peer.address), sent.value


@given(
    transaction_id=ids,
    attributes=st.tuples(peers, data)
    | st.lists(peers | data | st.builds(Software, st.text("a", max_size=5)), max_size=3),
    mutation=st.none() | st.tuples(st.integers(0, 80), st.integers(0, 255)),
    before=st.integers(0, 5),
)
def test_a_send_indication_is_read_as_the_codec_reads_it(
    transaction_id: bytes,
    attributes: tuple[Attribute, ...],
    mutation: tuple[int, int] | None,
    before: int,
) -> None:
    packet = bytearray(Message.indication(Method.SEND, transaction_id, *attributes).encode())
    if mutation is not None:
        packet[mutation[0] % len(packet)] = mutation[1]
    # What stands around it is another packet's.
    buffer = bytes(before) + packet + bytes(range(60))
    read = parse_send(buffer, before, before + len(packet))
    expected = general(bytes(packet))
    if read is None:
        assert expected is None
    else:
        peer, start, size = read
        assert (peer, buffer[start : start + size]) == expected


@given(transaction_id=ids, address=addresses, value=st.binary(max_size=9))
def test_a_data_indication_is_written_as_the_codec_writes_it(
    transaction_id: bytes, address: Address, value: bytes
) -> None:
    header = data_indication_header(sockaddr.pack(address), transaction_id, len(value))
    attributes = XorPeerAddress(address), Data(value)
    expected = Message.indication(Method.DATA, transaction_id, *attributes).encode()
    assert header + value + bytes(-len(value) % 4) == expected
    assert len(header) == (36 if address.family is Family.IPV4 else 48)
