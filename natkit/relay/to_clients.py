"""What peers send: framed for the client in the slot that it was received into, and sent there."""

import sys
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import repeat
from operator import itemgetter

from natkit.machine import RandomBytes
from natkit.net import sockaddr
from natkit.net.batch import Packet, datagram_batch
from natkit.relay.packets import (
    CHANNEL_HEADER,
    CHANNEL_HEADER_LENGTH,
    LARGEST_DATA,
    LARGEST_HEADER,
    data_indication_header,
    data_size,
    write_channel_header,
)
from natkit.relay.plane import Counters
from natkit.relay.rates import pass_through
from natkit.relay.readiness import Event
from natkit.relay.relayed_addresses import RelayedAddresses
from natkit.relay.tables import Allocation, Channel, Listener, Permission
from natkit.stun.registry import TRANSACTION_ID_LENGTH

__all__ = ["ToClients"]

_TRANSACTION_IDS = 64

_RUN = 4
"""From so many packets on it is worth a look whether they are alike."""

_Owner = tuple[int, Allocation]
"""Whose packets are those before a place, as far as they are nobody's yet."""

_first = itemgetter(0)


class ToClients:
    """From peers to clients; ``other`` counts what belongs to no allocation."""

    def __init__(
        self, relayed: RelayedAddresses, other: Counters, random: RandomBytes, *, portable: bool
    ) -> None:
        self.sources: dict[int, Allocation] = {}
        """Who relays on which socket, by its descriptor."""
        self._relayed = relayed
        self._other = other
        self._random = random
        self._batch = datagram_batch(headroom=LARGEST_HEADER, portable=portable)
        # Where datagrams lie, and by size of address, who sent them.
        self._slots = self._batch.buffer, self._batch.starts
        self._names = {
            size: (names, self._batch.name_slices[size], sockaddr.HOST[size])
            for size, names in self._batch.names.items()
        }
        # Where a channel's header goes, and with it what is sent begins.
        self._headers = self._batch.column("I", -CHANNEL_HEADER_LENGTH)
        self._begins = [start - CHANNEL_HEADER_LENGTH for start in self._batch.starts]
        self._transaction_ids: list[bytes] = []

    def relay(self, ready: Sequence[Event], now: float) -> None:
        """Take one batch at most off each relay socket (RFC 8656 §11.3, §12.7).

        What passes is sent once half the slots are full, or when the next client came to another
        listener.
        """
        sources, receive = self.sources, self._batch.receive
        buffer, starts = self._slots
        full = self._batch.capacity // 2
        filled = 0
        outgoing: list[Packet] = []
        owners: list[_Owner] = []
        listener: Listener | None = None
        for descriptor, _ in ready:
            allocation = sources.get(descriptor)
            if allocation is None:
                continue
            if filled > full or allocation.listener is not listener:
                self._send_to_clients(listener, outgoing, owners)
                outgoing, owners = [], []
                filled = 0
                listener = allocation.listener
            endpoint = allocation.endpoint
            lengths = receive(endpoint, filled)
            settled = allocation.settled
            passed = 0
            if settled.until <= now:
                pass
            elif len(lengths) >= _RUN and self._frame_run(allocation, filled, lengths, outgoing):
                passed = len(lengths)
            elif allocation.write is None:
                # Nothing is asked of the tables; all that is done for most packets is here.
                numbers, client, size = settled.numbers, allocation.client_name, 0
                names, slices, _host = self._names[endpoint.name_size]
                for length in lengths:
                    index = filled + passed
                    number = numbers.get(names[slices[index]])
                    if number is None or length > LARGEST_DATA:
                        break
                    begin = starts[index] - CHANNEL_HEADER_LENGTH
                    write_channel_header(buffer, begin, number, length)
                    outgoing.append((begin, length + CHANNEL_HEADER_LENGTH, client))
                    size += length
                    passed += 1
                counters = allocation.counters
                counters.packets_to_clients += passed
                counters.bytes_to_clients += size
            if passed < len(lengths):
                self._frame(allocation, filled + passed, lengths[passed:], now, outgoing)
            owners.append((len(outgoing), allocation))
            filled += len(lengths)
        self._send_to_clients(listener, outgoing, owners)

    def _frame_run(
        self,
        allocation: Allocation,
        first: int,
        lengths: Sequence[int],
        outgoing: list[Packet],
    ) -> bool:
        """:meth:`_frame` what is of one size and from one peer, in a few operations.

        False when it is not so, or not settled; then nothing is done.
        """
        length, count = lengths[0], len(lengths)
        name_size = allocation.endpoint.name_size
        names = self._batch.names[name_size][first * name_size : (first + count) * name_size]
        name = names[:name_size]
        number = allocation.settled.numbers.get(name)
        if (
            number is None
            or length > LARGEST_DATA
            or lengths.count(length) != count
            or names != name * count
        ):
            return False
        header = int.from_bytes(CHANNEL_HEADER.pack(number, length), sys.byteorder)
        self._headers[first : first + count] = array("I", [header]) * count
        begins, size = self._begins[first : first + count], CHANNEL_HEADER_LENGTH + length
        counters = allocation.counters
        counters.packets_to_clients += count
        counters.bytes_to_clients += count * length
        if allocation.write is None:
            outgoing.extend(zip(begins, repeat(size), repeat(allocation.client_name)))
            return True
        buffer, _ = self._slots
        padding = bytes(-length % 4 if allocation.pads else 0)
        packets = [buffer[begin : begin + size] + padding for begin in begins]
        if allocation.joins:
            packets = [b"".join(packets)]
        for packet in packets:
            allocation.write(packet)
        return True

    def _frame(
        self,
        allocation: Allocation,
        first: int,
        lengths: Sequence[int],
        now: float,
        outgoing: list[Packet],
    ) -> None:
        """Frame for the client what its peers sent: the slots from ``first`` on."""
        if allocation.until <= now:
            self._other.dropped_no_allocation += len(lengths)
            return
        if allocation.listener is None and allocation.write is None:
            allocation.counters.dropped_no_client += len(lengths)
            return
        buffer, starts = self._slots
        names, slices, host = self._names[allocation.endpoint.name_size]
        permissions = allocation.permissions
        counters, rates = allocation.counters, allocation.rates
        stream: list[bytes] = []
        for index, length in enumerate(lengths, first):
            name = names[slices[index]]
            permission = permissions.get(name[host])
            if (
                permission is None
                or permission.until <= now
                or (permission.only_relayed and not self._relayed.admits(permission, name, now))
            ):
                counters.dropped_no_permission += 1
                continue
            if length > LARGEST_DATA:
                counters.dropped_send_failed += 1
                continue
            if rates is not None and not pass_through(rates.to_clients, length, now):
                counters.dropped_over_rate += 1
                continue
            begin, end = self._put_header(allocation, permission, name, starts[index], length, now)
            counters.packets_to_clients += 1
            counters.bytes_to_clients += length
            if allocation.write is None:
                outgoing.append((begin, end - begin, allocation.client_name))
            elif allocation.joins:
                stream.append(buffer[begin:end])
            else:
                allocation.write(buffer[begin:end])
        if stream and allocation.write is not None:
            allocation.write(b"".join(stream))

    def _put_header(
        self,
        allocation: Allocation,
        permission: Permission,
        name: bytes,
        start: int,
        length: int,
        now: float,
    ) -> tuple[int, int]:
        """Put before data what tells the client that it is from ``name``; begin and end of both."""
        buffer, _ = self._slots
        channel = allocation.channels_by_peer.get(name)
        if channel is not None and channel.until > now:
            begin = start - CHANNEL_HEADER_LENGTH
            write_channel_header(buffer, begin, channel.number, length)
            padding = -length % 4 if allocation.pads else 0
            self._settle(allocation, permission, channel, now)
        else:
            shown = name if not self._relayed.external else self._relayed.shown(name, now)
            header = data_indication_header(shown, self._transaction_id(), length)
            begin = start - len(header)
            buffer[begin:start] = header
            padding = -length % 4
        end = start + length + padding
        if padding:
            buffer[end - padding : end] = bytes(padding)
        return begin, end

    @staticmethod
    def _settle(
        allocation: Allocation, permission: Permission, channel: Channel, now: float
    ) -> None:
        """What came from the channel's peer may pass: so may what follows, where that is all."""
        if allocation.rates is None and (
            not permission.only_relayed or permission.has_port(channel.peer)
        ):
            settled = allocation.settled
            settled.hold(min(allocation.until, permission.until, channel.until), now)
            settled.numbers[channel.peer] = channel.number

    def _send_to_clients(
        self, listener: Listener | None, outgoing: Sequence[Packet], owners: Sequence[_Owner]
    ) -> None:
        if listener is None or not outgoing:
            return
        for place in self._batch.send(listener.endpoint, outgoing):
            _, allocation = owners[bisect_right(owners, place, key=_first)]
            allocation.counters.packets_to_clients -= 1
            allocation.counters.bytes_to_clients -= data_size(
                self._batch.buffer, outgoing[place][0]
            )
            allocation.counters.dropped_send_failed += 1

    def _transaction_id(self) -> bytes:
        """An unpredictable transaction id; drawn in bulk."""
        if not self._transaction_ids:
            drawn = self._random(_TRANSACTION_IDS * TRANSACTION_ID_LENGTH)
            self._transaction_ids = [
                drawn[start : start + TRANSACTION_ID_LENGTH]
                for start in range(0, len(drawn), TRANSACTION_ID_LENGTH)
            ]
        return self._transaction_ids.pop()
