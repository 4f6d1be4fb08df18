"""Asks the servers that a lookup found whether they are there: ``sipdns check --probe``.

::

    targets = [ProbeTarget.of(target) for target in outcome.targets]
    for line in contacted(targets):             # before anything is sent
        print(line)
    for result in await probe(targets):
        print(result.target, result.standing)

Each target gets one connection at most and one request, and has a bounded time.  A certificate that
is not good is looked at all the same, and the request still asked: nothing secret is sent.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Final, TypeVar, assert_never

from natkit.aio.driver import DatagramCarrier, Driver, StreamCarrier
from natkit.aio.tcp import StreamConnections
from natkit.aio.tls import TlsClient, TlsConnections, TlsSession, client_context
from natkit.aio.udp import DatagramSockets, source_address
from natkit.aio.websocket import Chunks, WebSocketConnections
from natkit.errors import MalformedMessage, MisuseError, TlsFailed, UnreachableError, UpgradeRefused
from natkit.machine import Machine, Path, StreamFraming, Transport
from natkit.sip import Headers, Plural, Response, SipFraming
from natkit.sip.kinds import ALLOW, SERVER, SUPPORTED, USER_AGENT, VIA
from natkit.stun.binding import BindingClient, BindingEvent, BindingFailed, Bound
from natkit.stun.framing import StunFraming
from natkit.stun.transaction import Timing
from sipdns.probe_certificates import examine_certificates
from sipdns.probe_options import OptionsAnswered, OptionsEvent, OptionsFailed, OptionsProbe
from sipdns.probe_results import (
    BindingAnswer,
    Check,
    OptionsAnswer,
    ProbeResult,
    ProbeTarget,
    Protocol,
    Standing,
    TlsFacts,
    printable,
)

__all__ = ["ProbeSettings", "contacted", "probe"]

E = TypeVar("E")

SERVICE_UNAVAILABLE: Final = 503
"""A server that says so is passed over by every client (RFC 3263 §4.3)."""

BINDING_REQUESTS: Final = 4
"""Sent at 0, 0.5, 1.5 and 3.5 s (RFC 8489 §6.2.1)."""

_BEFORE_LAST_WAIT: Final = 3.5
"""Seconds until the last of them."""


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """``limit`` is seconds for each of connecting, TLS, and the answer; ``trust`` roots in PEM."""

    limit: float = 8.0
    at_once: int = 16
    """How many targets are asked at a time: no burst that looks like a scan."""
    trust: FilePath | None = None


DEFAULT_SETTINGS: Final = ProbeSettings()


def contacted(targets: Sequence[ProbeTarget]) -> tuple[str, ...]:
    """Whom :func:`probe` would contact, and how: a line each, no target twice."""
    return tuple(str(target) for target in dict.fromkeys(targets) if _speaks(target))


async def probe(
    targets: Sequence[ProbeTarget], settings: ProbeSettings = DEFAULT_SETTINGS
) -> Sequence[ProbeResult]:
    """Ask all targets, several at a time; one result each, in their order.

    A target that stands twice is asked once.  Whatever goes wrong stands in the results.
    """
    gate = asyncio.Semaphore(settings.at_once)

    async def one(target: ProbeTarget) -> ProbeResult:
        async with gate:
            return await _Probe(target, settings).run()

    different = list(dict.fromkeys(targets))
    async with asyncio.TaskGroup() as group:
        tasks = {target: group.create_task(one(target)) for target in different}
    return [tasks[target].result() for target in targets]


def _speaks(target: ProbeTarget) -> bool:
    if target.protocol is Protocol.STUN:
        return target.transport in (Transport.UDP, Transport.TCP, Transport.TLS)
    return target.transport in (
        Transport.UDP,
        Transport.TCP,
        Transport.TLS,
        Transport.WS,
        Transport.WSS,
    )


def _not_tested(why: str) -> Check:
    return Check(Standing.NOT_TESTED, why)


def _ok(evidence: str) -> Check:
    return Check(Standing.OK, evidence)


def _failed(error: Exception) -> Check:
    return Check(Standing.FAILED, str(error))


def _shown(check: Check) -> Check:
    return replace(check, evidence=printable(check.evidence))


class _Probe:
    """The probe of one target: its result grows check by check."""

    def __init__(self, target: ProbeTarget, settings: ProbeSettings) -> None:
        self._target = target
        self._settings = settings
        self._sessions: list[TlsSession] = []
        secure = target.transport in (Transport.TLS, Transport.WSS)
        web = target.transport in (Transport.WS, Transport.WSS)
        waiting = _not_tested("there was no connection")
        tls = waiting if secure else _not_tested(f"{target.transport.upper()} has no TLS")
        self._result = ProbeResult(
            target,
            connection=_not_tested("UDP has no connections"),
            tls=tls,
            chain=tls,
            expiry=tls,
            name=tls,
            websocket=waiting if web else _not_tested("not over WebSocket"),
            exchange=waiting,
        )

    async def run(self) -> ProbeResult:
        """Connect, examine, ask."""
        if not _speaks(self._target):
            why = _not_tested(f"this program does not speak {self._target.transport.upper()}")
            return replace(self._result, connection=why, exchange=why)
        if self._target.transport is Transport.UDP:
            await self._over_udp()
        else:
            await self._over_stream()
        return self._result

    async def _over_udp(self) -> None:
        datagrams = DatagramSockets()
        try:
            local = datagrams.open(source_address(self._target.address))
            path = Path(Transport.UDP, local, self._target.address)
            await self._exchange(path, datagrams=datagrams)
        except UnreachableError as error:
            self._note(exchange=_failed(error))
        finally:
            datagrams.close()

    async def _over_stream(self) -> None:
        try:
            streams = self._streams()
        except MisuseError as error:
            why = _not_tested(str(error))
            self._note(connection=why, tls=why, chain=why, expiry=why, name=why, exchange=why)
            return
        address = self._target.address
        try:
            path = await streams.connect(self._target.transport, None, address)
            self._connected()
            if self._target.transport in (Transport.WS, Transport.WSS):
                self._note(websocket=_ok("upgraded, with the subprotocol sip"))
            await self._exchange(path, streams=streams)
        except UpgradeRefused as error:
            self._connected()
            self._note(websocket=_failed(error), exchange=_not_tested("there was no WebSocket"))
        except TlsFailed as error:
            self._connected()
            why = _not_tested("the TLS handshake failed")
            self._note(tls=_failed(error), chain=why, expiry=why, name=why, exchange=why)
        except UnreachableError as error:
            self._note(connection=_failed(error))
        finally:
            await streams.aclose()

    def _streams(self) -> StreamCarrier:
        limit = self._settings.limit
        match self._target.transport:
            case Transport.TCP:
                return StreamConnections(self._framing(), connect_timeout=limit)
            case Transport.TLS:
                return self._tls(self._framing())
            case Transport.WS:
                below = StreamConnections(Chunks, connect_timeout=limit)
                return WebSocketConnections(below, host=self._target.tls_name)
            case Transport.WSS:
                return WebSocketConnections(self._tls(Chunks), host=self._target.tls_name)
            case transport:
                raise AssertionError(transport)

    def _tls(self, framing: Callable[[], StreamFraming]) -> TlsConnections:
        # Verified afterwards: a certificate that is refused in the handshake is never seen.
        context = client_context(verify=False)
        client = TlsClient(self._target.tls_name, context, self._sessions.append)
        return TlsConnections(framing, client=client, connect_timeout=self._settings.limit)

    def _framing(self) -> Callable[[], StreamFraming]:
        return SipFraming if self._target.protocol is Protocol.SIP else StunFraming

    def _connected(self) -> None:
        self._note(connection=_ok(f"connected to {self._target.address}"))
        for session in self._sessions:
            self._examine(session)

    def _examine(self, session: TlsSession) -> None:
        seen = examine_certificates(
            session.certificates,
            self._target.tls_name,
            self._target.protocol,
            trust=self._settings.trust,
            unix_time=time.time(),
        )
        self._note(
            tls=_ok(f"{session.version}, {session.cipher}"),
            chain=seen.chain,
            expiry=seen.expiry,
            name=seen.name,
            facts=TlsFacts(session.version, session.cipher, seen.certificates),
        )

    async def _exchange(
        self,
        path: Path,
        *,
        datagrams: DatagramCarrier | None = None,
        streams: StreamCarrier | None = None,
    ) -> None:
        limit = self._settings.limit
        if self._target.protocol is Protocol.SIP:
            domain = self._target.tls_name
            try:
                options = OptionsProbe(path, domain, random=os.urandom, limit=limit)
            except MisuseError as error:
                self._note(exchange=_not_tested(str(error)))
                return
            self._take_options(await _outcome(options, options.start, datagrams, streams))
        else:
            last_wait = max(limit - _BEFORE_LAST_WAIT, 1.0) / Timing().rto
            timing = Timing(
                request_count=BINDING_REQUESTS, last_wait=last_wait, reliable_timeout=limit
            )
            binding = BindingClient(path, random=os.urandom, timing=timing)
            self._take_binding(await _outcome(binding, binding.start, datagrams, streams))

    def _take_options(self, event: OptionsEvent) -> None:
        match event:
            case OptionsFailed(reason):
                self._note(exchange=Check(Standing.FAILED, reason))
            case OptionsAnswered(response, round_trip, sent):
                answer = _options_answer(response, round_trip, sent)
                refused = response.status == SERVICE_UNAVAILABLE
                line = f"{response.status} {answer.reason}".rstrip()
                evidence = f"{line} after {round_trip * 1000:.1f} ms"
                standing = Standing.FAILED if refused else Standing.OK
                self._note(exchange=Check(standing, evidence), answer=answer)
            case _:
                assert_never(event)

    def _take_binding(self, event: BindingEvent) -> None:
        match event:
            case BindingFailed(error):
                self._note(exchange=_failed(error))
            case Bound(mapped, round_trip):
                evidence = f"we are {mapped}, after {round_trip * 1000:.1f} ms"
                answer = BindingAnswer(mapped, round_trip)
                self._note(exchange=_ok(evidence), answer=answer)
            case _:
                assert_never(event)

    def _note(
        self,
        *,
        connection: Check | None = None,
        tls: Check | None = None,
        chain: Check | None = None,
        expiry: Check | None = None,
        name: Check | None = None,
        websocket: Check | None = None,
        exchange: Check | None = None,
        facts: TlsFacts | None = None,
        answer: OptionsAnswer | BindingAnswer | None = None,
    ) -> None:
        old = self._result
        self._result = ProbeResult(
            old.target,
            _shown(connection or old.connection),
            _shown(tls or old.tls),
            _shown(chain or old.chain),
            _shown(expiry or old.expiry),
            _shown(name or old.name),
            _shown(websocket or old.websocket),
            _shown(exchange or old.exchange),
            facts or old.facts,
            answer or old.answer,
        )


async def _outcome(
    machine: Machine[E, object],
    start: Callable[[float], None],
    datagrams: DatagramCarrier | None,
    streams: StreamCarrier | None,
) -> E:
    """The one event with which the machine ends."""
    ended: asyncio.Future[E] = asyncio.get_running_loop().create_future()

    def on_event(event: E) -> None:
        if not ended.done():
            ended.set_result(event)

    driver: Driver[E, object] = Driver(machine, on_event, datagrams=datagrams, streams=streams)
    try:
        driver.run(start)
        return await ended
    finally:
        await driver.aclose()


def _options_answer(response: Response, round_trip: float, sent: int) -> OptionsAnswer:
    headers = response.headers
    via = headers.first(VIA)
    received = None if via is None else via.received
    said = [field.text for kind in (SERVER, USER_AGENT) for field in headers.fields(kind)]
    return OptionsAnswer(
        response.status,
        printable(response.reason),
        round_trip,
        sent,
        printable(said[0]) if said else None,
        _readable(headers, ALLOW),
        _readable(headers, SUPPORTED),
        None if received is None else str(received),
        None if via is None else via.rport,
    )


def _readable(headers: Headers, kind: Plural[str]) -> tuple[str, ...]:
    """The values, none if they cannot be read: the server is there all the same."""
    try:
        return headers.get_all(kind)
    except MalformedMessage:
        return ()
