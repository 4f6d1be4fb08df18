"""What happens to twins: commands and frames, drawn at random and the same for both."""

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.stun.attributes import Data, Software, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.cabled import CLIENTS, IPV4, IPV6, LISTENERS, NOW, PEERS, RELAYS, Cabled
from tests.natkit.relay.frames import Frame
from tests.natkit.relay.twins import FAR, NEAR, Twins

FAMILIES = (IPV4, IPV6)
LISTENER_PORT = 3478
CLIENT_PORTS = range(50_000, 50_006)
PEER_PORTS = range(40_000, 40_004)
CHANNELS = range(0x4000, 0x4004)
MOST_ALLOCATIONS = 5
SIZES = (0, 1, 2, 3, 4, 5, 31, 32, 33, 63, 64, 65, 172, 511, 1000, 1199, 1428, 1464, 1472)
LARGEST = {IPV4: 1472, IPV6: 1452}
_TRANSACTION = b"0123456789ab"


@dataclass
class Drawn:
    """An allocation of the story."""

    number: int
    client: Address
    listener: Address
    relayed: dict[socket.AddressFamily, Address]
    expected: Address | None = None
    channels: dict[int, Address] = field(default_factory=dict)


class Story:
    """Draws one step after the other.

    ``is_local``: clients and peers are on the server's machine, so that checksums are unfinished.
    """

    def __init__(
        self, twins: Twins, seed: int, *, is_limited: bool = False, is_local: bool = False
    ) -> None:
        self._is_limited = is_limited
        self._is_local = is_local
        self._twins = twins
        self._random = Random(seed)
        self._number = 0
        self._port = 49_152
        self._now = NOW
        self.allocations: list[Drawn] = []
        self.closed = 0
        for family in FAMILIES:
            self._each(partial(_listen, family))

    def _each(self, do: Callable[[Cabled], object]) -> None:
        self._twins.both(do)

    # What the machine says.

    def command(self) -> None:
        """Tell both planes something."""
        draw = self._random
        if len(self.allocations) < 2:
            self._open()
            return
        choices = [self._open] if len(self.allocations) < MOST_ALLOCATIONS else [self._close]
        choices += [self._permit] * 4 + [self._bind] * 4 + [self._wait] * 2
        choices += [self._extend, self._refuse, self._expect, self._move, self._close_one]
        choices += [self._show_as]
        choices += [self._limit] * 3 if self._is_limited else []
        draw.choice(choices)()

    def _open(self) -> None:
        draw = self._random
        family = draw.choice(FAMILIES)
        taken = {each.client for each in self.allocations}
        free = [each for each in _clients(family) if each not in taken]
        if not free:
            return
        client = draw.choice(free)
        listener = Address(LISTENERS[family], LISTENER_PORT)
        self._number += 1
        number, until = self._number, self._soon()
        path = Path(Transport.UDP, listener, client)
        families = draw.choice([(IPV4,), (IPV6,), (IPV4, IPV6), (IPV6, IPV4)])
        relayed = {}
        for each in families:
            self._port += 1
            port = self._port
            relayed[each] = Address(RELAYS[each], port)
            if each is families[0]:
                self._each(partial(_open_first, number, path, until, each, port))
            else:
                self._each(partial(_open_second, number, until, each, port))
        self.allocations.append(Drawn(number, client, listener, relayed))
        for _ in range(3):
            self._permit()
            self._bind()

    def _soon(self) -> float:
        if self._random.random() < 0.1:
            return self._now + self._random.choice((0, 0.5, 1, 2))
        return self._now + 1_000

    def _pick(self) -> Drawn:
        return self._random.choice(self.allocations)

    def _permit(self) -> None:
        draw, each = self._random, self._pick()
        peer = self._peer(each)
        until, only = self._soon(), draw.random() < 0.3
        first = draw.choice(PEER_PORTS)
        ranges = [(first, first + 1)] * draw.choice((1, 1, 5))
        ports = draw.choice([(), (), ranges])
        self._each(
            lambda w: w.plane.permit(
                each.number, peer.host, until, only_relayed=only, ports=ports if only else ()
            )
        )

    def _bind(self) -> None:
        draw, each = self._random, self._pick()
        peer, channel = self._peer(each), draw.choice(CHANNELS)
        until, only = self._soon(), draw.random() < 0.2
        each.channels[channel] = peer
        self._each(
            lambda w: w.plane.bind_channel(each.number, channel, peer, until, only_relayed=only)
        )
        if draw.random() < 0.7:
            self._each(lambda w: w.plane.permit(each.number, peer.host, until))

    def _extend(self) -> None:
        each, until = self._pick(), self._soon()
        family = self._random.choice(
            (None, *(Address(a.host, 0).family for a in each.relayed.values()))
        )
        self._each(lambda w: w.plane.extend(each.number, until, family))

    def _wait(self) -> None:
        self._now += self._random.choice((0.25, 0.5, 1.0))
        self._each(lambda w: w.set_clock(self._now))

    def _refuse(self) -> None:
        host = self._random.choice([*PEERS[IPV4], *PEERS[IPV6]])
        self._each(lambda w: w.plane.refuse([ipaddress.ip_network(host)]))

    def _expect(self) -> None:
        draw, each = self._random, self._pick()
        client = draw.choice([None, *_clients(_family(each.client))])
        path = Path(Transport.UDP, each.listener, client) if client is not None else None
        each.expected = client
        self._each(lambda w: w.plane.expect(each.number, path))

    def _move(self) -> None:
        draw, each = self._random, self._pick()
        taken = {other.client for other in self.allocations}
        free = [client for client in _clients(_family(each.client)) if client not in taken]
        if not free:
            return
        to = each.expected if each.expected in free else draw.choice(free)
        assert to is not None
        path = Path(Transport.UDP, each.listener, to)
        each.client, each.expected = to, None
        nowhere = draw.random() < 0.2
        if nowhere:
            self._each(lambda w: w.plane.move(each.number, None))
        self._each(lambda w: w.plane.move(each.number, path))

    def _close(self) -> None:
        each = self._pick()
        self.allocations.remove(each)
        self._twins.compare_counters(each.number)
        self._each(lambda w: w.plane.close(each.number))
        self.closed += 1

    def _close_one(self) -> None:
        each = self._pick()
        if len(each.relayed) == 2:
            relayed = each.relayed.pop(self._random.choice(list(each.relayed)))
            self._each(lambda w: w.plane.close_one(each.number, relayed))

    def _show_as(self) -> None:
        shown = {RELAYS[IPV4]: "203.0.113.1"} if self._random.random() < 0.3 else {}
        self._each(lambda w: w.plane.show_as(shown))

    def _limit(self) -> None:
        draw, each = self._random, self._pick()
        users = draw.choice([(), ("one",), ("other",), ("one", "all"), ("other", "all")])
        rate = draw.choice((100, 1_000, 20_000, 100_000))
        self._each(
            lambda w: w.plane.limit(each.number, w.rates(*users, rate=rate) if users else None)
        )

    # What comes in.

    def frame(self) -> None:
        """Put a frame on a wire of both."""
        draw = self._random
        each = self._pick()
        if draw.random() < 0.5:
            client = draw.choice([each.client] * 8 + _clients(_family(each.client)))
            data = self._from_client(each)
            self._put("left", client, each.listener, data)
        else:
            relayed = draw.choice(list(each.relayed.values()))
            peers = [a for a in each.channels.values() if _family(a) is _family(relayed)]
            peer = draw.choice([*peers, self._address_of_peer(_family(relayed))])
            if peer.host in RELAYS.values():
                peer = self._address_of_peer(_family(relayed))
            self._put("right", peer, relayed, self._random.randbytes(draw.choice(SIZES)))

    def _from_client(self, each: Drawn) -> bytes:
        draw = self._random
        data = draw.randbytes(draw.choice(SIZES))
        kind = draw.random()
        if kind < 0.45:
            return self._channel_data(each, data)
        peer = draw.choice([self._peer(each), *each.channels.values()])
        if kind < 0.75:
            message = Message.indication(
                Method.SEND, _TRANSACTION, XorPeerAddress(peer), Data(data[:1400])
            )
            if draw.random() < 0.1:
                message = Message.indication(
                    Method.SEND, _TRANSACTION, Data(data[:1400]), XorPeerAddress(peer)
                )
            encoded = message.encode()
            if draw.random() < 0.1:
                encoded = self._damaged(encoded)
            return encoded
        if kind < 0.9:
            extra = (Software("x"),) if draw.random() < 0.3 else ()
            encoded = Message.request(Method.BINDING, _TRANSACTION, *extra).encode()
            return encoded if draw.random() < 0.8 else self._damaged(encoded)
        return data

    def _channel_data(self, each: Drawn, data: bytes) -> bytes:
        draw = self._random
        data = data[:1468]
        encoded = ChannelData(
            draw.choice([*CHANNELS, *each.channels, *each.channels, 0x7000]), data
        ).encode(padded=draw.random() < 0.3)
        if draw.random() < 0.1:
            encoded += draw.randbytes(draw.randrange(1, 9))
        if draw.random() < 0.1:
            encoded = encoded[: draw.randrange(len(encoded) + 1)]
        return encoded

    def _damaged(self, data: bytes) -> bytes:
        at = self._random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self._random.randrange(8)]) + data[at + 1 :]

    def _put(self, side: str, source: Address, destination: Address, data: bytes) -> None:
        draw = self._random
        data = data[: LARGEST[_family(source)]]
        frame = Frame(
            NEAR[side],
            FAR[side],
            source[:2],
            destination[:2],
            data,
            mark=draw.choice((0, 1, 3, 46 << 2, 255)),
            dont_fragment=draw.random() < 0.5,
        )
        if draw.random() < 0.25 and len(data) < 1400:
            self._put_oddly(side, frame)
            return
        if self._is_local:
            frame = replace(frame, is_unfinished=draw.random() < 0.7)
        self._twins.put(side, frame.encode(), frame.sum_from)

    def _put_oddly(self, side: str, frame: Frame) -> None:
        draw, is_ipv4 = self._random, "." in frame.source[0]
        odd = [
            replace(frame, ttl=1),
            replace(frame, udp_checksum=draw.randrange(1, 0xFFFF)),
            replace(frame, to_mac=bytes.fromhex("020000000999")),
            replace(frame, vlan=7),
            replace(frame, trailer=draw.randbytes(draw.randrange(1, 20))),
            replace(frame, udp_length=8 + draw.randrange(len(frame.data) + 1)),
        ]
        if self._is_local:
            unfinished = replace(frame, is_unfinished=True)
            odd += [replace(unfinished, trailer=bytes(3)), replace(unfinished, ttl=1)]
        if is_ipv4:
            odd += [
                replace(frame, udp_checksum=0),
                replace(frame, ip_checksum=0x1234),
                replace(frame, options=b"\x01\x01\x01\x00"),
            ]
            if len(frame.data) >= 16:
                odd.append(replace(frame, fragment=(1, 16)))
        chosen = draw.choice(odd)
        # One that looks unfinished may have been damaged.
        is_damaged = chosen.is_unfinished and draw.random() < 0.5
        self._twins.put(side, chosen.encode(), 0 if is_damaged else chosen.sum_from)
        if chosen.fragment is not None:
            self._twins.put(side, replace(chosen, fragment=(0, 16)).encode())

    def _peer(self, each: Drawn) -> Address:
        """A peer that an allocation can have, which may be another's relayed address."""
        family = self._random.choice(list(each.relayed))
        others = [other.relayed[family] for other in self.allocations if family in other.relayed]
        if others and self._random.random() < 0.3:
            return self._random.choice(others)
        return self._address_of_peer(family)

    def _address_of_peer(self, family: socket.AddressFamily) -> Address:
        return Address(self._random.choice(PEERS[family]), self._random.choice(PEER_PORTS))


def _listen(family: socket.AddressFamily, world: Cabled) -> None:
    """On the port that all clients go to; those are there, and the peers too."""
    world.listen(family, LISTENER_PORT)
    for address in CLIENTS[family]:
        for port in CLIENT_PORTS:
            world.socket_on(world.left, address, port)
    for address in PEERS[family]:
        for port in PEER_PORTS:
            world.socket_on(world.right, address, port)


def _open_first(
    number: int, client: Path, until: float, family: socket.AddressFamily, port: int, world: Cabled
) -> None:
    world.plane.open(number, client, world.relay_socket(family, port), until)


def _open_second(
    number: int, until: float, family: socket.AddressFamily, port: int, world: Cabled
) -> None:
    world.plane.open_second(number, world.relay_socket(family, port), until)


def _family(address: Address) -> socket.AddressFamily:
    return IPV6 if ":" in address.host else IPV4


def _clients(family: socket.AddressFamily) -> list[Address]:
    return [Address(host, port) for host in CLIENTS[family] for port in CLIENT_PORTS]
