"""The running server: machine, plane, listeners, connections and log, wired together."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, assert_never

from natkit.aio.driver import Driver
from natkit.machine import CloseSocket, OpenSocket, Path, Transport
from natkit.relay.kernel import KernelPlane
from natkit.relay.plane import BindingPolicy, Counters, RelayPlane
from natkit.relay.userspace import UserspacePlane
from natkit.server.draining import Draining
from natkit.server.log import Logger, set_level
from natkit.server.reloading import Reloading
from natkit.stun.attributes import Icmp
from natkit.stun.framing import StunFraming
from stun_server.authentication import Credential
from stun_server.config import Config
from stun_server.connection_events import (
    PeerConnected,
    PeerConnectionClosed,
    PeerConnectionRefused,
)
from stun_server.events import (
    AllocationClosed,
    AllocationDetached,
    AllocationGivenAway,
    AllocationMoved,
    AllocationOpened,
    AllocationRefreshed,
    ChannelBound,
    ChannelRevoked,
    ClientExpected,
    ClientUnexpected,
    FindCredential,
    PeerRefused,
    PermissionInstalled,
    PermissionRevoked,
    RelayedAddressClosed,
    RequestRefused,
    ServerEvent,
    TakeAllocation,
    TakeReservation,
)
from stun_server.pending import PENDING_LIFETIME
from stun_server.service import Server, ServerResult
from stun_server.shell.administering import OneProcess, Parts
from stun_server.shell.certificates import Certificates
from stun_server.shell.client_homes import ClientHomes
from stun_server.shell.clients import Clients
from stun_server.shell.connections import Admission, close_idle
from stun_server.shell.counting_at_once import counts_at_once
from stun_server.shell.directory import Directory, Retirements, check_users
from stun_server.shell.external_address import external_hosts
from stun_server.shell.listening import Listener
from stun_server.shell.log import EventLog, Fact
from stun_server.shell.neighbours import Neighbours
from stun_server.shell.place import Place
from stun_server.shell.planes import USERSPACE, Holding, PlaneChoice
from stun_server.shell.relaying import PlaneSockets
from stun_server.shell.session_events import Event, SessionEvents, SessionFact
from stun_server.shell.state import Keys
from stun_server.shell.tcp_relaying import AllocationEvent, ConnectionRequest, Relayed, TcpRelaying
from stun_server.shell.telling import machine_settings
from stun_server.strangers import ClientPolicy

if TYPE_CHECKING:
    from stun_server.admin.serving import AdminHttp
    from stun_server.shell.event_delivery import EventDelivery

__all__ = ["RunningServer", "open_certificates"]


_FULL = "entries that the kernel plane had no room for"


class RunningServer:
    """A server that serves since :func:`start`, until :meth:`aclose`."""

    def __init__(
        self,
        config: Config,
        keys: Keys,
        users: Directory,
        listeners: tuple[Listener, ...],
        certificates: Certificates | None,
        logger: Logger,
        place: Place,
        *,
        data_dir: FilePath | None = None,
        reread: Callable[[], Config] | None = None,
        external: tuple[tuple[str, str], ...] = (),
        plane: PlaneChoice = USERSPACE,
        holding: Holding | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._config = config
        self._place = place
        self._keys = keys
        self._data_dir = data_dir
        self.reloading = Reloading(config, reread, self._apply, counts_at_once, logger)
        self._retirements = Retirements(PENDING_LIFETIME)
        self.logger = logger
        self.listeners = listeners
        self.users = users
        self.http: AdminHttp | None = None
        """Its listeners for operators, where it has any."""
        self.events = EventLog(logger, place.worker)
        self.admission = Admission(
            config.connection_limits(),
            _client_policy(config),
            place.connections,
        )
        self._loop = loop
        self._sockets = PlaneSockets(self._on_icmp)
        self._choice = plane
        self._holding = holding
        sockets = UserspacePlane(
            loop,
            self._sockets.unhandled,
            random=os.urandom,
            clock=loop.time,
            stopwatch=time.perf_counter,
            relays_elsewhere=place.sharing.relays_elsewhere,
            on_icmp=self._sockets.icmp,
            dscp=config.listeners.dscp,
        )
        self._plane: RelayPlane = sockets
        if plane.tables is not None:
            self._plane = KernelPlane(sockets, plane.tables, on_full=self._on_full)
        self._plane.show_as(dict(external))
        self._sockets.use(self._plane, [each.address for each in listeners])
        self._certificates = certificates
        self._streams = Clients(self.admission, certificates)
        self.tcp = TcpRelaying(self._streams, float(config.limits.peer_connection_idle))
        self._relayed = Relayed(self._plane, self.tcp)
        self._machine = Server(
            machine_settings(
                config, keys, listeners, users, worker=place.worker, external=external
            ),
            random=os.urandom,
            unix_offset=time.time() - loop.time(),
            sharing=place.sharing,
            at_hand=self._at_hand,
        )
        self.draining = Draining(
            float(config.limits.drain),
            refuse=self._refuse_allocations,
            sessions=lambda: len(self._machine.allocations),
            logger=logger,
            drained=place.drained,
        )
        self._driver: Driver[ServerEvent, ServerResult] = Driver(
            self._machine,
            self._on_event,
            datagrams=self._sockets,
            streams=self._streams,
            on_defect=self._on_defect,
        )
        self.tcp.use(self._machine, self._driver)
        self.neighbours = Neighbours(
            self._machine, self._driver, self._sockets, self.tcp, place.post, self.events
        )
        self.tcp.crossing = self.neighbours
        # Messages of connections pass the plane on their way to the driver.
        self._streams.attach(_PlaneFirst(self._plane, self._driver, loop.time))
        self._streams.share(self._relay_stream)
        self._homes = ClientHomes(self._plane, self._write)
        self._session_events = SessionEvents(
            place.worker, os.urandom(6).hex(), time.time, time.time() - loop.time()
        )
        self._delivery = _event_delivery(config, logger)
        self._sweeper: asyncio.Task[None] | None = None
        self.administration = OneProcess(
            Parts(
                worker=place.worker,
                machine=self._machine,
                relayed=self._relayed,
                plane_name=plane.name,
                plane_reason=lambda: self._plane_reason,
                users=lambda: self.users,
                listeners=listeners,
                certificates=lambda: self._certificates,
                connections=lambda: len(self.admission),
                counts=self.counts,
                draining=self.draining,
                run=self._driver.run,
                reload=self.reloading.reload,
            )
        )

    def open(self) -> None:
        """Begin to serve on the listeners."""
        for listener in self.listeners:
            if listener.transport is Transport.UDP:
                # Behaviour discovery has more to say than the plane knows.
                plain = listener.other is None
                policy = BindingPolicy(plain, self._machine.strangers, self._machine.greeting)
                self._plane.listen(listener.socket, policy)
        self._streams.listen(
            [each for each in self.listeners if each.transport is not Transport.UDP]
        )
        self._sweeper = self._loop.create_task(
            close_idle(self._streams, self._homes.on_streams, lambda: self.admission.limits.idle)
        )

    async def _apply(self, config: Config) -> None:
        """Check all that can be wrong, then swap; ConfigError, MisuseError before anything did."""
        check_users(config)
        renewed = open_certificates(config)
        users = await self.users.reopened(config, self._data_dir, self.logger, self._loop.time)
        try:
            external = await external_hosts(config, self.listeners)
            settings = machine_settings(
                config,
                self._keys,
                self.listeners,
                users,
                worker=self._place.worker,
                external=external,
            )
        except BaseException:
            await users.retire(self.users)
            raise
        relevelled = config.log.level != self._config.log.level
        retired, self.users, self._config = self.users, users, config
        self._driver.run(lambda now: self._machine.configure(settings, now))
        self._plane.show_as(dict(external))
        if self._certificates is not None and renewed is not None:
            self._certificates.current = renewed.current
            self._streams.renew()
            self.log_certificate()
        self.admission.limits = config.connection_limits()
        self.admission.policy = _client_policy(config)
        self.tcp.idle = float(config.limits.peer_connection_idle)
        self.draining.limit = float(config.limits.drain)
        if relevelled:
            set_level(config.log.level)
            self.events.follow_level()
        self._retirements.begin(retired, users)

    @property
    def introduction(self) -> dict[str, str | int]:
        """What the log says when it serves."""
        return {
            "realm": self._config.users.realm,
            "users": len(self.users),
            "store": self.users.store_name,
            "plane": self._choice.name,
            "plane_reason": self._plane_reason,
            "event_loop": type(self._loop).__module__.partition(".")[0],
        }

    @property
    def _plane_reason(self) -> str:
        """As it is now, where this process knows."""
        return self._holding.reason if self._holding is not None else self._choice.reason

    def plane_runs(self, reason: str) -> None:
        """Where the kernel's plane runs from now on, which another process attached."""
        self._choice = replace(self._choice, reason=reason)

    @property
    def left(self) -> int:
        """Sessions, those among them that are on their way to this worker, or away from it."""
        neighbours = self.neighbours
        return len(self._machine.allocations) + neighbours.arriving + neighbours.leaving

    def log_certificate(self) -> None:
        """Say whom the certificate in use names, if there is one."""
        if self._certificates is not None:
            current = self._certificates.current
            self.logger.info("certificate", names=current.names, until=current.until.isoformat())

    def totals(self) -> Counters:
        """What was relayed and dropped."""
        return self._relayed.totals()

    def counts(self) -> Counter[str]:
        """What happened besides, by name."""
        counts = self.events.counts + self.users.counts()
        counts["malformed messages"] = self._machine.malformed
        counts["unfragmented datagrams"] = self._sockets.unfragmented
        strangers = self._machine.strangers
        packets, answers, denied = (
            self._plane.refused_bindings() if isinstance(self._plane, KernelPlane) else (0, 0, 0)
        )
        counts["messages of denied clients"] = strangers.denied + denied
        counts["packets over the limit of a source"] = strangers.limits.packets_dropped + packets
        counts["answers over the limit of a source"] = strangers.limits.answers_dropped + answers
        counts["connections of denied clients"] = self.admission.denied
        counts["unframeable connections"] = self._streams.unframeable
        counts["declined connections"] = self.admission.declined
        if self._delivery is not None:
            counts["events delivered"] = self._delivery.sent
            counts["events lost"] = self._delivery.lost
        counts["refused connections"] = self._streams.refused
        counts["crowded out handshakes"] = self._streams.crowded_out
        return +counts

    async def aclose(self) -> None:
        """Stop serving and close everything; the log gets the totals."""
        totals = self.totals()
        if self.http is not None:
            await self.http.aclose()
        self.draining.cancel()
        await self.reloading.aclose()
        await self.neighbours.aclose()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        if self._delivery is not None:
            for each in self._machine.allocations:
                number, username = each.allocation_id, each.credential.username
                counters = self._relayed.counters(number)
                self._delivery.put(self._session_events.cut(number, username, counters))
        await self.tcp.aclose()
        await self._driver.aclose()
        if self._delivery is not None:
            await self._delivery.aclose()
        await self._retirements.aclose()
        await self.users.aclose()
        self.logger.info(
            "stopped",
            to_peers=totals.packets_to_peers,
            to_clients=totals.packets_to_clients,
            bytes_to_peers=totals.bytes_to_peers,
            bytes_to_clients=totals.bytes_to_clients,
            **{name.replace(" ", "_"): count for name, count in self.counts().items()},
        )
        # Until here the kernel's counts can be read.
        if self._holding is not None:
            self._holding.close()
        elif self._choice.tables is not None:
            self._choice.tables.close()

    def _on_icmp(self, icmp: Icmp, path: Path) -> None:
        self.events.count_only("icmp errors")
        self._driver.tell(self._machine.icmp_received, icmp, path)

    def _on_event(self, event: ServerEvent) -> None:
        counters = None
        if isinstance(event, AllocationClosed | AllocationGivenAway):
            # Asked now, before who counts forgets the allocation.
            counters = self._relayed.counters(event.allocation_id)
        if self._delivery is not None and isinstance(event, SessionFact):
            self._delivery.put(self._session_event(event, counters))
        if isinstance(event, ConnectionRequest):
            self.tcp.fulfil(event)
        elif self.tcp.concerns(event):
            self._on_tcp_event(event, counters)
        else:
            self._on_plain_event(event, counters)

    def _session_event(self, fact: SessionFact, counters: Counters | None) -> Event:
        if isinstance(fact, AllocationRefreshed):
            counters = self._relayed.counters(fact.allocation_id)
        return self._session_events.event(fact, counters)

    def _on_plain_event(
        self,
        event: Fact | FindCredential | TakeAllocation | TakeReservation | OpenSocket | CloseSocket,
        counters: Counters | None,
    ) -> None:
        match event:
            case FindCredential(request_id):
                self.users.find(event, partial(self._driver.answer, request_id))
            case TakeAllocation():
                self.neighbours.take_allocation(event)
            case TakeReservation():
                self.neighbours.take_reservation(event)
            case OpenSocket() | CloseSocket():
                # The driver fulfils them by the carrier.
                pass
            case _:
                self._follow(event)
                self.events.write(event, self._loop.time(), counters)

    def _follow(self, event: Fact) -> None:
        """Keep the plane, and whoever else wants to know, in step."""
        match event:
            case (
                AllocationOpened()
                | AllocationRefreshed()
                | RelayedAddressClosed()
                | AllocationClosed()
                | AllocationGivenAway()
            ):
                self._follow_life(event)
            case ClientExpected() | ClientUnexpected() | AllocationMoved() | AllocationDetached():
                self._homes.follow(event)
            case PermissionInstalled(number, host, until, only_relayed, ports):
                self._plane.permit(number, host, until, only_relayed=only_relayed, ports=ports)
            case ChannelBound(number, channel, peer, until, only_relayed):
                self._plane.bind_channel(number, channel, peer, until, only_relayed=only_relayed)
            case PermissionRevoked(number, host):
                # Dead at once: the plane knows no other end of a permission, or of a channel.
                self._plane.permit(number, host, self._loop.time())
            case ChannelRevoked(number, channel, peer):
                self._plane.bind_channel(number, channel, peer, self._loop.time())
            case (
                PeerRefused()
                | RequestRefused()
                | PeerConnected()
                | PeerConnectionRefused()
                | PeerConnectionClosed()
            ):
                pass
            case _:
                assert_never(event)

    def _on_tcp_event(self, event: AllocationEvent, counters: Counters | None) -> None:
        """What a TCP allocation's event means, of which the plane hears nothing."""
        match event:
            case AllocationOpened(number, client):
                self._homes.open(number, client)
                for relayed in event.relayed_addresses:
                    self._place.opened(relayed, Transport.TCP)
            case RelayedAddressClosed(_, relayed):
                self._place.closed(relayed, Transport.TCP)
            case AllocationClosed(number, client):
                for relayed in event.relayed_addresses:
                    self._place.closed(relayed, Transport.TCP)
                self._homes.close(number, client)
                self.draining.closed()
        self.events.write(event, self._loop.time(), counters)

    def _follow_life(
        self,
        event: AllocationOpened
        | AllocationRefreshed
        | RelayedAddressClosed
        | AllocationClosed
        | AllocationGivenAway,
    ) -> None:
        """An allocation or one of its addresses begins, goes on, or ends."""
        match event:
            case AllocationOpened():
                self._open_in_plane(event)
                for relayed in event.relayed_addresses:
                    self._place.opened(relayed, Transport.UDP)
            case AllocationRefreshed(number, until, family):
                self._plane.extend(number, until, family)
            case RelayedAddressClosed(number, relayed):
                self._plane.close_one(number, relayed)
                self._place.closed(relayed, Transport.UDP)
            case AllocationClosed(number, client):
                self._plane.close(number)
                for relayed in event.relayed_addresses:
                    self._place.closed(relayed, Transport.UDP)
                self._homes.close(number, client)
                self.draining.closed()
            case AllocationGivenAway(number, client, addresses):
                for relayed, sock in zip(addresses, self._plane.release(number), strict=True):
                    self._sockets.hold(relayed, sock)
                    self._place.closed(relayed, Transport.UDP)
                self._homes.close(number, client)
                self.draining.closed()
            case _:
                assert_never(event)

    def _open_in_plane(self, opened: AllocationOpened) -> None:
        number, client, until = opened.allocation_id, opened.client, opened.until
        sock = self._sockets.take(opened.relayed)
        self._plane.open(number, client, sock, until, self._homes.open(number, client))
        if opened.second is not None:
            self._plane.open_second(number, self._sockets.take(opened.second), until)
        rates = self._machine.rates(number)
        if rates is not None:
            self._plane.limit(number, rates)

    def _at_hand(self, realm: str, username: str) -> Credential | None:
        return self.users.at_hand(realm, username)

    def _relay_stream(self, client: Path, data: bytes) -> int:
        return self._plane.relay_stream(client, data, self._loop.time())

    def _refuse_allocations(self) -> None:
        self._machine.is_draining = True

    def _write(self, client: Path, data: bytes) -> None:
        if not self._streams.offer(client, data):
            dropped = len(StunFraming().receive(data)) if client.transport.is_reliable else 1
            self.events.count_only("datagrams for slow readers dropped", dropped)

    def _on_full(self) -> None:
        """Something does not fit the kernel's tables: user space relays it."""
        if not self.events.counts[_FULL]:
            self.logger.warning("kernel plane full", to_do="lower limits.allocations, or use less")
        self.events.count_only(_FULL)

    def _on_defect(self, error: Exception) -> None:
        self.events.count_only("internal errors")
        self.logger.error("internal error", exc_info=error)


class _PlaneFirst:
    """Gives a connection's messages to the plane, and to the machine what the plane leaves.

    A :class:`~natkit.aio.driver.Inputs` in front of the driver's.
    """

    def __init__(
        self,
        plane: RelayPlane,
        driver: Driver[ServerEvent, ServerResult],
        clock: Callable[[], float],
    ) -> None:
        self._plane = plane
        self._driver = driver
        self._clock = clock

    def receive(self, data: bytes, path: Path) -> None:
        if not self._plane.relay_from(path, data, self._clock()):
            self._driver.receive(data, path)

    def disconnected(self, path: Path) -> None:
        self._driver.disconnected(path)

    @contextmanager
    def many(self) -> Iterator[None]:
        with self._driver.many():
            yield


def _event_delivery(config: Config, logger: Logger) -> "EventDelivery | None":
    events = config.events
    if events.url is None:
        return None
    # A worker that tells nobody starts faster without what does.
    from stun_server.shell.event_delivery import EventDelivery  # noqa: PLC0415

    return EventDelivery(events.url, events.token, events.queue, logger)


def open_certificates(config: Config) -> Certificates | None:
    """The certificate of the configuration, if it has one; ConfigError when it is of no use."""
    chain, key = config.listeners.certificate, config.listeners.key
    return Certificates(chain, key) if chain is not None and key is not None else None


def _client_policy(config: Config) -> ClientPolicy:
    return ClientPolicy(config.policy.allow_client, config.policy.deny_client)
