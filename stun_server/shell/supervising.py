"""A server of several workers: what its supervisor does for it."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from natkit.address import Address
from natkit.errors import ConfigError
from natkit.net.interfaces import expand_wildcard
from natkit.relay.kernel_tables import Share
from natkit.server.attending import attended
from natkit.server.envelope import Vocabulary
from natkit.server.handover import Parcel
from natkit.server.log import Logger
from natkit.server.process import raise_descriptor_limit
from natkit.server.reloading import Reloading
from natkit.server.reports import Reload
from natkit.server.supervisor import Supervisor
from stun_server.config import Config
from stun_server.shell import planes, running, serving
from stun_server.shell.admin_commands import handlers
from stun_server.shell.counting_at_once import counts_at_once
from stun_server.shell.crossing import (
    VOCABULARY,
    AskLeft,
    Began,
    Begin,
    Inherited,
    InheritedPlane,
    NothingLeft,
    PlaneRuns,
    Renew,
    WorkerGone,
)
from stun_server.shell.directory import Directory, check_users
from stun_server.shell.ending import Ending
from stun_server.shell.listening import Listener, share
from stun_server.shell.many_processes import ManyProcesses
from stun_server.shell.opening_pages import open_pages
from stun_server.shell.shared_memory import SharedMemory
from stun_server.shell.state import Keys

__all__ = ["CAN_SUPERVISE", "Written", "check", "supervise"]

CAN_SUPERVISE = sys.platform == "linux"
"""Whether flows are spread over sockets of one port, and descriptors handed over, as needed."""


@dataclass(frozen=True, slots=True)
class Written:
    """A configuration, and what file and flags say, of which every worker makes it again."""

    config: Config
    contents: Mapping[str, object]

    @property
    def text(self) -> str:
        """What the workers are told."""
        return json.dumps(self.contents, default=str)


class _Workers:
    """A :class:`~natkit.server.supervisor.Program`."""

    def __init__(
        self, written: Written, keys: Keys, data_dir: FilePath | None, logger: Logger
    ) -> None:
        config = written.config
        self.written = written
        self.supervisor: Supervisor | None = None
        self.ending: Ending | None = None
        self._keys = keys
        self._data_dir = data_dir
        self._count = count = config.workers()
        probed = serving.open_configured(config)
        self.addresses = tuple(probed)
        self._listeners = share(probed, count)
        self._memory = SharedMemory(config, _relay_hosts(config, probed))
        self._plane, self._holding = planes.hold(config, probed, logger)
        if self._holding is not None:
            self._holding.on_change = self._plane_runs
        self._announced = False

    @property
    def vocabulary(self) -> Vocabulary:
        """The messages between the processes."""
        return VOCABULARY

    def command(self, worker: int, link: int) -> Sequence[str]:
        """Without the working directory among the places that modules come from."""
        return (sys.executable, "-P", "-m", "stun_server.shell.worker", str(worker), str(link))

    def descriptors(self, worker: int) -> Sequence[int]:
        """Its listeners, and the memory that all share."""
        sockets = dict.fromkeys(each.socket.fileno() for each in self._listeners[worker])
        return (*sockets, *self._memory.inherited, *self._tables)

    def begin(self, worker: int) -> object:
        """What it serves, and what it is told."""
        announces, self._announced = not self._announced, True
        return Begin(
            worker=worker,
            workers=self._count,
            configuration=self.written.text,
            keys=self._keys,
            data_dir=str(self._data_dir) if self._data_dir is not None else None,
            listeners=tuple(map(_inherited, self._listeners[worker])),
            memory=self._memory.descriptors,
            announces=announces,
            plane=InheritedPlane(self._plane.name, self._plane.reason, self._tables),
        )

    @property
    def _tables(self) -> tuple[int, ...]:
        """Those of the kernel's plane."""
        return self._plane.tables.descriptors if self._plane.tables is not None else ()

    @property
    def sign_of_life(self) -> object:
        """What every worker can answer."""
        return AskLeft()

    def _plane_runs(self, reason: str) -> None:
        """Where the program of the kernel's plane is has changed."""
        self._plane = replace(self._plane, reason=reason)
        if self.supervisor is not None:
            self.supervisor.tell_all(PlaneRuns(reason))

    def serves(self, worker: int) -> None:
        """While the others drain, so does this one."""
        if self.ending is not None:
            self.ending.began(worker)

    def gone(self, worker: int) -> None:
        """Its allocations, connections and relayed addresses ended with it."""
        self._memory.forget(worker)
        if self._plane.tables is not None:
            self._plane.tables.forget(Share(worker, self._count))
        if self.supervisor is not None:
            self.supervisor.tell_all(WorkerGone(worker))

    async def handle(self, sender: int, parcel: Parcel) -> Parcel | None:
        """The workers ask the supervisor nothing, and tell it that they drained."""
        if isinstance(parcel.message, NothingLeft) and self.ending is not None:
            self.ending.nothing_left(sender)
        return None

    def close(self) -> None:
        """Let go of the sockets and the memory."""
        if self._holding is not None:
            self._holding.close()
        self._memory.close()
        for listeners in self._listeners:
            for listener in listeners:
                listener.socket.close()


class _Renewal:
    """Reads the configuration again and has the workers apply it, all of them or none."""

    def __init__(
        self, workers: _Workers, supervisor: Supervisor, reread: Callable[[], Written]
    ) -> None:
        self._workers = workers
        self._supervisor = supervisor
        self._reread = reread
        self._next = workers.written

    def read(self) -> Config:
        """As it is written now; ConfigError when it is wrong."""
        self._next = self._reread()
        return self._next.config

    async def apply(self, config: Config) -> None:
        """Check it here, then tell them; ConfigError when one cannot, and all have the old one."""
        check_users(config)
        running.open_certificates(config)
        before, self._workers.written = self._workers.written, self._next
        refusal = await self._tell(self._next)
        if refusal is not None:
            self._workers.written = before
            await self._tell(before)
            raise ConfigError(refusal)

    async def _tell(self, written: Written) -> str | None:
        """Why one of the workers does not apply it."""
        answers = await self._supervisor.ask_all(Renew(written.text))
        for number, answer in answers.items():
            if isinstance(answer, Parcel) and isinstance(answer.message, Reload):
                if answer.message.error is not None:
                    return answer.message.error
            elif number in self._supervisor.serving:
                return f"worker {number}: {answer}"
            # Else it died, and its successor begins with what counts then.
        return None


async def supervise(
    written: Written,
    keys: Keys,
    logger: Logger,
    data_dir: FilePath | None,
    reread: Callable[[], Written],
) -> None:
    """Serve by as many workers as the configuration says, until signals end it as they do one.

    ``reread`` gives the configuration as it is written now.  Raises ConfigError when the server
    cannot start, WorkersFailed when a worker does not stay alive.
    """
    raise_descriptor_limit()
    config = written.config
    workers = _Workers(written, keys, data_dir, logger)
    supervisor = workers.supervisor = Supervisor(workers, config.workers(), logger)
    loop = asyncio.get_running_loop()
    # For the credentials that are made over HTTP; whom clients are is the workers' to know.
    users = await Directory.open(config, data_dir, logger, loop.time)
    renewal = _Renewal(workers, supervisor, reread)
    reloading = Reloading(config, renewal.read, renewal.apply, counts_at_once, logger)
    ending = workers.ending = Ending(
        supervisor, lambda: float(workers.written.config.limits.drain), logger
    )
    administration = ManyProcesses(supervisor, reloading, ending)
    loop.add_signal_handler(signal.SIGTERM, ending.terminate)
    loop.add_signal_handler(signal.SIGINT, supervisor.stop, signal.SIGINT)
    loop.add_signal_handler(signal.SIGHUP, reloading.soon)
    try:
        begun = await supervisor.start()
        first = begun[0]
        if isinstance(first, Began) and not supervisor.is_stopping:
            serving.log_listeners(workers.addresses, logger)
            introduction = {**first.introduction, "workers": config.workers()}
            http = await open_pages(config, administration, lambda: users.signing, logger)
            try:
                async with attended(data_dir, handlers(administration), logger) as attendants:
                    ending.on_drain = attendants.draining
                    logger.info("ready", **introduction)
                    await supervisor.wait()
            finally:
                if http is not None:
                    await http.aclose()
        await supervisor.wait()
    finally:
        await reloading.aclose()
        await ending.aclose()
        await supervisor.aclose()
        await users.aclose()
        workers.close()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


def check(config: Config) -> None:
    """ConfigError when this platform cannot run as many workers as the configuration says."""
    if config.workers() > 1 and not CAN_SUPERVISE:
        raise ConfigError(
            f"workers: {sys.platform} spreads clients over one process alone; choose 1 (--workers)"
        )


def _relay_hosts(config: Config, listeners: Sequence[Listener]) -> tuple[str, ...]:
    """Every host that a relayed address can have."""
    chosen = (config.listeners.relay_ipv4, config.listeners.relay_ipv6)
    hosts = [each.address.host for each in listeners]
    hosts += [Address.of(host, 0).host for host in chosen if host is not None]
    # Those that a reload may choose.
    for wildcard in ("0.0.0.0", "::"):  # noqa: S104 - nothing is bound to it
        hosts += [each.host for each in expand_wildcard(Address(wildcard, 0))]
    return tuple(dict.fromkeys(hosts))


def _inherited(listener: Listener) -> Inherited:
    return Inherited(
        listener.transport,
        listener.address,
        listener.socket.fileno(),
        tuple(map(str, listener.proxies)) if listener.proxies is not None else None,
        listener.other,
    )
