"""Bindings in a store that several proxies share: nothing of them is remembered here.

While the store works on one group of REGISTERs, those that come meanwhile gather for the next: one
transaction for all of them.  Lookups do likewise, beside.  While the store is down, requests fail
at once but for one group a second, which finds out whether it is back.  It is down for REGISTERs
and for lookups apart: one that takes no changes may still be read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Final, Generic, Protocol, TypeVar

from natkit.errors import StoreFailure
from natkit.machine import Failure
from natkit.server.stores.condition import Condition
from natkit.server.stores.store import ANSWER_LIMIT
from sip_proxy.events import Overloaded
from sip_proxy.location import Binding, Outcome, Registration
from sip_proxy.location.group import Change, Held
from sip_proxy.location.table import LARGEST_COUNT
from sip_proxy.shell.stores.location import Found, Together, Updated

__all__ = ["LARGEST_GROUP", "LARGEST_WAITING", "Bindings", "SharedLocation"]

LARGEST_GROUP: Final = 500
"""REGISTERs or lookups that go to the store at once."""

LARGEST_WAITING: Final = 10_000
"""REGISTERs, and as many lookups, that wait for their turn: what a store does in a second or two.
One more is answered 503."""

RETRY_INTERVAL: Final = 1.0
"""Seconds between two attempts at a store that is down."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Bindings(Protocol):
    """A database of bindings, one group at a time.

    Every method but ``aclose`` raises when the database cannot be asked, StoreFailure or what its
    driver raises, and works again when it can; none is called before :meth:`open`, which may have
    failed.
    """

    @property
    def name(self) -> str:
        """Where it is, for people; without passwords."""
        ...

    @property
    def advice(self) -> Sequence[str]:
        """What its operator ought to change lest registrations be lost, as far as is known."""
        ...

    async def open(self) -> None:
        """Make what it needs to hold bindings; ConfigError for what waiting does not heal."""
        ...

    async def fetch(self, addresses_of_record: Sequence[str]) -> Mapping[str, Held]:
        """What is held of each; nothing of those without bindings."""
        ...

    async def apply(
        self, changes: Sequence[Change], largest_count: int
    ) -> Sequence[Outcome | Failure]:
        """Apply each on what is held, all for good once this returns."""
        ...

    async def forget_expired(self, unix_now: float) -> int:
        """Delete what has expired; how many addresses of record are left."""
        ...

    async def listed(self, limit: int) -> Sequence[str]:
        """Up to ``limit`` addresses of record with bindings, in no order."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class SharedLocation:
    """A :class:`~sip_proxy.shell.stores.location.Location`; ``clock`` is monotonic seconds.

    ``on_change`` is told when the database goes down, and by None when it is back.
    """

    def __init__(
        self,
        bindings: Bindings,
        clock: Callable[[], float],
        on_change: Callable[[StoreFailure | None], None] = lambda _: None,
        *,
        largest_count: int = LARGEST_COUNT,
        largest_waiting: int = LARGEST_WAITING,
    ) -> None:
        self._bindings = bindings
        self._clock = clock
        self._condition = Condition(on_change)
        self._largest_count = largest_count
        self._count = 0
        self._updates = _Groups(self._apply, largest_waiting)
        self._lookups = _Groups(self._fetch, largest_waiting)
        self._forgetting: asyncio.Task[None] | None = None
        self._together: Together = nullcontext

    @property
    def name(self) -> str:
        """Where the bindings are."""
        return self._bindings.name

    @property
    def failure(self) -> str | None:
        """Why they cannot be had, if so."""
        return str(self._condition.failure) if self._condition.failure is not None else None

    @property
    def advice(self) -> Sequence[str]:
        """What the database's operator ought to change lest registrations be lost."""
        return self._bindings.advice

    def __len__(self) -> int:
        """How many addresses of record there were when it was last looked."""
        return self._count

    async def open(self) -> None:
        """Make ready; a database that is down is no reason not to start."""
        try:
            await self._asked(self._bindings.open())
        except StoreFailure as failure:
            self._failed(self._updates, failure)
            self._failed(self._lookups, failure)

    def answer_within(self, together: Together) -> None:
        """Give the results of a group within ``together`` from now on."""
        self._together = together

    def find(self, address_of_record: str, unix_now: float, found: Found) -> None:
        """Give the bindings that have not expired."""
        failure = self._refusal(address_of_record, self._lookups)
        if failure is not None:
            found(failure)
        else:
            self._lookups.add((address_of_record, unix_now, found))

    def update(
        self, address_of_record: str, registration: Registration, unix_now: float, updated: Updated
    ) -> None:
        """Apply a REGISTER; the outcome is given once its transaction has committed."""
        failure = self._refusal(address_of_record, self._updates)
        if failure is not None:
            updated(failure)
        else:
            self._updates.add((Change(address_of_record, registration, unix_now), updated))

    def forget_expired(self, unix_now: float) -> None:
        """Free what has expired, and count what is left."""
        if self._forgetting is None:
            self._forgetting = asyncio.get_running_loop().create_task(self._forget(unix_now))

    async def listed(self, limit: int) -> Sequence[str]:
        """Up to ``limit`` addresses of record with bindings; StoreFailure when it is down."""
        return await self._asked(self._bindings.listed(limit))

    async def aclose(self) -> None:
        """Wait for the groups that are under way, and close the connections."""
        await self._updates.aclose()
        await self._lookups.aclose()
        if self._forgetting is not None:
            await self._forgetting
        await self._bindings.aclose()

    def _refusal(self, address_of_record: str, groups: "_Groups[Item]") -> Failure | None:
        if not (address_of_record.isascii() and address_of_record.isprintable()):
            # What no database takes must not fail the group that it is in.
            return Failure("an address of record is printable ASCII")
        if self._is_down(groups):
            return Failure(str(groups.failure))
        if groups.is_full:
            self._condition.counts["requests refused"] += 1
            return Overloaded(f"{self.name}: too many requests wait")
        return None

    async def _apply(self, group: Sequence[tuple[Change, Updated]]) -> None:
        changes = [change for change, _ in group]
        outcomes = await self._answer(
            self._updates, lambda: self._bindings.apply(changes, self._largest_count)
        )
        if isinstance(outcomes, Failure):
            outcomes = [outcomes] * len(group)
        with self._together():
            for (_, updated), outcome in zip(group, outcomes, strict=True):
                updated(outcome)

    async def _fetch(self, group: Sequence[tuple[str, float, Found]]) -> None:
        names = [name for name, _, _ in group]
        held = await self._answer(self._lookups, lambda: self._bindings.fetch(names))
        if isinstance(held, Failure):
            held = dict.fromkeys(names, held)
        with self._together():
            for name, unix_now, found in group:
                found(_live(held.get(name, ()), unix_now))

    async def _forget(self, unix_now: float) -> None:
        try:
            self._count = await self._asked(self._bindings.forget_expired(unix_now))
        except StoreFailure:
            pass
        finally:
            self._forgetting = None

    # ── whether it is down ──────────────────────────────────────────────────────────────────────

    async def _answer(
        self, groups: "_Groups[Item]", ask: Callable[[], Awaitable[Result]]
    ) -> Result | Failure:
        # Those who have waited while a group failed fail with it.
        if not self._is_down(groups):
            try:
                answer = await self._asked(ask())
            except StoreFailure as failure:
                self._failed(groups, failure)
            else:
                groups.failure = None
                if self._updates.failure is None and self._lookups.failure is None:
                    self._condition.answered()
                return answer
        return Failure(str(groups.failure))

    def _is_down(self, groups: "_Groups[Item]") -> bool:
        return groups.failure is not None and self._clock() < groups.retry_at

    def _failed(self, groups: "_Groups[Item]", failure: StoreFailure) -> None:
        groups.failure = failure
        groups.retry_at = self._clock() + RETRY_INTERVAL
        self._condition.failed(failure)

    async def _asked(self, asking: Awaitable[Result]) -> Result:
        try:
            async with asyncio.timeout(ANSWER_LIMIT):
                return await asking
        except StoreFailure:
            raise
        except TimeoutError as error:
            raise StoreFailure(f"{self.name}: no answer in {ANSWER_LIMIT:g} s") from error
        except Exception as error:
            # Each driver has kinds of errors of its own.
            why = " ".join(str(error).split()) or type(error).__name__
            raise StoreFailure(f"{self.name}: {why}") from error


class _Groups(Generic[Item]):
    """Gathers items while ``work`` is busy with those before."""

    def __init__(
        self, work: Callable[[Sequence[Item]], Awaitable[None]], largest_waiting: int
    ) -> None:
        self._work = work
        self._largest_waiting = largest_waiting
        self._waiting: list[Item] = []
        self.failure: StoreFailure | None = None
        """Why the last group failed, if it did."""
        self.retry_at = 0.0
        """When to ask again after that."""
        self._task: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= self._largest_waiting

    def add(self, item: Item) -> None:
        self._waiting.append(item)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def aclose(self) -> None:
        """Until nothing waits."""
        while self._task is not None:
            await self._task

    async def _run(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = (
                    self._waiting[:LARGEST_GROUP],
                    self._waiting[LARGEST_GROUP:],
                )
                await self._work(group)
        finally:
            self._task = None


def _live(held: Held, unix_now: float) -> tuple[Binding, ...] | Failure:
    if isinstance(held, Failure):
        return held
    return tuple([binding for binding in held if binding.expires_at > unix_now])
