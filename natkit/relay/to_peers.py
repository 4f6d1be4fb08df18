"""What clients send: Binding requests answered, data relayed to peers, the rest left for above.

Packets are changed in the slot that they were received into and sent from there.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from natkit.machine import Path
from natkit.net import icmp, sockaddr
from natkit.net.batch import DatagramBatch, Endpoint, Packet
from natkit.relay.bindings import Bindings
from natkit.relay.packets import (
    CHANNEL_DATA_HEAD_END,
    CHANNEL_DATA_HEAD_START,
    CHANNEL_FIRST_BYTES,
    CHANNEL_HEADER,
    CHANNEL_HEADER_LENGTH,
    SEND_INDICATION,
    parse_send,
    read_word,
)
from natkit.relay.plane import Counters
from natkit.relay.rates import pass_through
from natkit.relay.readiness import PASSES
from natkit.relay.relayed_addresses import RelayedAddresses
from natkit.relay.tables import Allocation, Channel, Listener
from natkit.stun.registry import HEADER_LENGTH

__all__ = ["ToPeers"]


_FEW = 4
"""Of so many packets at a time each is sorted by itself."""

_SHARE = 3
"""With more than so many of a client, on average, they are better sent by client."""


class HandUp(Protocol):
    """Takes what is not the plane's: :meth:`natkit.relay.handing_up.HandingUp.hand_up`."""

    def __call__(
        self,
        listener: Listener,
        unhandled: Sequence[tuple[bytes, bytes]],
        now: float,
        *,
        is_crowded: bool,
    ) -> None:
        """Datagrams, each after who sent it; ``is_crowded``: more waits than was taken."""
        ...


class ToPeers:
    """From clients to peers; ``other`` counts what belongs to no allocation.

    ``hand_up`` is called after all else of a batch is done with.
    """

    def __init__(
        self,
        relayed: RelayedAddresses,
        other: Counters,
        hand_up: HandUp,
        clock: Callable[[], float],
        batch: DatagramBatch,
    ) -> None:
        self.streams: dict[Path, Allocation] = {}
        """Allocations of clients that are not on UDP."""
        self._relayed = relayed
        self._other = other
        self._hand_up = hand_up
        self._clock = clock
        self._batch = batch
        self._bindings = Bindings(batch, other)

    def listen(self, listener: Listener) -> None:
        """Serve a listener that is ready, until it has nothing more or others must have a turn."""
        for _ in range(PASSES):
            # The machine above may have stopped the plane.
            if listener.is_closed:
                return
            lengths = self._batch.receive(listener.endpoint)
            if not lengths:
                return
            self._serve_clients(listener, lengths, self._clock())

    def relay_from(self, client: Path, data: bytes, now: float) -> bool:
        """Relay a message of a client with ``write``; False when it is for the machine."""
        allocation = self.streams.get(client)
        if allocation is None or len(data) < CHANNEL_HEADER_LENGTH:
            return False
        if allocation.until <= now and allocation.other_living(now) is None:
            return False
        counters = allocation.counters
        number, size = CHANNEL_HEADER.unpack_from(data)
        head = number << 16 | size
        if CHANNEL_DATA_HEAD_START <= head < CHANNEL_DATA_HEAD_END:
            channel = self._channel(allocation, head, len(data), now)
            if channel is None:
                return True
            half, name, start = channel.owner, channel.peer, CHANNEL_HEADER_LENGTH
        else:
            send = parse_send(data, 0, len(data))
            facing = self._sender(allocation, send, now)
            if send is None or facing is None:
                return False
            half = facing
            name, start, size = send
        if half.rates is not None and not pass_through(half.rates.to_peers, size, now):
            counters.dropped_over_rate += 1
            return True
        try:
            payload = data[start : start + size]
            icmp.send_to(half.endpoint.socket, payload, sockaddr.to_python(name))
        except OSError:
            counters.dropped_send_failed += 1
        else:
            counters.packets_to_peers += 1
            counters.bytes_to_peers += size
        return True

    def relay_stream(self, client: Path, data: bytes, now: float) -> int:
        """Relay the ChannelData that bytes of a stream begin with; how many bytes that was."""
        allocation = self.streams.get(client)
        if (
            allocation is None
            or data[0] not in CHANNEL_FIRST_BYTES
            or (allocation.until <= now and allocation.other_living(now) is None)
        ):
            return 0
        batch = self._batch
        base = batch.starts[0]
        end = min(len(data), len(batch.buffer) - base)
        batch.buffer[base : base + end] = data[:end]
        half: Allocation | None = None
        packets: list[Packet] = []
        at = 0
        while at + CHANNEL_HEADER_LENGTH <= end:
            (head,) = read_word(data, at)
            size = head & 0xFFFF
            begin = at + CHANNEL_HEADER_LENGTH
            after = begin + size + (-size & 3)
            if not CHANNEL_DATA_HEAD_START <= head < CHANNEL_DATA_HEAD_END or after > end:
                break
            channel = self._channel(allocation, head, size + CHANNEL_HEADER_LENGTH, now)
            at = after
            if channel is None:
                continue
            if half is not None and (channel.owner is not half or len(packets) == batch.capacity):
                self._send_to_peers(half, packets, now)
                packets = []
            half = channel.owner
            packets.append((base + begin, size, channel.peer))
        if half is not None:
            self._send_to_peers(half, packets, now)
        return at

    def _sender(
        self, allocation: Allocation | None, send: tuple[bytes, int, int] | None, now: float
    ) -> Allocation | None:
        """The half that relays what parse_send read, if any does (RFC 8656 §11.2)."""
        if allocation is None or send is None:
            return None
        peer = send[0]
        facing = allocation.facing(len(peer))
        if facing is None or facing.until <= now:
            return None
        permission = facing.permissions.get(sockaddr.host_bytes(peer))
        if (
            permission is None
            or permission.until <= now
            or (permission.only_relayed and not self._relayed.admits(permission, peer, now))
        ):
            return None
        return facing

    def _serve_clients(self, listener: Listener, lengths: Sequence[int], now: float) -> None:
        """Treat the batch that was received (RFC 8656 §12.6, §11.2; RFC 8489 §6.3.1)."""
        batch, count = self._batch, len(lengths)
        name_size = listener.endpoint.name_size
        names, slices = batch.names[name_size], batch.name_slices[name_size]
        places: Sequence[int] = range(count)
        # Most batches are wholly of a kind that takes less than the general way.
        if HEADER_LENGTH in lengths and listener.answers_binding:
            places = self._bindings.answer(listener, lengths, now)
            if not places:
                return
        who = [names[place] for place in slices[:count]]
        if _FEW < count == len(places) and not listener.expected and _is_mixed(who):
            places = self._pass_settled(listener, who, lengths, now)
            if not places:
                return
        to_peers, unhandled = self._sort(listener, who, lengths, places, now)
        for allocation, packets in to_peers.items():
            self._send_to_peers(allocation, packets, now)
        if unhandled:
            self._hand_up(listener, unhandled, now, is_crowded=count == batch.capacity)

    def _sort(
        self,
        listener: Listener,
        who: Sequence[bytes],
        lengths: Sequence[int],
        places: Sequence[int],
        now: float,
    ) -> tuple[dict[Allocation, list[Packet]], list[tuple[bytes, bytes]]]:
        """What lies at ``places``: for whom to relay what, and what is left for above."""
        buffer, starts = self._batch.buffer, self._batch.starts
        clients, expected = listener.clients, listener.expected
        to_peers: dict[Allocation, list[Packet]] = {}
        unhandled: list[tuple[bytes, bytes]] = []
        for place in places:
            name, start, length = who[place], starts[place], lengths[place]
            # What lies beyond the length is an earlier packet's.
            (head,) = read_word(buffer, start)
            if CHANNEL_DATA_HEAD_START <= head < CHANNEL_DATA_HEAD_END and length >= 4:
                if name in expected:
                    unhandled.append((name, buffer[start : start + length]))
                    continue
                channel = self._channel(clients.get(name), head, length, now)
                if channel is not None:
                    packet = (start + CHANNEL_HEADER_LENGTH, head & 0xFFFF, channel.peer)
                    half = channel.owner
                    if half in to_peers:
                        to_peers[half].append(packet)
                    else:
                        to_peers[half] = [packet]
                continue
            if head >> 16 == SEND_INDICATION:
                send = parse_send(buffer, start, start + length)
                facing = self._sender(clients.get(name), send, now)
                if send is not None and facing is not None:
                    peer, payload, size = send
                    to_peers.setdefault(facing, []).append((payload, size, peer))
                    continue
            unhandled.append((name, buffer[start : start + length]))
        return to_peers, unhandled

    def _pass_settled(
        self, listener: Listener, who: Sequence[bytes], lengths: Sequence[int], now: float
    ) -> list[int]:
        """Relay ChannelData of which nothing is to be asked; the places of what is left.

        Once something of a client is left, all that follows is, to stay in order.
        """
        batch, clients, name_size = self._batch, listener.clients, listener.endpoint.name_size
        buffer = batch.buffer
        packets: list[Packet] = []
        halves: list[Allocation] = []
        endpoints: list[Endpoint] = []
        left: list[int] = []
        waiting: set[bytes] = set()
        for place, (name, start) in enumerate(zip(who, batch.starts, strict=False)):
            allocation = clients.get(name)
            if (
                allocation is not None
                and (settled := allocation.settled).until > now
                and not (left and name in waiting)
            ):
                (head,) = read_word(buffer, start)
                channel, size = settled.channels.get(head >> 16), head & 0xFFFF
                if channel is not None and size + CHANNEL_HEADER_LENGTH <= lengths[place]:
                    half = channel.owner
                    endpoint = half.endpoint
                    if endpoint.name_size == name_size:
                        packets.append((start + CHANNEL_HEADER_LENGTH, size, channel.peer))
                        halves.append(half)
                        endpoints.append(endpoint)
                        counters = half.counters
                        counters.packets_to_peers += 1
                        counters.bytes_to_peers += size
                        continue
            left.append(place)
            waiting.add(name)
        for place in batch.send_from_each(endpoints, packets):
            _take_back(halves[place].counters, packets[place][1])
        return left

    def _channel(
        self, allocation: Allocation | None, head: int, length: int, now: float
    ) -> Channel | None:
        """Where ChannelData with ``head`` as its first word goes (RFC 8656 §12.6), or counts it."""
        client = allocation
        if client is not None and client.settled.until > now:
            channel = client.settled.channels.get(head >> 16)
            if channel is not None and (head & 0xFFFF) + CHANNEL_HEADER_LENGTH <= length:
                return channel
        if allocation is None or allocation.until <= now:
            allocation = allocation.other_living(now) if allocation is not None else None
            if allocation is None:
                self._other.dropped_no_allocation += 1
                return None
        if (head & 0xFFFF) + CHANNEL_HEADER_LENGTH > length:
            allocation.counters.dropped_malformed += 1
            return None
        channel = allocation.channels.get(head >> 16)
        if channel is None:
            other = allocation.other_living(now)
            channel = other.channels.get(head >> 16) if other is not None else None
        if channel is None or channel.until <= now:
            allocation.counters.dropped_no_channel += 1
            return None
        if channel.only_relayed and not self._relayed.relays(channel.peer, now):
            allocation.counters.dropped_no_permission += 1
            return None
        owner = channel.owner
        if client is not None and not channel.only_relayed and owner.rates is None:
            client.settled.hold(min(owner.until, channel.until), now)
            client.settled.channels[channel.number] = channel
        return channel

    def _send_to_peers(self, allocation: Allocation, packets: Sequence[Packet], now: float) -> None:
        batch, counters, rates = self._batch, allocation.counters, allocation.rates
        if rates is not None:
            passing = [each for each in packets if pass_through(rates.to_peers, each[1], now)]
            counters.dropped_over_rate += len(packets) - len(passing)
            packets = passing
        if len(packets) == 1:
            start, size, peer = packets[0]
            if batch.send_one(allocation.endpoint, start, size, peer):
                counters.packets_to_peers += 1
                counters.bytes_to_peers += size
            else:
                counters.dropped_send_failed += 1
            return
        failed = batch.send(allocation.endpoint, packets)
        counters.packets_to_peers += len(packets)
        counters.bytes_to_peers += sum([packet[1] for packet in packets])
        for place in failed:
            _take_back(counters, packets[place][1])


def _is_mixed(who: Sequence[bytes]) -> bool:
    """Whether there is little of each client."""
    return len(set(who)) * _SHARE > len(who)


def _take_back(counters: Counters, size: int) -> None:
    """One packet that was counted has not been sent."""
    counters.packets_to_peers -= 1
    counters.bytes_to_peers -= size
    counters.dropped_send_failed += 1
