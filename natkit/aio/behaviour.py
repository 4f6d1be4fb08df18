"""NAT behaviour discovery on asyncio.

::

    plan = Plan("192.168.1.2", (Address("203.0.113.10", 3478),))
    report = await discover(plan)
    print(report.mapping.kind, report.filtering.kind)
"""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import TypeVar, assert_never

from natkit.address import Address
from natkit.aio.driver import Driver
from natkit.aio.udp import DatagramSockets
from natkit.behaviour import (
    Discovered,
    Discovery,
    DiscoveryEvent,
    Plan,
    Progress,
    Report,
    Script,
    ScriptEnded,
    Scripts,
)
from natkit.behaviour.discovery import patient
from natkit.machine import CloseSocket, OpenSocket

__all__ = ["discover", "run_test"]

T = TypeVar("T")


async def discover(plan: Plan, on_progress: Callable[[Progress], None] | None = None) -> Report:
    """Carry out a plan; ``on_progress`` hears of each test that ended.

    Silence, dead servers and sockets that cannot be had are findings: nothing of it raises.
    """
    found: asyncio.Future[Report] = asyncio.get_running_loop().create_future()

    def on_event(event: DiscoveryEvent) -> None:
        match event:
            case Progress():
                if on_progress is not None:
                    on_progress(event)
            case Discovered(report):
                if not found.done():
                    found.set_result(report)
            case OpenSocket() | CloseSocket():
                raise AssertionError("the driver's own")
            case _:
                assert_never(event)

    machine = Discovery(plan, random=os.urandom)
    driver: Driver[DiscoveryEvent, Address] = Driver(machine, on_event, datagrams=DatagramSockets())
    try:
        driver.run(machine.start)
        return await found
    finally:
        await driver.aclose()


async def run_test(script: Script[T], patience: float) -> T:
    """Run one test; ``patience`` is how many seconds of silence are silence."""
    found: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def on_event(event: OpenSocket | CloseSocket | ScriptEnded[T]) -> None:
        if isinstance(event, ScriptEnded) and not found.done():
            found.set_result(event.finding)

    machine: Scripts[T] = Scripts(random=os.urandom, timing=patient(patience))
    driver: Driver[OpenSocket | CloseSocket | ScriptEnded[T], Address] = Driver(
        machine, on_event, datagrams=DatagramSockets()
    )
    try:
        driver.run(partial(machine.start, "test", script))
        return await found
    finally:
        await driver.aclose()
