"""Ports of the gateway that lead here, on asyncio.

::

    async with map(40000, protocol=Protocol.UDP) as mapped:
        print(mapped.external)            # as long as the context lasts; removed at its end

The default gateway is asked by PCP, NAT-PMP and UPnP at once, and the best that it speaks is used.
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path as FilePath
from typing import Final, Self, assert_never

import httpx2

from natkit.address import Address, Family
from natkit.aio.driver import Driver
from natkit.aio.portmap_leases import Leases
from natkit.aio.udp import DatagramSockets, source_address
from natkit.errors import NatkitError, UnreachableError
from natkit.machine import Failure, Path, Transport
from natkit.net.gateways import default_gateways
from natkit.portmap import (
    GatewayMapper,
    GatewayRestarted,
    Mapped,
    Mapping,
    MappingFailed,
    MappingLost,
    Method,
    NatPmp,
    Pcp,
    PcpServers,
    PortMapEvent,
    PortMapper,
    Protocol,
    Silent,
    Speaks,
    Unmapped,
    Wish,
)
from natkit.portmap.registry import CLIENT_PORT, PCP_ANYCAST, SERVER_PORT
from natkit.portmap.select import Mapper
from natkit.portmap.servers import ANYCAST_PATIENCE
from natkit.portmap.upnp import Exchange, HttpResponse, IgdMapper

__all__ = [
    "METHODS",
    "MappedPort",
    "MappingRefused",
    "PortMapping",
    "exchange_over_http",
    "map",
    "map_on",
    "open_gateway",
]

METHODS: Final = (Method.PCP, Method.NAT_PMP, Method.UPNP)
"""By preference."""

HTTP_TIMEOUT: Final = 8.0
"""Seconds for one exchange with a device."""

MOST_EVENTS: Final = 100
"""Events that wait for somebody to take them; the oldest go first."""


class MappingRefused(NatkitError):
    """The gateway maps nothing for us: it refuses, or speaks none of the protocols.

    ``code`` is the number of the protocol that came furthest, None for silence.
    """

    code: int | None = None


class PortMapping:
    """One gateway and the mappings that it is asked for; made by :func:`open_gateway`.

    With ``anycast`` PCP is asked of whoever serves its anycast address (RFC 7723) where the gateway
    speaks none.
    """

    def __init__(
        self,
        gateway: str,
        local: str,
        methods: Sequence[Method],
        leases: Leases | None,
        *,
        anycast: bool = False,
    ) -> None:
        self.gateway = gateway
        self.local_host = local
        """Our address towards it."""
        self._datagrams = DatagramSockets()
        bound = self._datagrams.open(Address(local, 0))
        self._announcements(Address(gateway, 0).family)
        # Of its own: a gateway without PCP refuses that in words that are NAT-PMP's too.
        for_nat_pmp = self._datagrams.open(Address(local, 0))
        mappers = _mappers(bound, for_nat_pmp, gateway, methods, anycast=anycast)
        self.mapper = PortMapper(mappers)
        self._leases = leases
        self._driver: Driver[PortMapEvent | Exchange, HttpResponse] = Driver(
            self.mapper, self._on_event, datagrams=self._datagrams
        )
        self._exchanges: set[asyncio.Task[None]] = set()
        self._listeners: dict[int, Callable[[PortMapEvent], None]] = {}
        self._held: dict[int, Mapping] = {}
        self._last_id = 0
        self.answers: dict[Method, str] = {}
        """What each protocol came to so far: ``yes``, with the external address, or why not."""
        self._methods = len(mappers)
        self._all_told = asyncio.Event()

    async def probe(self) -> dict[Method, str]:
        """Find out which protocols the gateway speaks, without mapping anything.

        It waits for the word of each: 12 seconds for those that are silent.
        """
        self.answers.clear()
        self._all_told.clear()
        self._driver.run(self.mapper.probe)
        await self._all_told.wait()
        return self.answers

    async def clean_up(self) -> int:
        """Remove what an earlier life of the program left here; how many there were."""
        leases = self._leases
        left = leases.left(self.gateway) if leases is not None else []
        if leases is None or not left:
            return 0
        await self.probe()
        for each in left:
            number = self._number()
            gone = self._listen(number)
            self._driver.run(partial(self.mapper.remove, number, each))
            await gone.wait()
            leases.discard(self.gateway, each)
        return len(left)

    def want(self, wish: Wish, listener: Callable[[PortMapEvent], None]) -> int:
        """Ask for a mapping and keep it; ``listener`` is told all of it.  The number to give up."""
        number = self._number()
        self._listeners[number] = listener
        self._driver.run(partial(self.mapper.map, number, wish))
        return number

    async def give_up(self, number: int) -> None:
        """Remove a mapping, and wait until it is gone or the gateway stays silent."""
        if number not in self.mapper.wanted:
            return
        gone = self._listen(number)
        self._driver.run(partial(self.mapper.unmap, number))
        await gone.wait()

    def _listen(self, number: int) -> asyncio.Event:
        """Wait for the end of a mapping."""
        gone = asyncio.Event()

        def told(event: PortMapEvent) -> None:
            if isinstance(event, Unmapped | MappingFailed):
                gone.set()

        self._listeners[number] = told
        return gone

    async def aclose(self) -> None:
        """Remove every mapping, then close the sockets."""
        await asyncio.gather(*(self.give_up(number) for number in self.mapper.wanted))
        for task in self._exchanges:
            task.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)
        await self._driver.aclose()

    def _number(self) -> int:
        self._last_id += 1
        return self._last_id

    def _announcements(self, family: Family) -> None:
        # Others on this machine may listen too; without it a restart is noticed at the renewal.
        host = "0.0.0.0" if family is Family.IPV4 else "::"  # noqa: S104 - announcements go to a group
        with suppress(UnreachableError):
            self._datagrams.open(Address(host, CLIENT_PORT), shared=True)

    def _on_event(self, event: PortMapEvent | Exchange) -> None:
        match event:
            case Exchange():
                task = asyncio.create_task(self._exchange(event))
                self._exchanges.add(task)
                task.add_done_callback(self._exchanges.discard)
            case Speaks(method, host):
                self._answered(method, f"yes, {host}" if host else "yes")
            case Silent(method, reason):
                self._answered(method, reason)
            case GatewayRestarted():
                for number in tuple(self._listeners):
                    self._tell(number, event)
            case Mapped(number) | MappingLost(number):
                self._record(number, event)
                self._tell(number, event)
            case Unmapped(number) | MappingFailed(number):
                self._record(number, event)
                self._tell(number, event)
                self._listeners.pop(number, None)
            case _:
                assert_never(event)

    def _answered(self, method: Method, answer: str) -> None:
        self.answers[method] = answer
        if len(self.answers) == self._methods:
            self._all_told.set()

    def _record(self, number: int, event: PortMapEvent) -> None:
        """Keep the leases in step."""
        if isinstance(event, Mapped):
            self._held[number] = event.mapping
            if self._leases is not None:
                self._leases.add(self.gateway, event.mapping)
        elif isinstance(event, Unmapped):
            held = self._held.pop(number, None)
            if event.confirmed and held is not None and self._leases is not None:
                self._leases.discard(self.gateway, held)

    def _tell(self, number: int, event: PortMapEvent) -> None:
        listener = self._listeners.get(number)
        if listener is not None:
            listener(event)

    async def _exchange(self, request: Exchange) -> None:
        result: HttpResponse | Failure
        try:
            result = await exchange_over_http(request)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            said = str(error) or type(error).__name__
            result = Failure(f"the device at {self.gateway}: {said}")
        self._driver.answer(request.request_id, result)


async def exchange_over_http(request: Exchange) -> HttpResponse:
    """No redirections, no proxies, no more than the limit: it is a stranger's URL.

    Raises httpx2.HTTPError and httpx2.InvalidURL.
    """
    async with httpx2.AsyncClient(
        timeout=HTTP_TIMEOUT, trust_env=False, follow_redirects=False
    ) as client:
        method = "GET" if request.body is None else "POST"
        async with client.stream(
            method, request.url, headers=dict(request.headers), content=request.body
        ) as response:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > request.limit:
                    raise httpx2.ReadError("a response without end")
            return HttpResponse(response.status_code, bytes(body))


class MappedPort:
    """A port of the gateway that leads here, as long as the context of :func:`map` lasts.

    Iterating gives what happens to it later: Mapped when it was renewed, with another external
    address perhaps, MappingLost, GatewayRestarted.
    """

    def __init__(self, first: Mapped) -> None:
        self.mapping = first.mapping
        """What the gateway granted last."""
        self._events: deque[PortMapEvent] = deque(maxlen=MOST_EVENTS)
        self._news = asyncio.Event()

    @property
    def external(self) -> Address:
        """Where others send to, by the gateway's word; its own address may be private."""
        return self.mapping.external

    def told(self, event: PortMapEvent) -> None:
        """The gateway's next word."""
        if isinstance(event, Mapped):
            self.mapping = event.mapping
        self._events.append(event)
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PortMapEvent:
        while not self._events:
            self._news.clear()
            await self._news.wait()
        return self._events.popleft()


@asynccontextmanager
async def open_gateway(
    *,
    gateway: str | None = None,
    family: Family = Family.IPV4,
    methods: Sequence[Method] = METHODS,
    leases: FilePath | None = None,
) -> AsyncIterator[PortMapping]:
    """Have a gateway at hand, the system's default one of ``family`` unless it is named.

    Where that one speaks no PCP, whoever serves PCP's anycast address is asked (RFC 7723).
    ``leases`` is a file that remembers what is mapped, so that a later life of the program removes
    what a crash left (:meth:`PortMapping.clean_up`).  At the end every mapping is removed.
    Raises UnreachableError when there is no gateway or no way to it, MisuseError for one that is no
    IP address.
    """
    host = _default_gateway(family) if gateway is None else Address.of(gateway, 0).host
    local = source_address(Address(host, SERVER_PORT)).host
    remembered = Leases(leases) if leases is not None else None
    # Who names a gateway means that one alone.
    opened = PortMapping(host, local, methods, remembered, anycast=gateway is None)
    try:
        await opened.clean_up()
        yield opened
    finally:
        await opened.aclose()


@asynccontextmanager
async def map(  # noqa: A001 - the word of all three protocols
    internal_port: int,
    *,
    protocol: Protocol = Protocol.UDP,
    external_port: int = 0,
    lifetime: int = 7200,
    gateway: str | None = None,
    family: Family = Family.IPV4,
    methods: Sequence[Method] = METHODS,
    leases: FilePath | None = None,
) -> AsyncIterator[MappedPort]:
    """Have a port of the gateway lead to ``internal_port`` of this host, as long as this lasts.

    ``external_port`` is a suggestion, 0 for any; ``lifetime`` in seconds is what is asked for and
    renewed.  Raises MappingRefused with what each protocol said, UnreachableError without a
    gateway, MisuseError for ports that are none.
    """
    wish = Wish(protocol, internal_port, external_port, lifetime=lifetime)
    async with (
        open_gateway(gateway=gateway, family=family, methods=methods, leases=leases) as opened,
        map_on(opened, wish) as mapped,
    ):
        yield mapped


@asynccontextmanager
async def map_on(gateway: PortMapping, wish: Wish) -> AsyncIterator[MappedPort]:
    """The same at a gateway that is at hand, for any wish; errors as for :func:`map`."""
    first: asyncio.Future[Mapped] = asyncio.get_running_loop().create_future()
    mapped: MappedPort | None = None

    def told(event: PortMapEvent) -> None:
        if first.done():
            if mapped is not None:
                mapped.told(event)
        elif isinstance(event, Mapped):
            first.set_result(event)
        elif isinstance(event, MappingFailed):
            error = MappingRefused(event.reason)
            error.code = event.code
            first.set_exception(error)

    number = gateway.want(wish, told)
    try:
        mapped = MappedPort(await first)
        yield mapped
    finally:
        await gateway.give_up(number)


def _mappers(
    bound: Address, for_nat_pmp: Address, gateway: str, methods: Sequence[Method], *, anycast: bool
) -> dict[Method, Mapper]:
    to_gateway = Path(Transport.UDP, bound, Address(gateway, SERVER_PORT))
    by_nat_pmp = to_gateway._replace(local=for_nat_pmp)
    to_group = Path(Transport.UDP, bound, IgdMapper.group(bound.family))
    pcp_mappers = [GatewayMapper(to_gateway, Pcp(), random=os.urandom)]
    if anycast:
        to_anycast = to_gateway._replace(remote=Address(PCP_ANYCAST[bound.family], SERVER_PORT))
        pcp_mappers.append(
            GatewayMapper(to_anycast, Pcp(), random=os.urandom, patience=ANYCAST_PATIENCE)
        )
    makers: dict[Method, Callable[[], Mapper]] = {
        Method.PCP: lambda: PcpServers(pcp_mappers),
        Method.NAT_PMP: lambda: GatewayMapper(by_nat_pmp, NatPmp(), random=os.urandom),
        Method.UPNP: lambda: IgdMapper(to_group, gateway, random=os.urandom),
    }
    # NAT-PMP is of IPv4 alone (RFC 6886 §1).
    return {
        method: makers[method]()
        for method in METHODS
        if method in methods and not (method is Method.NAT_PMP and bound.family is Family.IPV6)
    }


def _default_gateway(family: Family) -> str:
    for gateway in default_gateways():
        if gateway.family is family:
            return gateway.host
    name = "IPv4" if family is Family.IPV4 else "IPv6"
    raise UnreachableError(f"this host has no default gateway of {name}; name one")
