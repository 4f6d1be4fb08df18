"""A host: addresses, datagram sockets, listeners and streams."""

from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import Protocol as Interface

from natkit.address import Address, Family
from tests.simnet.link import Link
from tests.simnet.packet import Packet, Protocol, Segment, SegmentKind
from tests.simnet.realm import AddressRealm
from tests.simnet.simulation import Simulation, SimulationError
from tests.simnet.stream import Stream, StreamState

FIRST_EPHEMERAL_PORT = 49152
WILDCARDS = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}


class Receiver(Interface):
    """The owner of a datagram socket."""

    def datagram(self, data: bytes, local: Address, remote: Address) -> None:
        """A datagram for ``local`` came from ``remote``."""
        ...


class AddressUnavailable(SimulationError):
    """The operating system refuses to bind: not an address of the host, or in use."""

    def __init__(self, reason: str, *, in_use: bool) -> None:
        super().__init__(reason)
        self.in_use = in_use


class Host:
    """A node with an operating system's sockets; a Shell or an Endpoint uses them."""

    def __init__(
        self,
        simulation: Simulation,
        name: str,
        addresses: Sequence[str],
        realm: AddressRealm,
        link: Link,
    ) -> None:
        self.name = name
        self.simulation = simulation
        self.link = link
        self.addresses = tuple(Address.of(host, 0).host for host in addresses)
        self._realm = realm
        self._random = simulation.random(f"host {name}")
        self._sockets: dict[Address, Receiver] = {}
        self._listeners: dict[Address, Callable[[Stream], None]] = {}
        self._streams: dict[tuple[Address, Address], Stream] = {}
        self._ports = count(FIRST_EPHEMERAL_PORT)
        realm.attach(self, link)

    def owns(self, host: str) -> bool:
        """Whether this is one of the host's addresses."""
        return host in self.addresses

    def address(self, port: int = 0, family: Family = Family.IPV4) -> Address:
        """The host's first address of ``family``, with ``port``."""
        for host in self.addresses:
            candidate = Address(host, port)
            if candidate.family is family:
                return candidate
        raise SimulationError(f"{self.name} has no {family.name} address")

    # ── datagrams ───────────────────────────────────────────────────────────────────────────────

    def bind(self, local: Address, receiver: Receiver) -> Address:
        """Open a datagram socket; port 0 is any free one.  Raises AddressUnavailable.

        A socket of the wildcard address hears all of the host's addresses of its family, and sends
        from the first one.
        """
        local = self._free(local, self._sockets.keys())
        self._sockets[local] = receiver
        return local

    def unbind(self, local: Address) -> None:
        """Close the datagram socket of ``local``."""
        if self._sockets.pop(local, None) is None:
            raise SimulationError(f"{self.name} has no socket at {local}")

    @property
    def sockets(self) -> tuple[Address, ...]:
        """The addresses of the open datagram sockets."""
        return tuple(self._sockets)

    def send_datagram(self, data: bytes, local: Address, remote: Address) -> None:
        """Send from an open socket."""
        if local not in self._sockets:
            raise SimulationError(f"{self.name} has no socket at {local} to send from")
        if local.family is not remote.family:
            raise SimulationError(f"{local} cannot send to {remote}: not the same family")
        source = self.address(local.port, local.family) if _is_wildcard(local) else local
        self._send(Packet(Protocol.UDP, source, remote, data))

    # ── streams ─────────────────────────────────────────────────────────────────────────────────

    def listen(self, local: Address, accept: Callable[[Stream], None]) -> Address:
        """Accept streams; ``accept`` gets each one as it begins.  Raises AddressUnavailable."""
        local = self._free(local, self._listeners.keys())
        self._listeners[local] = accept
        return local

    def stop_listening(self, local: Address) -> None:
        """Refuse further streams."""
        del self._listeners[local]

    def connect(self, local: Address | None, remote: Address) -> Stream:
        """Begin a stream; set its callbacks at once.  Raises AddressUnavailable."""
        if local is None or _is_wildcard(local):
            local = self.address(local.port if local else 0, remote.family)
        for place, stream in list(self._streams.items()):
            if stream.is_forgotten:
                del self._streams[place]
        taken = {mine for (mine, other) in self._streams if other == remote}
        local = self._free(local, taken | self._listeners.keys())
        incarnation = self._random.getrandbits(32)
        stream = self._open(local, remote, incarnation, StreamState.CONNECTING)
        stream.begin()
        return stream

    # ── the network's side ──────────────────────────────────────────────────────────────────────

    def receive(self, packet: Packet) -> None:
        """A packet came from the realm."""
        if isinstance(packet.payload, Segment):
            self._receive_segment(packet, packet.payload)
            return
        exact = packet.destination
        wildcard = Address(WILDCARDS[exact.family], exact.port)
        for local in (exact, wildcard):
            receiver = self._sockets.get(local)
            if receiver is not None:
                self.note("received", packet)
                receiver.datagram(packet.payload, local, packet.source)
                return
        self.note("port unreachable", packet)

    def note(self, what: str, subject: object) -> None:
        """Add to the trace."""
        self.simulation.trace.add(self.simulation.now, self.name, what, subject)

    def _receive_segment(self, packet: Packet, segment: Segment) -> None:
        place = packet.destination, packet.source
        stream = self._streams.get(place)
        if stream is not None and stream.is_forgotten:
            stream = None
        if stream is not None and stream.incarnation == segment.incarnation:
            stream.receive(segment)
            return
        opens = segment.kind is SegmentKind.SYN and segment.acknowledged == 0
        accept = self._listeners.get(packet.destination)
        free = stream is None or stream.state is StreamState.ENDED
        if opens and accept is not None and free:
            self._accept(place, segment, accept)
        elif segment.kind is not SegmentKind.RST:
            self.note("no stream", packet)
            reset = Segment(SegmentKind.RST, segment.incarnation, 0, 0)
            self._send(Packet(Protocol.TCP, packet.destination, packet.source, reset))

    def _accept(
        self, place: tuple[Address, Address], syn: Segment, accept: Callable[[Stream], None]
    ) -> None:
        stream = self._open(*place, syn.incarnation, StreamState.ACCEPTING)
        accept(stream)
        stream.receive(syn)
        stream.begin()

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that have not ended."""
        return tuple(
            stream for stream in self._streams.values() if stream.state is not StreamState.ENDED
        )

    def _open(
        self, local: Address, remote: Address, incarnation: int, state: StreamState
    ) -> Stream:
        stream = Stream(
            self.simulation, self._random, self._send, local, remote, incarnation, state
        )
        self._streams[local, remote] = stream
        return stream

    def _send(self, packet: Packet) -> None:
        self.note("sent", packet)
        if self.owns(packet.destination.host):
            self.simulation.after(0.0, lambda: self.receive(packet))
        else:
            self._realm.send(packet, self, self.link)

    def _free(self, local: Address, taken: Collection[Address]) -> Address:
        if not self.owns(local.host) and not _is_wildcard(local):
            raise AddressUnavailable(f"{self.name} does not have {local.host}", in_use=False)
        if local.port == 0:
            return next(
                candidate
                for port in self._ports
                if not _conflicts(candidate := Address(local.host, port), taken)
            )
        if _conflicts(local, taken):
            raise AddressUnavailable(f"{local} is in use", in_use=True)
        return local


def _is_wildcard(local: Address) -> bool:
    return local.host in WILDCARDS.values()


def _conflicts(local: Address, taken: Collection[Address]) -> bool:
    return local in taken or any(
        other.port == local.port
        and other.family is local.family
        and (_is_wildcard(other) or _is_wildcard(local))
        for other in taken
    )
