"""The kernel's program on network interfaces: where it runs, and what it knows of them.

A program of XDP runs in the driver of a card (native), or right after it (generic), which any
interface can do.  The ends of virtual cables and other virtual interfaces get the generic one: what
leaves them by a driver's way arrives only where a program runs at the far end too.
"""

import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path as FilePath

from natkit.errors import MisuseError
from natkit.net.links import NetworkLink, read_links
from natkit.net.offloads import takes_vlan_tags_off
from natkit.relay import kernel_layout as layout
from natkit.relay.kernel_layout import DeviceFlag
from natkit.relay.kernel_tables import KernelRelay
from natkit.relay.libbpf import BpfError, Link

__all__ = [
    "OF_VIRTUAL",
    "Attached",
    "Attachment",
    "Mode",
    "allow_routes",
    "attach",
    "default_ttl",
    "would_forget_routes",
]

_SYSTEM = FilePath("/proc/sys/net")
# <linux/if_link.h>
_XDP_GENERIC = 1 << 1
_XDP_NATIVE = 1 << 2
_TAKEN = "another program of XDP runs there, as another server's would"
_HOP_LIMIT = 64
_ROUTES = FilePath("/proc/net/ipv6_route")
_ADVERTISED = 0x00010000 | 0x00040000  # <linux/ipv6_route.h>: RTF_DEFAULT, RTF_ADDRCONF


class Mode(StrEnum):
    """Where the program runs on an interface."""

    NATIVE = "native"
    GENERIC = "generic"


OF_VIRTUAL = (Mode.GENERIC,)
"""How it runs on a virtual interface."""


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
        if not interface.is_ethernet:
            raise BpfError(f"{interface.name} is no Ethernet interface")
        modes = [mode] if mode is not None else [Mode.NATIVE, Mode.GENERIC]
        if mode is None and interface.kind:
            modes = list(OF_VIRTUAL)
        refused: BpfError | None = None
        links = read_links()
        for each in modes:
            if _is_blind(each, interface, links):
                raise _hidden_tags(interface)
            flag = _XDP_NATIVE if each is Mode.NATIVE else _XDP_GENERIC
            try:
                link = self._relay.program.attach(interface.number, flag)
            except BpfError as error:
                problem = _TAKEN if error.number in (errno.EBUSY, errno.EEXIST) else str(error)
                refused = BpfError(f"{interface.name}: {problem}", error.number)
            else:
                self._attached[interface.number] = Attached(interface, each, link)
                return each
        raise refused or BpfError(f"{interface.name}: XDP has no mode there")

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
                or _is_blind(held.mode, now, present.values())
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
            flags = DeviceFlag.RUNS_ON_SKB if port.mode is Mode.GENERIC else DeviceFlag(0)
            value = layout.device_value(
                port.interface.number, each.vlan, each.mac, flags, _hop_limit(each.name)
            )
            wanted[each.number, 0] = value
            numbers.add(each.number)
            if each.vlan:
                wanted[port.interface.number, each.vlan] = value
        self._relay.tables.set_devices(wanted)
        self._numbers = frozenset(numbers)

    def close(self) -> None:
        """Detach from all interfaces."""
        while self._attached:
            self._attached.popitem()[1].link.close()


def _is_blind(mode: Mode, port: NetworkLink, links: Iterable[NetworkLink]) -> bool:
    """Whether packets of VLANs come without their tags to a program that runs in that way.

    They do after the driver, if that takes them off.  Whatever the program would make of such a
    packet leaves with the tag that it came with, for that is kept beside it.
    """
    has_vlans = any(each.vlan and each.below == port.number for each in links)
    return mode is Mode.GENERIC and has_vlans and takes_vlan_tags_off(port.name)


def _hidden_tags(port: NetworkLink) -> BpfError:
    return BpfError(
        f"{port.name} takes the tags of its VLANs off before the program sees them; "
        f"have it leave them, by `ethtool -K {port.name} rxvlan off`"
    )


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
    for family, name in (("ipv4", "IPv4"), ("ipv6", "IPv6")):
        setting = _SYSTEM / family / "conf" / "lo" / "forwarding"
        try:
            is_on = setting.read_text().strip() == "1"
        except FileNotFoundError:
            continue
        if is_on:
            continue
        if family == "ipv6" and would_forget_routes(_ROUTES.read_text(), _accepts_always):
            left.append(name)
        else:
            _turn_on(family, setting)
    return tuple(left)


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
