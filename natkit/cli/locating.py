"""How ``natkit stun`` and ``natkit turn`` find their server: by DNS, as sipdns does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from natkit.machine import Transport
from sipdns import Locator
from sipdns.cli_resolver import ResolverOptions

__all__ = ["open_locator"]


@asynccontextmanager
async def open_locator(
    options: ResolverOptions, transports: Sequence[Transport]
) -> AsyncIterator[Locator]:
    """A Locator that asks whom the options name.

    Without any the system's nameservers, which are looked for only when there is something to ask:
    an address needs none.
    """
    if options == ResolverOptions():
        async with Locator(transports=transports) as locator:
            yield locator
    else:
        async with options.open() as dns, Locator(dns=dns, transports=transports) as locator:
            yield locator
