"""A gatherer on a host of a simulated network, and the servers that it asks."""

from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Final, TypeVar

from natkit.address import Address
from natkit.gather import (
    ConnectServer,
    Gathered,
    Gatherer,
    GatherEvent,
    GatheringEnded,
    GatherResult,
    GatherSettings,
    HostAddress,
    ListenForPeers,
    Locate,
    RouteToGateway,
    ServerFailed,
    Slot,
    StopListening,
)
from natkit.ice.candidate import CandidateType, LocalCandidate
from natkit.locate import Target
from natkit.machine import Connect, Failure, Transport
from natkit.portmap.upnp import Exchange
from natkit.stun.credentials import long_term_key, user_hash
from natkit.stun.framing import StunFraming
from natkit.stun.registry import PasswordAlgorithmNumber
from stun_server.authentication import Credential
from stun_server.events import FindCredential, ServerEvent
from stun_server.service import Server, ServerResult
from stun_server.settings import Settings
from tests.simnet import Host, Network, Shell

REALM: Final = "example.org"
USERNAME: Final = "alice"
PASSWORD: Final = "correct horse"

INTERNET: Final = (
    ip_network("192.0.2.0/24"),
    ip_network("198.51.100.0/24"),
    ip_network("203.0.113.0/24"),
    ip_network("2001:db8::/32"),
)

SETTINGS: Final = Settings(
    realm=REALM, nonce_key=bytes(range(32)), listeners=(), allowed_peers=INTERNET
)

CREDENTIAL: Final = Credential(
    USERNAME,
    long_term_key(USERNAME, REALM, PASSWORD, PasswordAlgorithmNumber.MD5),
    long_term_key(USERNAME, REALM, PASSWORD, PasswordAlgorithmNumber.SHA_256),
)

T = TypeVar("T")


class RelayServer:
    """Our STUN and TURN server on a host of its own, over UDP and TCP at port 3478."""

    def __init__(
        self, network: Network, name: str, *hosts: str, settings: Settings = SETTINGS
    ) -> None:
        self.host = network.host(name, *hosts)
        listeners = tuple(Address(host, 3478) for host in hosts)
        self.machine = Server(
            replace(settings, listeners=listeners),
            random=network.random_bytes(f"server {name}"),
            unix_offset=1_700_000_000.0,
        )
        self.shell: Shell[ServerEvent, ServerResult] = Shell(
            self.host, self.machine, on_event=self._answer, framing=StunFraming
        )
        for listener in listeners:
            self.shell.bind(listener)
            self.shell.listen(listener)

    @property
    def allocations(self) -> int:
        """How many live."""
        return len(self.machine.allocations)

    def _answer(self, event: ServerEvent) -> None:
        if isinstance(event, FindCredential):
            known = event.username == USERNAME or event.userhash == user_hash(USERNAME, REALM)
            self.shell.answer(event.request_id, CREDENTIAL if known else None)


@dataclass
class Gathering:
    """A gatherer that runs on ``host``; ``names`` is its DNS, by URI."""

    network: Network
    host: Host
    settings: GatherSettings
    names: dict[str, tuple[Target, ...] | Failure] = field(default_factory=dict)
    slots: tuple[Slot, ...] = (Slot(0, 1),)
    addresses: tuple[HostAddress, ...] | None = None
    routes: tuple[RouteToGateway, ...] = ()

    def __post_init__(self) -> None:
        self.gatherer = Gatherer(
            self.settings, random=self.network.random_bytes(f"gatherer {self.host.name}")
        )
        self.shell: Shell[GatherEvent, GatherResult] = Shell(
            self.host, self.gatherer, on_event=self._on_event, framing=StunFraming
        )
        self.exchanges: list[Exchange] = []
        self._connecting: dict[int, int] = {}

    def start(self) -> None:
        """Begin."""
        addresses = self.addresses
        if addresses is None:
            addresses = tuple(
                HostAddress(interface="eth0", host=host, is_default=True)
                for host in self.host.addresses
            )
        self.shell.call(lambda now: self.gatherer.gather(self.slots, addresses, now, self.routes))

    def run(self, limit: float = 60.0) -> None:
        """Begin, and wait for the end."""
        self.start()
        self.network.run_until(lambda: self.gatherer.has_ended, limit=limit)

    def told(self, kind: type[T]) -> list[T]:
        """The events of ``kind`` so far."""
        return [event for event in self.shell.events if isinstance(event, kind)]

    @property
    def candidates(self) -> list[LocalCandidate]:
        """What was gathered."""
        return [event.candidate for event in self.told(Gathered)]

    def of_type(self, kind: CandidateType) -> list[LocalCandidate]:
        """Those of one type."""
        return [each for each in self.candidates if each.type is kind]

    @property
    def failures(self) -> dict[str, str]:
        """The last error of each server, by its URI or interface."""
        return {event.source.name: str(event.error) for event in self.told(ServerFailed)}

    @property
    def duration(self) -> float:
        """Seconds until the end."""
        (ended,) = self.told(GatheringEnded)
        return ended.elapsed

    def _on_event(self, event: GatherEvent) -> None:
        match event:
            case Locate(request_id, uri):
                found = self.names.get(uri)
                if found is not None:
                    self.shell.answer(request_id, found)
            case ConnectServer(request_id, local, target):
                # The simulation has no TLS: what it carries is the same.
                connect = Connect(request_id, target.transport, local, target.address)
                self.shell.connect(connect)
            case ListenForPeers(request_id, local):
                self.shell.answer(request_id, self.shell.listen(local))
            case StopListening(local):
                self.host.stop_listening(local)
            case Exchange():
                self.exchanges.append(event)
            case _:
                pass


def target(text: str, name: str = "turn.example.org") -> Target:
    """A server that the DNS leads to: ``udp 203.0.113.1:3478``."""
    transport, _, address = text.partition(" ")
    return Target(Transport(transport), Address.parse(address), name, name)
