"""What a plane leaves for the machine above, as long as others keep their share of its time."""

from collections.abc import Callable, Sequence
from functools import lru_cache

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.net import sockaddr
from natkit.net.batch import DatagramBatch, Packet
from natkit.relay.patience import (
    OF_CLIENTS,
    OF_GREETINGS,
    OF_STRANGERS,
    NetworksPatience,
    Patience,
)
from natkit.relay.plane import Counters, Unhandled
from natkit.relay.tables import Listener

__all__ = ["HandingUp"]

_UDP = Transport.UDP
# A client without an allocation comes twice, to be challenged and to show its credentials.
_PATHS_KEPT = 512


class HandingUp:
    """Gives datagrams to ``on_unhandled``; ``batch`` is memory to answer strangers from.

    ``stopwatch`` gives seconds that pass within a wake-up too; ``other`` counts what is dropped.
    """

    def __init__(
        self,
        on_unhandled: Unhandled,
        batch: DatagramBatch,
        other: Counters,
        stopwatch: Callable[[], float],
    ) -> None:
        self.on_unhandled = on_unhandled
        self._batch = batch
        self._other = other
        self._stopwatch = stopwatch
        self._greetings_patience = Patience(OF_GREETINGS)
        self._strangers_patience = Patience(OF_STRANGERS)
        self._clients_patience = Patience(OF_CLIENTS)
        self._networks_patience = NetworksPatience()

    def hand_up(
        self,
        listener: Listener,
        unhandled: Sequence[tuple[bytes, bytes]],
        now: float,
        *,
        is_crowded: bool,
    ) -> None:
        """Have requests answered; while more waits than was taken, only some of them."""
        if not is_crowded:
            strangers = []
            for name, data in unhandled:
                known = listener.clients.get(name)
                if known is None:
                    strangers.append((name, data))
                else:
                    self.on_unhandled(data, known.client, now)
            for name, data in self._greet(listener, strangers, now):
                self.on_unhandled(data, _path(listener.local, name), now)
        else:
            self._hand_up_some(listener, unhandled, now)

    def _hand_up_some(
        self, listener: Listener, unhandled: Sequence[tuple[bytes, bytes]], now: float
    ) -> None:
        """Have those requests answered for which there is time; a flood is dropped here."""
        clients, networks = listener.clients, self._networks_patience
        network = sockaddr.NETWORK[listener.endpoint.name_size]
        strangers: list[tuple[bytes, bytes]] = []
        at = self._stopwatch()
        for name, data in unhandled:
            known = clients.get(name)
            if not networks.has_time(name[network], at):
                (self._other if known is None else known.counters).dropped_requests += 1
            elif known is None:
                # RFC 8489 §5: only to a request is there an answer for them.
                if len(data) < 2 or data[0] & 1 or data[1] & 0x10:
                    self._other.dropped_strangers += 1
                else:
                    strangers.append((name, data))
            elif not self._clients_patience.has_time(at):
                known.counters.dropped_requests += 1
            else:
                self.on_unhandled(data, known.client, now)
                at = self._spent_since(at, self._clients_patience, name[network])
        if not strangers:
            return
        if not self._greetings_patience.has_time(at):
            self._other.dropped_strangers += len(strangers)
            return
        strangers = self._greet(listener, strangers, now)
        at = self._spent_since(at, self._greetings_patience)
        for name, data in strangers:
            if self._strangers_patience.has_time(at) and networks.has_time(name[network], at):
                self.on_unhandled(data, _path(listener.local, name), now)
                at = self._spent_since(at, self._strangers_patience, name[network])
            else:
                self._other.dropped_strangers += 1

    def _spent_since(self, begin: float, patience: Patience, network: bytes | None = None) -> float:
        """Put the time since ``begin`` to the account of some; what time it is."""
        end = self._stopwatch()
        patience.spend(end - begin)
        if network is not None:
            self._networks_patience.spend(network, end - begin)
        return end

    def _greet(
        self, listener: Listener, strangers: list[tuple[bytes, bytes]], now: float
    ) -> list[tuple[bytes, bytes]]:
        """Answer strangers in one go, as far as their bytes say all; the others."""
        if listener.greeter is None or not strangers:
            return strangers
        greet, host = listener.greeter.greet, sockaddr.HOST[listener.endpoint.name_size]
        left: list[tuple[bytes, bytes]] = []
        answers: list[Packet] = []
        # Nothing in the batch is needed any more.
        batch = self._batch
        buffer, starts = batch.buffer, batch.starts
        for name, data in strangers:
            answer = greet(data, name[2:4] + name[host], now)
            if answer is None:
                left.append((name, data))
            elif answer:
                start, size = starts[len(answers)], len(answer)
                buffer[start : start + size] = answer
                answers.append((start, size, name))
        self._other.dropped_send_failed += len(batch.send(listener.endpoint, answers))
        return left


@lru_cache(_PATHS_KEPT)
def _path(local: Address, client: bytes) -> Path:
    return Path(_UDP, local, sockaddr.unpack(client))
