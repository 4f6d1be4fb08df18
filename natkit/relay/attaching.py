"""The kernel's program on network interfaces: where it runs, and what it knows of them.

On a card it runs as a program of XDP, in the driver (native).  Where the driver cannot, and on
virtual interfaces, it runs as one of tc: the packets of other hosts on this machine have checksums
there that are still to be finished, as they have on loopback, and what leaves arrives by the
system's own way.  Before Linux 6.6, tc takes no such program, and XDP's generic one is the third:
right after the driver, on any interface.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path as FilePath
from typing import assert_never

from natkit.errors import MisuseError
from natkit.net.links import NetworkLink, read_links
from natkit.net.offloads import takes_vlan_tags_off
from natkit.relay import kernel_layout as layout
from natkit.relay.kernel_layout import DeviceFlag
from natkit.relay.kernel_tables import KernelRelay
from natkit.relay.libbpf import BpfError, Link

__all__ = [
    "HIDES_TAGS",
    "OF_VIRTUAL",
    "TOO_OLD_FOR_TC",
    "Attached",
    "Attachment",
    "Mode",
    "allow_routes",
    "attach",
    "closed_settings",
    "default_ttl",
    "is_blind",
    "modes_for",
    "would_forget_routes",
]

_SYSTEM = FilePath("/proc/sys/net")
_FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}
# <linux/if_link.h>
_XDP_GENERIC = 1 << 1
_XDP_NATIVE = 1 << 2
_TAKEN = "another program of XDP runs there, as another server's would"
TOO_OLD_FOR_TC = "tc takes no such program before Linux 6.6"
HIDES_TAGS = (
    "takes the tags of its VLANs off before the program sees them; "
    "have it leave them, by `ethtool -K {} rxvlan off`"
)
_REFUSED_AT_TC = "the kernel does not take the program for tc"
_HOP_LIMIT = 64
_ROUTES = FilePath("/proc/net/ipv6_route")
_ADVERTISED = 0x00010000 | 0x00040000  # <linux/ipv6_route.h>: RTF_DEFAULT, RTF_ADDRCONF


class Mode(StrEnum):
    """Where the program runs on an interface."""

    NATIVE = "native"
    TC = "tc"
    GENERIC = "generic"


_PROBLEMS = {
    (Mode.NATIVE, errno.EBUSY): _TAKEN,
    (Mode.NATIVE, errno.EEXIST): _TAKEN,
    (Mode.GENERIC, errno.EBUSY): _TAKEN,
    (Mode.GENERIC, errno.EEXIST): _TAKEN,
    (Mode.TC, errno.EINVAL): TOO_OLD_FOR_TC,
}

OF_VIRTUAL = (Mode.TC, Mode.GENERIC)
"""How it runs on a virtual interface, the best way first."""


def modes_for(interface: NetworkLink) -> tuple[Mode, ...]:
    """How it can run there, the best way first."""
    if interface.is_loopback:
        return (Mode.TC,)
    return OF_VIRTUAL if interface.kind else (Mode.NATIVE, Mode.TC, Mode.GENERIC)


@dataclass(frozen=True, slots=True)
class Attached:
    """An interface that the program runs on."""

    interface: NetworkLink
    mode: Mode
    link: Link


class Attachment:
    """The program on some interfaces, until :meth:`close`, or until the process ends."""

    def __init__(self, relay: KernelRelay) -> None:
        self._relay = relay
        self._attached: dict[int, Attached] = {}
        self._numbers = frozenset[int]()

    @property
    def attached(self) -> tuple[Attached, ...]:
        """Where it runs."""
        return tuple(self._attached.values())

    @property
    def numbers(self) -> frozenset[int]:
        """The interfaces that packets leave by, VLANs among them."""
        return self._numbers

    def add(self, interface: NetworkLink, mode: Mode | None = None) -> Mode:
        """Run on an interface; in which way, if it is not said.  BpfError when it can't be."""
        if interface.number in self._attached:
            return self._attached[interface.number].mode
        if not interface.is_ethernet and not interface.is_loopback:
            raise BpfError(f"{interface.name} is no Ethernet interface")
        refused: BpfError | None = None
        for each in (mode,) if mode is not None else modes_for(interface):
            try:
                link = self._attach(interface, each)
            except BpfError as error:
                refused = error
            else:
                self._attached[interface.number] = Attached(interface, each, link)
                return each
        raise refused or BpfError(f"{interface.name}: there is no way to run there")

    def _attach(self, interface: NetworkLink, mode: Mode) -> Link:
        number, relay = interface.number, self._relay
        if is_blind(mode, interface, read_links()):
            raise _hidden_tags(interface)
        try:
            match mode:
                case Mode.NATIVE:
                    return relay.program.attach(number, _XDP_NATIVE)
                case Mode.GENERIC:
                    return relay.program.attach(number, _XDP_GENERIC)
                case Mode.TC:
                    if relay.at_tc is None:
                        raise BpfError(_REFUSED_AT_TC)
                    return relay.at_tc.attach_to_tc(number)
                case _:
                    assert_never(mode)
        except BpfError as error:
            problem = _PROBLEMS.get((mode, error.number), str(error))
            raise BpfError(f"{interface.name}: {problem}", error.number) from None

    def refresh(self) -> None:
        """Have the program know the interfaces as they are now, and their VLANs.

        One that was removed, or moved to another network namespace, has it no more: where it comes
        back, with another number or the same one, :meth:`add` is due.  Nor has one that has a VLAN
        now whose tags the program could not see.
        """
        present = {each.number: each for each in read_links()}
        for number, held in list(self._attached.items()):
            now = present.get(number)
            if (
                now is None
                or held.link.interface != number
                or is_blind(held.mode, now, present.values())
            ):
                del self._attached[number]
                held.link.close()
            else:
                self._attached[number] = replace(held, interface=now)
        wanted: dict[tuple[int, int], bytes] = {}
        numbers: set[int] = set()
        for each in present.values():
            port = self._attached.get(each.below if each.vlan else each.number)
            if port is None or len(each.mac) != 6:
                continue
            below, flags = port.interface.number, _flags(port, each)
            value = layout.device_value(below, each.vlan, each.mac, flags, _hop_limit(each.name))
            wanted[each.number, 0] = value
            numbers.add(each.number)
            if each.vlan:
                wanted[below, each.vlan] = value
        self._relay.tables.set_devices(wanted)
        self._numbers = frozenset(numbers)

    def close(self) -> None:
        """Detach from all interfaces."""
        while self._attached:
            self._attached.popitem()[1].link.close()


def _flags(port: Attached, device: NetworkLink) -> DeviceFlag:
    """What the program is told of a device whose packets pass ``port``."""
    flags = DeviceFlag(0) if port.mode is Mode.NATIVE else DeviceFlag.RUNS_ON_SKB
    return flags | DeviceFlag.FAR_END_ELSEWHERE if device.far_end_elsewhere else flags


def is_blind(mode: Mode, port: NetworkLink, links: Iterable[NetworkLink]) -> bool:
    """Whether packets of VLANs come without their tags to a program that runs in that way.

    They do to XDP's after the driver, if that takes them off.  Whatever the program would make of
    such a packet leaves with the tag that it came with, for that is kept beside it.
    """
    has_vlans = any(each.vlan and each.below == port.number for each in links)
    return mode is Mode.GENERIC and has_vlans and takes_vlan_tags_off(port.name)


def _hidden_tags(port: NetworkLink) -> BpfError:
    return BpfError(f"{port.name} {HIDES_TAGS.format(port.name)}")


def attach(relay: KernelRelay, names: Sequence[str], mode: Mode | None = None) -> Attachment:
    """Run the program on interfaces, by name; BpfError when that can't be."""
    by_name = {each.name: each for each in read_links()}
    attachment = Attachment(relay)
    try:
        for name in names:
            if name not in by_name:
                raise MisuseError(f"{name!r} is not a network interface of this machine")
            attachment.add(by_name[name], mode)
        attachment.refresh()
    except BaseException:
        attachment.close()
        raise
    return attachment


def allow_routes() -> tuple[str, ...]:
    """Let the program ask for routes as this machine itself does; BpfError where it may not.

    The kernel answers only where forwarding is on for the interface that a packet seems to come
    from, which is the loopback one, where nothing comes in that could be forwarded.  Gives the
    families for which that must not be touched: with the change for IPv6 the kernel would forget
    what routers advertised.
    """
    left: list[str] = []
    for family, setting in _settings_to_change():
        if _must_stay(family):
            left.append(_FAMILIES[family])
        else:
            _turn_on(family, setting)
    return tuple(left)


def closed_settings() -> tuple[str, ...]:
    """What :func:`allow_routes` would change, and may not."""
    return tuple(
        f"net.{family}.conf.lo.forwarding"
        for family, setting in _settings_to_change()
        if not _must_stay(family) and not os.access(setting, os.W_OK, effective_ids=True)
    )


def _settings_to_change() -> list[tuple[str, FilePath]]:
    """Those of the families that are there, and for which forwarding is off."""
    found: list[tuple[str, FilePath]] = []
    for family in _FAMILIES:
        setting = _SYSTEM / family / "conf" / "lo" / "forwarding"
        with contextlib.suppress(FileNotFoundError):
            if setting.read_text().strip() != "1":
                found.append((family, setting))
    return found


def _must_stay(family: str) -> bool:
    return family == "ipv6" and would_forget_routes(_ROUTES.read_text(), _accepts_always)


def _turn_on(family: str, setting: FilePath) -> None:
    try:
        setting.write_text("1")
    except OSError as error:
        raise BpfError(
            f"net.{family}.conf.lo.forwarding must be 1 and cannot be set here "
            f"({error.strerror}); set it at boot, or on the host of a container"
        ) from error


def would_forget_routes(table: str, accepts_always: Callable[[str], bool]) -> bool:
    """Whether ``/proc/net/ipv6_route`` has routes that a change of forwarding removes.

    Those are the ones that routers advertised on interfaces that do not accept that from them
    though they forward.
    """
    for line in table.splitlines():
        fields = line.split()
        flags, interface = int(fields[8], 16), fields[9]
        if flags & _ADVERTISED and interface != "lo" and not accepts_always(interface):
            return True
    return False


def _accepts_always(interface: str) -> bool:
    try:
        return (_SYSTEM / "ipv6" / "conf" / interface / "accept_ra").read_text().strip() == "2"
    except OSError:
        return False


def default_ttl() -> int:
    """What packets of this machine begin with over IPv4."""
    try:
        return int((_SYSTEM / "ipv4" / "ip_default_ttl").read_text())
    except (OSError, ValueError):
        return _HOP_LIMIT


def _hop_limit(interface: str) -> int:
    """The same over IPv6, where each interface has its own."""
    try:
        return int((_SYSTEM / "ipv6" / "conf" / interface / "hop_limit").read_text())
    except (OSError, ValueError):
        return _HOP_LIMIT
