"""A proxy in this process and user agents, on real sockets of loopback."""

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from natkit.address import Address
from natkit.aio.driver import Driver, StreamCarrier
from natkit.aio.tcp import StreamConnections, bind_tcp
from natkit.aio.tls import TlsClient, TlsConnections
from natkit.aio.udp import DatagramSockets
from natkit.aio.websocket import Chunks, WebSocketConnections
from natkit.errors import NoService
from natkit.locate import Target
from natkit.machine import Failure, Path, Transport
from natkit.sip import HeaderField, NameAddress, Request, Response, SipFraming, SipUri, Via
from natkit.sip.framing import PING, PONG, Expect
from natkit.sip.kinds import (
    CALL_ID,
    CONTACT,
    CONTENT_LENGTH,
    CSEQ,
    FROM,
    MAX_FORWARDS,
    RECORD_ROUTE,
    ROUTE,
    TO,
    VIA,
    CSeq,
)
from natkit.sip.registry import DEFAULT_PORTS
from natkit.sip.transactions import (
    AckReceived,
    Dropped,
    PathLost,
    RequestReceived,
    ResponseReceived,
    SipTiming,
    TimedOut,
    TransactionEvent,
    TransactionId,
    Transactions,
    TransactionSettings,
)
from natkit.sip.uri import parse_absolute_uri
from natkit.sip.via import SentBy
from natkit.stun.demux import is_stun
from sip_proxy.config.policy import Limits
from sip_proxy.settings import Settings
from sip_proxy.shell.finding import Locator
from sip_proxy.shell.listening import ListenAddress, open_listeners
from sip_proxy.shell.running import RunningProxy
from sip_proxy.shell.streams import StreamSettings
from sip_proxy.shell.users import Users
from sipdns.locator import Dns

DOMAIN = "example.org"
LIMIT = 20.0
"""Seconds that a slow machine may take for anything at all."""

_numbers = itertools.count(1)


class Names:
    """A locator that knows what a test tells it, and addresses."""

    def __init__(self) -> None:
        self.known: dict[str, Sequence[Target]] = {}

    async def locate(self, uri: str) -> Sequence[Target]:
        parsed = parse_absolute_uri(uri)
        assert isinstance(parsed, SipUri)
        if parsed.host in self.known:
            return self.known[parsed.host]
        if parsed.address is None:
            raise NoService(f"{parsed.host} is not known")
        secure = parsed.is_secure
        transport = Transport(parsed.transport or ("tls" if secure else "udp"))
        port = parsed.port or DEFAULT_PORTS[transport]
        return (Target(transport, Address.of(str(parsed.address), port), parsed.host, parsed.host),)

    def locate_known(self, uri: str) -> Sequence[Target] | None:
        del uri
        return None

    async def locate_response(self, sent_by: SentBy) -> Sequence[Target]:
        port = "" if sent_by.port is None else f":{sent_by.port}"
        return await self.locate(f"sip:{sent_by.host}{port};transport={sent_by.transport}")


class Served:
    """A proxy that serves."""

    def __init__(
        self, proxy: RunningProxy, addresses: Mapping[Transport, Address], names: Names
    ) -> None:
        self.proxy = proxy
        self.addresses = addresses
        self.names = names

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that nobody is told of."""
        async with asyncio.timeout(LIMIT):
            while not holds():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def serving(
    *listen: str,
    streams: StreamSettings | None = None,
    locator: Locator | None = None,
    users: Users | None = None,
    limits: Limits | None = None,
    domains: frozenset[str] = frozenset({DOMAIN}),
    numbers: Dns | None = None,
    **changes: object,
) -> AsyncIterator[Served]:
    """A proxy for example.org that asks for no credentials, unless ``changes`` say so."""
    bound = open_listeners([ListenAddress.parse(each) for each in listen])
    values: dict[str, object] = {"authenticate": False, **changes}
    settings = Settings(
        tuple(each.listener for each in bound),
        domains,
        **values,  # type: ignore[arg-type]
    )
    known = Names()
    proxy = RunningProxy(
        settings,
        bound,
        users or Users(),
        locator or known,
        streams=streams,
        limits=limits,
        numbers=numbers,
    )
    try:
        addresses = {each.listener.transport: each.listener.address for each in bound}
        yield Served(proxy, addresses, known)
    finally:
        await proxy.aclose()


@dataclass
class Pending:
    """A request that an agent sent, and what came of it."""

    request: Request
    responses: list[Response] = field(default_factory=list)
    done: asyncio.Future[Response | str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    async def final(self) -> Response:
        """Its final response; a failure of the test when it got none."""
        async with asyncio.timeout(LIMIT):
            result = await asyncio.shield(self.done)
        assert isinstance(result, Response), result
        return result

    async def failure(self) -> str:
        """Why it got none."""
        async with asyncio.timeout(LIMIT):
            result = await asyncio.shield(self.done)
        assert isinstance(result, str), result
        return result


Answers = Callable[[Request], Sequence[int]]


class Agent:
    """A user agent with one flow to the proxy; answers what it gets by ``answers``."""

    def __init__(self, name: str, path: Path, answers: Answers) -> None:
        self.name = name
        self.path = path
        self.answers = answers
        self.received: list[RequestReceived] = []
        self.acks: list[Request] = []
        self.news = asyncio.Event()
        self.is_cut = False
        self.dropped: list[str] = []
        self.heard: list[bytes] = []
        """What came and was no message: keep-alives."""
        self._machine = _Layer(self)
        self._sent: dict[TransactionId, Pending] = {}
        self._driver: Driver[TransactionEvent, Failure]

    def drive(self, datagrams: DatagramSockets | None, streams: StreamCarrier | None) -> None:
        self._driver = Driver(self._machine, self._on_event, datagrams=datagrams, streams=streams)

    async def aclose(self) -> None:
        await self._driver.aclose()

    @property
    def uri(self) -> str:
        return f"sip:{self.name}@{DOMAIN}"

    @property
    def contact(self) -> str:
        local = self.path.local
        host = f"[{local.host}]" if ":" in local.host else local.host
        transport = {"wss": "ws"}.get(self.path.transport, self.path.transport)
        return f"sip:{self.name}@{host}:{local.port};transport={transport}"

    # ── sending ─────────────────────────────────────────────────────────────────────────────────

    def send(
        self,
        method: str,
        uri: str,
        *fields: HeaderField,
        to: str | None = None,
        via: Via | None = None,
        body: bytes = b"",
    ) -> Pending:
        number = next(_numbers)
        local = self.path.local
        mine = via or Via.of(self.path.transport, local.host, f"z9hG4bK{number:x}", port=local.port)
        headers = [
            HeaderField.of(VIA, mine),
            HeaderField.of(MAX_FORWARDS, 70),
            HeaderField.of(FROM, NameAddress.parse(f"<{self.uri}>;tag={self.name}")),
            HeaderField.of(TO, NameAddress.parse(to or f"<{uri}>")),
            HeaderField.of(CALL_ID, f"call-{number}"),
            HeaderField.of(CSEQ, CSeq(number, method)),
            *fields,
        ]
        return self.submit(Request.build(method, parse_absolute_uri(uri), headers, body))

    def submit(self, request: Request) -> Pending:
        pending = Pending(request)
        token = self._driver.run(lambda now: self._machine.send(request, self.path, now))
        self._sent[token] = pending
        return pending

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._driver.run(lambda _: self._machine.transmit(data, self.path))

    def register(self, *fields: HeaderField, expires: int = 600, parameters: str = "") -> Pending:
        contact = NameAddress.parse(f"<{self.contact}>;expires={expires}{parameters}")
        named = HeaderField.of(CONTACT, contact)
        return self.send("REGISTER", f"sip:{DOMAIN}", named, *fields, to=f"<{self.uri}>")

    def call(
        self, uri: str, *fields: HeaderField, via: Via | None = None, body: bytes = b""
    ) -> Pending:
        contact = HeaderField.of(CONTACT, NameAddress.parse(f"<{self.contact}>"))
        return self.send("INVITE", uri, contact, *fields, via=via, body=body)

    def within(self, call: Pending, method: str) -> Request:
        """A request of the dialog that a call of ours opened (RFC 3261 §12.2.1.1)."""
        answer = next(one for one in call.responses if 200 <= one.status < 300)
        contact, cseq = answer.headers.first(CONTACT), call.request.headers.get(CSEQ)
        assert isinstance(contact, NameAddress)
        assert cseq is not None
        local = self.path.local
        branch = f"z9hG4bK{next(_numbers):x}"
        number = cseq.number if method == "ACK" else cseq.number + 1
        headers = [
            HeaderField.of(VIA, Via.of(self.path.transport, local.host, branch, port=local.port)),
            HeaderField.of(MAX_FORWARDS, 70),
            *[
                HeaderField.of(ROUTE, route)
                for route in reversed(answer.headers.get_all(RECORD_ROUTE))
            ],
            *call.request.headers.fields(FROM),
            *answer.headers.fields(TO),
            *call.request.headers.fields(CALL_ID),
            HeaderField.of(CSEQ, CSeq(number, method)),
        ]
        return Request.build(method, contact.uri, headers)

    async def whole_call(self, uri: str) -> int:
        """Call, acknowledge and hang up; the status of the call, which the BYE must bear out."""
        call = self.call(uri)
        answer = await call.final()
        if answer.status < 300:
            self.write(bytes(self.within(call, "ACK")))
            assert (await self.submit(self.within(call, "BYE")).final()).status == 200
        return answer.status

    async def got(self, method: str, count: int = 1) -> RequestReceived:
        """The ``count``-th request of that method that came."""
        async with asyncio.timeout(LIMIT):
            while True:
                found = [each for each in self.received if each.request.method == method]
                if len(found) >= count:
                    return found[count - 1]
                self.news.clear()
                await self.news.wait()

    async def cut(self) -> None:
        """Wait until the connection is gone."""
        await self.until(lambda: self.is_cut)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what an event of this agent brings about."""
        async with asyncio.timeout(LIMIT):
            while not holds():
                self.news.clear()
                await self.news.wait()

    def respond(self, received: RequestReceived, status: int) -> None:
        """Answer a request."""
        contact = HeaderField.of(CONTACT, NameAddress.parse(f"<{self.contact}>"))
        response = Response.to(
            received.request,
            status,
            tag=self.name,
            fields=[*received.request.headers.fields(RECORD_ROUTE), contact, _NO_CONTENT],
        )
        self._driver.run(lambda now: self._machine.respond(received.transaction, response, now))

    def _on_event(self, event: TransactionEvent) -> None:
        match event:
            case RequestReceived():
                self.received.append(event)
                for status in self.answers(event.request):
                    self.respond(event, status)
            case ResponseReceived(transaction, response, _) if transaction in self._sent:
                pending = self._sent[transaction]
                pending.responses.append(response)
                if response.status >= 200 and not pending.done.done():
                    pending.done.set_result(response)
            case TimedOut(transaction) if transaction in self._sent:
                self._sent[transaction].done.set_result("timed out")
            case PathLost(transaction) if transaction in self._sent:
                self._sent[transaction].done.set_result("path lost")
            case AckReceived(request, _):
                self.acks.append(request)
            case Dropped(_, reason):
                self.dropped.append(reason)
            case _:
                pass
        self.news.set()


class _Layer(Transactions):
    """An agent's transactions; the agent hears of keep-alives, and of the end of its flow."""

    def __init__(self, owner: Agent) -> None:
        super().__init__(TransactionSettings(timing=SipTiming(trying_after=None)))
        self._owner = owner

    def receive(self, data: bytes, path: Path, now: float) -> None:
        if data in (PING, PONG) or is_stun(data):
            self._owner.heard.append(data)
            self._owner.news.set()
        else:
            super().receive(data, path, now)

    def disconnected(self, path: Path, now: float) -> None:
        self._owner.is_cut = True
        self._owner.news.set()
        super().disconnected(path, now)


_NO_CONTENT = HeaderField.of(CONTENT_LENGTH, 0)


def silent(_: Request) -> Sequence[int]:
    """Answer nothing: the test does."""
    return ()


def accept(_: Request) -> Sequence[int]:
    """Answer everything with 200."""
    return (200,)


@contextlib.asynccontextmanager
async def agent(
    name: str,
    transport: Transport,
    server: Address,
    *,
    tls: TlsClient | None = None,
    answers: Answers = accept,
) -> AsyncIterator[Agent]:
    """A user agent with a flow to ``server``."""
    host = "::1" if ":" in server.host else "127.0.0.1"
    if transport is Transport.UDP:
        datagrams = DatagramSockets()
        made = Agent(name, Path(transport, datagrams.open(Address(host, 0)), server), answers)
        made.drive(datagrams, None)
    else:
        streams = _client_streams(transport, tls)
        path = await streams.connect(transport, None, server)
        made = Agent(name, path, answers)
        made.drive(None, streams)
        streams.start(path)
    try:
        yield made
    finally:
        await made.aclose()


@contextlib.asynccontextmanager
async def server(
    name: str,
    transport: Transport,
    *,
    context: ssl.SSLContext | None = None,
    answers: Answers = accept,
    address: Address | None = None,
) -> AsyncIterator[Agent]:
    """Somebody who waits on a port of loopback: the remote of its ``path`` means nothing."""
    wanted = address or Address("127.0.0.1", 0)
    datagrams: DatagramSockets | None = None
    streams: StreamConnections | WebSocketConnections | None = None
    if transport is Transport.UDP:
        datagrams = DatagramSockets()
        local = datagrams.open(wanted)
    else:
        sock = bind_tcp(wanted)
        local = Address(*sock.getsockname()[:2])
        streams = _server_streams(transport, context)
    made = Agent(name, Path(transport, local, local), answers)
    made.drive(datagrams, streams)
    if streams is not None:
        await streams.listen(sock)
    try:
        yield made
    finally:
        await made.aclose()


def _client_streams(
    transport: Transport, tls: TlsClient | None
) -> StreamConnections | WebSocketConnections:
    pongs = partial(SipFraming, Expect.PONGS)
    match transport:
        case Transport.TCP:
            return StreamConnections(pongs)
        case Transport.TLS:
            return TlsConnections(pongs, client=tls)
        case Transport.WS:
            return WebSocketConnections(StreamConnections(Chunks))
        case _:
            return WebSocketConnections(TlsConnections(Chunks, client=tls))


def _server_streams(
    transport: Transport, context: ssl.SSLContext | None
) -> StreamConnections | WebSocketConnections:
    pings = partial(SipFraming, Expect.PINGS)
    match transport:
        case Transport.TCP:
            return StreamConnections(pings)
        case Transport.TLS:
            return TlsConnections(pings, server=context)
        case Transport.WS:
            return WebSocketConnections(StreamConnections(Chunks))
        case _:
            return WebSocketConnections(TlsConnections(Chunks, server=context))
