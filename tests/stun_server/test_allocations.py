"""Whatever clients do, what the server keeps and what it says stay one and the same.

A model that knows nothing but the RFC's rules follows a machine through random commands; the
events alone must be enough to relay as the machine does.
"""

from dataclasses import dataclass, field, replace
from ipaddress import ip_network

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from natkit.address import Address
from natkit.machine import Transport
from natkit.stun.attributes import (
    ChannelNumber,
    Data,
    EvenPort,
    Lifetime,
    RequestedTransport,
    ReservationToken,
    XorPeerAddress,
    XorRelayedAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import Method
from stun_server.allocations import RESERVATION_LIFETIME
from stun_server.events import (
    AllocationClosed,
    AllocationOpened,
    AllocationRefreshed,
    ChannelBound,
    PermissionInstalled,
)
from stun_server.settings import PortRange
from tests.stun_server.world import LISTENER, SETTINGS, Client, World, code

SMALL = replace(
    SETTINGS,
    relay_ports=PortRange(50000, 50007),
    allocations=6,
    allocations_per_user=4,
    permissions_per_allocation=3,
    channels_per_allocation=3,
    nonce_lifetime=1e9,
    allowed_peers=(ip_network("127.0.0.1/32"),),
)

OUTSIDE = [Address("8.8.8.8", 5), Address("8.8.8.8", 6), Address("9.9.9.9", 5)]
ALLOWED = Address("127.0.0.1", 7)
FORBIDDEN = Address("10.0.0.1", 7)
RELAYED = [Address(LISTENER.host, port) for port in range(50000, 50008)]

clients = st.integers(0, 5)
peers = st.sampled_from([*OUTSIDE, ALLOWED, FORBIDDEN, *RELAYED, LISTENER])
numbers = st.integers(0x4000, 0x4004)
durations = st.sampled_from([0.0, 1.0, 29.0, 31.0, 100.0, 299.0, 301.0, 599.0, 601.0])


@dataclass
class Known:
    """What the events said of one allocation: all that a relay plane knows."""

    client: Client
    relayed: Address
    until: float
    permissions: dict[str, tuple[float, bool]] = field(default_factory=dict)
    channels: dict[int, tuple[Address, float, bool]] = field(default_factory=dict)


class AllocationsModel(RuleBasedStateMachine):
    """Random clients of one small server."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(SMALL)
        self.clients = [
            self.world.client(
                port=1000 + number,
                username=("alice", "bob")[number % 2],
                transport=(Transport.UDP, Transport.TCP)[number // 3],
            )
            for number in range(6)
        ]
        for client in self.clients:
            client.challenge()
        self.known: dict[int, Known] = {}
        self.reserved: dict[bytes, tuple[str, Address, float]] = {}

    # What clients do.

    @rule(number=clients, port=st.sampled_from([None, EvenPort(), EvenPort(reserve_next=True)]))
    def allocate(self, number: int, port: EvenPort | None) -> None:
        client = self.clients[number]
        expected = 437 if self.of(client) else self.allocate_code(client, port)
        attributes = [RequestedTransport(17), *([port] if port else [])]
        response = client.request(Method.ALLOCATE, *attributes)
        assert code(response) == expected
        if expected is None:
            relayed = response.get(XorRelayedAddress)
            assert relayed is not None
            assert relayed.address in self.free(port)
            token = response.get(ReservationToken)
            if port is not None and port.reserve_next:
                assert token is not None
                self.note_reservation(client, response)
            else:
                assert token is None
        self.follow()

    def note_reservation(self, client: Client, response: Message) -> None:
        relayed, token = response.get(XorRelayedAddress), response.get(ReservationToken)
        if relayed is not None and token is not None:
            reserved = Address(relayed.address.host, relayed.address.port + 1)
            until = self.world.now + RESERVATION_LIFETIME
            self.reserved[token.value] = (client.username, reserved, until)

    @precondition(lambda self: self.reserved)
    @rule(number=clients, data=st.data())
    def use_token(self, number: int, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(sorted(self.reserved)))
        client = self.clients[number]
        owner, address, until = self.reserved[token]
        expected = None
        if self.of(client):
            expected = 437
        elif until <= self.world.now:
            expected = 508
        elif owner != client.username and self.held(client.username) >= 4:
            expected = 486
        response = client.request(Method.ALLOCATE, RequestedTransport(17), ReservationToken(token))
        assert code(response) == expected
        if expected is None:
            assert response.get(XorRelayedAddress) == XorRelayedAddress(address)
            del self.reserved[token]
        self.follow()

    @rule(number=clients, lifetime=st.sampled_from([None, 0, 0, 1000, 9999]))
    def refresh(self, number: int, lifetime: int | None) -> None:
        client = self.clients[number]
        existed = self.of(client) is not None
        attributes = [] if lifetime is None else [Lifetime(lifetime)]
        response = client.request(Method.REFRESH, *attributes)
        assert code(response) == (None if existed else 437)
        self.follow()
        if lifetime == 0:
            assert self.of(client) is None

    @rule(number=clients, wanted=st.lists(peers, min_size=1, max_size=4))
    def permit(self, number: int, wanted: list[Address]) -> None:
        client = self.clients[number]
        known = self.of(client)
        permitted = set() if known is None else self.live_hosts(known)
        response = client.permit(*wanted)
        if known is None:
            assert code(response) == 437
        elif not all(self.is_allowed(peer) or peer.host in permitted for peer in wanted):
            assert code(response) == 403
        else:
            hosts = self.live_hosts(known) | {peer.host for peer in wanted}
            assert code(response) == (None if len(hosts) <= 3 else 508)
        self.follow()

    @rule(number=clients, channel=numbers, peer=peers)
    def bind(self, number: int, channel: int, peer: Address) -> None:
        client = self.clients[number]
        known = self.of(client)
        response = client.request(Method.CHANNEL_BIND, ChannelNumber(channel), XorPeerAddress(peer))
        if known is None:
            assert code(response) == 437
        else:
            live = {at: entry[0] for at, entry in self.live_channels(known).items()}
            clash = live.get(channel, peer) != peer or any(
                bound == peer and at != channel for at, bound in live.items()
            )
            full = len(live.keys() | {channel}) > 3
            full = full or len(self.live_hosts(known) | {peer.host}) > 3
            expected = 400 if clash else 403 if not self.is_allowed(peer) else 508 if full else None
            assert code(response) == expected
        self.follow()

    @rule(number=st.integers(3, 5))
    def disconnect(self, number: int) -> None:
        client = self.clients[number]
        self.world.server.disconnected(client.path, self.world.now)
        self.world.drain()
        self.follow()
        assert self.of(client) is None

    @rule(seconds=durations)
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)
        self.follow()

    @rule(number=clients)
    def retransmit(self, number: int) -> None:
        client = self.clients[number]
        if client.transport is Transport.UDP:
            last = client.sent[-1]
            before = len(self.world.server.allocations)
            answers = client.send(last)
            if len(self.world.server.allocations) > before:
                # So late that the server did not know it: a new allocation and reservation.
                self.note_reservation(client, Message.parse(answers[0].data))
            self.follow()
            assert len(self.world.server.allocations) <= before + 1

    # What may pass, both ways and by every means.

    @rule(number=clients, peer=peers)
    def relay(self, number: int, peer: Address) -> None:
        client = self.clients[number]
        known = self.of(client)
        send = Message.indication(Method.SEND, bytes(12), XorPeerAddress(peer), Data(b"d"))
        sent = client.send(send.encode())
        came = [] if known is None else self.world.from_peer(b"d", peer, known.relayed)
        may = known is not None and self.may_relay(known, peer)
        assert len(sent) == len(came) == may
        if known is None or not may:
            return
        assert (sent[0].path.local, sent[0].path.remote) == (known.relayed, peer)
        channel = next(
            (at for at, entry in self.live_channels(known).items() if entry[0] == peer), None
        )
        assert came[0].path == client.path
        if channel is None:
            assert Message.parse(came[0].data).get(XorPeerAddress) == XorPeerAddress(peer)
        else:
            assert int.from_bytes(came[0].data[:2], "big") == channel

    @rule(number=clients, channel=numbers)
    def channel_data(self, number: int, channel: int) -> None:
        client = self.clients[number]
        known = self.of(client)
        sent = client.send(channel.to_bytes(2, "big") + b"\0\1d")
        entry = None if known is None else self.live_channels(known).get(channel)
        if entry is None or (entry[2] and not self.is_relayed(entry[0])):
            assert sent == []
        else:
            assert [each.path.remote for each in sent] == [entry[0]]

    # The model: events, and the RFC's rules.

    def follow(self) -> None:
        """Take note of the events, in their order."""
        for event in self.world.events:
            match event:
                case AllocationOpened():
                    (client,) = [each for each in self.clients if each.path == event.client]
                    assert event.allocation_id not in self.known
                    self.known[event.allocation_id] = Known(client, event.relayed, event.until)
                case AllocationRefreshed():
                    self.known[event.allocation_id].until = event.until
                case AllocationClosed():
                    closed = self.known.pop(event.allocation_id)
                    assert closed.relayed == event.relayed
                case PermissionInstalled():
                    known = self.known[event.allocation_id]
                    before, _ = known.permissions.get(event.peer_host, (0.0, False))
                    assert event.until >= max(before, self.world.now + 300)
                    known.permissions[event.peer_host] = (event.until, event.only_relayed)
                case ChannelBound():
                    known = self.known[event.allocation_id]
                    stale = [at for at, entry in known.channels.items() if entry[0] == event.peer]
                    for at in stale:
                        del known.channels[at]
                    known.channels[event.channel] = (event.peer, event.until, event.only_relayed)
                case _:
                    pass
        self.world.events.clear()

    def held(self, username: str | None = None) -> int:
        """What counts for the quota of a user, or of all."""
        owners = [known.client.username for known in self.known.values()]
        now = self.world.now
        owners += [owner for owner, _, until in self.reserved.values() if until > now]
        return len(owners) if username is None else owners.count(username)

    def free(self, port: EvenPort | None) -> list[Address]:
        """The relayed addresses that an Allocate may get."""
        taken = {known.relayed for known in self.known.values()}
        now = self.world.now
        taken |= {address for _, address, until in self.reserved.values() if until > now}
        free = [each for each in RELAYED if each not in taken]
        if port is not None:
            free = [each for each in free if each.port % 2 == 0]
            if port.reserve_next:
                free = [each for each in free if Address(each.host, each.port + 1) not in taken]
        return free

    def allocate_code(self, client: Client, port: EvenPort | None) -> int | None:
        """The error that an Allocate without a token deserves."""
        count = 2 if port is not None and port.reserve_next else 1
        if self.held(client.username) + count > 4:
            return 486
        return 508 if self.held() + count > 6 or not self.free(port) else None

    def of(self, client: Client) -> Known | None:
        return next((known for known in self.known.values() if known.client is client), None)

    def is_relayed(self, address: Address) -> bool:
        return any(known.relayed == address for known in self.known.values())

    def is_allowed(self, peer: Address) -> bool:
        return peer in {*OUTSIDE, ALLOWED} or self.is_relayed(peer)

    def live_hosts(self, known: Known) -> set[str]:
        now = self.world.now
        return {host for host, (until, _) in known.permissions.items() if until > now}

    def live_channels(self, known: Known) -> dict[int, tuple[Address, float, bool]]:
        now = self.world.now
        return {at: entry for at, entry in known.channels.items() if entry[1] > now}

    def may_relay(self, known: Known, peer: Address) -> bool:
        until, only_relayed = known.permissions.get(peer.host, (0.0, False))
        return until > self.world.now and (not only_relayed or self.is_relayed(peer))

    @invariant()
    def the_tables_agree(self) -> None:
        allocations = list(self.world.server.allocations)
        assert {each.allocation_id: each.relayed for each in allocations} == {
            number: known.relayed for number, known in self.known.items()
        }
        assert len(allocations) <= 6
        for each in allocations:
            assert self.world.server.allocations.of_client(each.client) is each
            assert self.world.server.allocations.of_relayed(each.relayed) is each
            assert each.until == self.known[each.allocation_id].until > self.world.now
            assert len(each.permissions) <= 3
            assert len(each.channels) == len(each.channels_by_peer) <= 3
            assert all(each.channels[at.number] is at for at in each.channels_by_peer.values())
            assert all(each.channels_by_peer[at.peer] is at for at in each.channels.values())

    @invariant()
    def no_socket_is_lost(self) -> None:
        relayed = {known.relayed for known in self.known.values()}
        now = self.world.now
        reserved = {address for _, address, until in self.reserved.values() if until > now}
        assert self.world.sockets == relayed | reserved
        assert len(self.world.sockets) <= 6

    def teardown(self) -> None:
        self.world.wait(3601)
        assert self.world.sockets == set()
        assert self.world.server.next_deadline() is None


TestAllocations = AllocationsModel.TestCase
