"""What a plane in user space keeps: listeners, and allocations with permissions and channels.

Peers and clients are socket addresses as the kernel gives them (:mod:`natkit.net.sockaddr`), hosts
are IP addresses in network order.
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence

from natkit.address import Address, IPNetwork
from natkit.machine import Path, Transport
from natkit.net import sockaddr
from natkit.net.batch import Endpoint
from natkit.relay.plane import AllocationId, BindingPolicy, Counters, Ports
from natkit.relay.rates import Rates

__all__ = ["Allocation", "Channel", "Listener", "Permission", "Settled"]

_NEVER = float("-inf")


class Permission:
    """Who may exchange data with the client, and until when (RFC 8656 §9)."""

    __slots__ = ("only_relayed", "ports", "until")

    def __init__(self, until: float, *, only_relayed: bool, ports: Ports) -> None:
        self.until = until
        self.only_relayed = only_relayed
        self.ports = ports

    def has_port(self, name: bytes) -> bool:
        """Whether the port of the peer ``name`` is among those that need not be relayed here."""
        port = sockaddr.port_of(name)
        return any(first <= port <= last for first, last in self.ports)


class Channel:
    """A number that stands for a peer, and until when (RFC 8656 §12); ``owner`` leads there."""

    __slots__ = ("number", "only_relayed", "owner", "peer", "until")

    def __init__(
        self,
        owner: "Allocation",
        number: int,
        peer: bytes,
        until: float,
        *,
        only_relayed: bool,
    ) -> None:
        self.owner = owner
        self.number = number
        self.peer = peer
        self.until = until
        self.only_relayed = only_relayed


class Settled:
    """What was found of an allocation's data, and holds for all that comes before ``until``.

    ``channels``: what the client sends on them goes to their peers, by number.  ``numbers``: what
    these peers send goes to the client on these channels.  No rate limits either, and no change of
    another allocation matters.  Only channels that live are found, so there are no
    more entries than channels.
    """

    __slots__ = ("channels", "numbers", "until")

    def __init__(self) -> None:
        self.until = _NEVER
        self.channels: dict[int, Channel] = {}
        self.numbers: dict[bytes, int] = {}

    def hold(self, until: float, now: float) -> None:
        """What is added next holds until then, so all does so no longer."""
        if self.until <= now:
            self.forget()
            self.until = until
        elif until < self.until:
            self.until = until

    def forget(self) -> None:
        """Something has changed: nothing is known."""
        self.until = _NEVER
        self.channels.clear()
        self.numbers.clear()


class Listener:
    """A socket that clients send to, and those of them that have an allocation.

    ``expected`` are those who will take over an allocation that another client has.
    """

    __slots__ = (
        "answers_binding",
        "clients",
        "endpoint",
        "expected",
        "gate",
        "greeter",
        "is_closed",
        "local",
    )

    def __init__(self, endpoint: Endpoint, local: Address, policy: BindingPolicy) -> None:
        self.endpoint = endpoint
        self.local = local
        self.is_closed = False
        self.answers_binding = policy.answer
        self.gate = policy.gate
        self.greeter = policy.greeter
        self.clients: dict[bytes, Allocation] = {}
        self.expected: set[bytes] = set()


class Allocation:
    """One allocation: its two ends, and whom it may talk to.

    ``has_options``: its relay socket has the options of one that relays.
    ``listener`` and ``client_name`` lead to a client on UDP, ``write`` to any other; without either
    there is none at present.  ``expected`` is where the client will be next.  ``pads``:
    ChannelData is padded for the client, as on every stream (RFC 8656 §12.5).  ``joins``: what
    waits for the client is written in one piece; over TLS each message has a record of its own, for
    there are clients, coturn's among them, that read one message from each record.  Dead
    permissions and channels are swept out whenever a new one comes, so that the tables never hold
    more than the machine lets live at once.

    A dual allocation is two of these, each with its relay socket, and the permissions and channels
    of its family.  They are each other's ``other`` and count in the same counters.

    ``until``, ``rates`` and ``other`` are changed by methods alone, which forget what was
    :class:`Settled` before.
    """

    __slots__ = (
        "channels",
        "channels_by_peer",
        "client",
        "client_name",
        "counters",
        "endpoint",
        "expected",
        "has_options",
        "identifier",
        "joins",
        "listener",
        "other",
        "pads",
        "permissions",
        "rates",
        "relayed_name",
        "settled",
        "until",
        "write",
    )

    def __init__(
        self,
        identifier: AllocationId,
        client: Path,
        relay_socket: socket.socket,
        until: float,
        reached_by: Listener | Callable[[bytes], None] | None,
    ) -> None:
        self.identifier = identifier
        self.expected: tuple[Listener, bytes] | None = None
        self.relayed_name = sockaddr.from_python(relay_socket.getsockname())
        self.endpoint = Endpoint(relay_socket, len(self.relayed_name))
        self.until = until
        self.has_options = False
        self.rates: Rates | None = None
        self.other: Allocation | None = None
        self.settled = Settled()
        self.reach(client, reached_by)
        self.permissions: dict[bytes, Permission] = {}
        self.channels: dict[int, Channel] = {}
        self.channels_by_peer: dict[bytes, Channel] = {}
        self.counters = Counters()

    def reach(self, client: Path, reached_by: Listener | Callable[[bytes], None] | None) -> None:
        """The client is at ``client``, or was there and is nowhere now."""
        self.client = client
        self.pads = client.transport.is_reliable
        self.joins = client.transport is Transport.TCP
        self.client_name = sockaddr.pack(client.remote)
        self.listener: Listener | None = None
        self.write: Callable[[bytes], None] | None = None
        if isinstance(reached_by, Listener):
            self.listener = reached_by
        else:
            self.write = reached_by
        self._unsettle()

    def extend(self, until: float) -> None:
        """It lives until then."""
        self.until = until
        self._unsettle()

    def limit(self, rates: Rates | None) -> None:
        """Its data passes as ``rates`` have it; those of two halves are told each."""
        self.rates = rates
        self._unsettle()

    def pair_with(self, other: "Allocation") -> None:
        """Become the second half of a dual allocation, whose first half is ``other``."""
        self.other, other.other = other, self
        self.counters = other.counters
        self.rates = other.rates
        self._unsettle()

    def part(self) -> None:
        """Be the only half from now on."""
        self._unsettle()
        self.other = None

    def facing(self, name_size: int) -> "Allocation | None":
        """The half that reaches peers whose socket addresses have ``name_size`` bytes."""
        return self if self.endpoint.name_size == name_size else self.other

    def other_living(self, now: float) -> "Allocation | None":
        """The other half, if there is one and its time is not over."""
        other = self.other
        return other if other is not None and other.until > now else None

    def permit(
        self, host: bytes, until: float, now: float, *, only_relayed: bool, ports: Ports
    ) -> None:
        """Install the permission for ``host``, or replace it."""
        if host not in self.permissions:
            for dead in [key for key, held in self.permissions.items() if held.until <= now]:
                del self.permissions[dead]
        self._unsettle()
        self.permissions[host] = Permission(until, only_relayed=only_relayed, ports=ports)

    def bind(
        self, number: int, peer: bytes, until: float, now: float, *, only_relayed: bool
    ) -> None:
        """Bind a channel, or replace what was bound to its number or its peer."""
        if self.other is not None and number in self.other.channels:
            self.other._unbind([self.other.channels[number]])  # noqa: SLF001 - one of two halves
        self._unbind(
            [
                held
                for held in self.channels.values()
                if held.until <= now or held.number == number or held.peer == peer
            ]
        )
        self._unsettle()
        channel = Channel(self, number, peer, until, only_relayed=only_relayed)
        self.channels[number] = self.channels_by_peer[peer] = channel

    def refuse(self, networks: Sequence[IPNetwork]) -> None:
        """Drop the permissions and channels that lead into ``networks``."""

        def refused(host: bytes) -> bool:
            ip = ipaddress.ip_address(host)
            return any(ip in network for network in networks)

        self._unsettle()
        for host in [host for host in self.permissions if refused(host)]:
            del self.permissions[host]
        self._unbind(
            [held for held in self.channels.values() if refused(sockaddr.host_bytes(held.peer))]
        )

    def _unsettle(self) -> None:
        """A change: what was found of either half may hold no longer."""
        self.settled.forget()
        if self.other is not None:
            self.other.settled.forget()

    def _unbind(self, channels: Sequence[Channel]) -> None:
        for channel in channels:
            del self.channels[channel.number]
            del self.channels_by_peer[channel.peer]
