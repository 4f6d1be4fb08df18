"""Our TURN client and our server in a simulated network: one relay, callers, and their peers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Final

from natkit.address import Address, Family
from natkit.errors import MalformedMessage
from natkit.machine import Path, Transport
from natkit.stun.credentials import long_term_key, user_hash
from natkit.stun.framing import StunFraming
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, PasswordAlgorithmNumber
from natkit.turn.allocation import Allocation, AllocationState
from natkit.turn.events import Allocated, AllocateFailed, DataReceived, TurnEvent
from stun_server.authentication import Credential
from stun_server.events import FindCredential, ServerEvent
from stun_server.service import Server, ServerResult
from stun_server.settings import Settings
from tests.simnet import Conditions, Host, Network, Packet, Router, Shell

REALM: Final = "example.org"
USERNAME: Final = "alice"
PASSWORD: Final = "correct horse"
UNIX_OFFSET: Final = 1_700_000_000.0

SERVER_HOSTS: Final = ("203.0.113.10", "2001:db8::10")
PEER_HOSTS: Final = ("203.0.113.20", "2001:db8::20")

# The simulated internet uses documentation addresses, which the default policy refuses as peers.
INTERNET: Final = (
    ip_network("192.0.2.0/24"),
    ip_network("198.51.100.0/24"),
    ip_network("203.0.113.0/24"),
    ip_network("2001:db8::/32"),
)

SETTINGS: Final = Settings(
    realm=REALM,
    nonce_key=bytes(range(32)),
    listeners=tuple(Address(host, 3478) for host in SERVER_HOSTS),
    allowed_peers=INTERNET,
)

CREDENTIAL: Final = Credential(
    USERNAME,
    long_term_key(USERNAME, REALM, PASSWORD, PasswordAlgorithmNumber.MD5),
    long_term_key(USERNAME, REALM, PASSWORD, PasswordAlgorithmNumber.SHA_256),
)


class Relay:
    """The server, on a host of its own, with one user."""

    def __init__(
        self,
        network: Network,
        *,
        settings: Settings = SETTINGS,
        link: Conditions | None = None,
        lateness: float = 0.0,
    ) -> None:
        self.network = network
        self.settings = settings
        self.host = network.host("server", *SERVER_HOSTS, link=link)
        self.lives = 0
        self._lateness = lateness
        self.start()

    def start(self) -> None:
        """A server without memory, but for the nonce key in its settings."""
        self.lives += 1
        self.machine = Server(
            self.settings,
            random=self.network.random_bytes(f"server {self.lives}"),
            unix_offset=UNIX_OFFSET,
        )
        self.shell: Shell[ServerEvent, ServerResult] = Shell(
            self.host,
            self.machine,
            on_event=self._answer,
            framing=StunFraming,
            lateness=self._lateness,
        )
        for listener in self.settings.listeners:
            self.shell.bind(listener)
            self.shell.listen(listener)

    def restart(self, settings: Settings | None = None) -> None:
        """Kill it and start it again."""
        self.shell.stop()
        self.settings = settings or self.settings
        self.start()

    def address(self, family: Family = Family.IPV4) -> Address:
        """Where callers reach it."""
        return self.host.address(3478, family)

    def seen_as(self, relayed: Address) -> Path | None:
        """The 5-tuple of the client that owns a relayed address, if anybody does."""
        allocation = self.machine.allocations.of_relayed(relayed)
        return None if allocation is None else allocation.client

    @property
    def relayed(self) -> tuple[Address, ...]:
        """The relayed addresses that are open."""
        return tuple(local for local in self.host.sockets if local not in self.settings.listeners)

    def _answer(self, event: ServerEvent) -> None:
        if isinstance(event, FindCredential):
            known = event.username == USERNAME or event.userhash == user_hash(USERNAME, REALM)
            self.shell.answer(event.request_id, CREDENTIAL if known else None)


class Caller:
    """A client with one allocation at the relay."""

    def __init__(
        self,
        relay: Relay,
        host: Host,
        *,
        transport: Transport = Transport.UDP,
        family: Family = Family.IPV4,
        relayed: Family | None = None,
        mobile: bool = False,
        lateness: float = 0.0,
    ) -> None:
        self.relay = relay
        self.network = relay.network
        self.host = host
        self.allocation = Allocation(
            relay.address(family),
            transport,
            username=USERNAME,
            password=PASSWORD,
            random=self.network.random_bytes(f"client {host.name}"),
            family=relayed,
            mobile=mobile,
        )
        self.shell: Shell[TurnEvent, Address | Path] = Shell(
            host, self.allocation, framing=StunFraming, lateness=lateness
        )

    @property
    def events(self) -> list[TurnEvent]:
        """What the allocation has told and nobody has taken."""
        return self.shell.events

    @property
    def is_alive(self) -> bool:
        """Whether the client believes in its allocation."""
        return self.allocation.state is AllocationState.ALLOCATED

    @property
    def relayed(self) -> Address:
        """Where peers reach it."""
        assert self.allocation.relayed is not None
        return self.allocation.relayed

    def until(self, happened: Callable[[], bool], limit: float = 120.0) -> None:
        """Let time pass until something has happened."""
        self.network.run_until(happened, limit)

    def allocate(self) -> Allocated:
        """One attempt that succeeds."""
        self.shell.call(self.allocation.allocate)
        self.until(lambda: any(isinstance(e, Allocated | AllocateFailed) for e in self.events))
        [allocated] = self.shell.take(Allocated)
        return allocated

    def permit(self, *peers: Address) -> None:
        """Ask for permissions."""
        self.shell.call(lambda now: self.allocation.permit(peers, now))

    def bind_channel(self, peer: Address) -> None:
        """Ask for a channel."""
        self.shell.call(lambda now: self.allocation.bind_channel(peer, now))

    def send(self, data: bytes, peer: Address) -> None:
        """Send through the relay."""
        self.shell.call(lambda now: self.allocation.send(data, peer, now))

    def move(self) -> None:
        """Speak from another socket or stream."""
        self.shell.call(self.allocation.move)

    def close(self) -> None:
        """Delete the allocation."""
        self.shell.call(self.allocation.close)

    def received(self) -> list[tuple[bytes, Address]]:
        """Take the data that came."""
        return [(event.data, event.peer) for event in self.shell.take(DataReceived)]

    def agrees_with_relay(self) -> bool:
        """Whether both ends hold the same allocation, or neither holds any of this client's."""
        if not self.is_alive:
            return self.relay.relayed == ()
        return self.relay.relayed == (self.relayed,)


def network_of(seed: int) -> Network:
    """A network whose trace reads STUN."""
    network = Network(seed)
    network.trace.describe = _describe
    return network


def caller_on(
    relay: Relay,
    *,
    link: Conditions | None = None,
    behind: Router | None = None,
    transport: Transport = Transport.UDP,
    family: Family = Family.IPV4,
    relayed: Family | None = None,
    mobile: bool = False,
) -> Caller:
    """A caller on a host of its own."""
    addresses = ("192.0.2.1", "2001:db8::1") if behind is None else ("192.168.1.2",)
    host = relay.network.host("client", *addresses, behind=behind, link=link)
    return Caller(relay, host, transport=transport, family=family, relayed=relayed, mobile=mobile)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One transaction of a client as its host saw it: when it was sent, whether it was answered."""

    method: int
    transaction_id: bytes
    authenticated: bool
    sent: tuple[float, ...]
    answered: bool


def exchanges(network: Network, host: str) -> list[Exchange]:
    """The transactions that ``host`` began, in order, read from the trace.

    A request that changed between its transmissions is an AssertionError (RFC 8489 §6.2.1).
    """
    found: dict[bytes, Exchange] = {}
    requests: dict[bytes, bytes] = {}
    for record in network.trace.records:
        if record.place != host or not isinstance(record.subject, Packet):
            continue
        data = record.subject.payload
        if not isinstance(data, bytes) or (message := parsed(data)) is None:
            continue
        key = message.transaction_id
        if record.what == "sent" and message.message_class is MessageClass.REQUEST:
            assert requests.setdefault(key, data) == data, "a retransmission differs"
            known = found.get(key) or Exchange(
                message.method, key, message.sha256_text() is not None, (), answered=False
            )
            found[key] = replace(known, sent=(*known.sent, record.time))
        elif record.what == "received" and key in found:
            found[key] = replace(found[key], answered=True)
    return list(found.values())


def parsed(data: bytes) -> Message | None:
    """The STUN message in a datagram, if it is one."""
    try:
        return Message.parse(data)
    except MalformedMessage:
        return None


def _describe(subject: object) -> str:
    if isinstance(subject, Packet) and isinstance(subject.payload, bytes):
        message = parsed(subject.payload)
        if message is not None:
            return (
                f"{subject.source} → {subject.destination} method {message.method} "
                f"{message.message_class.name} {message.transaction_id.hex()}"
            )
    return str(subject)
