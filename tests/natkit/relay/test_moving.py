"""The plane when clients move (RFC 8016): what it relays, what it hands up, and to whom."""

from collections.abc import Iterator

import pytest

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.machine import Path, Transport
from tests.natkit.relay.relayed import CHANNEL, channel_data, send_indication
from tests.natkit.relay.rig import Rig, address_of, received

UNTIL = 2_000.0
STREAM = Path(Transport.TCP, Address("127.0.0.1", 3478), Address("127.0.0.1", 50_000))


@pytest.fixture(params=[False, True], ids=["linux", "portable"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = Rig(portable=bool(request.param))
    yield rig
    rig.close()


class Moving:
    """An allocation with a channel to a peer, and the two places of its client."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.listener = rig.listen()
        self.here, self.there, self.peer = rig.new_socket(), rig.new_socket(), rig.new_socket()
        self.number, self.relayed = rig.allocate(self.here, self.listener)
        host = address_of(self.peer).host
        rig.plane.permit(self.number, host, UNTIL)
        rig.plane.bind_channel(self.number, CHANNEL, address_of(self.peer), UNTIL)
        self.next = Path(Transport.UDP, self.listener, address_of(self.there))

    def to_client(self) -> list[int]:
        """Let the peer send; how much arrives here, and there."""
        self.peer.sendto(b"data", self.relayed)
        self.rig.turn()
        return [len(received(self.here)), len(received(self.there))]


def test_what_an_expected_client_sends_goes_up_and_the_old_path_goes_on(rig: Rig) -> None:
    moving = Moving(rig)
    rig.plane.expect(moving.number, moving.next)
    for data in (
        channel_data(b"one"),
        send_indication(address_of(moving.peer), b"two"),
        channel_data(b"x", 0x4001),
    ):
        moving.there.sendto(data, moving.listener)
        rig.turn()
        assert rig.unhandled.pop()[:2] == (data, moving.next)
    moving.here.sendto(channel_data(b"old"), moving.listener)
    rig.turn()
    assert [data for data, _ in received(moving.peer)] == [b"old"]
    assert moving.to_client() == [1, 0]
    assert rig.unhandled == []


def test_a_moved_allocation_is_at_the_new_path_alone(rig: Rig) -> None:
    moving = Moving(rig)
    rig.plane.expect(moving.number, moving.next)
    rig.plane.move(moving.number, moving.next)
    assert moving.to_client() == [0, 1]
    moving.there.sendto(channel_data(b"new"), moving.listener)
    moving.here.sendto(channel_data(b"old"), moving.listener)
    rig.turn()
    assert [data for data, _ in received(moving.peer)] == [b"new"]
    assert rig.unhandled == []
    assert rig.plane.totals().dropped_no_allocation == 1


def test_a_client_that_is_expected_no_more_is_a_stranger(rig: Rig) -> None:
    moving = Moving(rig)
    other = rig.new_socket()
    rig.plane.expect(moving.number, Path(Transport.UDP, moving.listener, address_of(other)))
    rig.plane.expect(moving.number, moving.next)
    other.sendto(channel_data(b"x"), moving.listener)
    rig.plane.expect(moving.number, None)
    moving.there.sendto(channel_data(b"x"), moving.listener)
    rig.turn()
    assert rig.unhandled == []
    assert rig.plane.totals().dropped_no_allocation == 2


def test_a_closed_allocation_expects_nobody(rig: Rig) -> None:
    moving = Moving(rig)
    rig.plane.expect(moving.number, moving.next)
    rig.plane.close(moving.number)
    moving.there.sendto(channel_data(b"x"), moving.listener)
    rig.turn()
    assert rig.unhandled == []


def test_an_allocation_moves_to_a_stream_and_back(rig: Rig) -> None:
    moving = Moving(rig)
    written: list[bytes] = []
    rig.plane.expect(moving.number, STREAM)
    rig.plane.move(moving.number, STREAM, written.append)
    assert moving.to_client() == [0, 0]
    assert written == [channel_data(b"data")]
    assert rig.plane.relay_from(STREAM, channel_data(b"up"), rig.now)
    rig.plane.move(moving.number, moving.next)
    assert not rig.plane.relay_from(STREAM, channel_data(b"up"), rig.now)
    assert moving.to_client() == [0, 1]


def test_while_the_client_is_nowhere_its_data_is_dropped_and_counted(rig: Rig) -> None:
    written: list[bytes] = []
    number, relayed = rig.allocate_stream(STREAM, written)
    peer = rig.new_socket()
    rig.plane.permit(number, address_of(peer).host, UNTIL)
    rig.plane.move(number, None)
    peer.sendto(b"data", relayed)
    rig.turn()
    assert written == []
    assert rig.plane.counters(number).dropped_no_client == 1
    # The connection of another client may have the same 5-tuple.
    rig.allocate_stream(STREAM, written)
    rig.plane.close(number)
    assert rig.plane.totals().dropped_no_client == 1


def test_nobody_is_moved_to_where_another_allocation_is(rig: Rig) -> None:
    moving = Moving(rig)
    rig.allocate(moving.there, moving.listener)
    with pytest.raises(MisuseError, match="has an allocation already"):
        rig.plane.move(moving.number, moving.next)
    assert moving.to_client() == [1, 0]


def test_a_relay_socket_that_is_given_back_is_open(rig: Rig) -> None:
    moving = Moving(rig)
    (sock,) = rig.plane.release(moving.number)
    moving.peer.sendto(b"data", moving.relayed)
    assert [data for data, _ in received(sock)] == [b"data"]
    assert rig.plane.totals().packets_to_clients == 0
