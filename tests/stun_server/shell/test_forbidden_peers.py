"""No spelling of a forbidden peer is reached by a real server's sockets.

Traps wait at the loopback addresses, on IPv4 and IPv6, with the port that every spelling names: a
relay socket that were dual-stack would reach the first by an IPv4-mapped address.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from natkit.address import Address, Family
from natkit.stun.attributes import (
    ChannelNumber,
    Data,
    RequestedAddressFamily,
    RequestedTransport,
    XorPeerAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import UDP_PROTOCOL, MessageClass, Method
from natkit.turn.channel_data import ChannelData
from tests.stun_server.by_hand import HandClient, code_of
from tests.stun_server.place import SERVER, SERVER_IPV6, at_server
from tests.stun_server.process import LIMIT, StunServerProcess, stun_server
from tests.stun_server.test_policy import IPV4_SPECIAL, IPV6_SPECIAL, carriers

TRAP_HOSTS = ("127.0.0.1", "127.0.0.2", "::1")
CHANNELS = count(0x4000)
SPELLINGS = [
    *(host for host, _ in IPV4_SPECIAL + IPV6_SPECIAL),
    *(carrier for host, _ in IPV4_SPECIAL for carrier in carriers(host)),
    *carriers("127.0.0.2"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StunServerProcess]:
    """Loopback is what its sockets reach, from wherever it relays."""
    listen = ("--listen", f"{SERVER}:0", "--listen", f"[{SERVER_IPV6}]:0")
    with stun_server(tmp_path_factory.mktemp("stun-server"), *listen) as running:
        yield running


@pytest.fixture
def traps() -> Iterator[list[socket.socket]]:
    """Sockets at the loopback addresses, all with one port."""
    while True:
        with ExitStack() as stack:
            opened: list[socket.socket] = []
            port = 0
            try:
                for host in TRAP_HOSTS:
                    family = Address(host, 0).family.socket_family
                    with at_server():
                        sock = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                    sock.bind((host, port))
                    port = sock.getsockname()[1]
                    opened.append(sock)
            except OSError:
                continue
            yield opened
            return


def test_no_spelling_is_reached_by_permission_channel_or_send(
    server: StunServerProcess, traps: list[socket.socket]
) -> None:
    spellings = sorted(set(SPELLINGS))
    assert len(spellings) >= 200
    port = traps[0].getsockname()[1]
    listener = server.addresses("udp")[0]
    with ExitStack() as stack:
        clients: dict[Family, HandClient] = {}
        for family in Family:
            client = clients[family] = HandClient(listener)
            stack.callback(client.close)
            allocate = (RequestedTransport(UDP_PROTOCOL), RequestedAddressFamily(family))
            assert code_of(client.request(Method.ALLOCATE, *allocate)) is None
        for host in spellings:
            peer = Address.of(host, port)
            client = clients[peer.family]
            address, channel = XorPeerAddress(peer), next(CHANNELS) % 0x1000 + 0x4000
            assert code_of(client.request(Method.CREATE_PERMISSION, address)) == 403, host
            attributes = (ChannelNumber(channel), address)
            assert code_of(client.request(Method.CHANNEL_BIND, *attributes)) == 403, host
            # Whatever the answers said, the data is sent.
            send = Message(Method.SEND, MessageClass.INDICATION, bytes(12), (address, Data(b"in")))
            client.throw(send.encode())
            client.throw(ChannelData(channel, b"in").encode(padded=False))
        # The server has seen all of it once it answers what came last.
        for client in clients.values():
            assert code_of(client.request(Method.REFRESH)) is None
    for trap in traps:
        trap.setblocking(False)
        with pytest.raises(BlockingIOError):
            trap.recv(100)


def test_the_traps_would_have_been_reached(tmp_path: Path, traps: list[socket.socket]) -> None:
    """With the networks allowed the same packets arrive, so the test above is no vain one."""
    port = traps[0].getsockname()[1]
    listen = ("--listen", f"{SERVER}:0", "--listen", f"[{SERVER_IPV6}]:0")
    allow = ("--allow-peer", "127.0.0.0/8", "--allow-peer", "::1/128")
    with stun_server(tmp_path, *listen, *allow) as server, ExitStack() as stack:
        listener = server.addresses("udp")[0]
        for host, trap in zip(TRAP_HOSTS, traps, strict=True):
            peer = Address(host, port)
            client = HandClient(listener)
            stack.callback(client.close)
            allocate = (RequestedTransport(UDP_PROTOCOL), RequestedAddressFamily(peer.family))
            assert code_of(client.request(Method.ALLOCATE, *allocate)) is None
            assert code_of(client.request(Method.CREATE_PERMISSION, XorPeerAddress(peer))) is None
            data = Data(host.encode())
            attributes = (XorPeerAddress(peer), data)
            send = Message(Method.SEND, MessageClass.INDICATION, bytes(12), attributes)
            client.throw(send.encode())
            trap.settimeout(LIMIT)
            assert trap.recv(100) == host.encode()


def test_a_mapped_address_reaches_nothing_though_its_network_is_allowed(
    tmp_path: Path, traps: list[socket.socket]
) -> None:
    """The relay socket is IPv6 alone, so an IPv4-mapped peer is nowhere."""
    port = traps[0].getsockname()[1]
    allow = ("--allow-peer", "127.0.0.0/8", "--allow-peer", "::/0")
    with (
        stun_server(tmp_path, "--listen", f"[{SERVER_IPV6}]:0", *allow) as server,
        ExitStack() as stack,
    ):
        client = HandClient(server.addresses("udp")[0])
        stack.callback(client.close)
        allocate = (RequestedTransport(UDP_PROTOCOL), RequestedAddressFamily(Family.IPV6))
        assert code_of(client.request(Method.ALLOCATE, *allocate)) is None
        for host in ("::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1"):
            address = XorPeerAddress(Address.of(host, port))
            client.request(Method.CREATE_PERMISSION, address)
            send = Message(Method.SEND, MessageClass.INDICATION, bytes(12), (address, Data(b"in")))
            client.throw(send.encode())
        assert code_of(client.request(Method.REFRESH)) is None
    for trap in traps:
        trap.setblocking(False)
        with pytest.raises(BlockingIOError):
            trap.recv(100)
