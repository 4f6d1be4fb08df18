"""A server from its start to its end: what it opens, whom it tells, and what signals do."""

import asyncio
import resource
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path as FilePath

from natkit.relay.kernel_buckets import KernelBuckets
from natkit.server.attending import attended
from natkit.server.log import Logger
from natkit.server.process import raise_descriptor_limit, spare_the_collector
from stun_server.config import Config
from stun_server.shell.admin_commands import handlers
from stun_server.shell.directory import Directory
from stun_server.shell.external_address import external_hosts
from stun_server.shell.listening import Listener, everywhere, open_listeners
from stun_server.shell.opening_pages import open_pages
from stun_server.shell.place import Place
from stun_server.shell.planes import Holding, hold
from stun_server.shell.running import RunningServer, open_certificates
from stun_server.shell.state import Keys

__all__ = [
    "announce",
    "log_listeners",
    "open_configured",
    "serve",
    "start",
]

# Descriptors besides those of relay sockets and connections: listeners, logs, the event loop.
_SPARE_DESCRIPTORS = 64

# Allocations are many, live long and hold no cycles: with Python's own threshold of 700 the search
# for cycles in them is a tenth of what an allocation costs.
_OBJECTS_PER_COLLECTION = 20_000


async def start(
    config: Config,
    keys: Keys,
    logger: Logger,
    data_dir: FilePath | None = None,
    place: Place | None = None,
    reread: Callable[[], Config] | None = None,
) -> RunningServer:
    """Open the listeners and serve on them; ConfigError when that can't be.

    Without ``data_dir`` nothing is kept: there is no SQLite store.  Without ``place`` the process
    serves alone, and says in the log what an operator wants to know of the start.  ``reread`` gives
    what a reload applies, or raises ConfigError; without it that is the certificate alone.
    """
    server = await _start(config, keys, logger, data_dir, place or Place(), reread)
    if place is None:
        announce(server, config)
        log_listeners(server.listeners, logger)
    return server


async def _start(
    config: Config,
    keys: Keys,
    logger: Logger,
    data_dir: FilePath | None,
    place: Place,
    reread: Callable[[], Config] | None,
) -> RunningServer:
    raise_descriptor_limit()
    clock = asyncio.get_running_loop().time
    users = await Directory.open(config, data_dir, logger, clock)
    holding: Holding | None = None
    try:
        certificates = open_certificates(config)
        listeners = place.listeners or open_configured(config)
        external = await external_hosts(config, listeners)
        plane = place.plane
        if plane is None:
            plane, holding = hold(config, listeners, logger)
            if plane.tables is not None:
                sharing = replace(place.sharing, buckets=KernelBuckets(plane.tables))
                place = replace(place, sharing=sharing)
        server = RunningServer(
            config,
            keys,
            users,
            listeners,
            certificates,
            logger,
            place,
            data_dir=data_dir,
            reread=reread,
            external=external,
            plane=plane,
            holding=holding,
        )
        server.open()
    except BaseException:
        if holding is not None:
            holding.close()
        await users.aclose()
        raise
    return server


def open_configured(config: Config) -> tuple[Listener, ...]:
    """Bind what the configuration says; ConfigError when that can't be."""
    return open_listeners(
        config.listeners.listen or everywhere(),
        config.listeners.proxy_protocol,
        config.listeners.alternate,
    )


def log_listeners(listeners: tuple[Listener, ...], logger: Logger) -> None:
    """A line for each."""
    for listener in listeners:
        other = {"other": str(listener.other)} if listener.other is not None else {}
        logger.info(
            "listening",
            transport=str(listener.transport),
            address=str(listener.address),
            **other,
        )


def announce(server: RunningServer, config: Config) -> None:
    """Log what an operator wants to know of the start, and what to do about it."""
    logger = server.logger
    server.log_certificate()
    descriptors = raise_descriptor_limit()
    limits = config.limits
    wanted = limits.allocations + limits.connections + _SPARE_DESCRIPTORS
    if config.policy.tcp_relaying:
        wanted += limits.peer_connections
    if descriptors != resource.RLIM_INFINITY and descriptors < wanted:
        logger.warning(
            "few descriptors",
            allowed=descriptors,
            wanted=wanted,
            to_do="raise the limit on open files (ulimit -n, LimitNOFILE=) or lower [limits]",
        )
    if server.users.is_nobody:
        logger.warning(
            "no users",
            to_do="--user NAME:PASSWORD or `stun-server user add NAME` lets somebody allocate; "
            "STUN works",
        )


async def serve(
    config: Config,
    keys: Keys,
    logger: Logger,
    on_ready: Callable[[RunningServer], None] = lambda _: None,
    data_dir: FilePath | None = None,
    place: Place | None = None,
    reread: Callable[[], Config] | None = None,
) -> None:
    """Serve until SIGINT, or until the drain that SIGTERM begins is over; SIGHUP reloads.

    A second SIGTERM ends at once.  ``reread`` as in :func:`start`.
    """
    loop = asyncio.get_running_loop()
    early = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, early.set)
    try:
        server = await start(config, keys, logger, data_dir, place, reread)
        over = server.draining.over
        loop.set_exception_handler(partial(_on_loop_error, server))
        try:
            loop.add_signal_handler(signal.SIGTERM, server.draining.begin_or_end)
            loop.add_signal_handler(signal.SIGINT, over.set)
            loop.add_signal_handler(signal.SIGHUP, server.reloading.soon)
            if early.is_set():
                over.set()
            if place is not None:
                # The supervisor is whom an operator asks.
                on_ready(server)
                spare_the_collector(_OBJECTS_PER_COLLECTION)
                await over.wait()
                return
            server.http = await open_pages(
                config, server.administration, lambda: server.users.signing, logger
            )
            on_ready(server)
            spare_the_collector(_OBJECTS_PER_COLLECTION)
            async with attended(data_dir, handlers(server.administration), logger) as attendants:
                server.draining.on_begin = attendants.draining
                logger.info("ready", **server.introduction)
                await over.wait()
        finally:
            await server.aclose()
    finally:
        for number in (*signals, signal.SIGHUP):
            loop.remove_signal_handler(number)


def _on_loop_error(
    server: RunningServer, _: asyncio.AbstractEventLoop, context: dict[str, object]
) -> None:
    """What a callback let through must not end the server, nor pass unseen."""
    server.events.count_only("internal errors")
    error = context.get("exception")
    server.logger.error(
        "internal error",
        message=str(context.get("message", "")),
        exc_info=error if isinstance(error, Exception) else None,
    )
