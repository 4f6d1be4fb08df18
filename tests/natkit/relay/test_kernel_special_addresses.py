"""Addresses that the system has rules of its own for: the kernel's plane leaves them to it."""

from collections.abc import Iterator
from functools import partial

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.relay.attaching import Mode
from natkit.stun.attributes import Data, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.cabled import CLIENTS, IPV4, IPV6, LISTENERS, NOW, PEERS, RELAYS, Cabled
from tests.natkit.relay.frames import Frame
from tests.natkit.relay.twins import FAR, NEAR, Twins, twins
from tests.netlab.namespaces import Lab

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

SPECIAL = (
    *("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.5", "239.255.255.250", "240.0.0.1"),
    *("255.255.255.255", "10.2.0.255", "10.1.0.0"),
    *("::", "::1", "::10.2.0.2", "::ffff:10.2.0.2", "ff02::1", "ff0e::5"),
)
FAMILIES = (IPV4, IPV6)
LISTENER = (LISTENERS[IPV4], 3478)
TRANSACTION = b"0123456789ab"
BINDING = Message.request(Method.BINDING, TRANSACTION).encode()
CLIENT, PEER, RELAYED = 50_000, 7_777, 50_100


@pytest.fixture(name="both")
def two_networks(lab: Lab) -> Iterator[Twins]:
    """With routes to anywhere, on the right."""
    with twins(lab, Mode.NATIVE) as both:
        for twin in (both.user, both.kernel):
            for family in FAMILIES:
                twin.cabled.server.configure("route", "add", "default", "via", PEERS[family][0])
                twin.cabled.listen(family, 3478)
        yield both


def _from_client(source: tuple[str, int], data: bytes) -> bytes:
    listener = LISTENERS[IPV6 if ":" in source[0] else IPV4]
    return Frame(NEAR["left"], FAR["left"], source, (listener, 3478), data).encode()


def _from_peer(source: tuple[str, int], relayed_port: int, data: bytes) -> bytes:
    relayed = RELAYS[IPV6 if ":" in source[0] else IPV4]
    return Frame(NEAR["right"], FAR["right"], source, (relayed, relayed_port), data).encode()


def _open(number: int, cabled: Cabled) -> None:
    """An allocation of both families, for an IPv4 client."""
    path = Path(Transport.UDP, Address(*LISTENER), Address(CLIENTS[IPV4][0], CLIENT + number))
    cabled.plane.open(number, path, cabled.relay_socket(IPV4, RELAYED + number), NOW + 600)
    cabled.plane.open_second(number, cabled.relay_socket(IPV6, RELAYED + number), NOW + 600)


def _permit(peer: Address, channel: int, cabled: Cabled) -> None:
    cabled.plane.permit(1, peer.host, NOW + 300)
    cabled.plane.bind_channel(1, channel, peer, NOW + 600)


def _permit_relayed(host: str, cabled: Cabled) -> None:
    for number in (1, 2):
        cabled.plane.permit(number, host, NOW + 300, only_relayed=True)


def test_a_binding_is_answered_for_nobody_whom_the_system_would_not_answer(both: Twins) -> None:
    for source in (
        *((host, CLIENT) for host in SPECIAL),
        *((CLIENTS[each][0], 0) for each in FAMILIES),
    ):
        print(source)
        both.put("left", _from_client(source, BINDING))
        both.compare()
        both.compare_totals()


def test_nothing_is_relayed_to_or_from_peers_that_the_system_would_not_reach(both: Twins) -> None:
    both.both(partial(_open, 1))
    client = (CLIENTS[IPV4][0], CLIENT + 1)
    peers = [Address(host, PEER) for host in SPECIAL] + [Address(PEERS[IPV4][0], 0)]
    for channel, peer in enumerate(peers, 0x4000):
        print(peer)
        both.both(partial(_permit, peer, channel))
        both.put(
            "left", _from_client(client, ChannelData(channel, b"on a channel").encode(padded=False))
        )
        send = Message.indication(
            Method.SEND, TRANSACTION, XorPeerAddress(peer), Data(b"indicated")
        )
        both.put("left", _from_client(client, send.encode()))
        both.put("right", _from_peer(peer, RELAYED + 1, b"from a peer"))
        both.compare()
    both.compare_totals()


def test_who_is_relayed_from_here_sends_by_no_wire_but_where_the_system_lets_it(
    both: Twins,
) -> None:
    for number in (1, 2):
        both.both(partial(_open, number))
    for family in FAMILIES:
        host = RELAYS[family]
        both.both(partial(_permit_relayed, host))
        # Somebody on the wire has taken the other's relayed address; only of an IPv4 address
        # does the system see that.
        both.put("right", _from_peer((host, RELAYED + 2), RELAYED + 1, b"forged"))
        assert len(both.compare()["left"]) == (0 if family is IPV4 else 1)
        send = Message.indication(
            Method.SEND, TRANSACTION, XorPeerAddress(Address(host, RELAYED + 1)), Data(b"true")
        )
        both.put("left", _from_client((CLIENTS[IPV4][0], CLIENT + 2), send.encode()))
        assert len(both.compare()["left"]) == 1
        both.compare_totals()
