"""The relay plane in user space: pure Python on batched sockets, on any platform.

It is the specification of relaying; another plane is right when no test can tell them apart.

A wake-up serves every socket that is ready, each with at most one batch, so that a flood on one
leaves the others their turn.  This module keeps the tables and the sockets; the packets' own ways
are :mod:`natkit.relay.to_peers` and :mod:`natkit.relay.to_clients`.
"""

import contextlib
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from natkit.address import Address, Family, IPNetwork
from natkit.errors import MisuseError
from natkit.machine import Path, RandomBytes, Transport
from natkit.net import fragmentation, icmp, marking, sockaddr
from natkit.net.batch import Endpoint, datagram_batch
from natkit.net.libc import HAVE_MMSG
from natkit.relay.handing_up import HandingUp
from natkit.relay.plane import (
    AllocationId,
    BindingPolicy,
    Counters,
    IcmpHandler,
    Ports,
    Unhandled,
)
from natkit.relay.rates import Rates
from natkit.relay.readiness import Event, Reactor, watch
from natkit.relay.relayed_addresses import RelayedAddresses
from natkit.relay.tables import Allocation, Listener
from natkit.relay.to_clients import ToClients
from natkit.relay.to_peers import ToPeers

__all__ = ["UserspacePlane"]

LISTENER_BUFFER = 4 << 20
"""Bytes that the system is asked to hold for a listener: what arrives while the machine is busy
with a batch of requests.  The system may grant less."""

ANSWERS_BUFFER = 8 << 20
"""Bytes that the system is asked to hold of what a listener sends.

Answers to forged sources on the very link wait there, for seconds, until nobody was found to have
such an address; others' answers must find room meanwhile.  The system may grant less."""

RELAY_BUFFER = 512 << 10
"""Bytes that the system is asked to hold for a relay socket: a burst of some 200 full packets."""

ERRORS_AT_ONCE = 16
"""ICMP errors that are taken from a socket in a pass: strangers can forge some of them."""

# <asm-generic/socket.h>; the socket module does not have it.
_SO_SNDBUFFORCE = 32
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
        self._dscp = dscp
        self._on_icmp = on_icmp if icmp.CAN_REPORT and not portable else None
        self._clock = clock
        self._readiness = watch(reactor, self._relay, self._take_errors, portable=portable)
        self._reactor = reactor
        self._listeners: dict[Address, Listener] = {}
        self._allocations: dict[AllocationId, Allocation] = {}
        # What belongs to no open allocation.
        self._other = Counters()
        self._relayed = RelayedAddresses(relays_elsewhere)
        from_clients = datagram_batch(portable=portable)
        self._above = HandingUp(on_unhandled, from_clients, self._other, stopwatch or clock)
        self._to_peers = ToPeers(
            self._relayed, self._other, self._above.hand_up, clock, from_clients
        )
        self._to_clients = ToClients(self._relayed, self._other, random, portable=portable)

    @property
    def on_unhandled(self) -> Unhandled:
        """Takes what is not the plane's."""
        return self._above.on_unhandled

    @on_unhandled.setter
    def on_unhandled(self, on_unhandled: Unhandled) -> None:
        self._above.on_unhandled = on_unhandled

    def listen(self, sock: socket.socket, policy: BindingPolicy) -> None:
        """Serve clients on ``sock``; MisuseError when it is bound to a wildcard address."""
        local = sockaddr.unpack(sockaddr.from_python(sock.getsockname()))
        if local.ip.is_unspecified:
            raise MisuseError(f"a plane can't listen on {local}, which names no one address")
        _ask_for(sock, LISTENER_BUFFER, _SO_RCVBUFFORCE, socket.SO_RCVBUF)
        _ask_for(sock, ANSWERS_BUFFER, _SO_SNDBUFFORCE, socket.SO_SNDBUF)
        self._set_fields(sock)
        listener = Listener(Endpoint(sock), local, policy)
        self._listeners[local] = listener
        # By itself in the event loop, which costs less for the few that are busy all the time.
        self._reactor.add_reader(
            listener.endpoint.descriptor, partial(self._to_peers.listen, listener)
        )

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
        first = self.allocation(allocation)
        same_family = sockaddr.size_for(relay_socket.family) == first.endpoint.name_size
        if first.other is not None or same_family:
            raise MisuseError(f"allocation {allocation} has an address of that family")
        way = first.write or first.listener
        second = Allocation(allocation, first.client, relay_socket, until, way)
        second.pair_with(first)
        self._start_relaying(second)

    def extend(self, allocation: AllocationId, until: float, family: Family | None = None) -> None:
        """The allocation lives until ``until``, or its relayed address of ``family`` does."""
        first = self.allocation(allocation)
        size = None if family is None else sockaddr.size_for(family.socket_family)
        for half in (first, first.other):
            if half is not None and size in (None, half.endpoint.name_size):
                half.extend(until)

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
        self.permit_host(allocation, peer_host, until, only_relayed=only_relayed, ports=ports)

    def permit_host(
        self,
        allocation: AllocationId,
        peer_host: str,
        until: float,
        *,
        only_relayed: bool,
        ports: Ports,
    ) -> tuple[Allocation, bytes]:
        """The same; which half of the allocation reaches the host, and the host there."""
        host = Address(peer_host, 0).packed
        name_size = sockaddr.IPV4_SIZE if len(host) == 4 else sockaddr.IPV6_SIZE
        half = self._half(allocation, name_size)
        if not half.has_options:
            self._set_options(half)
        half.permit(host, until, self._clock(), only_relayed=only_relayed, ports=ports)
        return half, host

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
        opened = self.allocation(allocation)
        opened.limit(rates)
        if opened.other is not None:
            opened.other.limit(rates)

    def show_as(self, external: Mapping[str, str]) -> None:
        """Tell clients of peers that are relayed addresses here by their hosts outside."""
        self._relayed.external = {
            Address(local, 0).packed: outside for local, outside in external.items()
        }

    def refuse(self, networks: Sequence[IPNetwork]) -> None:
        """Drop the permissions and channels that lead into ``networks``."""
        for allocation in self._relayed.here.values():
            allocation.refuse(networks)

    def close(self, allocation: AllocationId) -> None:
        """Forget the allocation and close its socket."""
        if allocation in self._allocations:
            for sock in self.release(allocation):
                sock.close()

    def expect(self, allocation: AllocationId, client: Path | None) -> None:
        """Hand up what comes on ``client``, until the allocation moves there."""
        moving = self.allocation(allocation)
        if moving.expected is not None:
            listener, name = moving.expected
            listener.expected.discard(name)
            moving.expected = None
        if client is not None and client.transport is Transport.UDP:
            listener = self.listener(client.local)
            moving.expected = (listener, sockaddr.pack(client.remote))
            listener.expected.add(moving.expected[1])

    def move(
        self,
        allocation: AllocationId,
        client: Path | None,
        write: Callable[[bytes], None] | None = None,
    ) -> None:
        """The client is at ``client``; MisuseError when another allocation is there."""
        moved = self.allocation(allocation)
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
        closed = self._relayed.here.get(sockaddr.pack(relayed))
        left = closed.other if closed is not None else None
        if closed is None or left is None or closed.identifier != allocation:
            raise MisuseError(f"{relayed} is not one of two that allocation {allocation} has")
        left.part()
        if closed.expected is not None:
            left.expected = closed.expected
        self._allocations[allocation] = left
        self._attach(left)
        self._stop_relaying(closed)
        closed.endpoint.socket.close()

    def counters(self, allocation: AllocationId) -> Counters:
        """What became of the allocation's packets so far."""
        return self.allocation(allocation).counters

    def totals(self) -> Counters:
        """What became of all packets since the start."""
        totals = Counters()
        totals.add(self._other)
        for allocation in self._allocations.values():
            totals.add(allocation.counters)
        return totals

    # For a plane that treats some packets before they come here.

    def listener(self, local: Address) -> Listener:
        """Who listens on ``local``; MisuseError when nobody does."""
        listener = self._listeners.get(local)
        if listener is None:
            raise MisuseError(f"the plane does not listen on {local}")
        return listener

    def listeners(self) -> Sequence[Listener]:
        """All of them."""
        return tuple(self._listeners.values())

    def allocation(self, allocation: AllocationId) -> Allocation:
        """What is kept of an open allocation; of two halves the first."""
        found = self._allocations.get(allocation)
        if found is None:
            raise MisuseError(f"allocation {allocation} is not open")
        return found

    def allocations(self) -> Sequence[Allocation]:
        """What is kept of all of them."""
        return tuple(self._allocations.values())

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
        source = self._listeners.get(path.local) or self._relayed.here.get(
            sockaddr.pack(path.local)
        )
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
        return self._to_peers.relay_from(client, data, now)

    def relay_stream(self, client: Path, data: bytes, now: float) -> int:
        """Relay the ChannelData that bytes of a stream begin with; how many bytes that was."""
        return self._to_peers.relay_stream(client, data, now)

    def _way_to(
        self, client: Path, write: Callable[[bytes], None] | None
    ) -> Listener | Callable[[bytes], None]:
        """How a client is reached; MisuseError when it has an allocation or came to no listener."""
        if write is None:
            listener = self.listener(client.local)
            is_taken = sockaddr.pack(client.remote) in listener.clients
        else:
            is_taken = client in self._to_peers.streams
        if is_taken:
            raise MisuseError(f"{client.remote} has an allocation already")
        return write or listener

    def _attach(self, allocation: Allocation) -> None:
        if allocation.listener is not None:
            allocation.listener.clients[allocation.client_name] = allocation
        elif allocation.write is not None:
            self._to_peers.streams[allocation.client] = allocation

    def _detach(self, allocation: Allocation) -> None:
        if allocation.listener is not None:
            del allocation.listener.clients[allocation.client_name]
        elif allocation.write is not None:
            del self._to_peers.streams[allocation.client]

    def _relay(self, ready: Sequence[Event]) -> None:
        """One pass over the relay sockets that are ready."""
        self._to_clients.relay(ready, self._clock())

    def _half(self, allocation: AllocationId, name_size: int) -> Allocation:
        """The half of an allocation that reaches peers of a family; its only one reaches all."""
        first = self.allocation(allocation)
        return first.facing(name_size) or first

    def _take_errors(self, descriptors: Sequence[int]) -> None:
        """Tell of ICMP errors that met what was sent to permitted peers (RFC 8656 §11.5)."""
        now = self._clock()
        for descriptor in descriptors:
            half = self._to_clients.sources.get(descriptor)
            if half is None:
                continue
            relayed = sockaddr.unpack(half.relayed_name)
            for error in icmp.take(half.endpoint.socket, ERRORS_AT_ONCE):
                permission = half.permissions.get(sockaddr.host_bytes(error.peer))
                if self._on_icmp is not None and permission is not None and permission.until > now:
                    peer = sockaddr.unpack(error.peer)
                    self._on_icmp(error, Path(Transport.UDP, relayed, peer), now)

    def _start_relaying(self, opened: Allocation) -> None:
        self._relayed.here[opened.relayed_name] = opened
        self._to_clients.sources[opened.endpoint.descriptor] = opened
        self._readiness.add(opened.endpoint.descriptor)

    def _set_options(self, allocation: Allocation) -> None:
        """Make its socket fit to relay, which it does not before anybody may use it.

        Many allocations are candidates that nobody chooses, and never come to that.
        """
        sock = allocation.endpoint.socket
        self._set_fields(sock)
        if self._on_icmp is not None:
            icmp.report(sock)
        _ask_for(sock, RELAY_BUFFER, _SO_RCVBUFFORCE, socket.SO_RCVBUF)
        allocation.has_options = True

    def _set_fields(self, sock: socket.socket) -> None:
        """Have the IP headers of what is relayed as RFC 8656 §14 wants, its alternate behaviour."""
        fragmentation.allow(sock)
        if self._dscp:
            marking.mark(sock, self._dscp)

    def _stop_relaying(self, closed: Allocation) -> None:
        del self._relayed.here[closed.relayed_name]
        del self._to_clients.sources[closed.endpoint.descriptor]
        self._readiness.remove(closed.endpoint.descriptor)


def _ask_for(sock: socket.socket, size: int, forced: int, option: int) -> None:
    """Ask for a buffer, past the system's limit by ``forced`` where the process may go there."""
    if _ON_LINUX:
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, size)
        except OSError:
            # Only the privileged may; the rest get what the system's limit leaves them.
            pass
        else:
            return
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, option, size)
