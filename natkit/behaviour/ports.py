"""Which external port a mapping gets, and whether the next one can be foretold (RFC 4787 §4.2)."""

from dataclasses import replace
from itertools import pairwise
from typing import Final

from natkit.address import Address
from natkit.behaviour.findings import PortFinding, PortRule
from natkit.behaviour.steps import Answer, Ask, Open, Script

__all__ = ["SAMPLES", "port_behaviour"]

SAMPLES: Final = 6
"""Sockets whose mappings are looked at: fewer could seem regular by chance."""

LARGEST_STEP: Final = 16
"""Ports between one mapping and the next that still count as a sequence: others map meanwhile."""


def port_behaviour(local_host: str, server: Address, samples: int = SAMPLES) -> Script[PortFinding]:
    """Open sockets one after the other, and look at the ports that ``server`` sees."""
    pairs: list[tuple[int, int]] = []
    hosts: dict[str, None] = {}
    for _ in range(samples):
        local = yield Open(Address(local_host, 0))
        if not isinstance(local, Address):
            break
        answer = yield Ask(local, server)
        if isinstance(answer, Answer) and answer.mapped is not None:
            pairs.append((local.port, answer.mapped.port))
            hosts[answer.mapped.host] = None
    if len(pairs) < 3:
        return PortFinding(PortRule.UNKNOWN, 0.0, (f"{server} answered {len(pairs)} times",))
    return replace(_judge(pairs), hosts=tuple(hosts))


def _judge(pairs: list[tuple[int, int]]) -> PortFinding:
    shown = ", ".join(f"{local}→{mapped}" for local, mapped in pairs)
    kept = sum(local == mapped for local, mapped in pairs)
    changed = [(local, mapped) for local, mapped in pairs if local != mapped]
    # Kept ports keep their parity whatever the rule: they show nothing.
    parity = all(local % 2 == mapped % 2 for local, mapped in changed) if len(changed) > 3 else None
    if kept > len(pairs) / 2:
        share = kept / len(pairs)
        return PortFinding(PortRule.PRESERVED, share, (shown,), keeps_parity=True)
    steps = [after[1] - before[1] for before, after in pairwise(pairs)]
    common = max(set(steps), key=steps.count)
    agree = [step for step in steps if 0 < step * (1 if common > 0 else -1) <= LARGEST_STEP]
    if len(agree) > len(steps) * 0.75:
        share = len(agree) / len(steps)
        return PortFinding(PortRule.SEQUENTIAL, share, (shown,), common, parity)
    return PortFinding(PortRule.ARBITRARY, 1.0, (shown,), None, parity)
