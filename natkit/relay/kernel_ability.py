"""Whether this process may have its relay plane in the kernel, and what it lacks if not."""

import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from natkit.net.drivers import runs_xdp
from natkit.net.interfaces import InterfaceAddress
from natkit.net.links import NetworkLink
from natkit.relay.attaching import (
    HIDES_TAGS,
    TOO_OLD_FOR_TC,
    Mode,
    closed_settings,
    is_blind,
    modes_for,
)
from natkit.relay.libbpf import BpfError, library_version, why_not_called

__all__ = [
    "CAPABILITIES",
    "OLDEST_FOR_TC",
    "OLDEST_KERNEL",
    "Foreseen",
    "Requirement",
    "foresee",
    "interfaces_of",
    "requirements",
]

OLDEST_KERNEL = (5, 15)
"""The oldest long-term release that has everything the program asks for."""

OLDEST_FOR_TC = (6, 6)
"""From which on a program is attached at tc by a link, which ends with the process."""

CAPABILITIES: Mapping[str, int] = {"CAP_BPF": 39, "CAP_NET_ADMIN": 12, "CAP_PERFMON": 38}
"""<linux/capability.h>.  CAP_PERFMON: the verifier lets programs without it not add a number that
stood in a packet to a packet's address, for fear of processors that guess (Spectre)."""

_OLDEST_LIBRARY = 1
_STATUS = Path("/proc/self/status")
_EFFECTIVE = re.compile(r"^CapEff:\s*([0-9a-f]+)$", re.MULTILINE)
_RELEASE = re.compile(r"(\d+)\.(\d+)")
_WITHOUT_WIRE = frozenset({"dummy"})
"""Kinds of interfaces that bear addresses, and that nothing comes in by."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """Something that is needed, what was found, and what to do where it is not enough."""

    name: str
    found: str
    is_met: bool
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """How the program would run on an interface: ``mode`` is None where it would not.

    ``reasons`` say why it would not in the ways that are better.
    """

    interface: NetworkLink
    mode: Mode | None
    reasons: tuple[str, ...]


def requirements() -> tuple[Requirement, ...]:
    """What the process and the system must have, whatever the interfaces are.

    What a container or a unit may still forbid can be asked only where the others are met.
    """
    first = (_kernel(), _library(), _capabilities())
    if not all(each.is_met for each in first):
        return first
    return (*first, _system_call(), _routes())


def interfaces_of(
    hosts: Collection[str],
    addresses: Sequence[InterfaceAddress],
    links: Sequence[NetworkLink],
    ways_out: Collection[int] = (),
) -> tuple[NetworkLink, ...]:
    """Where packets for ``hosts`` come in: the interfaces that bear them, or that their VLANs use.

    Those for an address that no wire has, as a service address on ``lo``, come from routers: by
    ``ways_out``, interfaces by number.  The loopback interface is among them where it bears one;
    of others only those are that have Ethernet frames.
    """
    by_name = {link.name: link for link in links}
    by_number = {link.number: link for link in links}
    found: dict[int, NetworkLink] = {}
    for each in addresses:
        link = by_name.get(each.interface)
        if each.host not in hosts or link is None:
            continue
        if link.is_loopback:
            found[link.number] = link
        bearers = [link]
        if link.is_loopback or link.kind in _WITHOUT_WIRE:
            is_service = not each.is_loopback and not each.is_link_local
            bearers = [out for out in links if is_service and out.number in ways_out]
        for bearer in bearers:
            port = by_number.get(bearer.below, bearer) if bearer.vlan else bearer
            if port.is_ethernet and port.kind not in _WITHOUT_WIRE:
                found[port.number] = port
    return tuple(found.values())


def foresee(interface: NetworkLink, links: Sequence[NetworkLink]) -> Foreseen:
    """How the program would run there, by what the system says; nothing is attached."""
    reasons: list[str] = []
    for mode in modes_for(interface):
        reason = _obstacle(mode, interface, links)
        if reason is None:
            return Foreseen(interface, mode, tuple(reasons))
        reasons.append(reason)
    return Foreseen(interface, None, tuple(reasons))


def _obstacle(mode: Mode, interface: NetworkLink, links: Sequence[NetworkLink]) -> str | None:
    if mode is Mode.NATIVE and runs_xdp(interface.number) is False:
        return "its driver runs no programs of XDP"
    if mode is Mode.TC and not _is_since(OLDEST_FOR_TC):
        return TOO_OLD_FOR_TC
    if is_blind(mode, interface, links):
        return f"it {HIDES_TAGS.format(interface.name)}"
    return None


def _is_since(oldest: tuple[int, int]) -> bool:
    """Whether the kernel is Linux, and that release or a later one."""
    numbers = _RELEASE.match(os.uname().release)
    found = numbers is not None and (int(numbers[1]), int(numbers[2])) >= oldest
    return sys.platform.startswith("linux") and found


def _kernel() -> Requirement:
    system, release = os.uname().sysname, os.uname().release
    oldest = ".".join(map(str, OLDEST_KERNEL))
    return Requirement(f"Linux {oldest}", f"{system} {release}", _is_since(OLDEST_KERNEL))


def _library() -> Requirement:
    name = f"libbpf {_OLDEST_LIBRARY}.0"
    try:
        major, minor = library_version()
    except BpfError as error:
        return Requirement(name, "missing", is_met=False, remedy=str(error))
    return Requirement(name, f"{major}.{minor}", major >= _OLDEST_LIBRARY)


def _capabilities() -> Requirement:
    try:
        found = _EFFECTIVE.search(_STATUS.read_text())
    except OSError:
        found = None
    held = int(found[1], 16) if found is not None else 0
    missing = [name for name, number in CAPABILITIES.items() if not held >> number & 1]
    return Requirement(
        ", ".join(CAPABILITIES),
        f"without {', '.join(missing)}" if missing else "all",
        not missing,
        "run as root, or give these capabilities (AmbientCapabilities= in a systemd unit)",
    )


def _system_call() -> Requirement:
    refusal = why_not_called()
    return Requirement(
        "the system call bpf",
        "allowed" if refusal is None else f"refused: {refusal}",
        refusal is None,
        "have the filter of system calls allow it (SystemCallFilter= in a systemd unit, "
        "--security-opt seccomp= for a container)",
    )


def _routes() -> Requirement:
    closed = closed_settings()
    return Requirement(
        "net.*.conf.lo.forwarding = 1",
        ", ".join(f"{each} = 0, read-only" for each in closed) or "set, or can be set",
        not closed,
        "set it at boot, or on the host of a container",
    )
