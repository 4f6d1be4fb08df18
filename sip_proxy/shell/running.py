"""The running proxy: machine, sockets, users and bindings, wired together."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, assert_never

import structlog

from natkit.aio.driver import Driver
from natkit.aio.udp import DatagramSockets
from natkit.errors import NatkitError
from natkit.keepalive import SendPing
from natkit.locate import Target
from natkit.machine import ClosePath, Failure, Path, Transport
from natkit.sip.via import SentBy
from sip_proxy.config.policy import Limits
from sip_proxy.events import (
    Answered,
    BindingsChanged,
    CallEnded,
    Dropped,
    FindBindings,
    FindCredential,
    FindNumber,
    FindSender,
    FindServers,
    GatewayChanged,
    GuessesStopped,
    HookFailed,
    OpenFlow,
    ProxyEvent,
    ProxyResult,
    RunHook,
    UpdateBindings,
)
from sip_proxy.hooks import Decision
from sip_proxy.location import Binding
from sip_proxy.proxy import Proxy
from sip_proxy.settings import Settings
from sip_proxy.shell.admitting import Admitted
from sip_proxy.shell.call_records import Recording
from sip_proxy.shell.call_watch import CallWatch
from sip_proxy.shell.finding import Locator
from sip_proxy.shell.hook_running import HookRunner
from sip_proxy.shell.listening import Bound
from sip_proxy.shell.log import EventLog, Fact
from sip_proxy.shell.numbers import find_number
from sip_proxy.shell.resuming import tell_bindings
from sip_proxy.shell.stores import Location, MemoryLocation
from sip_proxy.shell.streams import Streams, StreamSettings
from sip_proxy.shell.users import Users
from sipdns.locator import Dns

__all__ = ["RunningProxy"]

KEY_LENGTH: Final = 32

EXPIRY_INTERVAL: Final = 60.0
"""Seconds between two looks for bindings that have expired."""


class RunningProxy:
    """A proxy that serves from its construction until :meth:`aclose`."""

    def __init__(
        self,
        settings: Settings,
        bound: Sequence[Bound],
        users: Users,
        locator: Locator,
        *,
        location: Location | None = None,
        key: bytes | None = None,
        streams: StreamSettings | None = None,
        limits: Limits | None = None,
        numbers: Dns | None = None,
        hooks: HookRunner | None = None,
        events: EventLog | None = None,
        recording: Recording | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._offset = time.time() - loop.time()
        self._loop = loop
        self.users = users
        self.events = events or EventLog(structlog.get_logger())
        self._locator = locator
        self._numbers = numbers
        self._hooks = hooks
        self.location = MemoryLocation() if location is None else location
        self._tasks: set[asyncio.Task[None]] = set()
        datagrams = DatagramSockets()
        for each in bound:
            if each.listener.transport is Transport.UDP:
                datagrams.adopt(each.socket)
        self._datagrams = datagrams
        self.admission = Admitted(limits)
        self.streams = Streams(
            self.admission,
            streams or StreamSettings(),
            on_identified=self._on_identified,
            on_pong=self._on_pong,
        )
        self.machine = machine = Proxy(
            _asking(settings, hooks),
            key=os.urandom(KEY_LENGTH) if key is None else key,
            random=os.urandom,
            unix_offset=self._offset,
        )
        self.watch = CallWatch(machine, self._offset, recording)
        """The calls of now and of lately, for operators."""
        self._recording = recording
        self._driver = Driver[ProxyEvent, ProxyResult](
            machine,
            self._on_event,
            datagrams=datagrams,
            streams=self.streams,
            on_defect=self._on_defect,
        )
        self.location.answer_within(self._driver.many)
        self.streams.listen(bound)
        self._spawn(self._forget_expired())
        self._spawn(
            tell_bindings(self.location, settings.nat.largest_count, self._unix_now, self._resume)
        )
        self._driver.tell(machine.handle_timer)

    def configure(self, settings: Settings, hooks: HookRunner | None) -> None:
        """Have the machine go by other settings and hooks from now on."""
        self._hooks = hooks
        self._driver.tell(self.machine.configure, _asking(settings, hooks))

    async def aclose(self) -> None:
        """End at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.location.aclose()
        await self.users.aclose()
        await self._driver.aclose()
        if self._recording is not None:
            await self._recording.aclose()

    def counts(self) -> Counter[str]:
        """What happened, by name."""
        counts = self.events.counts + self.users.counts() + self.streams.counts()
        counts["declined connections"] = self.admission.declined
        return +counts

    # ── what the machine asks for ───────────────────────────────────────────────────────────────

    def _on_event(self, event: ProxyEvent) -> None:
        driver = self._driver
        match event:
            case FindCredential(number, username, realm):
                self.users.find(username, realm, lambda found: driver.answer(number, found))
            case FindBindings(number, address):
                self.location.find(
                    address, self._unix_now(), lambda found: driver.answer(number, found)
                )
            case UpdateBindings(number, address, registration):
                self.location.update(
                    address,
                    registration,
                    self._unix_now(),
                    lambda outcome: driver.answer(number, outcome),
                )
            case FindServers(number, uri):
                self._find_at_once(number, uri)
            case FindSender(number, sent_by):
                self._spawn(self._find_sender(number, sent_by))
            case SendPing(path, payload):
                self.streams.ping(path, payload)
            case RunHook():
                self._spawn(self._run_hook(event))
            case FindNumber(number, text, suffixes):
                self._spawn(self._find_number(number, text, suffixes))
            case OpenFlow(number, target):
                self._spawn(self._open(number, target))
            case ClosePath():
                pass  # the driver's
            case (
                Answered()
                | BindingsChanged()
                | CallEnded()
                | GatewayChanged()
                | HookFailed()
                | Dropped()
                | GuessesStopped()
            ):
                self._note(event)
            case _:
                assert_never(event)

    def _note(self, event: Fact) -> None:
        self.events.write(event)
        if isinstance(event, CallEnded):
            self.watch.ended(event.record)

    def _on_defect(self, error: Exception) -> None:
        self.events.defect(error)

    def _find_at_once(self, number: int, uri: str) -> None:
        """Without a task where the DNS need not be asked, as for most requests."""
        try:
            known: Sequence[Target] | Failure | None = self._locator.locate_known(uri)
        except NatkitError as error:
            known = Failure(str(error))
        if known is None:
            self._spawn(self._find(number, uri))
        else:
            self._driver.answer(number, known if isinstance(known, Failure) else tuple(known))

    async def _find(self, number: int, uri: str) -> None:
        try:
            found: Sequence[Target] | Failure = tuple(await self._locator.locate(uri))
        except NatkitError as error:
            found = Failure(str(error))
        self._driver.answer(number, found)

    async def _find_sender(self, number: int, sent_by: SentBy) -> None:
        try:
            found: Sequence[Target] | Failure = tuple(await self._locator.locate_response(sent_by))
        except NatkitError as error:
            found = Failure(str(error))
        self._driver.answer(number, found)

    async def _run_hook(self, event: RunHook) -> None:
        if self._hooks is None:
            decision: Decision | Failure = Failure("there are no hooks")
        else:
            decision = await self._hooks.run(event)
        self._driver.answer(event.request_id, decision)

    async def _find_number(self, number: int, text: str, suffixes: Sequence[str]) -> None:
        self._driver.answer(number, await find_number(self._numbers, text, suffixes))

    async def _open(self, number: int, target: Target) -> None:
        try:
            path = await self.streams.open(target)
        except NatkitError as error:
            self.events.unreachable(target, error)
            self._driver.answer(number, Failure(str(error)))
            return
        self._driver.answer(number, path)
        self.streams.start(path)

    def _on_identified(self, path: Path, domains: frozenset[str], users: frozenset[str]) -> None:
        self._driver.tell(self.machine.identified, path, domains, users)

    def _on_pong(self, path: Path, payload: bytes) -> None:
        self._driver.tell(self.machine.pong, path, payload)

    def _resume(self, address_of_record: str, bindings: tuple[Binding, ...]) -> None:
        self._driver.tell(self.machine.resume, address_of_record, bindings)

    async def _forget_expired(self) -> None:
        while True:
            await asyncio.sleep(EXPIRY_INTERVAL)
            self.location.forget_expired(self._unix_now())

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _unix_now(self) -> float:
        return self._loop.time() + self._offset


def _asking(settings: Settings, hooks: HookRunner | None) -> Settings:
    return settings if hooks is None else replace(settings, hooks=hooks.points)
