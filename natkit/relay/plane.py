"""The interface between a TURN server and what moves its packets.

The server's machine is the authority on allocations, permissions and channels.  A plane owns the
sockets, is told of every change, and treats the packets that come in great numbers by itself:

* plain Binding requests, a header without attributes (RFC 8489 §12);
* ChannelData from clients (RFC 8656 §12.6), and Send indications that hold a peer's address and
  data and nothing else (§11.2);
* what peers send to a relayed address (§11.3, §12.7).

Everything else goes up, to ``on_unhandled``.
"""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from natkit.address import Address, Family, IPNetwork
from natkit.machine import Path
from natkit.net.icmp import IcmpError
from natkit.relay.rates import Rates
from natkit.relay.source_memory import SourceMemory

__all__ = [
    "AllocationId",
    "BindingPolicy",
    "Counters",
    "CountingGate",
    "Gate",
    "Greeter",
    "IcmpHandler",
    "Ports",
    "RelayPlane",
    "Unhandled",
]

AllocationId = int
"""Chosen by the machine, and never used twice in its lifetime."""

Ports = Sequence[tuple[int, int]]
"""Ranges of ports, both ends included."""

IcmpHandler = Callable[[IcmpError, Path, float], None]
"""Takes an ICMP error, the path that met it (from a relayed address to a peer), and the time."""

Unhandled = Callable[[bytes, Path, float], None]
"""Takes a datagram that is not the plane's, the path it came on, and the time: ``receive``."""


class Gate(Protocol):
    """Says which plain Binding requests a plane may answer: whose source may well be forged."""

    def pass_all(self, count: int, now: float, *, answers_fit: bool) -> bool:
        """Whether these many more may be answered without a look at each; they are counted.

        ``answers_fit``: no answer has more than twice the bytes of its request.
        """
        ...

    def passes(self, host: bytes, received: int, sent: int, now: float) -> bool:
        """Whether one of those just counted may be, from ``host``, by sizes in bytes."""
        ...


@runtime_checkable
class CountingGate(Gate, Protocol):
    """One that tells sources apart in memory which others may count in."""

    def count_in(self, memory: SourceMemory) -> None:
        """Count there; whoever answers by that memory does what the gate would have done."""
        ...


class Greeter(Protocol):
    """Answers strangers from the bytes that they sent, and nothing else."""

    def greet(self, data: bytes, client: bytes, now: float) -> bytes | None:
        """The answer to a datagram; empty for none, None when it must be handed up.

        ``client`` is a port and an IP address in network order, 6 or 18 bytes; it is known to have
        no allocation.
        """
        ...


@dataclass(frozen=True, slots=True)
class BindingPolicy:
    """What a listener does with plain Binding requests: ``answer`` them, or hand them up.

    Those that ``gate`` does not let pass are dropped.  Other requests of clients without an
    allocation are shown to ``greeter`` first.
    """

    answer: bool = True
    gate: Gate | None = None
    greeter: Greeter | None = None


@dataclass(slots=True)
class Counters:
    """What became of packets; bytes are those of the application's data alone."""

    packets_to_peers: int = 0
    bytes_to_peers: int = 0
    packets_to_clients: int = 0
    bytes_to_clients: int = 0
    dropped_malformed: int = 0
    """ChannelData that is shorter than it claims."""
    dropped_no_allocation: int = 0
    """ChannelData from a client that has no allocation."""
    dropped_no_channel: int = 0
    """ChannelData on a channel that is not bound, or no longer."""
    dropped_no_permission: int = 0
    """Data of a peer, or to one, that has no permission, or no longer."""
    dropped_no_client: int = 0
    """Data for a client whose connection ended, and which has not come back yet."""
    dropped_strangers: int = 0
    """What clients without an allocation sent while they had their share of the time."""
    dropped_requests: int = 0
    """Requests of clients that had their share of the time."""
    dropped_over_rate: int = 0
    """Data beyond the bandwidth of its user, or of all."""
    dropped_send_failed: int = 0
    """The system refused to send: buffer full, too long, unreachable."""
    bindings_answered: int = 0
    """Plain Binding requests; of no allocation, so only in the totals."""

    def add(self, other: "Counters") -> None:
        """Add what ``other`` counted."""
        self.packets_to_peers += other.packets_to_peers
        self.bytes_to_peers += other.bytes_to_peers
        self.packets_to_clients += other.packets_to_clients
        self.bytes_to_clients += other.bytes_to_clients
        self.dropped_malformed += other.dropped_malformed
        self.dropped_no_allocation += other.dropped_no_allocation
        self.dropped_no_channel += other.dropped_no_channel
        self.dropped_no_permission += other.dropped_no_permission
        self.dropped_no_client += other.dropped_no_client
        self.dropped_strangers += other.dropped_strangers
        self.dropped_requests += other.dropped_requests
        self.dropped_over_rate += other.dropped_over_rate
        self.dropped_send_failed += other.dropped_send_failed
        self.bindings_answered += other.bindings_answered


class RelayPlane(Protocol):
    """What moves packets.  Times are monotonic seconds, by the clock that the plane was given.

    Permissions, channels and allocations are dead once their ``until`` is reached, for every
    packet; the machine extends them by telling them again.  Methods that take an allocation raise
    MisuseError when it is not open.
    """

    on_unhandled: Unhandled

    def listen(self, sock: socket.socket, policy: BindingPolicy) -> None:
        """Serve clients on ``sock``, a UDP socket bound to an exact address; the plane owns it."""
        ...

    def open(
        self,
        allocation: AllocationId,
        client: Path,
        relay_socket: socket.socket,
        until: float,
        write: Callable[[bytes], None] | None = None,
    ) -> None:
        """Relay for ``client`` from ``relay_socket``, which the plane owns from now on.

        The socket is bound to the relayed address exactly.  A client on a stream, or over DTLS,
        gives ``write``: it sends one message, or over TCP several that follow one another, never
        blocks, and is free to drop them.
        """
        ...

    def open_second(
        self, allocation: AllocationId, relay_socket: socket.socket, until: float
    ) -> None:
        """Relay from ``relay_socket`` too, which is of the other family (RFC 8656 §7.2)."""
        ...

    def extend(self, allocation: AllocationId, until: float, family: Family | None = None) -> None:
        """The allocation lives until ``until``: both its addresses, or the one of ``family``."""
        ...

    def permit(
        self,
        allocation: AllocationId,
        peer_host: str,
        until: float,
        *,
        only_relayed: bool = False,
        ports: Ports = (),
    ) -> None:
        """Peers at ``peer_host`` may exchange data with the client, in place of what held before.

        ``only_relayed``: only from and to addresses that this plane relays at that moment, and
        those with one of ``ports``.
        """
        ...

    def bind_channel(
        self,
        allocation: AllocationId,
        channel: int,
        peer: Address,
        until: float,
        *,
        only_relayed: bool = False,
    ) -> None:
        """``channel`` stands for ``peer``.  Data from the peer needs its permission all the same.

        ``only_relayed`` as in :meth:`permit`.
        """
        ...

    def expect(self, allocation: AllocationId, client: Path | None) -> None:
        """The allocation's client will come on ``client`` too, in place of what was said before.

        Until :meth:`move`, data goes to the client where it is, and everything that a datagram
        brings on the new path goes up.  None: it will not come.  Nothing to do for streams, whose
        messages go up as long as there is no allocation.
        """
        ...

    def move(
        self,
        allocation: AllocationId,
        client: Path | None,
        write: Callable[[bytes], None] | None = None,
    ) -> None:
        """The client is now at ``client`` alone; ``write`` as for :meth:`open`.

        None: it is nowhere for the time being, and what peers send to it is dropped.
        """
        ...

    def release(self, allocation: AllocationId) -> tuple[socket.socket, ...]:
        """Forget the allocation, and give its relay socket back, or its two."""
        ...

    def limit(self, allocation: AllocationId, rates: Rates | None) -> None:
        """Let the allocation's data pass only as ``rates`` have it; None: as it comes."""
        ...

    def relay_from(self, client: Path, data: bytes, now: float) -> bool:
        """A message of a client with ``write``; False when it is for the machine."""
        ...

    def relay_stream(self, client: Path, data: bytes, now: float) -> int:
        """Bytes of a stream from a message's beginning on; how many of them are dealt with.

        These are whole messages of ChannelData.  The stream goes on with something else, with a
        message that is not whole yet, or not at all.
        """
        ...

    def send(self, data: bytes, path: Path, *, dont_fragment: bool = False) -> bool:
        """Send a datagram of the machine's from ``path.local``: a listener or a relayed address.

        False when no such socket is open or the system refuses.  ``dont_fragment``: with the Don't
        Fragment bit; refused as well where the system can't set it.
        """
        ...

    def show_as(self, external: Mapping[str, str]) -> None:
        """Tell clients of peers that are relayed addresses here by other hosts than the local ones.

        ``external`` has the local hosts, and what stands for them outside of a one-to-one NAT.
        """
        ...

    def refuse(self, networks: Sequence[IPNetwork]) -> None:
        """Drop the permissions and channels that lead into ``networks``."""
        ...

    def close(self, allocation: AllocationId) -> None:
        """Forget the allocation and close its socket; one that is not open is no error."""
        ...

    def close_one(self, allocation: AllocationId, relayed: Address) -> None:
        """Of two relayed addresses close this one, with what is permitted and bound for it."""
        ...

    def counters(self, allocation: AllocationId) -> Counters:
        """What became of the allocation's packets so far."""
        ...

    def totals(self) -> Counters:
        """What became of all packets since the start, those of closed allocations included."""
        ...

    def stop(self) -> None:
        """Close every socket and forget everything."""
        ...
