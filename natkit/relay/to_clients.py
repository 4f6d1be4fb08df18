"""What peers send: framed for the client in the slot that it was received into, and sent there."""

from collections.abc import Sequence

from natkit.machine import RandomBytes
from natkit.net import sockaddr
from natkit.net.batch import Packet, datagram_batch
from natkit.relay.packets import (
    CHANNEL_HEADER_LENGTH,
    LARGEST_DATA,
    LARGEST_HEADER,
    data_indication_header,
    write_channel_header,
)
from natkit.relay.plane import Counters
from natkit.relay.rates import pass_through
from natkit.relay.relayed_addresses import RelayedAddresses
from natkit.relay.tables import Allocation, Listener
from natkit.stun.registry import TRANSACTION_ID_LENGTH

__all__ = ["ToClients"]

_TRANSACTION_IDS = 64


class ToClients:
    """From peers to clients; ``other`` counts what belongs to no allocation."""

    def __init__(
        self, relayed: RelayedAddresses, other: Counters, random: RandomBytes, *, portable: bool
    ) -> None:
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
        self._transaction_ids: list[bytes] = []

    def relay(self, allocations: Sequence[Allocation], now: float) -> None:
        """Take one batch at most off each relay socket (RFC 8656 §11.3, §12.7).

        What passes is sent once half the slots are full, or when the next client came to another
        listener.
        """
        batch = self._batch
        full = batch.capacity // 2
        filled = 0
        outgoing: list[Packet] = []
        owners: list[tuple[Allocation, int]] = []
        listener: Listener | None = None
        for allocation in allocations:
            if filled > full or allocation.listener is not listener:
                self._send_to_clients(listener, outgoing, owners)
                outgoing, owners = [], []
                filled = 0
                listener = allocation.listener
            lengths = batch.receive(allocation.endpoint, filled)
            self._frame(allocation, filled, lengths, now, outgoing, owners)
            filled += len(lengths)
        self._send_to_clients(listener, outgoing, owners)

    def _frame(
        self,
        allocation: Allocation,
        first: int,
        lengths: Sequence[int],
        now: float,
        outgoing: list[Packet],
        owners: list[tuple[Allocation, int]],
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
        permissions, channels = allocation.permissions, allocation.channels_by_peer
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
            start = starts[index]
            channel = channels.get(name)
            if channel is not None and channel.until > now:
                begin = start - CHANNEL_HEADER_LENGTH
                write_channel_header(buffer, begin, channel.number, length)
                padding = -length % 4 if allocation.pads else 0
            else:
                shown = name if not self._relayed.external else self._relayed.shown(name, now)
                header = data_indication_header(shown, self._transaction_id(), length)
                begin = start - len(header)
                buffer[begin:start] = header
                padding = -length % 4
            end = start + length + padding
            if padding:
                buffer[end - padding : end] = bytes(padding)
            counters.packets_to_clients += 1
            counters.bytes_to_clients += length
            if allocation.write is None:
                outgoing.append((begin, end - begin, allocation.client_name))
                owners.append((allocation, length))
            elif allocation.joins:
                stream.append(buffer[begin:end])
            else:
                allocation.write(buffer[begin:end])
        if stream and allocation.write is not None:
            allocation.write(b"".join(stream))

    def _send_to_clients(
        self,
        listener: Listener | None,
        outgoing: Sequence[Packet],
        owners: Sequence[tuple[Allocation, int]],
    ) -> None:
        if listener is None:
            return
        for place in self._batch.send(listener.endpoint, outgoing):
            allocation, size = owners[place]
            allocation.counters.packets_to_clients -= 1
            allocation.counters.bytes_to_clients -= size
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
