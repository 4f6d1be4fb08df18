"""The running proxy: machine, sockets, users and bindings, wired together."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, assert_never

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
from sip_proxy.shell.finding import Locator
from sip_proxy.shell.hook_running import HookRunner
from sip_proxy.shell.listening import Bound
from sip_proxy.shell.numbers import find_number
from sip_proxy.shell.resuming import tell_bindings
from sip_proxy.shell.stores import Location, MemoryLocation
from sip_proxy.shell.streams import Streams, StreamSettings
from sip_proxy.shell.users import Users
from sipdns import Locator as SipLocator
from sipdns.locator import Dns

__all__ = ["RunningProxy", "serve"]

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
    ) -> None:
        loop = asyncio.get_running_loop()
        self._offset = time.time() - loop.time()
        self._loop = loop
        self._users = users
        self._locator = locator
        self._numbers = numbers
        self._hooks = hooks
        if hooks is not None:
            settings = replace(settings, hooks=hooks.points)
        self._location = MemoryLocation() if location is None else location
        self._tasks: set[asyncio.Task[None]] = set()
        datagrams = DatagramSockets()
        for each in bound:
            if each.listener.transport is Transport.UDP:
                datagrams.adopt(each.socket)
        self._datagrams = datagrams
        self.streams = Streams(
            Admitted(limits),
            streams or StreamSettings(),
            on_identified=self._on_identified,
            on_pong=self._on_pong,
        )
        self._machine = machine = Proxy(
            settings,
            key=os.urandom(KEY_LENGTH) if key is None else key,
            random=os.urandom,
            unix_offset=self._offset,
        )
        self._driver = Driver[ProxyEvent, ProxyResult](
            machine, self._on_event, datagrams=datagrams, streams=self.streams
        )
        self.streams.listen(bound)
        self._spawn(self._forget_expired())
        self._spawn(
            tell_bindings(self._location, settings.nat.largest_count, self._unix_now, self._resume)
        )
        self._driver.tell(machine.handle_timer)

    async def aclose(self) -> None:
        """End at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._location.aclose()
        await self._users.aclose()
        await self._driver.aclose()

    # ── what the machine asks for ───────────────────────────────────────────────────────────────

    def _on_event(self, event: ProxyEvent) -> None:
        driver = self._driver
        match event:
            case FindCredential(number, username, realm):
                self._users.find(username, realm, lambda found: driver.answer(number, found))
            case FindBindings(number, address):
                self._location.find(
                    address, self._unix_now(), lambda found: driver.answer(number, found)
                )
            case UpdateBindings(number, address, registration):
                self._location.update(
                    address,
                    registration,
                    self._unix_now(),
                    lambda outcome: driver.answer(number, outcome),
                )
            case FindServers(number, uri):
                self._spawn(self._find(number, uri))
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
                pass
            case _:
                assert_never(event)

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
            self._driver.answer(number, Failure(str(error)))
            return
        self._driver.answer(number, path)
        self.streams.start(path)

    def _on_identified(self, path: Path, domains: frozenset[str]) -> None:
        self._driver.tell(self._machine.identified, path, domains)

    def _on_pong(self, path: Path, payload: bytes) -> None:
        self._driver.tell(self._machine.pong, path, payload)

    def _resume(self, address_of_record: str, bindings: tuple[Binding, ...]) -> None:
        self._driver.tell(self._machine.resume, address_of_record, bindings)

    async def _forget_expired(self) -> None:
        while True:
            await asyncio.sleep(EXPIRY_INTERVAL)
            self._location.forget_expired(self._unix_now())

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _unix_now(self) -> float:
        return self._loop.time() + self._offset


async def serve(
    settings: Settings,
    bound: Sequence[Bound],
    users: Users,
    locator: SipLocator,
    location: Location,
    limits: Limits,
    announce: Callable[[], None],
    streams: StreamSettings,
    hooks: HookRunner | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; ``announce`` is called once it does."""
    await users.open()
    await location.open()
    settings = replace(settings, algorithms=users.served(settings.algorithms))
    running = RunningProxy(
        settings,
        bound,
        users,
        locator,
        location=location,
        streams=streams,
        limits=limits,
        numbers=locator,
        hooks=hooks,
    )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    announce()
    try:
        await stopped.wait()
    finally:
        await running.aclose()
