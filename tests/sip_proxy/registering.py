"""Phones that register one after the other, and what a registrar promised them."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager

from natkit.address import Address
from natkit.machine import Transport
from natkit.sip import HeaderField, NameAddress
from natkit.sip.kinds import CONTACT
from tests.sip_proxy.shell.world import DOMAIN, LIMIT, Agent, agent

__all__ = ["Load", "lost", "registering"]

PHONES = 16

AT_ONCE = 50
"""Questions that are asked at a time."""


class Load:
    """Addresses of record that are registered all the time, each once, until it is stopped.

    ``acknowledged`` are those whose REGISTER was answered by 200, ``statuses`` all answers.
    """

    def __init__(self, phones: Collection[Agent], name: str) -> None:
        self.acknowledged: list[str] = []
        self.statuses: set[int] = set()
        self._news = asyncio.Event()
        self._numbers = itertools.count()
        self._name = name
        self._tasks = [asyncio.create_task(self._go_on(phone)) for phone in phones]

    async def more(self, count: int) -> None:
        """Until so many more have been acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(LIMIT * 3):
            while len(self.acknowledged) < wanted:
                self._news.clear()
                await self._news.wait()

    async def answered(self, status: int) -> None:
        """Until some REGISTER has been answered so."""
        async with asyncio.timeout(LIMIT * 3):
            while status not in self.statuses:
                self._news.clear()
                await self._news.wait()

    async def stop(self) -> None:
        """Register nobody any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _go_on(self, phone: Agent) -> None:
        while True:
            user = f"{self._name}{next(self._numbers)}"
            contact = HeaderField.of(CONTACT, NameAddress.parse(f"<sip:{user}@192.0.2.10>"))
            pending = phone.send("REGISTER", f"sip:{DOMAIN}", contact, to=f"<sip:{user}@{DOMAIN}>")
            response = await pending.done
            if isinstance(response, str):
                continue  # nobody answered: the proxy is being started again
            self.statuses.add(response.status)
            if response.status == 200:
                self.acknowledged.append(user)
            else:
                await asyncio.sleep(0.05)
            self._news.set()


@asynccontextmanager
async def registering(proxy: Address, name: str = "user") -> AsyncIterator[Load]:
    """Some phones that register ``name0``, ``name1`` and so on at a proxy."""
    async with AsyncExitStack() as stack:
        phones = [
            await stack.enter_async_context(agent(name, Transport.UDP, proxy))
            for _ in range(PHONES)
        ]
        load = Load(phones, name)
        try:
            yield load
        finally:
            await load.stop()


async def lost(proxy: Address, users: Collection[str]) -> list[str]:
    """Those of ``users`` whom the registrar does not know."""
    async with agent("asking", Transport.UDP, proxy) as phone:

        async def is_lost(user: str) -> bool:
            asked = phone.send("REGISTER", f"sip:{DOMAIN}", to=f"<sip:{user}@{DOMAIN}>")
            response = await asked.final()
            assert response.status == 200, response.status
            contacts = [str(each) for each in response.headers.get_all(CONTACT)]
            return not any(f"sip:{user}@192.0.2.10" in each for each in contacts)

        ordered = list(users)
        found: list[str] = []
        for start in range(0, len(ordered), AT_ONCE):
            some = ordered[start : start + AT_ONCE]
            answers = await asyncio.gather(*(is_lost(user) for user in some))
            found += [user for user, is_gone in zip(some, answers, strict=True) if is_gone]
        return found
