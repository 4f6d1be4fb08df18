"""A worker of a server: ``python -m stun_server.shell.worker NUMBER DESCRIPTOR``.

Its supervisor alone starts it.  The descriptor is that of its link, on which the first request says
what to serve; a worker whose link ends does so too.
"""

import asyncio
import contextlib
import ipaddress
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path as FilePath

from natkit.cli.entry import ExitStatus, report_error
from natkit.errors import ConfigError, NatkitError, UnreachableError
from natkit.relay.kernel_buckets import KernelBuckets
from natkit.relay.kernel_tables import KernelTables, Share
from natkit.server import log
from natkit.server.envelope import SUPERVISOR, Envelope
from natkit.server.event_loop import run_loop
from natkit.server.handover import Correspondence, Link, Parcel
from stun_server.administration import Administration
from stun_server.config import Config, validated
from stun_server.shell import running, serving
from stun_server.shell.crossing import (
    VOCABULARY,
    AskLeft,
    AskSessions,
    AskStatus,
    Began,
    Begin,
    BeginDrain,
    Disconnect,
    Disconnected,
    Inherited,
    Left,
    NothingLeft,
    PlaneRuns,
    Renew,
    Sessions,
)
from stun_server.shell.listening import Listener
from stun_server.shell.log import EVERY_LINE
from stun_server.shell.neighbours import Post
from stun_server.shell.place import Place
from stun_server.shell.planes import PlaneChoice
from stun_server.shell.shared_memory import Attached

__all__ = ["run"]


class _Worker:
    """Does what its supervisor says, for as long as there is one."""

    def __init__(self, number: int, link: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked: asyncio.Future[Begin] = self._loop.create_future()
        self._began: asyncio.Future[Began] = self._loop.create_future()
        self._correspondence = Correspondence(
            number, VOCABULARY, self._send, self._handle, self._on_defect
        )
        self._link = Link(link, self._correspondence.receive, self._orphaned)
        self._logger: log.Logger | None = None
        self._configuration = ""
        self._server: running.RunningServer | None = None

    async def serve(self) -> None:
        """Wait for what to do, and do it until a signal ends it."""
        begin = await self._asked
        try:
            self._configuration = begin.configuration
            config = self._reread()
            logger = log.configure(
                config.log.level, as_json=config.log.as_json, every_line=EVERY_LINE
            )
            if begin.workers > 1:
                logger = logger.bind(worker=begin.worker)
            self._logger = logger
            await serving.serve(
                config,
                begin.keys,
                logger,
                lambda server: self._tell_ready(server, begin, config),
                FilePath(begin.data_dir) if begin.data_dir is not None else None,
                _place(begin, self._correspondence, self._drained),
                self._reread,
            )
        except ConfigError as error:
            if self._began.done():
                raise
            # The supervisor says why, once for all of its workers, and ends this one.
            self._began.set_exception(error)
            await asyncio.Event().wait()
        finally:
            self._correspondence.close()

    def _reread(self) -> Config:
        """The configuration that the supervisor has read last."""
        return validated(json.loads(self._configuration))

    def _tell_ready(self, server: running.RunningServer, begin: Begin, config: Config) -> None:
        self._server = server
        if begin.announces:
            serving.announce(server, config)
        self._began.set_result(Began(server.introduction))

    async def _handle(self, sender: int, parcel: Parcel) -> Parcel | None:
        match parcel.message:
            case Begin() as begin if sender == SUPERVISOR and not self._asked.done():
                self._asked.set_result(begin)
                return Parcel(await self._began)
            case _ if self._server is None:
                raise UnreachableError("the worker does not serve yet")
            case AskLeft():
                return Parcel(Left(self._server.left))
            case PlaneRuns(reason) if sender == SUPERVISOR:
                self._server.plane_runs(reason)
                return None
            case message if sender == SUPERVISOR:
                answer = await self._administer(self._server.administration, message)
                if answer is not None:
                    return Parcel(answer)
        return self._server.neighbours.handle(sender, parcel.message)

    async def _administer(self, administration: Administration, message: object) -> object:
        """Answer what an operator asks; None to what else there is."""
        match message:
            case AskStatus():
                return await administration.status()
            case AskSessions(limit):
                return Sessions(await administration.sessions(limit))
            case Disconnect(session):
                return Disconnected(await administration.disconnect(session))
            case BeginDrain(limit):
                return await administration.drain(limit)
            case Renew(configuration):
                self._configuration = configuration
                return await administration.reload()
            case _:
                return None

    def _drained(self) -> None:
        """Whether that is the end is the supervisor's to say: others may have sessions."""
        with contextlib.suppress(UnreachableError):
            self._correspondence.tell(SUPERVISOR, NothingLeft())

    def _send(self, envelope: Envelope) -> None:
        self._link.send(envelope)

    def _orphaned(self) -> None:
        """The supervisor is gone: nobody would answer, or start this worker again."""
        self._correspondence.lost(SUPERVISOR)
        signal.raise_signal(signal.SIGINT)

    def _on_defect(self, error: Exception) -> None:
        if self._logger is not None:
            self._logger.error("internal error", exc_info=error)


def _place(begin: Begin, post: Post, drained: Callable[[], None]) -> Place:
    memory, plane = Attached.of(begin.memory, begin.worker), _plane(begin)
    sharing = memory.sharing
    if plane.tables is not None:
        sharing = replace(sharing, buckets=KernelBuckets(plane.tables, memory.places))
    return Place(
        worker=begin.worker,
        listeners=tuple(map(_listener, begin.listeners)),
        sharing=sharing,
        connections=memory.connections,
        opened=memory.opened,
        closed=memory.closed,
        post=post,
        plane=plane,
        drained=drained,
    )


def _plane(begin: Begin) -> PlaneChoice:
    inherited, tables = begin.plane, None
    if inherited.tables:
        for descriptor in inherited.tables:
            os.set_inheritable(descriptor, False)
        tables = KernelTables.inherit(inherited.tables, Share(begin.worker, begin.workers))
    return PlaneChoice(inherited.name, inherited.reason, tables)


def _listener(inherited: Inherited) -> Listener:
    proxies = inherited.proxies
    os.set_inheritable(inherited.descriptor, False)
    return Listener(
        inherited.transport,
        inherited.address,
        socket.socket(fileno=inherited.descriptor),
        proxies=tuple(map(ipaddress.ip_network, proxies)) if proxies is not None else None,
        other=inherited.other,
    )


async def _serve(number: int, descriptor: int) -> None:
    os.set_inheritable(descriptor, False)
    await _Worker(number, socket.socket(fileno=descriptor)).serve()


def run(arguments: list[str]) -> int:
    """The program; gives the exit status."""
    if len(arguments) != 2 or not all(each.isdecimal() for each in arguments):
        report_error("a worker is started by stun-server alone")
        return ExitStatus.WRONG_USE
    try:
        with contextlib.suppress(KeyboardInterrupt):
            run_loop(_serve(*map(int, arguments)))
    except NatkitError as error:
        report_error(str(error))
        return ExitStatus.FAULT
    return ExitStatus.GOOD


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
