"""NAT behaviour discovery on asyncio.

::

    plan = Plan("192.168.1.2", (Address("203.0.113.10", 3478),))
    report = await discover(plan)
    print(report.mapping.kind, report.filtering.kind)
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar, assert_never

from natkit.address import Address
from natkit.aio.driver import Driver
from natkit.aio.scripts import run_script
from natkit.aio.tcp import StreamConnections
from natkit.aio.udp import DatagramSockets
from natkit.aio.whole_datagrams import WholeDatagrams
from natkit.behaviour import (
    Discovered,
    Discovery,
    DiscoveryEvent,
    PathMtuFinding,
    Plan,
    Progress,
    Report,
    Script,
    path_mtu,
)
from natkit.behaviour.path_mtu import LARGEST
from natkit.behaviour.plan import patient
from natkit.machine import ClosePath, CloseSocket, Connect, OpenSocket, Path
from natkit.net.icmp import CAN_REPORT
from natkit.stun.framing import StunFraming

__all__ = ["discover", "measure_path_mtu", "run_test"]

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
            case OpenSocket() | CloseSocket() | Connect() | ClosePath():
                raise AssertionError("the driver's own")
            case _:
                assert_never(event)

    machine = Discovery(plan, random=os.urandom)
    driver: Driver[DiscoveryEvent, Address | Path] = Driver(
        machine,
        on_event,
        datagrams=DatagramSockets(),
        streams=StreamConnections(StunFraming, connect_timeout=plan.patience),
    )
    try:
        driver.run(machine.start)
        return await found
    finally:
        await driver.aclose()


async def run_test(script: Script[T], patience: float) -> T:
    """Run one test; ``patience`` is how many seconds of silence are silence."""
    return await run_script(script, timing=patient(patience))


async def measure_path_mtu(
    local_host: str, server: Address, patience: float, largest: int = LARGEST
) -> PathMtuFinding:
    """Find the largest packet that reaches ``server`` in one piece; it takes some silences.

    ``largest`` is the MTU of the link, in bytes.  Where the system cannot forbid fragments, the
    finding says so.
    """
    carrier = WholeDatagrams()
    finding = await run_script(
        path_mtu(local_host, server, largest), timing=patient(patience), datagrams=carrier
    )
    return replace(finding, told=tuple(carrier.told)) if CAN_REPORT else finding
