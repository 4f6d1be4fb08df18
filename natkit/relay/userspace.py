"""The relay plane in user space: pure Python on batched sockets, on any platform.

It is the specification of relaying; another plane is right when no test can tell them apart.

A wake-up serves every socket that is ready, each with at most one batch, so that a flood on one
leaves the others their turn.  Packets are changed in the slot that they were received into and sent
from there.
"""

import contextlib
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

from natkit.address import Address, Family, IPNetwork
from natkit.errors import MisuseError
from natkit.machine import Path, RandomBytes, Transport
from natkit.net import fragmentation, icmp, marking, sockaddr
from natkit.net.batch import Endpoint, Packet, datagram_batch
from natkit.net.libc import HAVE_MMSG
from natkit.relay.packets import (
    BINDING_ANSWER_LENGTH,
    BINDING_REQUEST_HEAD,
    CHANNEL_DATA_HEAD_END,
    CHANNEL_DATA_HEAD_START,
    CHANNEL_HEADER,
    CHANNEL_HEADER_LENGTH,
    LARGEST_DATA,
    LARGEST_HEADER,
    SEND_INDICATION,
    answer_binding,
    data_indication_header,
    parse_send,
    two_words,
    write_channel_header,
)
from natkit.relay.patience import OF_CLIENTS, OF_GREETINGS, OF_STRANGERS, HostsPatience, Patience
from natkit.relay.plane import (
    AllocationId,
    BindingPolicy,
    Counters,
    IcmpHandler,
    Ports,
    Unhandled,
)
from natkit.relay.rates import Rates, pass_through
from natkit.relay.readiness import PASSES, Reactor, watch
from natkit.relay.tables import Allocation, Channel, Listener, Permission
from natkit.stun.registry import HEADER_LENGTH, MAGIC_COOKIE, TRANSACTION_ID_LENGTH

__all__ = ["UserspacePlane"]

LISTENER_BUFFER = 4 << 20
"""Bytes that the system is asked to hold for a listener: what arrives while the machine is busy
with a batch of requests.  The system may grant less."""

RELAY_BUFFER = 512 << 10
"""Bytes that the system is asked to hold for a relay socket: a burst of some 200 full packets."""

ERRORS_AT_ONCE = 16
"""ICMP errors that are taken from a socket in a pass: strangers can forge some of them."""

_TRANSACTION_IDS = 64
_UDP = Transport.UDP
# A client without an allocation comes twice, to be challenged and to show its credentials.
_PATHS_KEPT = 512
# <asm-generic/socket.h>; the socket module does not have it.
_SO_RCVBUFFORCE = 33
_ON_LINUX = sys.platform == "linux"


class UserspacePlane:
    """Implements :class:`~natkit.relay.plane.RelayPlane` on sockets, from one thread.

    ``clock`` gives monotonic seconds and is read once for each pass over the sockets.  ``portable``
    does without what only Linux has.  ``on_icmp`` is told of ICMP errors that met what was sent to
    permitted peers.  ``stopwatch`` gives seconds that pass within a wake-up too, where those of
    ``clock`` do not.  ``dscp`` is the code point of all that is sent.  Unhandled datagrams go up
    after all others of their batch are done with, so that ``on_unhandled`` may do anything to the
    plane; what it raises goes through to the event loop.
    """

    def __init__(
        self,
        reactor: Reactor,
        on_unhandled: Unhandled,
        *,
        random: RandomBytes,
        clock: Callable[[], float],
        stopwatch: Callable[[], float] | None = None,
        portable: bool = not HAVE_MMSG,
        relays_elsewhere: Callable[[Address], bool] = lambda _: False,
        on_icmp: IcmpHandler | None = None,
        dscp: int = 0,
    ) -> None:
        self.on_unhandled = on_unhandled
        self._relays_elsewhere = relays_elsewhere
        self._dscp = dscp
        self._on_icmp = on_icmp if icmp.CAN_REPORT and not portable else None
        self._random = random
        self._clock = clock
        self._stopwatch = stopwatch or clock
        self._greetings_patience = Patience(OF_GREETINGS)
        self._strangers_patience = Patience(OF_STRANGERS)
        self._clients_patience = Patience(OF_CLIENTS)
        self._hosts_patience = HostsPatience()
        self._readiness = watch(reactor, self._relay, self._take_errors, portable=portable)
        self._reactor = reactor
        self._sources: dict[int, Allocation] = {}
        self._listeners: dict[Address, Listener] = {}
        self._allocations: dict[AllocationId, Allocation] = {}
        self._relayed: dict[bytes, Allocation] = {}
        self._streams: dict[Path, Allocation] = {}
        # What belongs to no open allocation.
        self._other = Counters()
        self._from_clients = datagram_batch(portable=portable)
        self._from_peers = datagram_batch(headroom=LARGEST_HEADER, portable=portable)
        # Where datagrams of peers lie, and by size of address, who sent them.
        self._peer_slots = self._from_peers.buffer, self._from_peers.starts
        self._peer_names = {
            size: (names, self._from_peers.name_slices[size], sockaddr.HOST[size])
            for size, names in self._from_peers.names.items()
        }
        self._transaction_ids: list[bytes] = []
        self._external: dict[bytes, str] = {}

    def listen(self, sock: socket.socket, policy: BindingPolicy) -> None:
        """Serve clients on ``sock``; MisuseError when it is bound to a wildcard address."""
        local = sockaddr.unpack(sockaddr.from_python(sock.getsockname()))
        if local.ip.is_unspecified:
            raise MisuseError(f"a plane can't listen on {local}, which names no one address")
        _ask_for_buffer(sock, LISTENER_BUFFER)
        self._set_fields(sock)
        listener = Listener(Endpoint(sock), local, policy)
        self._listeners[local] = listener
        # By itself in the event loop, which costs less for the few that are busy all the time.
        self._reactor.add_reader(listener.endpoint.descriptor, partial(self._listen, listener))

    def open(
        self,
        allocation: AllocationId,
        client: Path,
        relay_socket: socket.socket,
        until: float,
        write: Callable[[bytes], None] | None = None,
    ) -> None:
        """Relay for ``client``; MisuseError when it has an allocation or came to no listener."""
        if allocation in self._allocations:
            raise MisuseError(f"allocation {allocation} is open already")
        way = self._way_to(client, write)
        opened = Allocation(allocation, client, relay_socket, until, way)
        self._attach(opened)
        self._allocations[allocation] = opened
        self._start_relaying(opened)

    def open_second(
        self, allocation: AllocationId, relay_socket: socket.socket, until: float
    ) -> None:
        """Relay from ``relay_socket`` too; MisuseError when the allocation has its family."""
        first = self._open(allocation)
        same_family = sockaddr.size_for(relay_socket.family) == first.endpoint.name_size
        if first.other is not None or same_family:
            raise MisuseError(f"allocation {allocation} has an address of that family")
        way = first.write or first.listener
        second = Allocation(allocation, first.client, relay_socket, until, way)
        second.pair_with(first)
        self._start_relaying(second)

    def extend(self, allocation: AllocationId, until: float, family: Family | None = None) -> None:
        """The allocation lives until ``until``, or its relayed address of ``family`` does."""
        first = self._open(allocation)
        size = None if family is None else sockaddr.size_for(family.socket_family)
        for half in (first, first.other):
            if half is not None and size in (None, half.endpoint.name_size):
                half.until = until

    def permit(
        self,
        allocation: AllocationId,
        peer_host: str,
        until: float,
        *,
        only_relayed: bool = False,
        ports: Ports = (),
    ) -> None:
        """Peers at ``peer_host`` may exchange data with the client."""
        host = Address(peer_host, 0).packed
        name_size = sockaddr.IPV4_SIZE if len(host) == 4 else sockaddr.IPV6_SIZE
        half = self._half(allocation, name_size)
        if not half.has_options:
            self._set_options(half)
        half.permit(host, until, self._clock(), only_relayed=only_relayed, ports=ports)

    def bind_channel(
        self,
        allocation: AllocationId,
        channel: int,
        peer: Address,
        until: float,
        *,
        only_relayed: bool = False,
    ) -> None:
        """``channel`` stands for ``peer``."""
        name = sockaddr.pack(peer)
        half = self._half(allocation, len(name))
        if not half.has_options:
            self._set_options(half)
        half.bind(channel, name, until, self._clock(), only_relayed=only_relayed)

    def limit(self, allocation: AllocationId, rates: Rates | None) -> None:
        """Let the allocation's data pass only as ``rates`` have it."""
        opened = self._open(allocation)
        opened.rates = rates
        if opened.other is not None:
            opened.other.rates = rates

    def show_as(self, external: Mapping[str, str]) -> None:
        """Tell clients of peers that are relayed addresses here by their hosts outside."""
        self._external = {Address(local, 0).packed: outside for local, outside in external.items()}

    def refuse(self, networks: Sequence[IPNetwork]) -> None:
        """Drop the permissions and channels that lead into ``networks``."""
        for allocation in self._relayed.values():
            allocation.refuse(networks)

    def close(self, allocation: AllocationId) -> None:
        """Forget the allocation and close its socket."""
        if allocation in self._allocations:
            for sock in self.release(allocation):
                sock.close()

    def expect(self, allocation: AllocationId, client: Path | None) -> None:
        """Hand up what comes on ``client``, until the allocation moves there."""
        moving = self._open(allocation)
        if moving.expected is not None:
            listener, name = moving.expected
            listener.expected.discard(name)
            moving.expected = None
        if client is not None and client.transport is Transport.UDP:
            listener = self._listener(client)
            moving.expected = (listener, sockaddr.pack(client.remote))
            listener.expected.add(moving.expected[1])

    def move(
        self,
        allocation: AllocationId,
        client: Path | None,
        write: Callable[[bytes], None] | None = None,
    ) -> None:
        """The client is at ``client``; MisuseError when another allocation is there."""
        moved = self._open(allocation)
        way = self._way_to(client, write) if client is not None else None
        self.expect(allocation, None)
        self._detach(moved)
        for half in (moved, moved.other):
            if half is not None:
                half.reach(client or half.client, way)
        self._attach(moved)

    def release(self, allocation: AllocationId) -> tuple[socket.socket, ...]:
        """Forget the allocation; its sockets, one for each relayed address, are the caller's."""
        self.expect(allocation, None)
        closed = self._allocations.pop(allocation)
        self._detach(closed)
        halves = (closed,) if closed.other is None else (closed, closed.other)
        for half in halves:
            self._stop_relaying(half)
        self._other.add(closed.counters)
        return tuple(half.endpoint.socket for half in halves)

    def close_one(self, allocation: AllocationId, relayed: Address) -> None:
        """Of two relayed addresses close this one; MisuseError when there are not two."""
        closed = self._relayed.get(sockaddr.pack(relayed))
        left = closed.other if closed is not None else None
        if closed is None or left is None or closed.identifier != allocation:
            raise MisuseError(f"{relayed} is not one of two that allocation {allocation} has")
        left.other = None
        if closed.expected is not None:
            left.expected = closed.expected
        self._allocations[allocation] = left
        self._attach(left)
        self._stop_relaying(closed)
        closed.endpoint.socket.close()

    def counters(self, allocation: AllocationId) -> Counters:
        """What became of the allocation's packets so far."""
        return self._open(allocation).counters

    def totals(self) -> Counters:
        """What became of all packets since the start."""
        totals = Counters()
        totals.add(self._other)
        for allocation in self._allocations.values():
            totals.add(allocation.counters)
        return totals

    def stop(self) -> None:
        """Close every socket and forget everything."""
        for allocation in list(self._allocations):
            self.close(allocation)
        for listener in self._listeners.values():
            self._reactor.remove_reader(listener.endpoint.descriptor)
            listener.endpoint.socket.close()
            listener.is_closed = True
        self._listeners.clear()
        self._readiness.close()

    def send(self, data: bytes, path: Path, *, dont_fragment: bool = False) -> bool:
        """Send a datagram of the machine's; False when there is no socket or it refuses."""
        source = self._listeners.get(path.local) or self._relayed.get(sockaddr.pack(path.local))
        if source is None:
            return False
        sock = source.endpoint.socket
        try:
            if dont_fragment:
                with fragmentation.forbidden(sock):
                    icmp.send_to(sock, data, path.remote)
            else:
                icmp.send_to(sock, data, path.remote)
        except OSError:
            return False
        return True

    def relay_from(self, client: Path, data: bytes, now: float) -> bool:
        """Relay a message of a client with ``write``; False when it is for the machine."""
        allocation = self._streams.get(client)
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

    def _way_to(
        self, client: Path, write: Callable[[bytes], None] | None
    ) -> Listener | Callable[[bytes], None]:
        """How a client is reached; MisuseError when it has an allocation or came to no listener."""
        if write is None:
            listener = self._listener(client)
            is_taken = sockaddr.pack(client.remote) in listener.clients
        else:
            is_taken = client in self._streams
        if is_taken:
            raise MisuseError(f"{client.remote} has an allocation already")
        return write or listener

    def _listener(self, client: Path) -> Listener:
        listener = self._listeners.get(client.local)
        if listener is None:
            raise MisuseError(f"the plane does not listen on {client.local}")
        return listener

    def _attach(self, allocation: Allocation) -> None:
        if allocation.listener is not None:
            allocation.listener.clients[allocation.client_name] = allocation
        elif allocation.write is not None:
            self._streams[allocation.client] = allocation

    def _detach(self, allocation: Allocation) -> None:
        if allocation.listener is not None:
            del allocation.listener.clients[allocation.client_name]
        elif allocation.write is not None:
            del self._streams[allocation.client]

    def _open(self, allocation: AllocationId) -> Allocation:
        found = self._allocations.get(allocation)
        if found is None:
            raise MisuseError(f"allocation {allocation} is not open")
        return found

    def _relay(self, descriptors: Sequence[int]) -> None:
        """One pass over the relay sockets that are ready."""
        sources = self._sources
        ready = [sources[each] for each in descriptors if each in sources]
        self._relay_to_clients(ready, self._clock())

    def _half(self, allocation: AllocationId, name_size: int) -> Allocation:
        """The half of an allocation that reaches peers of a family; its only one reaches all."""
        first = self._open(allocation)
        return first.facing(name_size) or first

    def _take_errors(self, descriptors: Sequence[int]) -> None:
        """Tell of ICMP errors that met what was sent to permitted peers (RFC 8656 §11.5)."""
        now = self._clock()
        for descriptor in descriptors:
            half = self._sources.get(descriptor)
            if half is None:
                continue
            relayed = sockaddr.unpack(half.relayed_name)
            for error in icmp.take(half.endpoint.socket, ERRORS_AT_ONCE):
                permission = half.permissions.get(sockaddr.host_bytes(error.peer))
                if self._on_icmp is not None and permission is not None and permission.until > now:
                    peer = sockaddr.unpack(error.peer)
                    self._on_icmp(error, Path(Transport.UDP, relayed, peer), now)

    def _start_relaying(self, opened: Allocation) -> None:
        self._relayed[opened.relayed_name] = opened
        self._sources[opened.endpoint.descriptor] = opened
        self._readiness.add(opened.endpoint.descriptor)

    def _set_options(self, allocation: Allocation) -> None:
        """Make its socket fit to relay, which it does not before anybody may use it.

        Many allocations are candidates that nobody chooses, and never come to that.
        """
        sock = allocation.endpoint.socket
        self._set_fields(sock)
        if self._on_icmp is not None:
            icmp.report(sock)
        _ask_for_buffer(sock, RELAY_BUFFER)
        allocation.has_options = True

    def _set_fields(self, sock: socket.socket) -> None:
        """Have the IP headers of what is relayed as RFC 8656 §14 wants, its alternate behaviour."""
        fragmentation.allow(sock)
        if self._dscp:
            marking.mark(sock, self._dscp)

    def _stop_relaying(self, closed: Allocation) -> None:
        del self._relayed[closed.relayed_name]
        del self._sources[closed.endpoint.descriptor]
        self._readiness.remove(closed.endpoint.descriptor)

    def _listen(self, listener: Listener) -> None:
        """Serve a listener that is ready, until it has nothing more or others must have a turn."""
        for _ in range(PASSES):
            # The machine above may have stopped the plane.
            if listener.is_closed:
                return
            lengths = self._from_clients.receive(listener.endpoint)
            if not lengths:
                return
            self._serve_clients(listener, lengths, self._clock())

    def _serve_clients(self, listener: Listener, lengths: Sequence[int], now: float) -> None:
        """Treat the batch that was received (RFC 8656 §12.6, §11.2; RFC 8489 §6.3.1)."""
        batch = self._from_clients
        buffer, starts = batch.buffer, batch.starts
        name_size = listener.endpoint.name_size
        names, slices = batch.names[name_size], batch.name_slices[name_size]
        clients, expected = listener.clients, listener.expected
        answers_binding = listener.answers_binding
        bindings: list[tuple[int, bytes]] = []
        to_peers: dict[Allocation, list[Packet]] = {}
        unhandled: list[tuple[bytes, bytes]] = []
        for index, length in enumerate(lengths):
            start = starts[index]
            # What lies beyond the length is an earlier packet's.
            head, cookie = two_words(buffer, start)
            name = names[slices[index]]
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
            if length == HEADER_LENGTH and head == BINDING_REQUEST_HEAD and cookie == MAGIC_COOKIE:
                if answers_binding:
                    bindings.append((start, name))
                    continue
            elif head >> 16 == SEND_INDICATION:
                send = parse_send(buffer, start, start + length)
                facing = self._sender(clients.get(name), send, now)
                if send is not None and facing is not None:
                    peer, payload, size = send
                    to_peers.setdefault(facing, []).append((payload, size, peer))
                    continue
            unhandled.append((name, buffer[start : start + length]))
        if bindings:
            self._answer_bindings(listener, bindings, now)
        for allocation, packets in to_peers.items():
            self._send_to_peers(allocation, packets, now)
        self._hand_up(listener, unhandled, now, is_crowded=len(lengths) == batch.capacity)

    def _hand_up(
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
        batch = self._from_clients
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

    def _answer_bindings(
        self, listener: Listener, bindings: Sequence[tuple[int, bytes]], now: float
    ) -> None:
        """Answer plain Binding requests, as far as the gate lets them pass."""
        batch, gate = self._from_clients, listener.gate
        name_size = listener.endpoint.name_size
        size = BINDING_ANSWER_LENGTH[name_size]
        if gate is not None and not gate.pass_all(
            len(bindings), now, answers_fit=size <= 2 * HEADER_LENGTH
        ):
            host = sockaddr.HOST[name_size]
            bindings = [
                (start, name)
                for start, name in bindings
                if gate.passes(name[host], HEADER_LENGTH, size, now)
            ]
        buffer = batch.buffer
        answers = [(start, answer_binding(buffer, start, name), name) for start, name in bindings]
        failed = len(batch.send(listener.endpoint, answers))
        self._other.dropped_send_failed += failed
        self._other.bindings_answered += len(answers) - failed

    def _channel(
        self, allocation: Allocation | None, head: int, length: int, now: float
    ) -> Channel | None:
        """Where ChannelData with ``head`` as its first word goes (RFC 8656 §12.6), or counts it."""
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
        if channel.only_relayed and not self._relays(channel.peer, now):
            allocation.counters.dropped_no_permission += 1
            return None
        return channel

    def _send_to_peers(self, allocation: Allocation, packets: Sequence[Packet], now: float) -> None:
        batch, counters, rates = self._from_clients, allocation.counters, allocation.rates
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
            counters.packets_to_peers -= 1
            counters.bytes_to_peers -= packets[place][1]
            counters.dropped_send_failed += 1

    def _relay_to_clients(self, allocations: Sequence[Allocation], now: float) -> None:
        """Take one batch at most off each relay socket (RFC 8656 §11.3, §12.7).

        What passes is sent once half the slots are full, or when the next client came to another
        listener.
        """
        batch = self._from_peers
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
        buffer, starts = self._peer_slots
        names, slices, host = self._peer_names[allocation.endpoint.name_size]
        permissions, channels = allocation.permissions, allocation.channels_by_peer
        counters, rates = allocation.counters, allocation.rates
        stream: list[bytes] = []
        for index, length in enumerate(lengths, first):
            name = names[slices[index]]
            permission = permissions.get(name[host])
            if (
                permission is None
                or permission.until <= now
                or (permission.only_relayed and not self._admits(permission, name, now))
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
                shown = name if not self._external else self._shown(name, now)
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
        for place in self._from_peers.send(listener.endpoint, outgoing):
            allocation, size = owners[place]
            allocation.counters.packets_to_clients -= 1
            allocation.counters.bytes_to_clients -= size
            allocation.counters.dropped_send_failed += 1

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
            or (permission.only_relayed and not self._admits(permission, peer, now))
        ):
            return None
        return facing

    def _admits(self, permission: Permission, name: bytes, now: float) -> bool:
        """Whether a permission that is not for every port is for the peer ``name``."""
        port = sockaddr.port_of(name)
        for first, last in permission.ports:
            if first <= port <= last:
                return True
        return self._relays(name, now)

    def _shown(self, name: bytes, now: float) -> bytes:
        """What a client knows the peer ``name`` by."""
        host = self._external.get(sockaddr.host_bytes(name))
        if host is None or not self._relays(name, now):
            return name
        return sockaddr.pack(Address(host, sockaddr.port_of(name)))

    def _relays(self, name: bytes, now: float) -> bool:
        """Whether ``name`` is the relayed address of an allocation that lives."""
        allocation = self._relayed.get(name)
        if allocation is None:
            return self._relays_elsewhere(sockaddr.unpack(name))
        return allocation.until > now

    def _transaction_id(self) -> bytes:
        """An unpredictable transaction id; drawn in bulk."""
        if not self._transaction_ids:
            drawn = self._random(_TRANSACTION_IDS * TRANSACTION_ID_LENGTH)
            self._transaction_ids = [
                drawn[start : start + TRANSACTION_ID_LENGTH]
                for start in range(0, len(drawn), TRANSACTION_ID_LENGTH)
            ]
        return self._transaction_ids.pop()


@lru_cache(_PATHS_KEPT)
def _path(local: Address, client: bytes) -> Path:
    return Path(_UDP, local, sockaddr.unpack(client))


def _ask_for_buffer(sock: socket.socket, size: int) -> None:
    """Ask for a receive buffer, past the system's limit where the process may go there."""
    if _ON_LINUX:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
        except OSError:
            # Only the privileged may; the rest get what the system's limit leaves them.
            pass
        else:
            return
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
