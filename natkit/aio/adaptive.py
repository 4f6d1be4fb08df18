"""Learns from the NAT how often a flow must be kept alive.

::

    async with keep(Transport.UDP, send) as flow:
        bound = await adapt(flow, stun_server)      # minutes; meanwhile the flow is kept as it was
"""

from typing import Final

from natkit.address import Address
from natkit.aio.keepalive import KeptFlow
from natkit.aio.scripts import run_script
from natkit.aio.udp import source_address
from natkit.behaviour import LifetimeFinding, binding_lifetime
from natkit.keepalive import interval_within
from natkit.stun.transaction import Timing

__all__ = ["TRIAL", "adapt"]

TRIAL: Final = Timing(rto=0.5, request_count=4, last_wait=4)
"""A dead binding is told by silence: 5.5 s of it, with four requests in them, and not 39.5."""


async def adapt(
    flow: KeptFlow,
    server: Address,
    *,
    shortest: float = 10.0,
    longest: float = 900.0,
    limit: float = 7200.0,
    timing: Timing = TRIAL,
) -> LifetimeFinding:
    """Find the lifetime of the NAT's UDP bindings, and keep ``flow`` by it from then on.

    ``server`` is a STUN server that answers to other ports (RFC 5780); each trial has sockets of
    its own, so that the flow itself is never at risk.  The bound that the flow gets is at most 85 %
    of a silence that was survived, ``shortest`` to ``longest`` seconds; when nothing was, or the
    server cannot tell, the flow keeps the bound it has.  ``limit``: seconds of silence in all.
    Raises UnreachableError without a route to ``server``.
    """
    finding = await run_script(
        binding_lifetime(
            source_address(server).host, server, shortest=shortest, longest=longest, limit=limit
        ),
        timing=timing,
    )
    if finding.works and finding.survived:
        flow.use(interval_within(finding.survived))
    return finding
