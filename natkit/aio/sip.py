"""SIP on asyncio: send a request and await its final response; answer requests that come.

::

    async with Element(locator=sipdns.Locator()) as element:
        answer = await element.request("OPTIONS", "sip:example.org")
        print(answer.status, answer.reason, answer.headers.get_all(ALLOW))

For what stands alone: OPTIONS, REGISTER, MESSAGE, PUBLISH, NOTIFY out of the blue.  Dialogs and
calls are made with :class:`natkit.sip.transactions.Transactions`, which this runs.
"""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from natkit.address import Address, Family
from natkit.aio.driver import Driver
from natkit.aio.scoped import Scoped
from natkit.aio.secure import SYSTEM_TRUST, Trust
from natkit.aio.sip_streams import FROM_CLIENTS, SipStreams, sip_client
from natkit.aio.system_locator import look_up
from natkit.aio.tcp import StreamConnections, bind_tcp
from natkit.aio.tls import TlsClient, client_context
from natkit.aio.udp import DatagramSockets, source_address
from natkit.errors import (
    MalformedMessage,
    MisuseError,
    NatkitError,
    TransactionTimeout,
    UnreachableError,
)
from natkit.locate import Locator, Target
from natkit.machine import Failure, Path, Transport
from natkit.sip import (
    AbsoluteUri,
    HeaderField,
    NameAddress,
    Request,
    Response,
    SipUri,
    TelUri,
    Via,
    parse_absolute_uri,
)
from natkit.sip.digest import (
    AUTHORIZATION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    WWW_AUTHENTICATE,
    Challenge,
)
from natkit.sip.flows import Flows
from natkit.sip.headers import Headers
from natkit.sip.kinds import CALL_ID, CSEQ, FROM, MAX_FORWARDS, TO, VIA, CSeq
from natkit.sip.registry import DEFAULT_PORTS, INITIAL_MAX_FORWARDS
from natkit.sip.transactions import (
    BadRequest,
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

__all__ = ["Element", "Incoming"]

MOST_ANSWERING: Final = 1_000
"""Requests that are being answered at once; more are refused by 503."""

_ANONYMOUS: Final = "<sip:anonymous@anonymous.invalid>"
_SERVED: Final = (Transport.UDP, Transport.TCP)
_TRY_ANOTHER: Final = 503


class Incoming:
    """A request that came, and the path it came by."""

    def __init__(self, request: Request, path: Path) -> None:
        self.request = request
        self.path = path

    def response(
        self,
        status: int,
        *fields: HeaderField,
        reason: str | None = None,
        body: bytes = b"",
    ) -> Response:
        """A response to it, with a tag in To."""
        tag = os.urandom(8).hex()
        return Response.to(self.request, status, reason=reason, tag=tag, fields=fields, body=body)


Answer = Callable[[Incoming], Awaitable[Response]]


class Element(Scoped):
    """One SIP element; for ``async with``.

    ``sender``: who its requests are from, a URI or a name-addr.  ``username`` and ``password``
    answer challenges.  ``answer`` makes the final response to each request but ACK and CANCEL;
    without it they get 501.  ``locator`` finds servers, by default by the system's resolver, which
    follows no NAPTR and SRV records.  ``trust`` says which servers are believed over TLS, whose
    certificate must be for the domain of the URI (RFC 5922).
    """

    def __init__(
        self,
        *,
        sender: str = _ANONYMOUS,
        username: str | None = None,
        password: str = "",
        answer: Answer | None = None,
        locator: Locator | None = None,
        trust: Trust = SYSTEM_TRUST,
        timing: SipTiming | None = None,
    ) -> None:
        self._sender = NameAddress.parse(sender if "<" in sender else f"<{sender}>")
        self._credentials = None if username is None else (username, password)
        self._answer = answer
        self._locator: Locator = locator or _SystemLocator()
        self._trust = trust
        self._context: ssl.SSLContext | None = None
        self._datagrams = DatagramSockets()
        self._come = StreamConnections(FROM_CLIENTS)
        self._streams = SipStreams(
            client=self._tls_client,
            come={Transport.TCP: self._come},
        )
        settings = TransactionSettings(timing=timing or SipTiming())
        self._machine = _Noticing(settings)
        self._driver: Driver[TransactionEvent, Failure] = Driver(
            self._machine, self._on_event, datagrams=self._datagrams, streams=self._streams
        )
        self._local: dict[Family, Address] = {}
        self._waiting: dict[TransactionId, asyncio.Future[Response]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._number = 0

    async def aclose(self) -> None:
        """End: requests that wait fail with UnreachableError."""
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        await self._driver.aclose()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(UnreachableError("the element was closed"))
        self._waiting.clear()

    # ── serving ─────────────────────────────────────────────────────────────────────────────────

    async def listen(self, transport: Transport, local: Address) -> Address:
        """Take requests there over UDP or TCP; the address with the port that it got.

        It is one address of this machine, for it stands in the Via of requests.
        UnreachableError when it cannot be had.  Requests of ours leave from a UDP socket so opened.
        """
        if transport not in _SERVED:
            raise MisuseError(f"requests are taken over UDP and TCP, not over {transport.upper()}")
        if transport is Transport.UDP:
            bound = self._datagrams.open(local)
            self._local[bound.family] = bound
            return bound
        sock = bind_tcp(local)
        bound = local._replace(port=sock.getsockname()[1])
        await self._come.listen(sock)
        return bound

    # ── asking ──────────────────────────────────────────────────────────────────────────────────

    async def request(
        self,
        method: str,
        uri: str,
        *fields: HeaderField,
        to: str | None = None,
        body: bytes = b"",
    ) -> Response:
        """Send a request and give its final response, whatever its status.

        The servers of ``uri`` are tried in turn until one answers other than by 503 (RFC 3263
        §4.3).  ``to`` is whom it is about if that is not ``uri``, a registration's user for one.
        Raises LocateError, UnreachableError (TlsFailed among it) or TransactionTimeout by what went
        wrong at the last of them, and MisuseError for a wrong URI or for INVITE and ACK.
        """
        if method in ("INVITE", "ACK", "CANCEL"):
            raise MisuseError(f"{method} belongs to a dialog, which an Element has none of")
        wanted = _read(uri)
        targets = await self._locator.locate(uri)
        self._number += 1
        headers = [
            HeaderField.of(MAX_FORWARDS, INITIAL_MAX_FORWARDS),
            HeaderField.of(FROM, self._sender.with_tag(os.urandom(8).hex())),
            HeaderField.of(TO, NameAddress.parse(f"<{to or uri}>")),
            HeaderField.of(CALL_ID, os.urandom(16).hex()),
            HeaderField.of(CSEQ, CSeq(self._number, method)),
            *fields,
        ]
        request = Request(method, str(wanted), Headers(headers), body)
        failure: NatkitError = UnreachableError(f"no server of {uri} can be reached")
        response: Response | None = None
        for target in targets:
            try:
                response = await self._ask(request, target)
            except (UnreachableError, TransactionTimeout) as error:
                failure = error
                continue
            if response.status != _TRY_ANOTHER:
                return response
        if response is None:
            raise failure
        return response

    async def _ask(self, request: Request, target: Target) -> Response:
        """Ask one server, once more with credentials if it wants them."""
        path = await self._path_to(target)
        response = await self._transact(request, path)
        if response.status not in (401, 407) or self._credentials is None:
            return response
        authorized = self._authorized(request, response)
        return response if authorized is None else await self._transact(authorized, path)

    async def _path_to(self, target: Target) -> Path:
        if target.transport is Transport.UDP:
            family = target.address.family
            if family not in self._local:
                self._local[family] = self._datagrams.open(source_address(target.address))
            return Path(Transport.UDP, self._local[family], target.address)
        path = self._machine.flows.find(target)
        if path is None:
            path = await self._streams.open(target)
            self._machine.flows.made(target, path)
            self._streams.start(path)
        return path

    def _tls_client(self, domain: str) -> TlsClient:
        if self._context is None:
            # Reading the system's roots takes longer than a request.
            trust = self._trust
            self._context = client_context(trust=trust.roots, verify=trust.verify)
        return sip_client(domain, self._context, verify=self._trust.verify)

    async def _transact(self, request: Request, path: Path) -> Response:
        branch = f"z9hG4bK{os.urandom(10).hex()}"
        via = Via.of(path.transport, path.local, branch)
        fields = [HeaderField.of(VIA, via), *request.headers]
        sent = Request.build(request.method, request.uri, fields, request.body)
        waiting: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        token = self._driver.run(lambda now: self._machine.send(sent, path, now))
        self._waiting[token] = waiting
        try:
            return await waiting
        finally:
            self._waiting.pop(token, None)
            self._machine.abandon(token)

    def _authorized(self, request: Request, response: Response) -> Request | None:
        """The request with an answer to the first challenge of an algorithm that we know."""
        if self._credentials is None:
            return None
        is_proxy = response.status == 407
        asked = PROXY_AUTHENTICATE if is_proxy else WWW_AUTHENTICATE
        answered = PROXY_AUTHORIZATION if is_proxy else AUTHORIZATION
        for challenge in response.headers.get_all(asked):
            if not isinstance(challenge, Challenge):
                continue
            username, password = self._credentials
            credentials = challenge.answer(
                username,
                password,
                request.method,
                request.uri_text,
                cnonce=os.urandom(8).hex(),
                body=request.body,
            )
            self._number += 1
            cseq = HeaderField.of(CSEQ, CSeq(self._number, request.method))
            fields = [cseq if one.key == "cseq" else one for one in request.headers]
            headers = Headers([*fields, HeaderField.of(answered, credentials)])
            return Request(request.method, request.uri_text, headers, request.body)
        return None

    # ── what transactions tell ──────────────────────────────────────────────────────────────────

    def _on_event(self, event: TransactionEvent) -> None:
        match event:
            case RequestReceived():
                self._received(event)
            case ResponseReceived(transaction, response, _) if response.status >= 200:
                self._settle(transaction, response)
            case TimedOut(transaction, path):
                peer = "the server" if path is None else str(path.remote)
                self._settle(transaction, TransactionTimeout(f"no answer from {peer}"))
            case PathLost(transaction, None):
                error = UnreachableError("the connection ended before an answer came")
                self._settle(transaction, error)
            case BadRequest(request, path, reason):
                refusal = Response.to(request, 400, reason=reason)
                self._machine.respond_to(request, refusal, path)
            case _:
                pass

    def _settle(self, transaction: TransactionId, outcome: Response | NatkitError) -> None:
        waiting = self._waiting.get(transaction)
        if waiting is None or waiting.done():
            return
        if isinstance(outcome, Response):
            waiting.set_result(outcome)
        else:
            waiting.set_exception(outcome)

    def _received(self, event: RequestReceived) -> None:
        incoming = Incoming(event.request, event.path)
        if self._answer is None:
            self._respond(event, incoming.response(501))
        elif len(self._answering) >= MOST_ANSWERING:
            self._respond(event, incoming.response(503))
        else:
            task = asyncio.get_running_loop().create_task(self._make(event, incoming, self._answer))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _make(self, event: RequestReceived, incoming: Incoming, answer: Answer) -> None:
        try:
            response = await answer(incoming)
        except Exception:
            self._respond(event, incoming.response(500))
            raise
        self._respond(event, response)

    def _respond(self, event: RequestReceived, response: Response) -> None:
        self._driver.run(lambda now: self._machine.respond(event.transaction, response, now))


# RFC 3261 §26.2.2: a sips URI names what is beneath TLS.
_SECURE: Final = {
    "udp": Transport.TLS,
    "tcp": Transport.TLS,
    "tls": Transport.TLS,
    "ws": Transport.WSS,
}
_PLAIN: Final = {
    each.value: each
    for each in (Transport.UDP, Transport.TCP, Transport.TLS, Transport.WS, Transport.WSS)
}


def _read(uri: str) -> SipUri | TelUri | AbsoluteUri:
    try:
        return parse_absolute_uri(uri)
    except MalformedMessage as error:
        raise MisuseError(str(error)) from error


class _Noticing(Transactions):
    """Transactions, and which connections are open."""

    def __init__(self, settings: TransactionSettings) -> None:
        super().__init__(settings)
        self.flows = Flows()

    def disconnected(self, path: Path, now: float) -> None:
        """A stream ended."""
        self.flows.ended(path)
        super().disconnected(path, now)


class _SystemLocator:
    """Looks addresses up by ``getaddrinfo``; port and transport are the URI's, or its defaults."""

    async def locate(self, uri: str) -> Sequence[Target]:
        parsed = _read(uri)
        if not isinstance(parsed, SipUri):
            raise MisuseError(f"{uri!r} is no sip or sips URI")
        named = parsed.transport or "udp"
        transport = (_SECURE if parsed.is_secure else _PLAIN).get(named)
        if transport is None:
            raise MisuseError(f"{uri!r} asks for a transport that is not spoken here")
        host = parsed.maddr or parsed.host
        port = parsed.port or DEFAULT_PORTS[transport]
        found = await look_up(host.strip("[]"), port)
        return [Target(transport, address, host, parsed.host) for address in found]
