"""Whether this process may have its relay plane in the kernel, and what it lacks if not."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from natkit.net.interfaces import InterfaceAddress
from natkit.net.links import NetworkLink
from natkit.relay.libbpf import BpfError, library_version

__all__ = ["CAPABILITIES", "OLDEST_KERNEL", "Requirement", "interfaces_of", "requirements"]

OLDEST_KERNEL = (5, 15)
"""The oldest long-term release that has everything the program asks for."""

CAPABILITIES: Mapping[str, int] = {"CAP_BPF": 39, "CAP_NET_ADMIN": 12, "CAP_PERFMON": 38}
"""<linux/capability.h>.  CAP_PERFMON: the verifier lets programs without it not add a number that
stood in a packet to a packet's address, for fear of processors that guess (Spectre)."""

_OLDEST_LIBRARY = 1
_STATUS = Path("/proc/self/status")
_EFFECTIVE = re.compile(r"^CapEff:\s*([0-9a-f]+)$", re.MULTILINE)
_RELEASE = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Requirement:
    """Something that is needed, what was found, and what to do where it is not enough."""

    name: str
    found: str
    is_met: bool
    remedy: str = ""


def requirements() -> tuple[Requirement, ...]:
    """What the process and the system must have, whatever the interfaces are."""
    return (_kernel(), _library(), _capabilities())


def interfaces_of(
    hosts: Sequence[str], addresses: Sequence[InterfaceAddress], links: Sequence[NetworkLink]
) -> tuple[NetworkLink, ...]:
    """Where packets for ``hosts`` come in: the interfaces that bear them, or that their VLANs use.

    Loopback is left out, and whatever else has no Ethernet frames.
    """
    by_name = {link.name: link for link in links}
    by_number = {link.number: link for link in links}
    found: dict[int, NetworkLink] = {}
    for each in addresses:
        link = by_name.get(each.interface)
        if each.host not in hosts or link is None:
            continue
        port = by_number.get(link.below, link) if link.vlan else link
        if port.is_ethernet:
            found[port.number] = port
    return tuple(found.values())


def _kernel() -> Requirement:
    system, release = os.uname().sysname, os.uname().release
    numbers = _RELEASE.match(release)
    is_met = (
        sys.platform.startswith("linux")
        and numbers is not None
        and (int(numbers[1]), int(numbers[2])) >= OLDEST_KERNEL
    )
    oldest = ".".join(map(str, OLDEST_KERNEL))
    return Requirement(f"Linux {oldest}", f"{system} {release}", is_met)


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
