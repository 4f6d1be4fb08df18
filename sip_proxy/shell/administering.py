"""The :class:`~sip_proxy.administration.Administration` of a running proxy."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import natkit
from natkit.errors import MalformedMessage, StoreFailure
from natkit.machine import Failure, Transport
from natkit.server.draining import Draining
from natkit.server.process import descriptors
from natkit.server.reports import (
    CertificateStatus,
    Drain,
    ListenerStatus,
    Phase,
    Reload,
    StoreStatus,
)
from natkit.sip import SipUri, parse_absolute_uri
from sip_proxy import location
from sip_proxy.administration import (
    ConnectionCount,
    Contact,
    GatewayStatus,
    Registration,
    Status,
)
from sip_proxy.gateways import GatewayState
from sip_proxy.gruu import canonical
from sip_proxy.location import Binding, Outcome
from sip_proxy.location.binding import LARGEST_Q
from sip_proxy.proxy import Proxy
from sip_proxy.settings import Listener
from sip_proxy.shell.log import EventLog
from sip_proxy.shell.securing import Securing
from sip_proxy.shell.stores import Location
from sip_proxy.shell.users import Users

__all__ = ["OneProcess", "Parts"]

T = TypeVar("T")

_CONNECTED = (Transport.TCP, Transport.TLS, Transport.WS, Transport.WSS)

# Nothing else changes these bindings for as long as an operator takes.
_FORGET = location.Registration(None, "", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What of a running proxy is looked at, and how it is told."""

    machine: Proxy
    listeners: tuple[Listener, ...]
    domains: Callable[[], Sequence[str]]
    users: Callable[[], Users]
    location: Location
    securing: Callable[[], Securing]
    events: EventLog
    counts: Callable[[], Counter[str]]
    draining: Draining
    reload: Callable[[], Awaitable[Reload]]


class OneProcess:
    """Reads the machine and the stores at the moment it is asked."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._started = time.time()

    async def status(self) -> Status:
        """How the proxy fares now."""
        parts = self._parts
        load = parts.machine.load()
        drain = parts.draining.drain
        users = parts.users()
        return Status(
            version=natkit.__version__,
            started=self._started,
            phase=Phase.SERVING if drain is None else Phase.DRAINING,
            event_loop=type(self._loop).__module__.partition(".")[0],
            process_id=os.getpid(),
            descriptors=descriptors(),
            domains=tuple(sorted(parts.domains())),
            listeners=tuple(
                ListenerStatus(each.transport, str(each.address)) for each in parts.listeners
            ),
            registered=len(parts.location),
            calls=len(parts.machine.calls),
            transactions=load.transactions,
            forks=load.forks,
            waiting=load.waiting,
            answers=parts.events.answers,
            connections=_connections(load.accepted, load.made),
            gateways=tuple(map(_gateway, parts.machine.gateways.states())),
            users=StoreStatus(users.store_name or "none", users.store_failure),
            location=StoreStatus(parts.location.name, parts.location.failure),
            dropped=parts.events.dropped,
            counts=dict(parts.counts() + _kept_out(parts.machine)),
            certificates=tuple(
                CertificateStatus(each.names, each.until.timestamp())
                for each in parts.securing().certificates
            ),
            drain=drain,
        )

    async def registrations(self, limit: int, user: str | None = None) -> tuple[Registration, ...]:
        """Who is registered."""
        if user is not None:
            names = self._meant(user)
        else:
            names = await self._parts.location.listed(limit)
        found = [Registration(name, await self._contacts(name)) for name in names]
        return tuple(each for each in found if each.contacts)[:limit]

    async def unregister(self, address_of_record: str) -> bool:
        """Forget an address of record's bindings."""
        was_there = False
        for name in self._meant(address_of_record):
            if await self._contacts(name):
                await self._forget(name)
                was_there = True
        return was_there

    async def drain(self, limit: float | None = None) -> Drain:
        """Take no new calls and registrations, and end once no transaction is left."""
        return self._parts.draining.begin(limit)

    async def reload(self) -> Reload:
        """Read the configuration again."""
        return await self._parts.reload()

    def _meant(self, user: str) -> Sequence[str]:
        """The addresses of record that a text stands for."""
        if "@" not in user:
            return [f"sip:{user}@{domain}" for domain in sorted(self._parts.domains())]
        try:
            uri = parse_absolute_uri(user if user.startswith(("sip:", "sips:")) else f"sip:{user}")
        except MalformedMessage:
            return []
        return [canonical(uri)] if isinstance(uri, SipUri) else []

    async def _contacts(self, address_of_record: str) -> tuple[Contact, ...]:
        answer: asyncio.Future[tuple[Binding, ...] | Failure] = self._loop.create_future()
        self._parts.location.find(address_of_record, time.time(), _giver(answer))
        found = await answer
        if isinstance(found, Failure):
            raise StoreFailure(found.reason)
        return tuple(map(_contact, found))

    async def _forget(self, address_of_record: str) -> None:
        answer: asyncio.Future[Outcome | Failure] = self._loop.create_future()
        self._parts.location.update(address_of_record, _FORGET, time.time(), _giver(answer))
        outcome = await answer
        if isinstance(outcome, Failure):
            raise StoreFailure(outcome.reason)


def _giver(answer: "asyncio.Future[T]") -> Callable[[T], None]:
    def give(result: T) -> None:
        if not answer.done():
            answer.set_result(result)

    return give


def _connections(
    accepted: Mapping[Transport, int], made: Mapping[Transport, int]
) -> tuple[ConnectionCount, ...]:
    return tuple(
        ConnectionCount(each, accepted.get(each, 0), made.get(each, 0)) for each in _CONNECTED
    )


def _kept_out(machine: Proxy) -> Counter[str]:
    sources = machine.sources
    return Counter(
        {
            "messages of floods": sources.flooded,
            "messages of strangers crowded out": sources.crowded_out,
            "messages of scanners": sources.scanned,
            "challenges withheld": sources.unchallenged,
            "calls not followed": machine.calls.unfollowed,
        }
    )


def _gateway(state: GatewayState) -> GatewayStatus:
    gateway = state.gateway
    return GatewayStatus(
        gateway.name,
        gateway.group,
        str(gateway.uri),
        state.is_up,
        state.calls,
        state.failures_in_a_row,
    )


def _contact(binding: Binding) -> Contact:
    flow = binding.flow
    return Contact(
        binding.contact,
        binding.expires_at,
        binding.q / LARGEST_Q,
        binding.updated_at,
        binding.user_agent,
        None if flow is None else f"{flow.transport} {flow.remote}",
        binding.path,
    )
