"""Gathers candidates from everything there is: a machine (:mod:`natkit.machine`).

::

    gatherer = Gatherer(settings, random=os.urandom)
    gatherer.gather([Slot(0, 1)], addresses, routes, now)    # Gathered and ServerFailed follow,
    ...                                                      # and GatheringEnded, once

Each candidate is told the moment it is known; a server that is silent holds nobody up, and what
is silent at ``settings.limit`` counts as failed.  Allocations and mappings are kept until they are
released or the gatherer is closed, and data to and from relayed addresses passes through it.
"""

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from functools import partial
from typing import Final, assert_never

from natkit.address import Address
from natkit.errors import (
    LocateError,
    MalformedMessage,
    MisuseError,
    NatkitError,
    TransactionTimeout,
)
from natkit.gather.desk import Desk
from natkit.gather.events import (
    CandidateRedundant,
    GatherClosed,
    Gathered,
    GatherEvent,
    GatheringEnded,
    GatherResult,
    Locate,
    Method,
    ServerFailed,
    Slot,
    Source,
)
from natkit.gather.findings import Findings, can_be_told
from natkit.gather.host import preferences, usable
from natkit.gather.mapped import MappedPort, NotMapped, PortMappings, RouteToGateway
from natkit.gather.pacing import StartQueue
from natkit.gather.reflexive import Answer, Reflexive, Silence
from natkit.gather.relayed import Granted, Refused, Relayed
from natkit.gather.settings import GatherSettings, HostAddress, Policy, StunServer, TurnServer
from natkit.gather.sockets import Base, HostSockets
from natkit.ice.candidate import LocalCandidate
from natkit.ice.pacing import Pacer
from natkit.locate import Target
from natkit.machine import Failure, Path, RandomBytes, RequestId, Transmit, Transport
from natkit.stun.uri import ServerUri
from natkit.timers import TimerQueue

__all__ = ["CLOSE_TIMEOUT", "MOST_SLOTS", "Gatherer"]

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that servers and gateways have to take back what they gave."""

MOST_SLOTS: Final = 64
"""Components of all streams together: each has sockets of its own on every address."""


class _Timer(Enum):
    MAPPING = auto()
    LIMIT = auto()
    CLOSE = auto()


class Gatherer:
    """The candidates of one agent; ``gather`` is called once.

    ``pacer`` is shared with the agents of the process (:class:`natkit.ice.pacing.Pacer`).
    MisuseError for the policy RELAY without a TURN server.
    """

    def __init__(
        self, settings: GatherSettings, *, random: RandomBytes, pacer: Pacer | None = None
    ) -> None:
        if settings.policy is Policy.RELAY and not any(
            isinstance(each, TurnServer) for each in settings.servers
        ):
            raise MisuseError("relayed candidates alone are wanted, and there is no TURN server")
        self._settings = settings
        self._desk = Desk()
        self._starts = StartQueue(settings.pacing, pacer or Pacer())
        self._timers: TimerQueue[_Timer] = TimerQueue()
        self._sockets = HostSockets(
            self._desk, settings.ports, random=random, opened=self._opened, refused=self._refused
        )
        self._reflexive = Reflexive(settings, self._starts, random=random, told=self._reflected)
        self._relayed = Relayed(
            settings, self._desk, self._starts, random=random, told=self._relay_told
        )
        self._random = random
        self._mappings: list[PortMappings] = []
        self._findings = Findings()
        self._slots: tuple[Slot, ...] = ()
        self._located: list[tuple[StunServer | TurnServer, tuple[Target, ...]]] = []
        self._locating: dict[int, StunServer | TurnServer] = {}
        self._began: float | None = None
        self._ended = False
        self._closing = False
        self._closed = False

    def gather(
        self,
        slots: Sequence[Slot],
        addresses: Iterable[HostAddress],
        now: float,
        routes: Iterable[RouteToGateway] = (),
    ) -> None:
        """Begin.  ``addresses`` are this host's, ``routes`` lead to the gateways that map ports.

        MisuseError when called again, and for more than MOST_SLOTS components.
        """
        if self._began is not None or self._closing:
            raise MisuseError("a gatherer gathers once")
        if not 0 < len(slots) <= MOST_SLOTS:
            raise MisuseError(f"{len(slots)} components; 1 to {MOST_SLOTS} can be gathered for")
        self._began = now
        self._slots = tuple(slots)
        self._timers.set(_Timer.LIMIT, now + self._settings.limit)
        if self._settings.policy is Policy.ALL:
            if self._settings.port_mapping:
                self._mappings = [
                    PortMappings(each, self._desk, random=self._random, told=self._mapping_told)
                    for each in routes
                ]
                self._timers.set(_Timer.MAPPING, now + self._settings.mapping_patience)
            self._open_sockets(usable(addresses, self._settings))
        for number, server in enumerate(self._settings.servers):
            self._locate(number, server, now)
        self._advance(now)

    @property
    def has_ended(self) -> bool:
        """Whether all candidates are known."""
        return self._ended

    # ── what an agent wants of it ───────────────────────────────────────────────────────────────

    def relays(self, base: Address) -> bool:
        """Whether ``base`` is a relayed address: what is sent from it goes by :meth:`send`."""
        return self._relayed.relays(base)

    def send(self, data: bytes, base: Address, peer: Address, now: float) -> None:
        """Send from a relayed address, best effort."""
        self._relayed.send(data, base, peer, now)

    def permit(self, slot: Slot, peer: Address, now: float) -> None:
        """A peer's candidate is known: let its datagrams in at our relayed addresses.

        That saves the round trip that the first check would wait for.
        """
        self._relayed.permit(slot, peer, now)

    def prefer(self, base: Address, peer: Address, now: float) -> None:
        """The agent selected this way: where it is relayed, have it cost four bytes a datagram."""
        self._relayed.bind_channel(base, peer, now)

    def rest(self) -> None:
        """Checks keep the NATs' bindings from now on: STUN servers are asked no more."""
        self._reflexive.rest()

    def release(self, base: Address, now: float, transport: Transport = Transport.UDP) -> None:
        """Nothing is sent from ``base`` any more: close its socket, or give its allocation back."""
        if self._relayed.relays(base):
            self._relayed.release(base, now)
            return
        self._reflexive.forget(base)
        for mappings in self._mappings:
            mappings.forget(base, now)
        self._sockets.close(base, transport)

    def close(self, now: float) -> None:
        """Give everything back; GatherClosed follows, within CLOSE_TIMEOUT."""
        if self._closing:
            return
        self._closing = self._ended = True
        self._starts.clear()
        self._timers.cancel(_Timer.LIMIT)
        self._timers.cancel(_Timer.MAPPING)
        self._timers.set(_Timer.CLOSE, now + CLOSE_TIMEOUT)
        self._relayed.close(now)
        for mappings in self._mappings:
            mappings.close(now)
        for base in self._sockets.bases:
            self._reflexive.forget(base.local)
        self._sockets.close_all()
        self._advance(now)

    # ── the contract of a machine ───────────────────────────────────────────────────────────────

    def takes(self, data: bytes, path: Path) -> bool:
        """Whether what arrived is for the gatherer; all else is the agent's."""
        return (
            self._relayed.takes(path)
            or any(mappings.takes(path) for mappings in self._mappings)
            or self._reflexive.takes(data, path)
        )

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram or message arrived; what is not the gatherer's is ignored."""
        if self._relayed.takes(path):
            self._relayed.receive(data, path, now)
        elif self._reflexive.takes(data, path):
            self._reflexive.receive(data, path, now)
        else:
            for mappings in self._mappings:
                if mappings.takes(path):
                    mappings.receive(data, path, now)
        self._advance(now)

    def disconnected(self, path: Path, now: float) -> None:
        """A stream to a server ended."""
        self._relayed.disconnected(path, now)
        self._advance(now)

    def answer(self, request_id: RequestId, result: GatherResult | Failure, now: float) -> None:
        """The outcome of a Request."""
        self._desk.answer(request_id, result, now)
        self._advance(now)

    def handle_timer(self, now: float) -> None:
        """Begin, retransmit, refresh and give up."""
        self._reflexive.handle_timer(now)
        self._relayed.handle_timer(now)
        for mappings in self._mappings:
            mappings.handle_timer(now)
        for timer in self._timers.pop_due(now):
            match timer:
                case _Timer.MAPPING:
                    self._end_mappings(self._settings.mapping_patience, now)
                case _Timer.LIMIT:
                    self._end_at_limit(now)
                case _Timer.CLOSE:
                    self._tell_closed()
                case _:
                    assert_never(timer)
        self._advance(now)

    def next_deadline(self) -> float | None:
        """The earliest of all."""
        deadlines = [
            self._starts.next_deadline(),
            self._timers.next_deadline(),
            self._reflexive.next_deadline(),
            self._relayed.next_deadline(),
            *(mappings.next_deadline() for mappings in self._mappings),
        ]
        return min((each for each in deadlines if each is not None), default=None)

    def transmits(self) -> list[Transmit]:
        """Take what is to be sent."""
        sent = self._reflexive.transmits() + self._relayed.transmits()
        for mappings in self._mappings:
            sent += mappings.transmits()
        return sent

    def next_event(self) -> GatherEvent | None:
        """Take the next event, or None."""
        return self._desk.next_event()

    # ── host candidates ─────────────────────────────────────────────────────────────────────────

    def _open_sockets(self, hosts: Sequence[HostAddress]) -> None:
        self._findings.preferences = preferences(hosts)
        for host in hosts:
            for slot in self._slots:
                self._sockets.open(host, slot, Transport.UDP)
                if self._settings.tcp:
                    self._sockets.open(host, slot, Transport.TCP)

    def _opened(self, base: Base, now: float) -> None:
        if self._ended:
            self._sockets.close(base.local, base.transport)
            return
        source = Source(Method.INTERFACE, base.host.interface)
        rewrite = next(
            (each for each in self._settings.rewrites if each.concerns(base.local.host)), None
        )
        for candidate in self._findings.host_candidates(base, rewrite):
            self._tell(base.slot, candidate, source, now)
        for mappings in self._mappings:
            mappings.ask(base, now)
        if base.transport is Transport.UDP:
            for server, targets in self._located:
                self._reflexive.ask(base, server.uri, targets, now)

    def _refused(self, slot: Slot, host: HostAddress, error: NatkitError, now: float) -> None:
        self._tell_failed(
            slot, Source(Method.INTERFACE, host.interface, Address(host.host, 0)), error, now
        )

    # ── servers ─────────────────────────────────────────────────────────────────────────────────

    def _locate(self, number: int, server: StunServer | TurnServer, now: float) -> None:
        uri = ServerUri.parse(server.uri)
        if uri.is_address:
            address = Address.of(uri.host, uri.port or uri.default_port)
            self._ask(server, (Target(uri.wire_transport, address, uri.host, uri.host),), now)
            return
        self._locating[number] = server
        self._desk.ask(
            lambda request_id: Locate(request_id, server.uri), partial(self._found, number)
        )

    def _found(self, number: int, result: GatherResult | Failure, now: float) -> None:
        server = self._locating.pop(number, None)
        if server is None or self._ended:
            return
        if isinstance(result, tuple) and all(isinstance(each, Target) for each in result):
            self._ask(server, tuple(each for each in result if isinstance(each, Target)), now)
            return
        reason = result.reason if isinstance(result, Failure) else "nothing was found"
        self._tell_failed(None, Source(_method(server), server.uri), LocateError(reason), now)

    def _ask(
        self, server: StunServer | TurnServer, targets: tuple[Target, ...], now: float
    ) -> None:
        if isinstance(server, TurnServer):
            for slot in self._slots:
                self._relayed.ask(slot, server, targets, now)
            # A TURN server answers Binding requests too (RFC 8656 §5), on its UDP port.
            targets = tuple(each for each in targets if each.transport is Transport.UDP)
        self._located.append((server, targets))
        for base in self._sockets.bases:
            if base.transport is Transport.UDP:
                self._reflexive.ask(base, server.uri, targets, now)

    def _reflected(self, outcome: Answer | Silence, now: float) -> None:
        target = outcome.target
        method = self._findings.method_of(outcome.server, self._settings.servers)
        source = Source(method, outcome.server, target.address, Transport.UDP)
        if isinstance(outcome, Silence):
            self._tell_failed(outcome.base.slot, source, outcome.error, now)
            return
        if not can_be_told(outcome.mapped, outcome.base.local):
            error = MalformedMessage(f"it says that it sees us at {outcome.mapped}")
            self._tell_failed(outcome.base.slot, source, error, now)
            return
        candidate = self._findings.reflexive(outcome.base, outcome.mapped, target.address)
        self._tell(outcome.base.slot, candidate, source, now)

    def _relay_told(self, outcome: Granted | Refused, now: float) -> None:
        target = outcome.target
        source = Source(Method.TURN, outcome.server.uri, target.address, target.transport)
        if isinstance(outcome, Refused):
            self._tell_failed(outcome.slot, source, outcome.error, now)
            return
        if not can_be_told(outcome.relayed, outcome.relayed):
            error = MalformedMessage(f"it says that it relays at {outcome.relayed}")
            self._tell_failed(outcome.slot, source, error, now)
            self._relayed.release(outcome.relayed, now)
            return
        place = self._settings.servers.index(outcome.server)
        candidate = self._findings.relayed(
            outcome.slot,
            outcome.relayed,
            outcome.mapped,
            target,
            place,
            hide=self._settings.policy is Policy.RELAY,
        )
        self._tell(outcome.slot, candidate, source, now)

    def _mapping_told(self, outcome: MappedPort | NotMapped, now: float) -> None:
        slot = outcome.base.slot
        if isinstance(outcome, NotMapped):
            source = Source(Method.PORT_MAPPING, "gateway", outcome.gateway)
            self._tell_failed(slot, source, outcome.error, now)
            return
        source = Source(Method.PORT_MAPPING, outcome.method, outcome.gateway)
        if not can_be_told(outcome.external, outcome.base.local):
            error = MalformedMessage(f"it says that it maps {outcome.external}")
            self._tell_failed(slot, source, error, now)
            return
        candidate = self._findings.mapped(outcome.base, outcome.external, outcome.gateway)
        self._tell(slot, candidate, source, now)

    # ── what is told, and the end ───────────────────────────────────────────────────────────────

    def _tell(self, slot: Slot, candidate: LocalCandidate, source: Source, now: float) -> None:
        if self._ended:
            return
        kind = Gathered if self._findings.is_new(slot, candidate) else CandidateRedundant
        self._desk.tell(kind(slot.stream, candidate, source, self._elapsed(now)))

    def _tell_failed(
        self, slot: Slot | None, source: Source, error: NatkitError, now: float
    ) -> None:
        if not self._ended:
            self._desk.tell(ServerFailed(slot, source, error, self._elapsed(now)))

    def _elapsed(self, now: float) -> float:
        return 0.0 if self._began is None else now - self._began

    def _end_at_limit(self, now: float) -> None:
        error = TransactionTimeout(f"no answer within {self._settings.limit:g} s")
        for server in self._locating.values():
            self._tell_failed(None, Source(_method(server), server.uri), error, now)
        self._locating.clear()
        self._reflexive.end(error, now)
        self._relayed.end(error, now)
        self._end_mappings(self._settings.limit, now)
        self._starts.clear()
        self._end(now)

    def _end_mappings(self, waited: float, now: float) -> None:
        error = TransactionTimeout(f"no answer within {waited:g} s")
        for mappings in self._mappings:
            mappings.end(error, now)

    def _advance(self, now: float) -> None:
        """After each input: begin what may begin, and see whether all is over."""
        self._starts.handle_timer(now)
        if self._closing:
            if self._relayed.is_empty and all(each.is_empty for each in self._mappings):
                self._tell_closed()
        elif self._began is not None and not self._ended and self._is_idle:
            self._end(now)

    @property
    def _is_idle(self) -> bool:
        return (
            not self._locating
            and self._sockets.is_idle
            and self._reflexive.is_idle
            and self._relayed.is_idle
            and all(each.is_idle for each in self._mappings)
        )

    def _end(self, now: float) -> None:
        if not self._ended:
            self._ended = True
            self._timers.cancel(_Timer.LIMIT)
            self._desk.tell(GatheringEnded(self._elapsed(now)))

    def _tell_closed(self) -> None:
        if not self._closed:
            self._closed = True
            self._timers.cancel(_Timer.CLOSE)
            self._desk.tell(GatherClosed())


def _method(server: StunServer | TurnServer) -> Method:
    return Method.STUN if isinstance(server, StunServer) else Method.TURN
