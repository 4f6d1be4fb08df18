"""A proxy from its start to its end: what it opens, whom it tells, and what signals do."""

import asyncio
import resource
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path as FilePath
from typing import Final

from natkit.errors import StoreFailure
from natkit.server.attending import attended
from natkit.server.draining import Draining
from natkit.server.log import Logger, set_level
from natkit.server.process import raise_descriptor_limit, spare_the_collector
from natkit.server.reloading import Reloading
from natkit.server.reports import Drain
from sip_proxy.config import Config
from sip_proxy.desk import ANSWER_LIMIT
from sip_proxy.settings import Settings
from sip_proxy.shell.admin_commands import handlers
from sip_proxy.shell.administering import OneProcess, Parts
from sip_proxy.shell.call_records import recording_at
from sip_proxy.shell.call_watch_socket import watch_handlers
from sip_proxy.shell.counting_at_once import counts_at_once
from sip_proxy.shell.hook_running import hook_runner
from sip_proxy.shell.listening import SERVED, Bound, everywhere, open_listeners
from sip_proxy.shell.log import EventLog
from sip_proxy.shell.opening_pages import open_pages
from sip_proxy.shell.running import RunningProxy
from sip_proxy.shell.securing import Securing
from sip_proxy.shell.state import Keys
from sip_proxy.shell.stores import Location
from sip_proxy.shell.stores.configured import configured_location, configured_users
from sip_proxy.shell.users import Users
from sipdns import Locator

__all__ = ["Server", "machine_settings", "serve", "start"]

DRAIN_INTERVAL: Final = 0.1
"""Seconds between two looks whether the last transaction has ended."""

SPARE_DESCRIPTORS: Final = 64
"""Descriptors besides those of connections: listeners, stores, the event loop."""

OBJECTS_PER_COLLECTION: Final = 20_000
"""Transactions and bindings are many and live long."""


class Server:
    """A proxy that serves since :func:`start`, and is administered, until it is closed."""

    def __init__(
        self,
        config: Config,
        proxy: RunningProxy,
        bound: Sequence[Bound],
        logger: Logger,
        data_dir: FilePath | None,
        reread: Callable[[], Config] | None,
    ) -> None:
        self.config = config
        self.proxy = proxy
        self.logger = logger
        self.listeners = tuple(each.listener for each in bound)
        self._bound = bound
        self._data_dir = data_dir
        self.draining = Draining(
            float(config.limits.drain),
            refuse=proxy.machine.drain,
            sessions=lambda: proxy.machine.load().transactions,
            logger=logger,
        )
        self.draining.on_begin = self._drain_began
        self.on_drain: Callable[[Drain], None] = lambda _: None
        """Is told of a drain."""
        self.reloading = Reloading(config, reread, self._apply, counts_at_once, logger)
        self.administration = OneProcess(
            Parts(
                machine=proxy.machine,
                listeners=self.listeners,
                domains=lambda: self.config.domains,
                users=lambda: proxy.users,
                location=proxy.location,
                securing=lambda: proxy.streams.securing,
                events=proxy.events,
                counts=proxy.counts,
                draining=self.draining,
                reload=self.reloading.reload,
            )
        )
        self._watch: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def introduction(self) -> dict[str, str | list[str]]:
        """What the log says when it serves."""
        return {
            "domains": sorted(self.config.domains),
            "users": self.proxy.users.store_name or "none",
            "registrations": self.proxy.location.name,
            "event_loop": type(asyncio.get_running_loop()).__module__.partition(".")[0],
        }

    def _drain_began(self, drain: Drain) -> None:
        self.on_drain(drain)
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._look_for_the_end())

    async def _look_for_the_end(self) -> None:
        while not self.draining.over.is_set():
            self.draining.closed()
            await asyncio.sleep(DRAIN_INTERVAL)

    async def _apply(self, config: Config) -> None:
        """All of it or nothing: what can fail comes first."""
        streams = config.streams()
        securing = Securing(streams.tls)
        hooks = hook_runner(config.hooks.source, config.hooks.deadline)
        users = self.proxy.users
        if config.users != self.config.users or config.domains != self.config.domains:
            users = configured_users(config, self._data_dir, _teller(self.logger, "users"))
        try:
            if users is not self.proxy.users:
                await users.open()
            settings = machine_settings(config, self._bound, users)
            self.proxy.streams.configure(streams, securing)
            self.proxy.configure(settings, hooks)
        except BaseException:
            if users is not self.proxy.users:
                await users.aclose()
            raise
        retired, self.proxy.users = self.proxy.users, users
        self.proxy.admission.limits = config.limits
        self.draining.limit = float(config.limits.drain)
        if config.log.level != self.config.log.level:
            set_level(config.log.level)
            self.proxy.events.follow_level()
        self.config = config
        if retired is not users:
            task = asyncio.get_running_loop().create_task(_retire(retired))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def aclose(self) -> None:
        """Stop serving and close everything; the log gets the totals."""
        self.draining.cancel()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self.reloading.aclose()
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        counts = self.proxy.counts()
        await self.proxy.aclose()
        self.logger.info(
            "stopped",
            requests=sum(each.count for each in self.proxy.events.answers),
            dropped=self.proxy.events.dropped,
            **{name.replace(" ", "_"): count for name, count in counts.items()},
        )


def machine_settings(config: Config, bound: Sequence[Bound], users: Users) -> Settings:
    """What the machine is told; MisuseError when it makes no sense together."""
    settings = config.settings([each.listener for each in bound])
    return replace(settings, algorithms=users.served(settings.algorithms))


async def start(
    config: Config,
    keys: Keys,
    logger: Logger,
    data_dir: FilePath | None = None,
    reread: Callable[[], Config] | None = None,
) -> Server:
    """Open the stores and the listeners and serve on them; ConfigError when that can't be.

    Without ``data_dir`` nothing is kept.  ``reread`` gives what a reload applies, or raises
    ConfigError; without it that is the certificates alone.
    """
    raise_descriptor_limit()
    hooks = hook_runner(config.hooks.source, config.hooks.deadline)
    users = configured_users(config, data_dir, _teller(logger, "users"))
    location = configured_location(config, data_dir, _teller(logger, "registrations"))
    recording = recording_at(config.calls.records, _recording_teller(logger))
    try:
        await users.open()
        await location.open()
        if recording is not None:
            await recording.open()
        bound = open_listeners(config.listeners.listen or everywhere())
        listened = {each.listener.transport for each in bound}
        locator = Locator(transports=[each for each in SERVED if each in listened])
        proxy = RunningProxy(
            machine_settings(config, bound, users),
            bound,
            users,
            locator,
            location=location,
            key=keys.main,
            streams=config.streams(),
            limits=config.limits,
            numbers=locator,
            hooks=hooks,
            events=EventLog(logger),
            recording=recording,
        )
    except BaseException:
        if recording is not None:
            await recording.aclose()
        await location.aclose()
        await users.aclose()
        raise
    server = Server(config, proxy, bound, logger, data_dir, reread)
    _log_start(server, location, bound)
    return server


async def serve(
    config: Config,
    keys: Keys,
    logger: Logger,
    *,
    data_dir: FilePath | None = None,
    reread: Callable[[], Config] | None = None,
    on_ready: Callable[[Server], None] = lambda _: None,
) -> None:
    """Serve until SIGINT, or until the drain that SIGTERM begins is over; SIGHUP reloads.

    A second SIGTERM ends at once.  ``reread`` as in :func:`start`.
    """
    loop = asyncio.get_running_loop()
    early = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, early.set)
    http = None
    try:
        server = await start(config, keys, logger, data_dir, reread)
        over = server.draining.over
        loop.set_exception_handler(partial(_on_loop_error, server))
        try:
            loop.add_signal_handler(signal.SIGTERM, server.draining.begin_or_end)
            loop.add_signal_handler(signal.SIGINT, over.set)
            loop.add_signal_handler(signal.SIGHUP, server.reloading.soon)
            if early.is_set():
                over.set()
            http = await open_pages(config, server.administration, server.proxy.watch, logger)
            on_ready(server)
            spare_the_collector(OBJECTS_PER_COLLECTION)
            commands = {**handlers(server.administration), **watch_handlers(server.proxy.watch)}
            async with attended(data_dir, commands, logger, noun="transaction") as attendants:
                server.on_drain = attendants.draining
                logger.info("ready", **server.introduction)
                await over.wait()
        finally:
            if http is not None:
                await http.aclose()
            await server.aclose()
    finally:
        for number in (*signals, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def _retire(users: Users) -> None:
    """Let go of a store once nobody can wait for its answer any more."""
    try:
        await asyncio.sleep(ANSWER_LIMIT)
    finally:
        await users.aclose()


def _teller(logger: Logger, what: str) -> Callable[[StoreFailure | None], None]:
    def tell(failure: StoreFailure | None) -> None:
        if failure is None:
            logger.info("store up", of=what)
        else:
            logger.warning("store down", of=what, reason=str(failure))

    return tell


def _recording_teller(logger: Logger) -> Callable[[str | None], None]:
    def tell(failure: str | None) -> None:
        if failure is None:
            logger.info("call records kept again")
        else:
            logger.warning("call records wait", reason=failure)

    return tell


def _log_start(server: Server, location: Location, bound: Sequence[Bound]) -> None:
    """What an operator wants to know of the start, and what to do about it."""
    logger = server.logger
    allowed = raise_descriptor_limit()
    config = server.config
    wanted = config.limits.connections + config.connections.made + SPARE_DESCRIPTORS
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        logger.warning(
            "few descriptors",
            allowed=allowed,
            wanted=wanted,
            to_do="raise the limit on open files (ulimit -n, LimitNOFILE=) or lower [limits]",
        )
    for each in server.proxy.streams.securing.certificates:
        logger.info("certificate", names=", ".join(each.names), until=each.until.isoformat())
    for advice in location.advice:
        logger.warning("registrations may be lost", to_do=advice)
    for listener in (each.listener for each in bound):
        logger.info("listening", transport=str(listener.transport), address=str(listener.address))


def _on_loop_error(
    server: Server, _: asyncio.AbstractEventLoop, context: dict[str, object]
) -> None:
    """What a callback let through must not end the proxy, nor pass unseen."""
    server.proxy.events.count("internal errors")
    error = context.get("exception")
    server.logger.error(
        "internal error",
        message=str(context.get("message", "")),
        exc_info=error if isinstance(error, Exception) else None,
    )
