"""A proxy and phones in the simulated network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from natkit.address import Address
from natkit.locate import Target
from natkit.machine import Connect, Failure, Path, Transport
from natkit.sip import (
    HeaderField,
    NameAddress,
    Request,
    Response,
    Singular,
    SipFraming,
    SipUri,
    Via,
    parse_absolute_uri,
)
from natkit.sip.digest import (
    AUTHORIZATION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    WWW_AUTHENTICATE,
    Algorithm,
    Challenge,
    ha1,
)
from natkit.sip.headers import Headers
from natkit.sip.kinds import (
    CALL_ID,
    CONTACT,
    CONTENT_LENGTH,
    CSEQ,
    FROM,
    MAX_FORWARDS,
    RECORD_ROUTE,
    ROUTE,
    SUPPORTED,
    TO,
    VIA,
    CSeq,
    Wildcard,
)
from natkit.sip.transactions import (
    AckReceived,
    RequestReceived,
    ResponseReceived,
    TimedOut,
    TransactionEvent,
    TransactionId,
    Transactions,
    TransactionSettings,
)
from natkit.sip.transactions.timing import SipTiming
from natkit.sip.via import SentBy
from sip_proxy.events import (
    FindBindings,
    FindCredential,
    FindNumber,
    FindSender,
    FindServers,
    OpenFlow,
    ProxyEvent,
    ProxyResult,
    RunHook,
    UpdateBindings,
)
from sip_proxy.hooks import Decision, Proceed, Subject
from sip_proxy.location import BindingTable
from sip_proxy.proxy import Proxy
from sip_proxy.settings import Listener, Settings
from tests.simnet.network import Network
from tests.simnet.realm import Router
from tests.simnet.shell import Shell

DOMAIN = "example.org"
PROXY = Address("192.0.2.5", 5060)
KEY = bytes(range(16))
UNIX = 1_700_000_000.0
INSTANCE = "<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"
NO_TRYING = SipTiming(trying_after=None)


def listeners_at(address: Address) -> tuple[Listener, ...]:
    """Listeners for UDP and TCP."""
    return (Listener(Transport.UDP, address), Listener(Transport.TCP, address))


def settings(**changes: object) -> Settings:
    """A proxy for example.org over UDP and TCP, which asks for no credentials."""
    values: dict[str, object] = {
        "listeners": listeners_at(PROXY),
        "domains": frozenset({DOMAIN}),
        "authenticate": False,
        **changes,
    }
    return Settings(**values)  # type: ignore[arg-type]


class ProxyHost:
    """The proxy with a shell that answers at once: users, bindings, and a DNS of literals.

    ``location`` is the store, which several may share.
    """

    def __init__(
        self,
        network: Network,
        configured: Settings,
        *,
        name: str = "proxy",
        location: BindingTable | None = None,
    ) -> None:
        self.network = network
        self.location = BindingTable() if location is None else location
        self.users: dict[tuple[str, str], str] = {}
        self.servers: dict[str, Sequence[Target]] = {}
        self.hook: Callable[[Subject], Decision | Failure | None] = lambda _: Proceed()
        """What a hook decides, where the settings ask for one; None: it takes its time."""
        self.subjects: list[Subject] = []
        self.numbers: dict[str, tuple[str, ...]] = {}
        self.facts: list[ProxyEvent] = []
        self.location_is_down: bool | Failure = False
        self.update_takes = 0.0
        """Seconds until a change of bindings is kept."""
        self.held: list[FindBindings] | None = None
        """A list: questions for bindings wait here until the test answers."""
        self.configured = configured
        self.key = KEY
        self.name = name
        self.host = network.host(name, configured.listeners[0].address.host)
        self.start()

    def start(self) -> None:
        """Start it; again after ``shell.stop()``, with the same key and settings."""
        self.machine = Proxy(
            self.configured,
            key=self.key,
            random=self.network.random_bytes(self.name),
            unix_offset=UNIX,
        )
        self.shell = Shell[ProxyEvent, ProxyResult](
            self.host, self.machine, on_event=self._on_event, framing=SipFraming
        )
        for listener in self.configured.listeners:
            if listener.transport is Transport.UDP:
                self.shell.bind(listener.address)
            else:
                self.shell.listen(listener.address, listener.transport)
        self.shell.call(self.machine.handle_timer)

    @property
    def is_idle(self) -> bool:
        """Whether it holds no transaction, and waits for nothing."""
        return self.machine.next_deadline() is None

    def _on_event(self, event: ProxyEvent) -> None:
        unix_now = self.network.now + UNIX
        match event:
            case FindCredential(number, username, realm):
                self.shell.answer(number, self._secrets(username, realm))
            case FindBindings(number, address):
                if self.held is not None:
                    self.held.append(event)
                    return
                found = self.location.find(address, unix_now)
                self.shell.answer(number, self._unless_down(found))
            case UpdateBindings(number, address, registration):
                outcome = self._unless_down(self.location.update(address, registration, unix_now))
                if self.update_takes:
                    self.network.after(
                        self.update_takes, partial(self.shell.answer, number, outcome)
                    )
                else:
                    self.shell.answer(number, outcome)
            case FindServers(number, uri):
                self.shell.answer(number, self._find(uri))
            case FindSender(number, sent_by):
                self.shell.answer(number, self._sender(sent_by))
            case RunHook(number, _, subject):
                self.subjects.append(subject)
                decision = self.hook(subject)
                if decision is not None:
                    self.shell.answer(number, decision)
            case FindNumber(number, text, _):
                found_number = self.numbers.get(text)
                self.shell.answer(number, found_number or Failure("no such number"))
            case OpenFlow(number, target):
                self.shell.connect(Connect(number, target.transport, None, target.address))
            case _:
                self.facts.append(event)

    def _sender(self, sent_by: SentBy) -> Sequence[Target] | Failure:
        port = "" if sent_by.port is None else f":{sent_by.port}"
        return self._find(f"sip:{sent_by.host}{port};transport={sent_by.transport}")

    def _unless_down(self, result: ProxyResult) -> ProxyResult | Failure:
        if isinstance(self.location_is_down, Failure):
            return self.location_is_down
        return Failure("down") if self.location_is_down else result

    def _secrets(self, username: str, realm: str) -> Mapping[Algorithm, str]:
        password = self.users.get((username, realm))
        if password is None:
            return {}
        return {each: ha1(username, realm, password, each) for each in Algorithm}

    def _find(self, text: str) -> Sequence[Target] | Failure:
        uri = parse_absolute_uri(text)
        assert isinstance(uri, SipUri)
        if uri.host in self.servers:
            return self.servers[uri.host]
        if uri.address is None:
            return Failure("no such domain")
        transport = Transport(uri.transport or "udp")
        return (Target(transport, Address.of(str(uri.address), uri.port or 5060), uri.host, ""),)


@dataclass
class Dialog:
    """What a phone knows of a call: whom to send to, and by which route."""

    call_id: str
    local: NameAddress
    remote: NameAddress
    target: str
    route: tuple[NameAddress, ...]
    number: int = 1


@dataclass
class Ringing:
    """An INVITE that a phone has not answered."""

    transaction: TransactionId
    request: Request


@dataclass
class Call:
    """An INVITE that a phone sent, and what came back."""

    transaction: TransactionId
    request: Request
    responses: list[Response] = field(default_factory=list)
    timed_out: bool = False

    @property
    def statuses(self) -> list[int]:
        """The statuses in their order, without the 100 of the next hop."""
        return [response.status for response in self.responses if response.status != 100]


class Phone:
    """A user agent by RFC 3261, as simple as one can be: it does what the test says."""

    def __init__(
        self,
        network: Network,
        name: str,
        address: str,
        *,
        behind: Router | None = None,
        transport: Transport = Transport.UDP,
        password: str = "secret",
        answers: Callable[["Phone", Ringing], None] | None = None,
        proxy: Address = PROXY,
        port: int = 5060,
    ) -> None:
        self.network = network
        self.name = name
        self.transport = transport
        self.password = password
        self.answers = answers
        self.otherwise = 200
        """What other requests than INVITE and CANCEL are answered with; 0: nothing yet."""
        self.layer = Transactions(TransactionSettings(timing=NO_TRYING))
        self.local = Address(address, port)
        self.ringing: list[Ringing] = []
        self.received: list[Request] = []
        self.acks: list[Request] = []
        self.calls: dict[TransactionId, Call] = {}
        self.shell = Shell[TransactionEvent, Failure](
            network.host(f"{name} at {self.local}", address, behind=behind),
            self.layer,
            on_event=self._on_event,
            framing=SipFraming,
        )
        self._random = network.random(f"phone {name} {address}")
        self._sequence = 0
        self.path = Path(Transport.UDP, self.local, proxy)
        if transport is Transport.UDP:
            self.shell.bind(self.local)
        else:
            self.shell.connect(Connect(1, transport, None, proxy))
            network.run_until(lambda: bool(self.shell.paths), 10.0)
            self.path = self.shell.paths[0]

    @property
    def uri(self) -> str:
        """Its address of record."""
        return f"sip:{self.name}@{DOMAIN}"

    @property
    def contact(self) -> str:
        """Where it is, as far as it knows itself."""
        local = self.path.local
        suffix = "" if self.transport is Transport.UDP else f";transport={self.transport}"
        return f"sip:{self.name}@{local.host}:{local.port}{suffix}"

    # ── sending ─────────────────────────────────────────────────────────────────────────────────

    def send(
        self,
        method: str,
        uri: str,
        *fields: HeaderField,
        to: str | None = None,
        call_id: str | None = None,
        number: int | None = None,
        sender: str | None = None,
    ) -> Call:
        """Send a request to the proxy in a new transaction."""
        self._sequence += 1
        headers = [
            HeaderField.of(VIA, Via.of(self.transport, self.path.local, self._branch())),
            HeaderField.of(MAX_FORWARDS, 70),
            HeaderField.of(FROM, NameAddress.parse(sender or f"<{self.uri}>;tag={self.name}")),
            HeaderField.of(TO, NameAddress.parse(to or f"<{uri}>")),
            HeaderField.of(CALL_ID, call_id or f"{self._random.randbytes(6).hex()}@{self.name}"),
            HeaderField.of(CSEQ, CSeq(number or self._sequence, method)),
            *fields,
        ]
        return self.submit(Request.build(method, parse_absolute_uri(uri), headers))

    def submit(self, request: Request) -> Call:
        """Send a request as it is."""
        token = self.shell.call(lambda now: self.layer.send(request, self.path, now))
        call = self.calls[token] = Call(token, request)
        return call

    def again(self, call: Call, fields: Sequence[HeaderField], body: bytes = b"") -> Call:
        """The same request with more fields, in a new transaction: after a challenge."""
        headers = call.request.headers.replace_first(
            VIA, Via.of(self.transport, self.path.local, self._branch())
        )
        cseq = call.request.headers.get(CSEQ)
        assert cseq is not None
        headers = headers.replace(CSEQ, CSeq(cseq.number + 1, cseq.method))
        headers = Headers([*headers, *fields]).replace(CONTENT_LENGTH, len(body))
        return self.submit(Request(call.request.method, call.request.uri_text, headers, body))

    def authorized(self, call: Call, algorithm: Algorithm = Algorithm.SHA_256) -> Call:
        """The same request with credentials for the challenge that it met."""
        response = call.responses[-1]
        asked = WWW_AUTHENTICATE if response.status == 401 else PROXY_AUTHENTICATE
        answered = AUTHORIZATION if response.status == 401 else PROXY_AUTHORIZATION
        challenges = [
            one
            for one in response.headers.get_all(asked)
            if isinstance(one, Challenge) and one.algorithm is algorithm
        ]
        credentials = challenges[0].answer(
            self.name, self.password, call.request.method, call.request.uri_text, cnonce="c"
        )
        return self.again(call, [HeaderField.of(answered, credentials)])

    def register(
        self, *fields: HeaderField, expires: int = 3600, parameters: str = "", domain: str = DOMAIN
    ) -> Call:
        """Register its contact."""
        contact = NameAddress.parse(f"<{self.contact}>;expires={expires}{parameters}")
        own = HeaderField.of(CONTACT, contact)
        to = f"<sip:{self.name}@{domain}>"
        return self.send("REGISTER", f"sip:{domain}", own, *fields, to=to)

    def register_flow(self, reg_id: int, instance: str = INSTANCE) -> Call:
        """Register its flow by RFC 5626."""
        parameters = f';reg-id={reg_id};+sip.instance="{instance}"'
        return self.register(HeaderField.of(SUPPORTED, "outbound", "path"), parameters=parameters)

    def invite(self, uri: str, *fields: HeaderField) -> Call:
        """Call somebody."""
        contact = HeaderField.of(CONTACT, NameAddress.parse(f"<{self.contact}>"))
        return self.send("INVITE", uri, contact, *fields)

    def cancel(self, call: Call) -> None:
        """Give up."""
        self.shell.call(lambda now: self.layer.cancel(call.transaction, now))

    def acknowledge(self, call: Call) -> Dialog:
        """Send the ACK to the 2xx of a call, and have its dialog."""
        dialog = dialog_of_caller(call)
        self.transmit(dialog, "ACK", dialog.number)
        return dialog

    def transmit(self, dialog: Dialog, method: str, number: int) -> None:
        """Send a request of a dialog without a transaction: an ACK."""
        data = bytes(self._in_dialog(dialog, method, number))
        self.shell.call(lambda _: self.layer.transmit(data, self.path))

    def within(self, dialog: Dialog, method: str) -> Call:
        """Send a request within a dialog."""
        dialog.number += 1
        return self.submit(self._in_dialog(dialog, method, dialog.number))

    def acknowledge_after(self, network: Network, call: Call) -> Dialog:
        """Let a call be answered, acknowledge, and let that arrive."""
        network.run_for(1.0)
        dialog = self.acknowledge(call)
        network.run_for(1.0)
        return dialog

    def within_after(self, network: Network, dialog: Dialog, method: str) -> Call:
        """Send a request within a dialog, and let it be answered."""
        call = self.within(dialog, method)
        network.run_for(1.0)
        return call

    def respond(self, ringing: Ringing, status: int, *fields: HeaderField) -> None:
        """Answer a request, with what a 2xx needs to open a dialog."""
        more = list(fields)
        if status < 300:
            more.extend(ringing.request.headers.fields(RECORD_ROUTE))
            more.append(HeaderField.of(CONTACT, NameAddress.parse(f"<{self.contact}>")))
        response = Response.to(ringing.request, status, tag=self.name, fields=more)
        self.shell.call(lambda now: self.layer.respond(ringing.transaction, response, now))

    def _in_dialog(self, dialog: Dialog, method: str, number: int) -> Request:
        return Request.build(
            method,
            parse_absolute_uri(dialog.target),
            [
                HeaderField.of(VIA, Via.of(self.transport, self.path.local, self._branch())),
                HeaderField.of(MAX_FORWARDS, 70),
                *[HeaderField.of(ROUTE, route) for route in dialog.route],
                HeaderField.of(FROM, dialog.local),
                HeaderField.of(TO, dialog.remote),
                HeaderField.of(CALL_ID, dialog.call_id),
                HeaderField.of(CSEQ, CSeq(number, method)),
            ],
        )

    def _branch(self) -> str:
        return f"z9hG4bK{self._random.randbytes(8).hex()}"

    # ── receiving ───────────────────────────────────────────────────────────────────────────────

    def _on_event(self, event: TransactionEvent) -> None:
        match event:
            case RequestReceived(transaction, request, _, cancels):
                self.received.append(request)
                ringing = Ringing(transaction, request)
                if request.method == "CANCEL":
                    self._cancelled(ringing, cancels)
                elif request.method == "INVITE":
                    self.ringing.append(ringing)
                    if self.answers is not None:
                        self.answers(self, ringing)
                elif self.otherwise:
                    self.respond(ringing, self.otherwise)
                else:
                    self.ringing.append(ringing)
            case ResponseReceived(transaction, response, _) if transaction in self.calls:
                self.calls[transaction].responses.append(response)
            case TimedOut(transaction) if transaction in self.calls:
                self.calls[transaction].timed_out = True
            case AckReceived(request, _):
                self.acks.append(request)
            case _:
                pass

    def _cancelled(self, cancel: Ringing, cancels: TransactionId | None) -> None:
        self.respond(cancel, 200 if cancels is not None else 481)
        for ringing in self.ringing:
            if ringing.transaction == cancels:
                self.respond(ringing, 487)
                self.ringing.remove(ringing)
                return


def dialog_of_caller(call: Call) -> Dialog:
    """The dialog that the last 2xx opened, on the caller's side (RFC 3261 §12.1.2)."""
    answer = next(one for one in reversed(call.responses) if 200 <= one.status < 300)
    contact = answer.headers.first(CONTACT)
    assert contact is not None
    assert contact is not Wildcard.ALL
    return Dialog(
        call.request.headers.get(CALL_ID) or "",
        _party(call.request, FROM),
        _party(answer, TO),
        str(contact.uri),
        tuple(reversed(answer.headers.get_all(RECORD_ROUTE))),
        _number(call.request),
    )


def dialog_of_callee(phone: Phone, request: Request) -> Dialog:
    """The dialog on the side of who was called (§12.1.1)."""
    contact = request.headers.first(CONTACT)
    assert contact is not None
    assert contact is not Wildcard.ALL
    return Dialog(
        request.headers.get(CALL_ID) or "",
        _party(request, TO).with_tag(phone.name),
        _party(request, FROM),
        str(contact.uri),
        request.headers.get_all(RECORD_ROUTE),
        100,
    )


def _party(message: Request | Response, kind: Singular[NameAddress]) -> NameAddress:
    found = message.headers.get(kind)
    assert found is not None
    return found


def _number(request: Request) -> int:
    cseq = request.headers.get(CSEQ)
    assert cseq is not None
    return cseq.number
