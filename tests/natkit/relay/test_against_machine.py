"""Each answer of the plane is the machine's: both are told the same, and must do the same."""

import socket
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from natkit.address import Address, Family
from natkit.machine import Path, Transport
from natkit.net.libc import HAVE_MMSG
from natkit.stun.attributes import (
    AdditionalAddressFamily,
    Attribute,
    ChannelNumber,
    Data,
    DontFragment,
    Lifetime,
    Nonce,
    Realm,
    RequestedAddressFamily,
    RequestedTransport,
    Software,
    Username,
    XorPeerAddress,
)
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import UDP_PROTOCOL, Method
from tests.conftest import Sized
from tests.natkit.relay.both import (
    CREDENTIAL,
    LISTENER_HOST,
    REALM,
    RELAY_HOST,
    USERNAME,
    MachineAlone,
    MachineBehindPlane,
    RelayPorts,
    Sent,
)
from tests.natkit.relay.rig import address_of, received

STEPS = 2_000
CHUNKS = 4
CHANNELS = (0x4000, 0x4001, 0x4FFF, 0x5000, 0x7FFF)
KINDS = [
    pytest.param(False, id="linux", marks=pytest.mark.skipif(not HAVE_MMSG, reason="Linux")),
    pytest.param(True, id="portable"),
]


class Comparison:
    """Clients and peers on loopback, and random steps that both servers live through."""

    def __init__(self, seed: int, *, portable: bool) -> None:
        self.random = Random(seed)
        self.sockets: list[socket.socket] = []
        listener = self._socket(LISTENER_HOST)
        self.listener = address_of(listener)
        self.clients = [self._socket(LISTENER_HOST) for _ in range(3)]
        self.stream = Path(Transport.TCP, self.listener, Address("127.0.0.9", 50_000))
        self.paths = [
            *(Path(Transport.UDP, self.listener, address_of(sock)) for sock in self.clients),
            self.stream,
        ]
        self.nonces: dict[Path, bytes] = {}
        # Two ports of one host, another host, one that policy refuses, and one where the relayed
        # addresses are, which is refused as well.
        hosts = (LISTENER_HOST, LISTENER_HOST, "127.0.0.2", "127.0.0.3", RELAY_HOST, "::1")
        self.peers = [self._socket(host) for host in hosts]
        self.now = 1_000.0
        self.ports = RelayPorts()
        self.behind = MachineBehindPlane(listener, seed, self.ports, portable=portable)
        self.alone = MachineAlone(self.listener, seed, self.ports)
        self.behind.now = self.now
        self.kinds = Counter[str]()
        self.dual = 0
        self.expected = {
            f"{what} to {whom}": 0 for whom in ("peers", "clients") for what in ("packets", "bytes")
        }

    def _socket(self, host: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sockets.append(sock)
        sock.bind((host, 0))
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        self.behind.close()
        self.ports.close()
        for sock in self.sockets:
            sock.close()

    # What both are told.

    def from_client(self, number: int, data: bytes) -> None:
        path = self.paths[number]
        if path is self.stream:
            self.behind.receive_stream(data, path)
        else:
            self.clients[number].sendto(data, self.listener)
        self.alone.receive(data, path, self.now)

    def from_peer(self, peer: socket.socket, relayed: Address, data: bytes) -> None:
        peer.sendto(data, relayed)
        self.alone.receive(data, Path(Transport.UDP, relayed, address_of(peer)), self.now)

    # What both did.

    def compare(self) -> None:
        """Whatever left one server left the other, byte for byte; and was counted."""
        self.behind.turn()
        self.dual += sum(each.second is not None for each in self.alone.server.allocations)
        behind = [
            Sent(Transport.UDP, source, address_of(sock), data)
            for sock in (*self.clients, *self.peers)
            for data, source in received(sock)
        ]
        behind += self.behind.written
        outside = {path.remote for path in self.paths} | {address_of(peer) for peer in self.peers}
        alone = [sent for sent in self.alone.sent if sent.remote in outside]
        assert Counter(behind) == Counter(alone)
        for sent in self.alone.sent:
            self._count(sent)
        for sent in alone:
            self._learn(sent)
        self.behind.written.clear()
        self.alone.sent.clear()
        totals, rest = self.behind.plane.totals(), self.behind.by_machine
        assert self.expected == {
            "packets to peers": totals.packets_to_peers + rest["packets"],
            "bytes to peers": totals.bytes_to_peers + rest["bytes"],
            "packets to clients": totals.packets_to_clients,
            "bytes to clients": totals.bytes_to_clients,
        }
        assert totals.dropped_send_failed == 0

    def _count(self, sent: Sent) -> None:
        if sent.local != self.listener:
            way, size = "peers", len(sent.data)
        elif sent.data[0] >= 0x40:
            way, size = "clients", int.from_bytes(sent.data[2:4], "big")
        else:
            data = Message.parse(sent.data, allow_classic=True).get(Data)
            if data is None:
                return
            way, size = "clients", len(data.value)
        self.expected[f"packets to {way}"] += 1
        self.expected[f"bytes to {way}"] += size

    def _learn(self, sent: Sent) -> None:
        """Clients keep the nonces that they are given."""
        for path in self.paths:
            if sent.remote == path.remote and sent.data[0] < 0x40:
                nonce = Message.parse(sent.data, allow_classic=True).get(Nonce)
                if nonce is not None:
                    self.nonces[path] = nonce.value

    # The steps.

    def step(self) -> None:
        steps: tuple[tuple[int, Callable[[], None]], ...] = (
            (15, self.request),
            (20, self.channel_data),
            (15, self.send_indication),
            (25, self.data_of_a_peer),
            (5, self.binding),
            (4, self.garbage),
            (1, self.pass_time),
        )
        (chosen,) = self.random.choices(
            [step for _, step in steps], [weight for weight, _ in steps]
        )
        self.kinds[chosen.__name__] += 1
        chosen()
        self.compare()

    def request(self) -> None:
        number = self.random.randrange(len(self.paths))
        path = self.paths[number]
        method, attributes = self.random.choice(
            (
                self._allocate,
                self._allocate,
                self._refresh,
                self._create_permission,
                self._create_permission,
                self._channel_bind,
                self._channel_bind,
                self._channel_bind,
            )
        )()
        nonce = self.nonces.get(path)
        credentials: tuple[Attribute, ...] = ()
        if nonce is not None:
            credentials = (Username(USERNAME), Realm(REALM), Nonce(nonce))
        message = Message.request(method, self.random.randbytes(12), *attributes, *credentials)
        assert CREDENTIAL.md5 is not None
        key = IntegrityKey(CREDENTIAL.md5) if credentials else None
        self.from_client(number, message.encode(integrity=key))

    def _allocate(self) -> tuple[Method, tuple[Attribute, ...]]:
        attributes: tuple[Attribute, ...] = (RequestedTransport(UDP_PROTOCOL),)
        wish = self.random.random()
        if wish < 0.3:
            attributes += (RequestedAddressFamily(Family.IPV6),)
        elif wish < 0.6:
            attributes += (AdditionalAddressFamily(Family.IPV6),)
        return Method.ALLOCATE, attributes

    def _refresh(self) -> tuple[Method, tuple[Attribute, ...]]:
        lifetime = Lifetime(self.random.choice((0, 600, 1_800, 3_600)))
        family = self.random.choice((None, Family.IPV4, Family.IPV6))
        return Method.REFRESH, (
            lifetime,
            *(() if family is None else (RequestedAddressFamily(family),)),
        )

    def _create_permission(self) -> tuple[Method, tuple[Attribute, ...]]:
        count = self.random.randint(1, 2)
        return Method.CREATE_PERMISSION, tuple(
            XorPeerAddress(self.some_peer()) for _ in range(count)
        )

    def _channel_bind(self) -> tuple[Method, tuple[Attribute, ...]]:
        number = self.random.choice(CHANNELS)
        return Method.CHANNEL_BIND, (ChannelNumber(number), XorPeerAddress(self.some_peer()))

    def some_peer(self) -> Address:
        """A peer's address, or a relayed one: live now, or not any more; or the server's own."""
        relayed = self.live_addresses()
        if relayed and self.random.random() < 0.3:
            return self.random.choice(relayed)
        if self.random.random() < 0.05:
            return self.listener
        return address_of(self.random.choice(self.peers))

    def live_addresses(self) -> list[Address]:
        """The relayed addresses of all allocations."""
        return [
            address
            for allocation in self.alone.server.allocations
            for address in allocation.relayed_addresses
        ]

    def some_data(self) -> bytes:
        return self.random.randbytes(self.random.choice((0, 1, 2, 3, 4, 20, 172, 1_200, 40_000)))

    def channel_data(self) -> None:
        data = self.some_data()
        size = len(data)
        if self.random.random() < 0.1:
            size += self.random.choice((-1, 1, 4, 1_000))
        header = self.random.choice(CHANNELS).to_bytes(2, "big") + max(size, 0).to_bytes(2, "big")
        padding = bytes(-size % 4 if self.random.random() < 0.3 else 0)
        self.from_client(self.random.randrange(len(self.paths)), header + data + padding)

    def send_indication(self) -> None:
        attributes: list[Attribute] = [XorPeerAddress(self.some_peer()), Data(self.some_data())]
        if self.random.random() < 0.3:
            attributes.append(
                self.random.choice((Software("x"), DontFragment(), Data(b"2"), Lifetime(1)))
            )
        self.random.shuffle(attributes)
        message = Message.indication(Method.SEND, self.random.randbytes(12), *attributes)
        data = message.encode(fingerprint=self.random.random() < 0.2)
        if self.random.random() < 0.1:
            data = self.mutated(data)
        self.from_client(self.random.randrange(len(self.paths)), data)

    def data_of_a_peer(self) -> None:
        relayed = self.live_addresses()
        peer = self.random.choice(self.peers)
        same_family = [each for each in relayed if each.family is address_of(peer).family]
        if same_family:
            self.from_peer(peer, self.random.choice(same_family), self.some_data())

    def binding(self) -> None:
        attributes: tuple[Attribute, ...] = (Software("x"),) if self.random.random() < 0.2 else ()
        message = Message.request(Method.BINDING, self.random.randbytes(12), *attributes)
        data = message.encode(fingerprint=self.random.random() < 0.2)
        if self.random.random() < 0.2:
            data = self.mutated(data)
        self.from_client(self.random.randrange(len(self.paths)), data)

    def garbage(self) -> None:
        data = self.random.randbytes(self.random.randrange(1, 60))
        self.from_client(self.random.randrange(len(self.clients)), data)

    def mutated(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.random.randint(1, 3)):
            changed[self.random.randrange(len(changed))] = self.random.randrange(256)
        return bytes(changed[: self.random.choice((len(changed), len(changed) - 1))])

    def pass_time(self) -> None:
        self.now += self.random.choice((0.1, 30.0, 299.0, 300.0, 599.0, 600.0))
        self.behind.handle_timer(self.now)
        self.alone.handle_timer(self.now)


@pytest.mark.parametrize("portable", KINDS)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_plane_and_machine_do_the_same(chunk: int, sized: Sized, *, portable: bool) -> None:
    for seed in range(chunk, sized(quick=CHUNKS, full=100), CHUNKS):
        print(f"seed {seed}")
        _compare(seed, portable=portable)


def _compare(seed: int, *, portable: bool) -> None:
    comparison = Comparison(seed, portable=portable)
    try:
        for _ in range(STEPS):
            comparison.step()
    finally:
        comparison.close()
    # Not vacuous: everything happened, and data went both ways.
    assert len(comparison.kinds) == 7
    assert comparison.dual > 20
    totals = comparison.behind.plane.totals()
    assert totals.packets_to_peers > 20
    assert totals.packets_to_clients > 20
    assert totals.dropped_no_permission > 20
    assert totals.dropped_no_channel > 20
    assert totals.dropped_over_rate > 0
