"""The proxy as a machine: what is done with each request that comes (RFC 3261 §16.2)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from natkit.errors import MalformedMessage
from natkit.keepalive import FlowWatch
from natkit.machine import ClosePath, Failure, Path, RandomBytes, RequestId, Transmit
from natkit.sip import HeaderField, Request, Response, SipUri, parse_message
from natkit.sip.digest_nonces import Nonces
from natkit.sip.flows import Flows
from natkit.sip.kinds import ALLOW, REASON, SUPPORTED, TO
from natkit.sip.parties import tag_of
from natkit.sip.transactions import (
    AckMissing,
    AckReceived,
    BadRequest,
    Dropped,
    LiveTransaction,
    NoRoomForRequest,
    PathLost,
    RequestReceived,
    ResponseReceived,
    TimedOut,
    TransactionEnded,
    TransactionEvent,
    TransactionId,
    Transactions,
    TransactionSettings,
)
from natkit.sip.transactions.matching import to_tag
from natkit.sip.via import ResponseAddress, SentBy
from sip_proxy import draining, events
from sip_proxy.admission import Admission, Admitted
from sip_proxy.asserted import Asserted
from sip_proxy.authentication import Authentication, Role
from sip_proxy.callees import Callees
from sip_proxy.calls import Calls
from sip_proxy.desk import STATELESS_TAG, Desk, Incoming
from sip_proxy.destinations import Destinations
from sip_proxy.edge import Edge
from sip_proxy.events import (
    GatewayChanged,
    ProxyEvent,
    ProxyResult,
)
from sip_proxy.far_end import FarEnd
from sip_proxy.flow_tokens import FlowTokens
from sip_proxy.forwarder import Forwarder
from sip_proxy.gateways import Gateways, GatewayState
from sip_proxy.granting import Grant
from sip_proxy.gruu import Gruus
from sip_proxy.guesses import Guesses
from sip_proxy.keeping import Keeping
from sip_proxy.load import Load
from sip_proxy.location import Binding
from sip_proxy.loops import branch_for
from sip_proxy.lost_flows import LostFlows
from sip_proxy.message_bounds import is_cut_short
from sip_proxy.one_way import OneWay
from sip_proxy.policies import Policies
from sip_proxy.probes import Probes
from sip_proxy.proving import Prover
from sip_proxy.registering import Registering
from sip_proxy.rejection import Rejection
from sip_proxy.route_rules import Rules
from sip_proxy.routing import Preprocessed, preprocess, without_our_maddr
from sip_proxy.settings import Settings
from sip_proxy.sources import Sources
from sip_proxy.standing import Standing
from sip_proxy.stateless import Stateless
from sip_proxy.target_set import TargetSet
from sip_proxy.targets import Contact, contact_along
from sip_proxy.trace import FlightRecorder
from sip_proxy.unavailable import retry_later
from sip_proxy.validation import SUPPORTED_EXTENSIONS, is_other_version, unsupported, validate
from sip_proxy.visitors import Visitors
from sip_proxy.way_back import WayBack

__all__ = ["Proxy"]

NO_TRANSACTION: Final = 0
"""Of an ACK; transactions are numbered from 1 on."""

ALLOWED_METHODS: Final = ("ACK", "BYE", "CANCEL", "INVITE", "OPTIONS", "REGISTER")


class Proxy:
    """A machine (:mod:`natkit.machine`).

    ``key``, of 16 bytes at the least, is for nonces and flow tokens; one who keeps it over a
    restart, or shares it among proxies, keeps them valid.  ``unix_offset`` plus ``now`` is Unix
    time.
    """

    def __init__(
        self, settings: Settings, *, key: bytes, random: RandomBytes, unix_offset: float
    ) -> None:
        self._settings = settings
        self._transactions = Transactions(_transaction_settings(settings))
        self._desk = Desk(settings, self._transactions, FlowTokens(key), random, unix_offset)
        self._edge = Edge(settings, self._desk.identity, self._desk.tokens)
        self._flows = Flows(settings.reuse)
        self._keeping = Keeping(settings.keep_alive, random)
        self._way_back = WayBack(self._desk, self._flows)
        self._lost = LostFlows(self._desk, self._edge, self._flows)
        self.gateways = Gateways(settings.gateways, random, self._gateway_changed)
        """Their states may be looked at."""
        self._watch = FlowWatch()
        self._far_end = FarEnd(self._desk, self._lost, unix_offset)
        self._visitors = Visitors(
            self._desk, self._edge, self._flows, self._watch, self._far_end, unix_offset
        )
        self._policies = Policies(self._desk)
        self._authentication = Authentication(
            settings, Nonces(key, random, unix_offset=unix_offset), self._flows
        )
        asserted = Asserted(self._desk, self._authentication, self.gateways)
        self._forwarder = Forwarder(
            self._desk,
            self._flows,
            self._lost,
            self.gateways,
            self._policies,
            self._visitors,
            asserted,
        )
        gruus = Gruus(key, random)
        self._callees = Callees(self._desk, self._edge, gruus)
        self._targets = TargetSet(self._desk, self.gateways, Rules(settings.routes), self._callees)
        self._stateless = Stateless(self._desk, self._flows, asserted, key)
        self._destinations = Destinations(
            self._desk,
            self._forwarder,
            self.gateways,
            self._targets,
            self._policies,
            self._visitors,
            self._edge,
            self._stateless,
            asserted,
        )
        self._probes = Probes(
            self._desk, self._flows, self._keeping, self.gateways, settings.gateways.probing
        )
        self._one_way = OneWay(self._desk, self._flows)
        self._admission = Admission(settings, self._authentication, self.gateways)
        self._size = 0
        self.recorder = FlightRecorder(settings.recorder)
        self.sources = Sources(settings.sources, random, settings.trusted)
        self._guesses = Guesses(settings.guesses)
        self._prover = Prover(self._desk, self._authentication, self.sources, self._guesses)
        self._grant = Grant(settings.outbound, gruus, unix_offset)
        self._registering = Registering(
            self._desk,
            self._edge,
            self._lost,
            self._watch,
            self._far_end,
            self._authentication,
            self._prover,
            self._grant,
            self._policies,
        )
        self._is_draining = False
        # Asked after each input.
        self._clocks = (
            self._transactions.next_deadline,
            self._forwarder.next_deadline,
            self._probes.next_deadline,
            self._desk.next_deadline,
            self._desk.calls.next_deadline,
            self._watch.next_deadline,
            self._far_end.next_deadline,
            self._keeping.next_deadline,
        )

    # ── the contract of machines ────────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram, or one message of a stream."""
        if path.transport.is_reliable:
            self._flows.accepted(path)
            self._keeping.heard(path, now)
            if self._keeping.takes(data, path):
                self._keeping.receive(data, path, now)
                return
        if self._watch.takes(data, path):
            self._watch.receive(data, path, now)
            return
        if path.transport.is_reliable:
            self._watch.receive(data, path, now)
        if not self.sources.hears(data, path, now):
            return
        self.recorder.received(data, path, now)
        self._size = len(data)
        if not (self._stateless.awaits(now) and self._is_passed_back(data)):
            self._transactions.receive(data, path, now)
        self._follow(now)

    def _is_passed_back(self, data: bytes) -> bool:
        """Whether it is a response to what was forwarded without state, and has gone back."""
        if data[:4].upper() != b"SIP/":
            return False
        try:
            message = parse_message(data)
        except MalformedMessage:
            return False
        return isinstance(message, Response) and self._stateless.receive(message)

    def identified(
        self, path: Path, domains: frozenset[str], users: frozenset[str], now: float
    ) -> None:
        """The peer of a connection proved by its certificate for which of both it speaks."""
        del now
        self._flows.identified(path, domains, users)

    def pong(self, path: Path, payload: bytes, now: float) -> None:
        """The answer to a :class:`~natkit.keepalive.SendPing`."""
        self._keeping.pong(path, payload, now)

    def disconnected(self, path: Path, now: float) -> None:
        """A stream ended."""
        self._flows.ended(path)
        self._lost.disconnected(path, now)
        self._watch.disconnected(path, now)
        self._far_end.disconnected(path)
        self._keeping.ended(path)
        self._transactions.disconnected(path, now)
        self._follow(now)

    def answer(self, request_id: RequestId, result: ProxyResult | Failure, now: float) -> None:
        """The shell's answer to one of its requests."""
        if isinstance(result, Path):
            self._keeping.made(result, now)
        self._desk.answer(request_id, result, now)
        self._follow(now)

    def resume(self, address_of_record: str, bindings: Sequence[Binding], now: float) -> None:
        """Keep the flows open that these bindings, made before a restart, are reached by."""
        for flow in {one.flow for one in bindings if one.flow is not None}:
            if not flow.transport.is_reliable and self._desk.identity.has(flow):
                self._far_end.registered(address_of_record, flow, bindings, now)

    def handle_timer(self, now: float) -> None:
        """Time has passed."""
        self._transactions.handle_timer(now)
        self._follow(now)
        self._forwarder.handle_timer(now)
        self._probes.handle_timer(now)
        self._desk.give_up_overdue(now)
        self._desk.calls.handle_timer(now)
        self._close_silent(now)
        self._far_end.handle_timer(now)
        self._keeping.handle_timer(now)
        self._follow(now)
        for path in self._keeping.take_dead():
            self._desk.events.append(ClosePath(path))
            self.disconnected(path, now)

    def next_deadline(self) -> float | None:
        """When to call ``handle_timer``."""
        soonest: float | None = None
        for ask in self._clocks:
            deadline = ask()
            if deadline is not None and (soonest is None or deadline < soonest):
                soonest = deadline
        return soonest

    def _close_silent(self, now: float) -> None:
        """End connections that gave no sign of life for their Flow-Timer (RFC 5626 §5.4)."""
        self._watch.handle_timer(now)
        while (silent := self._watch.next_event()) is not None:
            self._desk.events.append(ClosePath(silent.path))

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        messages = self._transactions.transmits()
        if messages:
            self.recorder.sent(messages)
        pings = (*self._watch.transmits(), *self._keeping.transmits(), *self._far_end.transmits())
        return [*pings, *messages] if pings else messages

    def next_event(self) -> ProxyEvent | None:
        """Take the next event."""
        events = self._desk.events
        events.extend(self._keeping.take_pings())
        return events.popleft() if events else None

    @property
    def calls(self) -> Calls:
        """The calls that ring or go on."""
        return self._desk.calls

    def transactions(self) -> Iterator[LiveTransaction]:
        """Those under way, the latest first; to be read at once."""
        return self._transactions.live()

    def configure(self, settings: Settings, now: float) -> None:
        """Go by other settings from now on, with the same listeners; what goes on is kept."""
        self._settings = settings
        self._transactions.configure(_transaction_settings(settings))
        self._desk.configure(settings)
        self._edge.configure(settings)
        self._flows.configure(settings.reuse)
        self._keeping.configure(settings.keep_alive)
        self.gateways.configure(settings.gateways)
        self._forwarder.configure()
        self._targets.configure(Rules(settings.routes))
        self._stateless.configure()
        self._visitors.configure()
        self._probes.configure(settings.gateways.probing)
        self._authentication.configure(settings)
        self._admission.configure(settings)
        self.recorder.configure(settings.recorder)
        self.sources.configure(settings.sources, settings.trusted)
        self._guesses.configure(settings.guesses)
        self._grant.configure(settings.outbound)
        self.handle_timer(now)

    def drain(self) -> None:
        """Begin nothing more (:mod:`sip_proxy.draining`)."""
        self._is_draining = True

    def load(self) -> Load:
        """What there is to do now."""
        accepted, made = self._flows.counts()
        return Load(
            len(self._transactions), len(self._forwarder), self._desk.waiting, accepted, made
        )

    # ── what transactions tell ──────────────────────────────────────────────────────────────────

    def _follow(self, now: float) -> None:
        self.recorder.now = now
        while (event := self._transactions.next_event()) is not None:
            if not self._far_end.took(event, now):
                self._handle(event, now)

    def _handle(self, event: TransactionEvent, now: float) -> None:
        self._desk.calls.observe(event, now)
        match event:
            case RequestReceived():
                self._receive_request(event, now)
            case ResponseReceived(transaction, response, path):
                self.sources.meet(path, now)
                self._sender_of(transaction).receive(transaction, response, now)
            case AckReceived(request, path):
                self._receive_ack(request, path, now)
            case TimedOut(transaction, path):
                self._keeping.unanswered(path, now - self._settings.timing.timeout)
                self._sender_of(transaction).timed_out(transaction, now)
            case PathLost(transaction, destination):
                self._lose(transaction, destination, now)
            case TransactionEnded(transaction):
                self._forwarder.ended(transaction)
                self._way_back.ended(transaction)
            case BadRequest(request, path, reason):
                self._answer_badly(request, path, reason)
            case NoRoomForRequest(request, path):
                response = Response.to(request, 503, fields=[retry_later(self._desk.random)])
                self._transactions.respond_to(request, response, path)
            case Dropped(path, reason):
                self._desk.events.append(events.Dropped(path, reason))
            case AckMissing():
                pass

    def _lose(
        self, transaction: TransactionId, destination: ResponseAddress | SentBy | None, now: float
    ) -> None:
        if destination is None:
            self._sender_of(transaction).path_lost(transaction, now)
        else:
            self._way_back.lost(transaction, destination, now)

    def _sender_of(self, transaction: TransactionId) -> Forwarder | Probes:
        return self._probes if transaction in self._probes else self._forwarder

    def _gateway_changed(self, state: GatewayState) -> None:
        self._desk.events.append(GatewayChanged(state.gateway.name, state.is_up))

    def _answer_badly(self, request: Request, path: Path, reason: str) -> None:
        status = 505 if is_other_version(request) else 400
        if path.transport.is_reliable and is_cut_short(request):
            status = 513
        response = Response.to(request, status, reason=reason if status == 400 else None)
        self._transactions.respond_to(request, response, path)

    def _receive_ack(self, request: Request, path: Path, now: float) -> None:
        incoming = Incoming(NO_TRANSACTION, request, path, self._size)
        if not self._stateless.is_on:
            self._forward_ack(incoming, now)
            return
        try:
            self._forward_hop_by_hop(incoming, lambda at: self._forward_ack(incoming, at), now)
        except MalformedMessage as error:
            self._desk.events.append(events.Dropped(path, str(error)))

    def _forward_ack(self, incoming: Incoming, now: float) -> None:
        request, path = incoming.request, incoming.path
        try:
            if (
                self._settings.bounds.judge(request, incoming.size)
                or validate(incoming, self._desk.identity) is not None
            ):
                return
            routed = preprocess(request, self._desk.identity, self._desk.tokens)
        except MalformedMessage as error:
            self._desk.events.append(events.Dropped(path, str(error)))
            return
        if (to_tag(request) or "").startswith(STATELESS_TAG):
            return
        if routed.is_forged or (routed.token is None and self._authentication.is_needed(path)):
            # An ACK cannot be challenged (§22.1): it goes where its INVITE was let.
            return
        uri = routed.request.uri
        if isinstance(uri, SipUri) and self._desk.identity.is_ours(uri):
            return
        branch = branch_for(self._desk.random(8), incoming.fingerprint)

        def send(found: list[Contact] | Rejection, at: float) -> None:
            if not isinstance(found, Rejection):
                self._one_way.send(routed.request, found[0], branch, at)

        if self._callees.is_gruu(uri) and not routed.request.headers.has("Route"):
            self._callees.find(uri, send, now)
        else:
            flow = _flow_of(routed, path)
            send([Contact(uri) if flow is None else contact_along(uri, flow, self._edge)], now)

    # ── requests (§16.3 to §16.5) ───────────────────────────────────────────────────────────────

    def _receive_request(self, event: RequestReceived, now: float) -> None:
        request = event.request
        if event.path.transport.is_reliable:
            self._flows.advertised(event.path, request)
        incoming = Incoming(event.transaction, request, event.path, self._size)
        beyond = self._settings.bounds.judge(request, incoming.size)
        if beyond is not None:
            self._reject(incoming, beyond, now)
            return
        if request.method == "CANCEL":
            self._receive_cancel(incoming, event, now)
        else:
            self._desk.handle(incoming, partial(self._take, incoming), now)

    def _take(self, incoming: Incoming, now: float) -> None:
        fault = validate(incoming, self._desk.identity)
        if fault is None and self._is_draining:
            fault = draining.refusal(incoming.request, self._desk.random)
        if fault is None:
            request = without_our_maddr(incoming.request, self._desk.identity, incoming.path)
            routed = preprocess(request, self._desk.identity, self._desk.tokens)
            self._route(incoming, routed, now)
        else:
            self._reject(incoming, fault, now)

    def _receive_cancel(self, incoming: Incoming, event: RequestReceived, now: float) -> None:
        if event.cancels is None:
            self._forward_cancel(incoming, now)
            return
        self._desk.reject(incoming, 200, now)
        why = incoming.request.headers.fields(REASON)
        self._forwarder.cancel(event.cancels, why, now)

    def _forward_cancel(self, incoming: Incoming, now: float) -> None:
        """A CANCEL for no INVITE that we have goes where that would go, without state (§16.10).

        Whoever is there knows the INVITE, or says 481.  So do we where it may not go.
        """

        def unknown(at: float) -> None:
            self._desk.reject(incoming, 481, at)

        self._desk.handle(incoming, lambda at: self._forward_hop_by_hop(incoming, unknown, at), now)

    def _forward_hop_by_hop(
        self, incoming: Incoming, otherwise: Callable[[float], None], now: float
    ) -> None:
        bounds, identity = self._settings.bounds, self._desk.identity
        if bounds.judge(incoming.request, incoming.size) or validate(incoming, identity):
            otherwise(now)
            return
        request = without_our_maddr(incoming.request, self._desk.identity, incoming.path)
        routed = preprocess(request, self._desk.identity, self._desk.tokens)
        flow = _flow_of(routed, incoming.path)
        standing: Standing | Rejection = Standing.ROUTED
        if routed.is_forged:
            standing = Rejection(403)
        elif routed.token is None:
            unproved = Standing.USER if self._stateless.is_on else Standing.STRANGER
            standing = self._admission.judge_unchallenged(incoming.path, routed.request, unproved)
        if isinstance(standing, Rejection):
            otherwise(now)
            return
        one = Admitted(incoming, routed.request, standing, flow, is_hop_by_hop=True)
        self._destinations.forward_hop_by_hop(one, otherwise, now)

    def _route(self, incoming: Incoming, routed: Preprocessed, now: float) -> None:
        request = routed.request
        uri = request.uri
        if routed.is_forged:
            self._reject(incoming, Rejection(403, "This Route is not one of ours"), now)
            return
        if isinstance(uri, SipUri) and not routed.request.headers.has("Route"):
            if request.method == "REGISTER" and self._settings.serves(uri.host):
                self._registering.register(incoming, request, now)
                return
            if uri.user is None and self._desk.identity.is_ours(uri):
                self._answer_for_ourselves(incoming, now)
                return
        if _was_let_in(incoming, routed):
            flow = _flow_of(routed, incoming.path)
            self._destinations.forward(Admitted(incoming, request, Standing.ROUTED, flow), now)
        else:
            self._admit(incoming, request, now)

    def _admit(self, incoming: Incoming, request: Request, now: float) -> None:
        verdict = self._admission.judge(incoming.path, request)
        if isinstance(verdict, Rejection):
            self._reject(incoming, verdict, now)
        elif isinstance(verdict, Standing):
            self._destinations.forward(Admitted(incoming, request, verdict), now)
        else:
            proved = Admitted(incoming, request, Standing.USER, user=verdict)
            self._prover.require(
                incoming,
                verdict,
                Role.PROXY,
                lambda at: self._destinations.forward(proved, at),
                now,
            )

    def _answer_for_ourselves(self, incoming: Incoming, now: float) -> None:
        """A request that is for the proxy itself (§16.3 step 3, §11.2)."""
        if incoming.request.method != "OPTIONS":
            self._reject(incoming, Rejection(404), now)
            return
        fault = unsupported(incoming.request)
        if fault is not None:
            self._reject(incoming, fault, now)
            return
        fields = [
            HeaderField.of(ALLOW, *ALLOWED_METHODS),
            HeaderField.of(SUPPORTED, *sorted(SUPPORTED_EXTENSIONS)),
        ]
        self._desk.reject(incoming, 200, now, fields=fields)

    def _reject(self, incoming: Incoming, fault: Rejection, now: float) -> None:
        self._desk.refuse(incoming, fault, now)


def _transaction_settings(settings: Settings) -> TransactionSettings:
    timing = settings.timing
    if settings.stateless:
        timing = replace(timing, trying_after=None)  # §16.11
    return TransactionSettings(timing=timing, largest_count=settings.largest_transactions)


def _flow_of(routed: Preprocessed, path: Path) -> Path | None:
    """The flow to go on by, where only we stand between it and the user agent.

    What came by that very flow is on its way out, unless we wrote a second value for the other side
    (RFC 5626 §5.3).
    """
    token = routed.token
    if token is None or not token.is_attached or routed.request.headers.has("Route"):
        return None
    return None if token.path == path and routed.count < 2 else token.path


def _was_let_in(incoming: Incoming, routed: Preprocessed) -> bool:
    """Whether the routes that we wrote make credentials needless.

    Along a flow a request gets no farther than to one of our users, whom strangers reach too.
    Anywhere else only requests within a dialog go: who follows its route was let in when it began,
    and outside of it the other side answers 481.
    """
    if routed.token is None:
        return False
    is_within_dialog = tag_of(incoming.request.headers, TO) is not None
    return is_within_dialog or _flow_of(routed, incoming.path) is not None
