"""The server's machine alone, and the same machine behind a plane, told the same things."""

import ipaddress
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from natkit.address import Address
from natkit.machine import CloseSocket, Failure, OpenSocket, Path, Transport
from natkit.relay.plane import BindingPolicy
from natkit.relay.userspace import UserspacePlane
from natkit.stun.credentials import long_term_key
from natkit.stun.registry import TRANSACTION_ID_LENGTH, PasswordAlgorithmNumber
from stun_server.authentication import Credential
from stun_server.events import (
    AllocationClosed,
    AllocationOpened,
    AllocationRefreshed,
    ChannelBound,
    FindCredential,
    PermissionInstalled,
    RelayedAddressClosed,
    ServerEvent,
)
from stun_server.service import Server
from stun_server.settings import PeerRange, PortRange, Settings
from tests.natkit.relay.rig import HandReactor, address_of

REALM, USERNAME, PASSWORD = "example.org", "alice", "secret"
LISTENER_HOST, RELAY_HOST, RELAY_HOST6 = "127.0.0.1", "127.0.0.4", "::1"
ALLOWED = ("127.0.0.1/32", "127.0.0.2/32", "::1/128")
CREDENTIAL = Credential(
    USERNAME,
    long_term_key(USERNAME, REALM, PASSWORD),
    long_term_key(USERNAME, REALM, PASSWORD, PasswordAlgorithmNumber.SHA_256),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A datagram, or a message of a stream, that left the server."""

    transport: Transport
    local: Address
    remote: Address
    data: bytes


def settings(listener: Address) -> Settings:
    """Relayed addresses stand on a host that policy refuses as a peer."""
    return Settings(
        realm=REALM,
        nonce_key=bytes(32),
        listeners=(listener,),
        relay_ipv4=RELAY_HOST,
        relay_ipv6=RELAY_HOST6,
        # Little enough to be met, by data that is sent while no time passes.
        bandwidth_per_user=100,
        # Some of the ports that the system chooses for the peers there.
        denied_peers=(PeerRange(ipaddress.ip_network("127.0.0.2/32"), PortRange(0, 46_000)),),
        allowed_peers=tuple(ipaddress.ip_network(network) for network in ALLOWED),
    )


def random_bytes(seed: int) -> Callable[[int], bytes]:
    """Alike for both machines, though only one draws transaction ids: those are all zero."""
    source = Random(seed)

    def draw(count: int) -> bytes:
        return bytes(count) if count == TRANSACTION_ID_LENGTH else source.randbytes(count)

    return draw


class RelayPorts:
    """Opens each relay socket once for both servers, so that a port in use is so for both."""

    def __init__(self) -> None:
        self._first: dict[Address, socket.socket | None] = {}

    def open(self, local: Address) -> socket.socket | None:
        """The socket on ``local``, or None when the port is in use; the second to ask keeps it."""
        if local in self._first:
            return self._first.pop(local)
        sock = socket.socket(local.family.socket_family, socket.SOCK_DGRAM)
        try:
            sock.bind(local)
        except OSError:
            sock.close()
            self._first[local] = None
        else:
            self._first[local] = sock
        return self._first[local]

    def close(self) -> None:
        """Close what only one server asked for."""
        for sock in self._first.values():
            if sock is not None:
                sock.close()


class _Machine:
    """A server machine, and a drain that answers its requests at once."""

    def __init__(self, listener: Address, seed: int, ports: RelayPorts) -> None:
        self._ports = ports
        self.server = Server(settings(listener), random=random_bytes(seed), unix_offset=1e9)

    def drain(self, now: float, send: Callable[[Sent], None]) -> None:
        while True:
            for transmit in self.server.transmits():
                path = transmit.path
                send(Sent(path.transport, path.local, path.remote, transmit.data))
            event = self.server.next_event()
            if event is None:
                return
            match event:
                case OpenSocket():
                    sock = self._ports.open(event.local)
                    if sock is None:
                        failure = Failure("in use", address_in_use=True)
                        self.server.answer(event.request_id, failure, now)
                    else:
                        self.opened(event.local, sock)
                        self.server.answer(event.request_id, event.local, now)
                case FindCredential():
                    self.server.answer(event.request_id, CREDENTIAL, now)
                case _:
                    self.happened(event)

    def opened(self, local: Address, sock: socket.socket) -> None:
        """A relay socket is there."""

    def happened(self, event: ServerEvent) -> None:
        """What else the machine tells."""


class MachineAlone(_Machine):
    """The machine relays by itself; what it sends to a relayed address comes back to it."""

    def __init__(self, listener: Address, seed: int, ports: RelayPorts) -> None:
        super().__init__(listener, seed, ports)
        self.sent: list[Sent] = []
        self.relayed: set[Address] = set()

    def happened(self, event: ServerEvent) -> None:
        match event:
            case AllocationOpened():
                self.relayed.update(event.relayed_addresses)
            case CloseSocket():
                self.relayed.discard(event.local)
            case _:
                pass

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """Take one input, and whatever follows from it inside the server."""
        arriving = [(data, path)]
        while arriving:
            data, path = arriving.pop(0)
            self.server.receive(data, path, now)
            before = len(self.sent)
            self.drain(now, self.sent.append)
            arriving += [
                (each.data, Path(Transport.UDP, each.remote, each.local))
                for each in self.sent[before:]
                if each.transport is Transport.UDP and each.remote in self.relayed
            ]

    def handle_timer(self, now: float) -> None:
        """Time has passed."""
        self.server.handle_timer(now)
        self.drain(now, self.sent.append)


class MachineBehindPlane(_Machine):
    """The plane has the sockets, and the machine what the plane leaves to it."""

    def __init__(
        self, listener: socket.socket, seed: int, ports: RelayPorts, *, portable: bool
    ) -> None:
        super().__init__(address_of(listener), seed, ports)
        self.now = 0.0
        self.written: list[Sent] = []
        self.by_machine = Counter[str]()
        self.reactor = HandReactor()
        self.plane = UserspacePlane(
            self.reactor, self._unhandled, random=bytes, clock=lambda: self.now, portable=portable
        )
        self.plane.listen(listener, BindingPolicy())
        self._held: dict[Address, socket.socket] = {}
        self._relayed: set[Address] = set()

    def opened(self, local: Address, sock: socket.socket) -> None:
        self._held[local] = sock

    def happened(self, event: ServerEvent) -> None:
        plane = self.plane
        match event:
            case AllocationOpened(allocation, client, relayed, _, until):
                write = None if client.transport is Transport.UDP else self._writer(client)
                plane.open(allocation, client, self._held.pop(relayed), until, write)
                if event.second is not None:
                    plane.open_second(allocation, self._held.pop(event.second), until)
                self._relayed.update(event.relayed_addresses)
                plane.limit(allocation, self.server.rates(allocation))
            case AllocationRefreshed(allocation, until, family):
                plane.extend(allocation, until, family)
            case AllocationClosed(allocation):
                plane.close(allocation)
            case RelayedAddressClosed(allocation, relayed):
                plane.close_one(allocation, relayed)
            case PermissionInstalled(allocation, host, until, only_relayed, ports):
                plane.permit(allocation, host, until, only_relayed=only_relayed, ports=ports)
            case ChannelBound(allocation, channel, peer, until, only_relayed):
                plane.bind_channel(allocation, channel, peer, until, only_relayed=only_relayed)
            case CloseSocket(local) if local in self._held:
                self._held.pop(local).close()
            case CloseSocket(local):
                self._relayed.discard(local)
            case _:
                pass

    def receive_stream(self, data: bytes, path: Path) -> None:
        """A message of a client's stream: the plane's first."""
        if not self.plane.relay_from(path, data, self.now):
            self._unhandled(data, path, self.now)
        self.turn()

    def turn(self) -> None:
        """Let the plane treat what waits."""
        self.reactor.turn()

    def handle_timer(self, now: float) -> None:
        """Time has passed."""
        self.now = now
        self.server.handle_timer(now)
        self.drain(now, self._send)

    def close(self) -> None:
        """Close every socket."""
        self.plane.stop()
        self.reactor.close()
        for sock in self._held.values():
            sock.close()

    def _unhandled(self, data: bytes, path: Path, now: float) -> None:
        self.server.receive(data, path, now)
        self.drain(now, self._send)

    def _send(self, sent: Sent) -> None:
        if sent.transport is not Transport.UDP:
            self.written.append(sent)
            return
        if sent.local in self._relayed:
            self.by_machine["packets"] += 1
            self.by_machine["bytes"] += len(sent.data)
        assert self.plane.send(sent.data, Path(sent.transport, sent.local, sent.remote))

    def _writer(self, client: Path) -> Callable[[bytes], None]:
        template = Sent(client.transport, client.local, client.remote, b"")
        return lambda data: self.written.append(replace(template, data=data))
