"""Two ICE agents in a simulated network, with a STUN server, a relay, and signalling between them.

The relay is a bare forwarder with a protocol of its own and TURN's permissions; the agents see of
it what they see of a TURN allocation: an address that things come to and go from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from natkit.address import Address
from natkit.ice.agent import Agent
from natkit.ice.candidate import Candidate, CandidateType, LocalCandidate, TcpType
from natkit.ice.events import (
    DataReceived,
    IceEvent,
    IceResult,
    IceState,
    PairSelected,
    Restarted,
    RestartNeeded,
    StreamId,
)
from natkit.ice.framing import PacketFraming
from natkit.ice.pacing import Pacer
from natkit.ice.priority import local_preferences
from natkit.ice.settings import IceSettings
from natkit.keepalive import FlowSilent, FlowWatch
from natkit.machine import Failure, Path, RequestId, Transmit, Transport
from natkit.stun.attributes import XorMappedAddress
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method
from tests.simnet import Conditions, Host, NatBehaviour, Network, Router, Shell

STUN_HOST: Final = "203.0.113.5"
RELAY_HOST: Final = "203.0.113.6"
STUN_PORT: Final = 3478
RETRY: Final = 0.5

ALLOCATE: Final = b"\x51"
ALLOCATED: Final = b"\x52"
CARRIED: Final = b"\x50"


def packed(address: Address) -> bytes:
    return address.packed + address.port.to_bytes(2, "big")


def unpacked(data: bytes) -> Address:
    return Address.from_packed(data[:4], int.from_bytes(data[4:6], "big"))


class Relay:
    """A forwarder: one relayed address for each client address, permissions by the peer's host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.control = host.bind(host.address(STUN_PORT), self)
        self._relayed: dict[Address, Address] = {}
        self._clients: dict[Address, Address] = {}
        self._permitted: set[tuple[Address, str]] = set()

    def datagram(self, data: bytes, local: Address, remote: Address) -> None:
        if local != self.control:
            if (local, remote.host) in self._permitted:
                self._send(CARRIED + packed(remote) + data, self.control, self._clients[local])
        elif data == ALLOCATE:
            if remote not in self._relayed:
                relayed = self.host.bind(self.host.address(0), self)
                self._relayed[remote] = relayed
                self._clients[relayed] = remote
            self._send(ALLOCATED + packed(self._relayed[remote]), self.control, remote)
        elif data[:1] == CARRIED and remote in self._relayed:
            peer = unpacked(data[1:7])
            relayed = self._relayed[remote]
            self._permitted.add((relayed, peer.host))
            if peer.host == self.host.addresses[0] and peer in self._relayed.values():
                # Two allocations of one relay reach each other without the network.
                self.host.simulation.after(0.0, lambda: self.datagram(data[7:], peer, relayed))
            else:
                self._send(data[7:], relayed, peer)

    def _send(self, data: bytes, local: Address, remote: Address) -> None:
        self.host.send_datagram(data, local, remote)


@dataclass(slots=True)
class Gathered:
    """What one base still waits for."""

    base: Address
    component: int
    transaction_id: bytes
    reflexive: bool = False
    relayed: Address | None = None


class Gatherer:
    """An agent with its candidates gathered; a machine around a machine."""

    def __init__(
        self, agent: Agent, *, stun: Address | None = None, relay: Address | None = None
    ) -> None:
        self.agent = agent
        self.stun = stun
        self.relay = relay
        self.told: list[Candidate] = []
        self.pending: list[tuple[StreamId, Gathered]] = []
        self._by_relayed: dict[Address, Address] = {}
        self._transmits: list[Transmit] = []
        self._retry_at: float | None = None
        self._attempts = 0
        self._ended: set[StreamId] = set()

    def gather(self, stream: StreamId, bases: Sequence[tuple[int, Address]], now: float) -> None:
        """Begin: host candidates are there at once, the others come."""
        preferences = local_preferences([base for _, base in bases])
        for component, base in bases:
            self._add(
                stream,
                LocalCandidate(
                    component=component,
                    type=CandidateType.HOST,
                    address=base,
                    base=base,
                    local_preference=preferences[base.host],
                ),
                now,
            )
            if base.host.count(".") == 3 and (self.stun or self.relay):
                identity = len(self.pending).to_bytes(12, "big")
                self.pending.append((stream, Gathered(base, component, identity)))
        self._ask(now)

    def add(self, stream: StreamId, candidate: LocalCandidate, now: float) -> None:
        """A candidate of another kind."""
        self._add(stream, candidate, now)

    def _add(self, stream: StreamId, candidate: LocalCandidate, now: float) -> None:
        told = self.agent.add_local_candidate(stream, candidate, now)
        if told is not None:
            self.told.append(told)

    def _ask(self, now: float) -> None:
        waiting = False
        for _, each in self.pending:
            if self.stun is not None and not each.reflexive:
                waiting = True
                request = Message.request(Method.BINDING, each.transaction_id)
                self._transmits.append(
                    Transmit(request.encode(), Path(Transport.UDP, each.base, self.stun))
                )
            if self.relay is not None and each.relayed is None:
                waiting = True
                self._transmits.append(
                    Transmit(ALLOCATE, Path(Transport.UDP, each.base, self.relay))
                )
        self._attempts += 1
        if not waiting or self._attempts > 12:
            self._retry_at = None
            for stream in range(len({stream for stream, _ in self.pending}) or 1):
                if stream not in self._ended:
                    self._ended.add(stream)
                    self.agent.end_of_local_candidates(stream, now)
        else:
            self._retry_at = now + RETRY

    def gather_again(self, now: float) -> None:
        """The NAT forgot everything: ask for new addresses of the same sockets."""
        for stream, each in self.pending:
            each.reflexive = False
            if each.relayed is not None:
                self._by_relayed.pop(each.relayed, None)
                self.agent.remove_base(stream, each.relayed, now)
            each.relayed = None
        self._attempts = 0
        self._ended.clear()
        self._ask(now)

    @property
    def is_done(self) -> bool:
        return bool(self._ended)

    def receive(self, data: bytes, path: Path, now: float) -> None:
        if path.remote == self.stun:
            self._reflexive(data, path, now)
        elif path.remote == self.relay:
            self._from_relay(data, path, now)
        else:
            self.agent.receive(data, path, now)

    def _reflexive(self, data: bytes, path: Path, now: float) -> None:
        message = Message.parse(data)
        if message.message_class is not MessageClass.SUCCESS_RESPONSE:
            return
        mapped = message.get(XorMappedAddress)
        assert mapped is not None
        for stream, each in self.pending:
            if each.transaction_id == message.transaction_id and not each.reflexive:
                each.reflexive = True
                self._add(
                    stream,
                    LocalCandidate(
                        component=each.component,
                        type=CandidateType.SERVER_REFLEXIVE,
                        address=mapped.address,
                        base=path.local,
                        server=self.stun,
                    ),
                    now,
                )
                self._check_end(now)

    def _from_relay(self, data: bytes, path: Path, now: float) -> None:
        for stream, each in self.pending:
            if each.base != path.local:
                continue
            if data[:1] == ALLOCATED and each.relayed is None:
                each.relayed = unpacked(data[1:7])
                self._by_relayed[each.relayed] = each.base
                self._add(
                    stream,
                    LocalCandidate(
                        component=each.component,
                        type=CandidateType.RELAYED,
                        address=each.relayed,
                        base=each.relayed,
                        server=self.relay,
                    ),
                    now,
                )
                self._check_end(now)
            elif data[:1] == CARRIED and each.relayed is not None:
                peer = unpacked(data[1:7])
                self.agent.receive(data[7:], Path(Transport.UDP, each.relayed, peer), now)

    def _check_end(self, now: float) -> None:
        if all(
            (self.stun is None or each.reflexive) and (self.relay is None or each.relayed)
            for _, each in self.pending
        ):
            self._attempts = 99
            self._ask(now)

    def disconnected(self, path: Path, now: float) -> None:
        self.agent.disconnected(path, now)

    def answer(self, request_id: RequestId, result: IceResult | Failure, now: float) -> None:
        self.agent.answer(request_id, result, now)

    def handle_timer(self, now: float) -> None:
        if self._retry_at is not None and now >= self._retry_at:
            self._ask(now)
        self.agent.handle_timer(now)

    def next_deadline(self) -> float | None:
        deadlines = [each for each in (self._retry_at, self.agent.next_deadline()) if each]
        return min(deadlines, default=None)

    def transmits(self) -> Sequence[Transmit]:
        taken, self._transmits = self._transmits, []
        for transmit in self.agent.transmits():
            base = self._by_relayed.get(transmit.path.local)
            if base is not None and self.relay is not None:
                data = CARRIED + packed(transmit.path.remote) + transmit.data
                taken.append(Transmit(data, Path(Transport.UDP, base, self.relay)))
            else:
                taken.append(transmit)
        return taken

    def next_event(self) -> IceEvent | None:
        return self.agent.next_event()


@dataclass
class Signalling:
    """How descriptions and candidates travel: reliably, within these seconds, perhaps twice."""

    delay: float = 0.05
    jitter: float = 0.0
    twice: bool = False


@dataclass
class Peer:
    """One side: its host, its agent, and what it has told the other side."""

    name: str
    network: Network
    host: Host
    gatherer: Gatherer
    signalling: Signalling
    components: int = 1
    streams: int = 1
    other: "Peer | None" = None
    shell: Shell[IceEvent, IceResult] = field(init=False)
    received: list[bytes] = field(default_factory=list)
    selections: dict[tuple[int, int], Path] = field(default_factory=dict)
    restarts_on_loss: bool = False
    hosts_udp: bool = True
    tcp_type: TcpType | None = None
    _described_at: float = 0.0
    _told: int = 0
    _ended: bool = False

    def __post_init__(self) -> None:
        self.shell = Shell(self.host, self.gatherer, on_event=self._on_event, framing=PacketFraming)
        self._random = self.network.random(f"signalling {self.name}")

    @property
    def agent(self) -> Agent:
        return self.gatherer.agent

    def start(self) -> None:
        """Open sockets, gather, and trickle."""
        for _ in range(self.streams):
            stream = self.agent.add_stream(self.components)
            bases = [
                (component, self.shell.bind(Address(host, 0)))
                for component in range(1, self.components + 1)
                for host in self.host.addresses
                if self.hosts_udp
            ]
            self.shell.call(partial(self.gatherer.gather, stream, bases))
            if self.tcp_type is not None:
                self._add_tcp(stream, self.tcp_type)
        self.describe()
        self._poll()

    def _add_tcp(self, stream: StreamId, tcp_type: TcpType) -> None:
        base = Address(self.host.addresses[0], 0)
        if tcp_type is TcpType.PASSIVE:
            base = self.shell.listen(base)
        candidate = LocalCandidate(
            component=1,
            type=CandidateType.HOST,
            address=base,
            base=base,
            transport=Transport.TCP,
            tcp_type=tcp_type,
        )
        self.shell.call(partial(self.gatherer.add, stream, candidate))

    def describe(self) -> None:
        """Tell the other side the parameters, and all candidates so far."""
        parameters = self.agent.local_parameters
        # Descriptions overtake candidates, but not each other: offers and answers are in order.
        delay = self.signalling.delay + self._random.random() * self.signalling.jitter
        self._described_at = max(self._described_at, self.network.now + delay)
        for stream in range(self.streams):
            setting = partial(self.theirs.set_remote_parameters, stream, parameters)
            for _ in range(2 if self.signalling.twice else 1):
                self.network.at(self._described_at, partial(self._call_other, setting))

    @property
    def theirs(self) -> Agent:
        assert self.other is not None
        return self.other.agent

    def tell(self, stream: StreamId, candidate: Candidate) -> None:
        """Trickle one candidate."""
        self._signal(partial(self.theirs.add_remote_candidate, stream, candidate))

    def restart(self) -> None:
        self.shell.call(self.agent.restart)

    def send(self, data: bytes, component: int = 1, stream: int = 0) -> bool:
        return self.shell.call(lambda now: self.agent.send(stream, component, data, now))

    def _poll(self) -> None:
        """Trickle what was gathered since."""
        told = self.gatherer.told
        while self._told < len(told):
            candidate = told[self._told]
            self._told += 1
            fragment = self.agent.local_parameters.username_fragment
            stream = 0
            if self.streams > 1:
                stream = self._stream_of(candidate)
            self.tell(stream, replace(candidate, username_fragment=fragment))
        if self.gatherer.is_done and not self._ended:
            self._ended = True
            self._end()
        if self.shell.running and not self._ended:
            self.network.after(0.02, self._poll)

    def poll_again(self) -> None:
        """Candidates are being gathered anew."""
        self._ended = False
        self._poll()

    def _stream_of(self, candidate: Candidate) -> int:
        for stream in range(self.streams):
            if candidate in self.agent.local_candidates(stream):
                return stream
        return 0

    def _end(self) -> None:
        last = self.signalling.delay + self.signalling.jitter + 0.001
        for stream in range(self.streams):
            end = partial(self.theirs.end_of_remote_candidates, stream)
            self.network.after(last, partial(self._call_other, end))

    def _signal(self, action: Callable[[float], None]) -> None:
        times = 2 if self.signalling.twice else 1
        for _ in range(times):
            delay = self.signalling.delay + self._random.random() * self.signalling.jitter
            self.network.after(delay, lambda: self._call_other(action))

    def _call_other(self, action: Callable[[float], None]) -> None:
        assert self.other is not None
        if self.other.shell.running:
            self.other.shell.call(action)

    def _on_event(self, event: IceEvent) -> None:
        match event:
            case DataReceived(_, _, data):
                self.received.append(data)
            case PairSelected(stream, component, pair):
                self.selections[stream, component] = pair.path
            case Restarted():
                self.describe()
                for stream in range(self.streams):
                    for candidate in self.agent.local_candidates(stream):
                        self.tell(stream, candidate)
                if self._ended:
                    self._end()
            case RestartNeeded() if self.restarts_on_loss:
                self.network.after(0.0, self.restart)
            case _:
                pass

    @property
    def is_completed(self) -> bool:
        return self.agent.state is IceState.COMPLETED


class World:
    """A network with a STUN server and a relay on the internet."""

    def __init__(self, seed: int) -> None:
        self.network = Network(seed)
        self.network.trace.describe = describe
        self.pacer = Pacer()
        stun_host = self.network.host("stun", STUN_HOST)
        self.stun: Shell[FlowSilent, object] = Shell(stun_host, FlowWatch())
        self.stun.bind(stun_host.address(STUN_PORT))
        self.relay = Relay(self.network.host("relay", RELAY_HOST))

    def nat(self, name: str, address: str, behaviour: NatBehaviour) -> Router:
        return self.network.nat(name, address, behaviour=behaviour)

    def peer(
        self,
        name: str,
        *addresses: str,
        settings: IceSettings | None = None,
        behind: Router | None = None,
        link: Conditions | None = None,
        stun: bool = True,
        relay: bool = False,
        components: int = 1,
        streams: int = 1,
        signalling: Signalling | None = None,
    ) -> Peer:
        host = self.network.host(name, *addresses, behind=behind, link=link)
        agent = Agent(settings, random=self.network.random_bytes(f"agent {name}"), pacer=Pacer())
        gatherer = Gatherer(
            agent,
            stun=Address(STUN_HOST, STUN_PORT) if stun else None,
            relay=Address(RELAY_HOST, STUN_PORT) if relay else None,
        )
        return Peer(
            name,
            self.network,
            host,
            gatherer,
            signalling or Signalling(),
            components,
            streams,
        )

    def meet(self, left: Peer, right: Peer) -> None:
        """Both begin, each as the other's peer."""
        left.other, right.other = right, left
        left.start()
        right.start()

    def until_completed(self, left: Peer, right: Peer, limit: float = 60.0) -> None:
        self.network.run_until(lambda: left.is_completed and right.is_completed, limit)

    def data_agrees(self, left: Peer, right: Peer, component: int = 1, stream: int = 0) -> bool:
        """Whether what each sends comes to the other by the pair that the other selected."""
        return self._arrives(left, right, component, stream) and self._arrives(
            right, left, component, stream
        )

    def _arrives(self, sender: Peer, receiver: Peer, component: int, stream: int) -> bool:
        before = _received(receiver, stream, component)
        for number in range(20):
            sender.send(b"probe %d" % number, component, stream)
            self.network.run_for(0.05)
            if _received(receiver, stream, component) > before:
                return True
        self.network.run_for(2.0)
        return _received(receiver, stream, component) > before


def _received(peer: Peer, stream: int, component: int) -> int:
    """Packets that came by the selected pair."""
    return sum(
        each.packets_received
        for each in peer.agent.statistics().pairs
        if (each.stream, each.component) == (stream, component) and each.nominated
    )


def describe(subject: object) -> str:
    """Packets of the trace with what they say in STUN."""
    payload = getattr(subject, "payload", None)
    if isinstance(payload, bytes):
        data = payload[7:] if payload[:1] == CARRIED else payload
        try:
            message = Message.parse(data)
        except ValueError:
            return str(subject)
        names = ",".join(type(each).__name__ for each in message.attributes[:5])
        source = getattr(subject, "source", None)
        destination = getattr(subject, "destination", None)
        identity = message.transaction_id.hex()[:6]
        via = "(relay) " if data is not payload else ""
        return f"{via}{source} → {destination} {message.message_class.name} {identity} {names}"
    return str(subject)
