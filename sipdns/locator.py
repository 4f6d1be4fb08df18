"""The awaitable face: find the servers of a URI by DNS."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from natkit.address import Family
from natkit.aio.scoped import Scoped
from natkit.errors import MisuseError
from natkit.machine import Failure, Transport
from natkit.sip.via import SentBy
from sipdns.cache import Cache, Remembered
from sipdns.happy_eyeballs import interleaved
from sipdns.hosts import Hosts
from sipdns.nameservers import MOST_QUESTIONS, Nameservers
from sipdns.plan import Plan
from sipdns.query import QueryLimits
from sipdns.records import Answer, Question, RecordType
from sipdns.resolution import AskDns, Limits, Resolution, Resolved
from sipdns.search import Search, read_uri, search_for_response
from sipdns.servers import Server
from sipdns.services import DEFAULT_TRANSPORTS
from sipdns.srv_order import Draw
from sipdns.system import system_draw, system_hosts, system_nameservers, usable_families
from sipdns.targets import Outcome, RankedTarget
from sipdns.under_way import UnderWay

__all__ = ["Dns", "Locator", "resolve", "resolve_sync"]

_USER: Final = re.compile(
    r"([Ss][Ii][Pp][Ss]?:)(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/]|%[0-9A-Fa-f]{2})+@([^@]+)"
)
"""A SIP URI with a user, who has no say in where his domain's servers are (RFC 3263 §4)."""

ROUTES_LAST: Final = 10.0
"""Seconds before the host's routes and its hosts file are looked at again: short against the time
that a network takes to change, long against a lookup."""

STALE_ANSWER_AFTER: Final = 1.8
"""Seconds that the DNS has before a stale answer is used in its place (RFC 8767 §5)."""

MOST_REFRESHES: Final = 64
"""Questions that go on in the background after a stale answer was used."""

MOST_LOOKUPS: Final = MOST_QUESTIONS // 8
"""Lookups that ask the DNS at once; more wait for their turn, and their time does not begin before.
A lookup begins with six questions and goes on with some two: so none of them stands in a queue
while the lookup's patience runs out."""


class Dns(Protocol):
    """Whom a Locator asks: a :class:`sipdns.nameservers.Nameservers`, or what stands for one."""

    async def ask(self, question: Question) -> Answer | Failure:
        """The answer, or why there is none, in bounded time."""
        ...


class Locator(Scoped):
    """Finds servers; implements :class:`natkit.locate.Locator`.

    ``nameservers``
        Recursive resolvers to ask, in order; by default those of the system.
    ``dns``
        Who asks in their place: Nameservers with further options, for one.  It stays open.
    ``hosts``
        Names that need no DNS; by default, where the system's nameservers are asked, those of
        ``/etc/hosts``.  ``localhost`` never needs any.
    ``transports``
        What the caller speaks, most preferred first; the order counts where a domain states none.
    ``draw``
        ``draw(n)`` gives an integer below ``n`` and decides what RFC 2782 leaves to chance.
    ``prefer``
        The address family to put first; by default RFC 6724 decides.
    ``usable``
        The families that can be reached, the others coming last; by default those that the host
        has a route for.
    ``happy_eyeballs``
        Where a connection comes first, let the families of each host take turns (RFC 8305 §4);
        :func:`sipdns.connection_starts` then says when to begin with each target.
    ``cache``
        What is known already; several Locators may share one.  By default one of its own.

    One Locator may be used for any number of lookups at once, in one event loop.  It remembers what
    the DNS said and nothing of what became of a target: that is for :class:`sipdns.Failover`.
    """

    def __init__(
        self,
        *,
        nameservers: Sequence[Server] | None = None,
        dns: Dns | None = None,
        hosts: Hosts | None = None,
        transports: Sequence[Transport] = DEFAULT_TRANSPORTS,
        draw: Draw = system_draw,
        prefer: Family | None = None,
        usable: Sequence[Family] | None = None,
        happy_eyeballs: bool = False,
        limits: Limits | None = None,
        query_limits: QueryLimits | None = None,
        cache: Cache | None = None,
    ) -> None:
        self._nameservers = nameservers
        self._transports = tuple(transports)
        self._draw = draw
        self._prefer = prefer
        self._fixed_usable = None if usable is None else tuple(usable)
        self._limits = limits
        self._query_limits = query_limits
        self._cache = Cache() if cache is None else cache
        self._happy_eyeballs = happy_eyeballs
        self._dns = dns
        self._reads_hosts = hosts is None and nameservers is None and dns is None
        self._hosts = hosts or Hosts()
        self._own_dns: Nameservers | None = None
        self._turns = asyncio.Semaphore(MOST_LOOKUPS)
        self._under_way: UnderWay[tuple[str, str], Resolved] = UnderWay()
        self._refreshes: set[asyncio.Task[Answer | Failure]] = set()
        self._usable = self._fixed_usable or tuple(Family)
        self._routes_until = float("-inf")
        self._profile = ""

    @property
    def cache(self) -> Cache:
        """What is known, and statistics of its use."""
        return self._cache

    async def locate(self, uri: str) -> Sequence[RankedTarget]:
        """The targets of a SIP, STUN or TURN URI, or of a SIP domain, in the order to try.

        NoService when the DNS says that there are none, DnsFailure when it does not say,
        MisuseError when ``uri`` is none.
        """
        now = time.monotonic()
        key = self._key(uri, now)
        plan = self._cache.plan(key, now)
        if plan is not None:
            return self._arranged(plan)
        search = read_uri(key[0], self._transports)
        ended = self._known(search) or await self._under_way.join(
            key, lambda: self._ask_for(search)
        )
        return self._targets_of(ended, key, now)

    def locate_known(self, uri: str) -> Sequence[RankedTarget] | None:
        """The same where nobody has to be asked, or None: for those who would not wait in vain.

        The errors are those of :meth:`locate`.
        """
        now = time.monotonic()
        key = self._key(uri, now)
        plan = self._cache.plan(key, now)
        if plan is not None:
            return self._arranged(plan)
        ended = self._known(read_uri(key[0], self._transports))
        return None if ended is None else self._targets_of(ended, key, now)

    def _key(self, uri: str, now: float) -> tuple[str, str]:
        """What a plan is kept by."""
        self._look_around(now)
        user = _USER.fullmatch(uri)
        return user[1] + user[2] if user else uri, self._profile

    def _targets_of(
        self, ended: Resolved, key: tuple[str, str], now: float
    ) -> Sequence[RankedTarget]:
        if ended.outcome.error is not None:
            # An exception of its own for each of those who share the lookup.
            raise type(ended.outcome.error)(*ended.outcome.error.args)
        if ended.expires_at > now:
            self._cache.keep_plan(key, ended.plan, ended.expires_at)
        return self._arranged(ended.plan)

    async def explain(self, uri: str) -> Outcome:
        """The lookup with all its decisions; a failure stands in its ``error``.

        MisuseError when ``uri`` is none.
        """
        self._look_around(time.monotonic())
        return await self._run(read_uri(uri, self._transports))

    async def locate_response(self, sent_by: SentBy) -> Sequence[RankedTarget]:
        """Where to send a response whose connection and source address have failed (RFC 3263 §5).

        ``sent_by`` is what :func:`natkit.sip.via.response_destination` leaves to be found.  The
        errors are those of :meth:`locate`.
        """
        self._look_around(time.monotonic())
        outcome = await self._run(search_for_response(sent_by))
        if outcome.error is not None:
            raise outcome.error
        return outcome.targets

    async def ask(self, question: Question) -> Answer | Failure:
        """One question, by the cache or the DNS: with it a Locator is a :class:`Dns` for others."""
        known = self._cache.get(question, time.monotonic())
        if known is not None:
            return known.answer
        answer = await self._ask(question)
        return answer.answer if isinstance(answer, Remembered) else answer

    async def _run(self, search: Search) -> Outcome:
        ended = self._known(search) or await self._ask_for(search)
        return replace(ended.outcome, targets=self._turned(ended.outcome.targets))

    def _known(self, search: Search) -> Resolved | None:
        """The end of a lookup for which the cache has all: it need not wait for those who ask."""
        asked_always = Question(search.target, RecordType.A)
        if not search.is_numeric and not self._cache.get(asked_always, time.monotonic()):
            return None
        event = self._begin(search).next_event()
        return event if isinstance(event, Resolved) else None

    async def _ask_for(self, search: Search) -> Resolved:
        async with self._turns:
            return await self._drive(self._begin(search))

    def _begin(self, search: Search) -> Resolution:
        return Resolution(
            search,
            draw=self._draw,
            now=time.monotonic(),
            limits=self._limits,
            usable=self._usable,
            prefer=self._prefer,
            recall=self._cache.get,
        )

    def _arranged(self, plan: Plan) -> Sequence[RankedTarget]:
        return self._turned(plan.arrange(self._draw))

    def _turned(self, targets: tuple[RankedTarget, ...]) -> tuple[RankedTarget, ...]:
        return tuple(interleaved(targets)) if self._happy_eyeballs else targets

    async def _drive(self, resolution: Resolution) -> Resolved:
        loop = asyncio.get_running_loop()
        tasks: dict[asyncio.Task[Answer | Remembered | Failure], AskDns] = {}
        try:
            while True:
                while event := resolution.next_event():
                    if isinstance(event, Resolved):
                        return event
                    tasks[loop.create_task(self._ask(event.question))] = event
                deadline = resolution.next_deadline()
                timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
                done, _ = await asyncio.wait(
                    tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    request = tasks.pop(task)
                    resolution.answer(request.request_id, task.result(), time.monotonic())
                resolution.handle_timer(time.monotonic())
        finally:
            if tasks:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, question: Question) -> Answer | Remembered | Failure:
        own = self._hosts.answer(question)
        if own is not None:
            self._cache.put(question, own, time.monotonic())
            return own
        if not self._cache.may_serve_stale(question, time.monotonic()):
            return await self._ask_dns(question)
        if len(self._refreshes) >= MOST_REFRESHES:
            return self._cache.stale(question, time.monotonic()) or await self._ask_dns(question)
        # The question goes on when the stale answer has gone out, so that the next is a fresh one.
        refresh = asyncio.get_running_loop().create_task(self._ask_dns(question))
        self._refreshes.add(refresh)
        refresh.add_done_callback(self._refreshes.discard)
        await asyncio.wait([refresh], timeout=STALE_ANSWER_AFTER)
        result = refresh.result() if refresh.done() else None
        if isinstance(result, Answer):
            return result
        stale = self._cache.stale(question, time.monotonic())
        return stale or result or await refresh

    async def _ask_dns(self, question: Question) -> Answer | Failure:
        dns = self._dns or self._own_dns
        if dns is None:
            addresses = system_nameservers() if self._nameservers is None else self._nameservers
            dns = self._own_dns = Nameservers(addresses, self._query_limits)
        answer = await dns.ask(question)
        if isinstance(answer, Answer):
            self._cache.put(question, answer, time.monotonic())
        return answer

    def _look_around(self, now: float) -> None:
        if now < self._routes_until:
            return
        self._routes_until = now + ROUTES_LAST
        if self._reads_hosts:
            self._hosts = system_hosts()
        self._usable = usable_families() if self._fixed_usable is None else self._fixed_usable
        # What a plan depends on beside the URI and the DNS.
        self._profile = f"{self._transports} {self._usable} {self._prefer}"

    async def aclose(self) -> None:
        """End what goes on in the background, close connections; more lookups open them again."""
        for refresh in self._refreshes:
            refresh.cancel()
        await asyncio.gather(*self._refreshes, return_exceptions=True)
        if self._own_dns is not None:
            await self._own_dns.aclose()


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
