"""Runs a test of :mod:`natkit.behaviour` on real sockets.

::

    finding = await run_script(binding_lifetime("192.168.1.2", server, shortest=10, ...))
"""

import asyncio
import os
from collections.abc import Callable
from typing import TypeVar

from natkit.address import Address
from natkit.aio.driver import DatagramCarrier, Driver
from natkit.aio.tcp import StreamConnections
from natkit.aio.udp import DatagramSockets
from natkit.behaviour.asking import ScriptEnded, Scripts, ScriptsEvent
from natkit.behaviour.steps import Script, Step
from natkit.machine import Path
from natkit.stun.framing import StunFraming
from natkit.stun.transaction import DEFAULT_TIMING, Timing

__all__ = ["run_script"]

T = TypeVar("T")


async def run_script(
    script: Script[T],
    *,
    timing: Timing = DEFAULT_TIMING,
    on_step: Callable[[Step], None] | None = None,
    datagrams: DatagramCarrier | None = None,
) -> T:
    """Run it to its end, and give what it found.

    ``timing`` is how long an answer is waited for, and how often it is asked.  ``on_step`` is told
    of each step before it is done.  ``datagrams`` carries them in place of sockets as usual.
    """
    ended: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def on_event(event: ScriptsEvent[T]) -> None:
        if isinstance(event, ScriptEnded) and not ended.done():
            ended.set_result(event.finding)

    def on_defect(error: Exception) -> None:
        if not ended.done():
            ended.set_exception(error)

    machine: Scripts[T] = Scripts(random=os.urandom, timing=timing)
    driver: Driver[ScriptsEvent[T], Address | Path] = Driver(
        machine,
        on_event,
        datagrams=DatagramSockets() if datagrams is None else datagrams,
        streams=StreamConnections(StunFraming, connect_timeout=timing.reliable_timeout),
        on_defect=on_defect,
    )
    watched = script if on_step is None else _watched(script, on_step)
    try:
        driver.run(lambda now: machine.start("script", watched, now))
        return await ended
    finally:
        await driver.aclose()


def _watched(script: Script[T], on_step: Callable[[Step], None]) -> Script[T]:
    try:
        step = next(script)
        while True:
            on_step(step)
            outcome = yield step
            step = script.send(outcome)
    except StopIteration as end:
        found: T = end.value
        return found
    finally:
        script.close()
