"""The proxy as a machine: what is done with each request that comes (RFC 3261 §16.2)."""

from collections.abc import Sequence
from typing import Final

from natkit.errors import MalformedMessage
from natkit.keepalive import FlowWatch
from natkit.machine import ClosePath, Failure, Path, RandomBytes, RequestId, Transmit
from natkit.sip import HeaderField, NameAddress, Request, Response, SipUri
from natkit.sip.digest_nonces import Nonces
from natkit.sip.kinds import ALLOW, CONTACT, FROM, REASON, SUPPORTED, TO
from natkit.sip.transactions import (
    AckMissing,
    AckReceived,
    BadRequest,
    Dropped,
    NoRoomForRequest,
    PathLost,
    RequestReceived,
    ResponseReceived,
    TimedOut,
    TransactionEnded,
    TransactionEvent,
    Transactions,
    TransactionSettings,
)
from sip_proxy import events
from sip_proxy.authentication import Authentication, Role
from sip_proxy.callees import Callees
from sip_proxy.desk import Desk, Incoming
from sip_proxy.edge import Edge
from sip_proxy.events import (
    ProxyEvent,
    ProxyResult,
)
from sip_proxy.flow_tokens import FlowTokens
from sip_proxy.flows import Flows
from sip_proxy.forwarder import Forwarder
from sip_proxy.granting import Grant
from sip_proxy.gruu import Gruus
from sip_proxy.guesses import Guesses
from sip_proxy.loops import branch_for, fingerprint
from sip_proxy.lost_flows import LostFlows
from sip_proxy.one_way import OneWay
from sip_proxy.proving import Prover
from sip_proxy.registering import Registering
from sip_proxy.rejection import Rejection
from sip_proxy.routing import Preprocessed, preprocess
from sip_proxy.settings import Settings
from sip_proxy.sources import Sources
from sip_proxy.targets import Contact
from sip_proxy.trace import FlightRecorder
from sip_proxy.unavailable import retry_later
from sip_proxy.validation import SUPPORTED_EXTENSIONS, is_other_version, unsupported, validate

__all__ = ["Proxy"]

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
        self._transactions = Transactions(
            TransactionSettings(timing=settings.timing, largest_count=settings.largest_transactions)
        )
        self._desk = Desk(settings, self._transactions, FlowTokens(key), random)
        self._edge = Edge(settings, self._desk.identity, self._desk.tokens)
        self._flows = Flows()
        self._lost = LostFlows(self._desk, self._edge)
        self._forwarder = Forwarder(self._desk, self._flows, self._lost)
        self._one_way = OneWay(self._desk, self._flows)
        self._watch = FlowWatch()
        self._authentication = Authentication(
            settings, Nonces(key, random, unix_offset=unix_offset)
        )
        self._size = 0
        self.recorder = FlightRecorder(settings.recorder)
        self.sources = Sources(settings.sources, random)
        guesses = Guesses(settings.guesses)
        self._prover = Prover(self._desk, self._authentication, self.sources, guesses)
        gruus = Gruus(key, random)
        self._callees = Callees(self._desk, self._edge, gruus)
        self._registering = Registering(
            self._desk,
            self._edge,
            self._lost,
            self._watch,
            self._authentication,
            self._prover,
            Grant(settings.outbound, gruus, unix_offset),
        )

    # ── the contract of machines ────────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram, or one message of a stream."""
        if path.transport.is_reliable:
            self._flows.accepted(path)
        if self._watch.takes(data, path):
            self._watch.receive(data, path, now)
            return
        if path.transport.is_reliable:
            self._watch.receive(data, path, now)
        if not self.sources.hears(data, path, now):
            return
        self.recorder.received(data, path, now)
        self._size = len(data)
        self._transactions.receive(data, path, now)
        self._follow(now)

    def disconnected(self, path: Path, now: float) -> None:
        """A stream ended."""
        self._flows.ended(path)
        self._lost.disconnected(path, now)
        self._watch.disconnected(path, now)
        self._transactions.disconnected(path, now)
        self._follow(now)

    def answer(self, request_id: RequestId, result: ProxyResult | Failure, now: float) -> None:
        """The shell's answer to one of its requests."""
        self._desk.answer(request_id, result, now)
        self._follow(now)

    def handle_timer(self, now: float) -> None:
        """Time has passed."""
        self._transactions.handle_timer(now)
        self._follow(now)
        self._forwarder.handle_timer(now)
        self._desk.give_up_overdue(now)
        self._close_silent(now)
        self._follow(now)

    def next_deadline(self) -> float | None:
        """When to call ``handle_timer``."""
        deadlines = (
            self._transactions.next_deadline(),
            self._forwarder.next_deadline(),
            self._desk.next_deadline(),
            self._watch.next_deadline(),
        )
        return min((each for each in deadlines if each is not None), default=None)

    def _close_silent(self, now: float) -> None:
        """End connections that gave no sign of life for their Flow-Timer (RFC 5626 §5.4)."""
        self._watch.handle_timer(now)
        while (silent := self._watch.next_event()) is not None:
            self._desk.events.append(ClosePath(silent.path))

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        messages = self._transactions.transmits()
        self.recorder.sent(messages)
        return [*self._watch.transmits(), *messages]

    def next_event(self) -> ProxyEvent | None:
        """Take the next event."""
        return self._desk.events.popleft() if self._desk.events else None

    # ── what transactions tell ──────────────────────────────────────────────────────────────────

    def _follow(self, now: float) -> None:
        self.recorder.now = now
        while (event := self._transactions.next_event()) is not None:
            self._handle(event, now)

    def _handle(self, event: TransactionEvent, now: float) -> None:
        match event:
            case RequestReceived():
                self._receive_request(event, now)
            case ResponseReceived(transaction, response, _):
                self._forwarder.receive(transaction, response, now)
            case AckReceived(request, path):
                self._receive_ack(request, path, now)
            case TimedOut(transaction):
                self._forwarder.timed_out(transaction, now)
            case PathLost(transaction, destination):
                if destination is None:
                    self._forwarder.path_lost(transaction, now)
            case TransactionEnded(transaction):
                self._forwarder.ended(transaction)
            case BadRequest(request, path, reason):
                self._answer_badly(request, path, reason)
            case NoRoomForRequest(request, path):
                response = Response.to(request, 503, fields=[retry_later(self._desk.random)])
                self._transactions.respond_to(request, response, path)
            case Dropped(path, reason):
                self._desk.events.append(events.Dropped(path, reason))
            case AckMissing():
                pass

    def _answer_badly(self, request: Request, path: Path, reason: str) -> None:
        status = 505 if is_other_version(request) else 400
        response = Response.to(request, status, reason=reason if status == 400 else None)
        self._transactions.respond_to(request, response, path)

    def _receive_ack(self, request: Request, path: Path, now: float) -> None:
        received = fingerprint(request)
        try:
            if (
                self._settings.bounds.judge(request)
                or validate(request, received, self._desk.identity) is not None
            ):
                return
            routed = preprocess(request, self._desk.identity, self._desk.tokens)
        except MalformedMessage as error:
            self._desk.events.append(events.Dropped(path, str(error)))
            return
        if routed.is_forged or (routed.token is None and self._authentication.is_needed(path)):
            # An ACK cannot be challenged (§22.1): it goes where its INVITE was let.
            return
        uri = routed.request.uri
        if isinstance(uri, SipUri) and self._desk.identity.is_ours(uri):
            return
        branch = branch_for(self._desk.random(8), received)

        def send(found: list[Contact] | Rejection, at: float) -> None:
            if not isinstance(found, Rejection):
                self._one_way.send(routed.request, found[0], branch, at)

        if isinstance(uri, SipUri) and uri.has_parameter("gr") and self._is_for_us(routed.request):
            self._callees.find(uri, send, now)
        else:
            send([Contact(uri, flow=_flow_of(routed, path))], now)

    # ── requests (§16.3 to §16.5) ───────────────────────────────────────────────────────────────

    def _receive_request(self, event: RequestReceived, now: float) -> None:
        request = event.request
        received = fingerprint(request)
        incoming = Incoming(event.transaction, request, event.path, received, self._size)
        beyond = self._settings.bounds.judge(request)
        if beyond is not None:
            self._reject(incoming, beyond, now)
            return
        try:
            if request.method == "CANCEL":
                self._receive_cancel(incoming, event, now)
                return
            fault = validate(request, incoming.fingerprint, self._desk.identity)
            if fault is None:
                routed = preprocess(request, self._desk.identity, self._desk.tokens)
                self._route(incoming, routed, now)
            else:
                self._reject(incoming, fault, now)
        except MalformedMessage as error:
            self._desk.reject(incoming, 400, now, reason=str(error))

    def _receive_cancel(self, incoming: Incoming, event: RequestReceived, now: float) -> None:
        if event.cancels is None:
            self._desk.reject(incoming, 481, now)
            return
        self._desk.reject(incoming, 200, now)
        why = incoming.request.headers.fields(REASON)
        self._forwarder.cancel(event.cancels, why, now)

    def _route(self, incoming: Incoming, routed: Preprocessed, now: float) -> None:
        request = routed.request
        uri = request.uri
        if routed.is_forged:
            self._desk.reject(incoming, 403, now, reason="This Route is not one of ours")
            return
        if isinstance(uri, SipUri) and not routed.request.headers.has("Route"):
            if request.method == "REGISTER" and self._settings.serves(uri.host):
                self._registering.register(incoming, request, now)
                return
            if uri.user is None and self._desk.identity.is_ours(uri):
                self._answer_for_ourselves(incoming, now)
                return
        if _was_let_in(incoming, routed):
            self._forward(incoming, routed, now)
        else:
            self._admit(incoming, routed, now)

    def _admit(self, incoming: Incoming, routed: Preprocessed, now: float) -> None:
        sender = incoming.request.headers.get(FROM)
        uri = None if sender is None else sender.uri
        is_local_user = isinstance(uri, SipUri) and self._settings.serves(uri.host)
        if not self._authentication.is_needed(incoming.path):
            self._forward(incoming, routed, now)
        elif isinstance(uri, SipUri) and is_local_user:
            self._prover.require(
                incoming, uri, Role.PROXY, lambda at: self._forward(incoming, routed, at), now
            )
        elif self._is_for_us(routed.request):
            self._forward(incoming, routed, now)
        else:
            self._desk.reject(incoming, 403, now, reason="This proxy relays for its own users only")

    def _is_for_us(self, request: Request) -> bool:
        uri = request.uri
        return (
            isinstance(uri, SipUri)
            and self._settings.serves(uri.host)
            and not request.headers.has("Route")
        )

    def _forward(self, incoming: Incoming, routed: Preprocessed, now: float) -> None:
        request = routed.request
        uri = request.uri
        flow = _flow_of(routed, incoming.path)
        # A GRUU is looked up within a dialog too: the flow that it began on may be gone.
        is_gruu = isinstance(uri, SipUri) and uri.has_parameter("gr")
        if (flow is None or is_gruu) and self._is_for_us(request) and isinstance(uri, SipUri):
            self._callees.find(
                uri, lambda found, at: self._found(incoming, request, found, at), now
            )
            return
        self._forwarder.forward(incoming, request, [Contact(uri, flow=flow)], now)

    def _found(
        self,
        incoming: Incoming,
        request: Request,
        contacts: list[Contact] | Rejection,
        now: float,
    ) -> None:
        if isinstance(contacts, Rejection):
            self._reject(incoming, contacts, now)
        elif self._settings.redirect:
            fields = [HeaderField.of(CONTACT, NameAddress(one.uri)) for one in contacts]
            self._desk.reject(incoming, 302, now, fields=fields)
        else:
            self._forwarder.forward(incoming, request, contacts, now)

    def _answer_for_ourselves(self, incoming: Incoming, now: float) -> None:
        """A request that is for the proxy itself (§16.3 step 3, §11.2)."""
        if incoming.request.method != "OPTIONS":
            self._desk.reject(incoming, 404, now)
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
        self._desk.reject(incoming, fault.status, now, reason=fault.reason, fields=fault.fields)


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
    to = incoming.request.headers.get(TO)
    is_within_dialog = to is not None and to.tag is not None
    return is_within_dialog or _flow_of(routed, incoming.path) is not None
