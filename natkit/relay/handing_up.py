"""What a plane leaves for the machine above, as long as others keep their share of its time."""

from collections.abc import Callable, Sequence
from functools import lru_cache

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.net import sockaddr
from natkit.net.batch import DatagramBatch, Packet
from natkit.relay.patience import OF_CLIENTS, OF_GREETINGS, OF_STRANGERS, HostsPatience, Patience
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
        self._hosts_patience = HostsPatience()

    def hand_up(
        self,
        listener: Listener,
        unhandled: Sequence[tuple[bytes, bytes]],
        now: float,
        *,
        is_crowded: bool,
    ) -> None:
        """Have requests answered; while more waits than was taken, only some of them."""
        strangers: list[tuple[bytes, bytes]] = []
        for name, data in unhandled:
            known = listener.clients.get(name)
            if known is None:
                strangers.append((name, data))
            elif not is_crowded:
                self.on_unhandled(data, known.client, now)
            elif not self._hand_up_in_turn(data, known.client, self._clients_patience, now):
                known.counters.dropped_requests += 1
        if not strangers:
            return
        begin = self._stopwatch()
        if is_crowded and not self._greetings_patience.has_time(begin):
            self._other.dropped_strangers += len(strangers)
            return
        strangers = self._greet(listener, strangers, now)
        if is_crowded:
            self._greetings_patience.spend(self._stopwatch() - begin)
        for name, data in strangers:
            path = _path(listener.local, name)
            if not is_crowded:
                self.on_unhandled(data, path, now)
            elif not self._hand_up_in_turn(data, path, self._strangers_patience, now):
                self._other.dropped_strangers += 1

    def _hand_up_in_turn(self, data: bytes, path: Path, patience: Patience, now: float) -> bool:
        """Have a request answered, unless all of its kind or its network had their time."""
        begin, host = self._stopwatch(), path.remote.packed
        if not (patience.has_time(begin) and self._hosts_patience.has_time(host, begin)):
            return False
        self.on_unhandled(data, path, now)
        seconds = self._stopwatch() - begin
        patience.spend(seconds)
        self._hosts_patience.spend(host, seconds)
        return True

    def _greet(
        self, listener: Listener, strangers: list[tuple[bytes, bytes]], now: float
    ) -> list[tuple[bytes, bytes]]:
        """Answer strangers in one go, as far as their bytes say all; the others."""
        if listener.greeter is None:
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
