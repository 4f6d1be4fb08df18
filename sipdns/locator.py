"""The awaitable face: find the servers of a URI by DNS."""

import asyncio
from collections.abc import Sequence

from natkit.address import Address, Family
from natkit.errors import MisuseError
from natkit.machine import Failure, Transport
from sipdns.nameservers import Nameservers
from sipdns.query import QueryLimits
from sipdns.records import Answer
from sipdns.resolution import AskDns, Limits, Resolution, Resolved
from sipdns.search import Search, read_uri
from sipdns.services import DEFAULT_TRANSPORTS
from sipdns.srv_order import Draw
from sipdns.system import system_draw, system_nameservers, usable_families
from sipdns.targets import Outcome, RankedTarget

__all__ = ["Locator", "resolve", "resolve_sync"]


class Locator:
    """Finds servers; implements :class:`natkit.locate.Locator`.

    ``nameservers``
        Recursive resolvers to ask, in order; by default those of the system.
    ``transports``
        What the caller speaks, most preferred first; the order counts where a domain states none.
    ``draw``
        ``draw(n)`` gives an integer below ``n`` and decides what RFC 2782 leaves to chance.
    ``prefer``
        The address family to put first; by default RFC 6724 decides.
    ``usable``
        The families that can be reached, the others coming last; by default those that the host
        has a route for.

    A Locator keeps nothing between lookups and may be used for many at once, in one event loop.
    """

    def __init__(
        self,
        *,
        nameservers: Sequence[Address] | None = None,
        transports: Sequence[Transport] = DEFAULT_TRANSPORTS,
        draw: Draw = system_draw,
        prefer: Family | None = None,
        usable: Sequence[Family] | None = None,
        limits: Limits | None = None,
        query_limits: QueryLimits | None = None,
    ) -> None:
        self._nameservers = nameservers
        self._transports = tuple(transports)
        self._draw = draw
        self._prefer = prefer
        self._usable = usable
        self._limits = limits
        self._query_limits = query_limits
        self._asking: Nameservers | None = None

    async def locate(self, uri: str) -> Sequence[RankedTarget]:
        """The targets of a SIP, STUN or TURN URI, or of a SIP domain, in the order to try.

        NoService when the DNS says that there are none, DnsFailure when it does not say,
        MisuseError when ``uri`` is none.
        """
        outcome = await self.explain(uri)
        if outcome.error is not None:
            raise outcome.error
        return outcome.targets

    async def explain(self, uri: str) -> Outcome:
        """The lookup with all its decisions; a failure stands in its ``error``.

        MisuseError when ``uri`` is none.
        """
        return await self._run(read_uri(uri, self._transports))

    async def _run(self, search: Search) -> Outcome:
        loop = asyncio.get_running_loop()
        resolution = Resolution(
            search,
            draw=self._draw,
            now=loop.time(),
            limits=self._limits,
            usable=usable_families() if self._usable is None else self._usable,
            prefer=self._prefer,
        )
        tasks: dict[asyncio.Task[Answer | Failure], AskDns] = {}
        try:
            while True:
                while event := resolution.next_event():
                    if isinstance(event, Resolved):
                        return event.outcome
                    asking = self._ask(event)
                    tasks[loop.create_task(asking)] = event
                deadline = resolution.next_deadline()
                timeout = None if deadline is None else max(0.0, deadline - loop.time())
                done, _ = await asyncio.wait(
                    tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    resolution.answer(tasks.pop(task).request_id, task.result(), loop.time())
                resolution.handle_timer(loop.time())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, request: AskDns) -> Answer | Failure:
        if self._asking is None:
            addresses = system_nameservers() if self._nameservers is None else self._nameservers
            self._asking = Nameservers(addresses, self._query_limits)
        return await self._asking.ask(request.question)


async def resolve(uri: str) -> Sequence[RankedTarget]:
    """The servers of a SIP URI or domain, in the order to try; as :meth:`Locator.locate`."""
    return await Locator().locate(uri)


def resolve_sync(uri: str) -> Sequence[RankedTarget]:
    """:func:`resolve` for programs without an event loop; MisuseError where one is running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(resolve(uri))
    raise MisuseError("resolve_sync cannot be used inside an event loop: await resolve instead")
