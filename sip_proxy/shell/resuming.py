"""After a start: what the store knows of flows that phones may still have open through NATs."""

import asyncio
from collections.abc import Callable

from natkit.errors import StoreFailure
from natkit.machine import Failure
from sip_proxy.location import Binding
from sip_proxy.shell.stores import Location

__all__ = ["tell_bindings"]

Tell = Callable[[str, tuple[Binding, ...]], None]


async def tell_bindings(
    location: Location, limit: int, unix_now: Callable[[], float], tell: Tell
) -> None:
    """Tell of up to ``limit`` addresses of record that have bindings, one after the other.

    A store that fails meanwhile ends it: phones are reached again once they register.
    """
    loop = asyncio.get_running_loop()
    try:
        names = await location.listed(limit)
    except StoreFailure:
        return
    for name in names:
        found: asyncio.Future[tuple[Binding, ...] | Failure] = loop.create_future()
        location.find(name, unix_now(), found.set_result)
        bindings = await found
        if isinstance(bindings, Failure):
            return
        tell(name, bindings)
        # What is served meanwhile comes first.
        await asyncio.sleep(0)
