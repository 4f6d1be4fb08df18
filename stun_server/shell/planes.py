"""Which relay plane serves: the one in the kernel where it may, with the reason."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from natkit.address import Address
from natkit.errors import ConfigError
from natkit.net import netlink
from natkit.net.interfaces import addresses, expand_wildcard
from natkit.net.links import NetworkLink, read_links
from natkit.net.neighbours import refresh_neighbours
from natkit.net.routes import default_interfaces
from natkit.relay.attaching import Attachment, allow_routes, default_ttl
from natkit.relay.kernel_ability import interfaces_of, requirements
from natkit.relay.kernel_tables import ALONE, KernelRelay, KernelTables, Share, TableSizes
from natkit.relay.libbpf import BpfError
from natkit.server.log import Logger
from natkit.server.shared_places import places_for
from stun_server.config import Config
from stun_server.shell.listening import Listener, everywhere

__all__ = [
    "NO_INTERFACE",
    "ON_LOOPBACK",
    "USERSPACE",
    "Holding",
    "PlaneChoice",
    "bandwidths",
    "check",
    "configured_hosts",
    "hold",
    "links_for",
    "missing",
    "nowhere",
    "required",
]

REFRESH = 10.0
"""Seconds after which the hardware addresses of next hops are asked for again.

The system asks when a packet of its own goes there, and of what the program sends it knows nothing.
"""

# Changes come in bursts, as when a cable is plugged in.
_SETTLING = 0.5
_ADVERTISED_ROUTES = (
    "net.ipv6.conf.lo.forwarding is 0, and setting it now would make the system forget the routes "
    "that routers advertised; set it at boot"
)
_PERMISSIONS_EACH = 8
_SMALLEST = 1_024


@dataclass(frozen=True, slots=True)
class PlaneChoice:
    """The plane that serves, and why; ``tables`` are those of the kernel's."""

    name: str
    reason: str
    tables: KernelTables | None = None


NO_INTERFACE = "the addresses that serve are on no Ethernet interface"
ON_LOOPBACK = "the addresses that serve are on loopback, where the kernel relays only when asked to"
USERSPACE = PlaneChoice("userspace", "asked for")


class Holding:
    """The kernel's plane, loaded and attached until :meth:`close`, or until the process ends.

    It is on the interfaces that ``find`` finds, also on those that come to be found later.
    """

    def __init__(
        self,
        relay: KernelRelay,
        attachment: Attachment,
        find: Callable[[], Sequence[NetworkLink]],
        logger: Logger,
        left: Sequence[str],
    ) -> None:
        self.relay = relay
        self.on_change: Callable[[str], None] = lambda _: None
        """Is told of another :attr:`reason`."""
        self._find = find
        self._left = left
        self._problems: list[str] = []
        self._attachment = attachment
        self._logger = logger
        self._attach_more()
        self._signal = netlink.open_signal()
        self._loop = asyncio.get_running_loop()
        self._due: asyncio.TimerHandle | None = None
        if self._signal is not None:
            self._loop.add_reader(self._signal.fileno(), self._changed)
        self._refreshing = self._loop.call_later(REFRESH, self._refresh_neighbours)

    @property
    def reason(self) -> str:
        """Where the program runs, in words."""
        parts = [f"{each.interface.name} {each.mode}" for each in self._attachment.attached]
        if not parts:
            parts = [f"user space for now: {NO_INTERFACE}"]
        parts += [f"{family} in user space: {_ADVERTISED_ROUTES}" for family in self._left]
        return ", ".join([*parts, *self._problems])

    def close(self) -> None:
        """Detach, and let go of the tables."""
        self._refreshing.cancel()
        if self._due is not None:
            self._due.cancel()
        if self._signal is not None:
            self._loop.remove_reader(self._signal.fileno())
            self._signal.close()
        self._attachment.close()
        self.relay.close()

    def _changed(self) -> None:
        """Interfaces, addresses or routes have changed: look at them once they stand still."""
        if self._signal is not None:
            netlink.drain(self._signal)
        if self._due is None:
            self._due = self._loop.call_later(_SETTLING, self._look_again)

    def _look_again(self) -> None:
        self._due = None
        before = self.reason
        try:
            self._attachment.refresh()
            self._attach_more()
        except (BpfError, OSError) as error:
            self._logger.warning("relay plane", problem=str(error))
        if self.reason != before:
            self._logger.info("relay plane", plane="kernel", plane_reason=self.reason)
            self.on_change(self.reason)

    def _attach_more(self) -> None:
        """Run on interfaces that have come, or come back."""
        before, self._problems = self._attachment.attached, []
        for link in self._find():
            try:
                self._attachment.add(link)
            except BpfError as error:
                self._problems.append(f"not on {error}")
        if self._attachment.attached != before:
            self._attachment.refresh()

    def _refresh_neighbours(self) -> None:
        self._refreshing = self._loop.call_later(REFRESH, self._refresh_neighbours)
        try:
            refresh_neighbours(self._attachment.numbers)
        except OSError as error:
            self._logger.warning("relay plane", problem=f"neighbours: {error}")


def check(config: Config) -> None:
    """ConfigError when the kernel's plane is asked for, and something is missing."""
    if config.listeners.relay_plane == "kernel":
        lacking = missing()
        if lacking is None and not links_for(config, configured_hosts(config)):
            lacking = NO_INTERFACE
        if lacking is not None:
            raise _not_here(lacking)


def hold(
    config: Config, listeners: Sequence[Listener], logger: Logger, share: Share = ALONE
) -> tuple[PlaneChoice, Holding | None]:
    """Choose, and load and attach what was chosen; ConfigError when that can't be."""
    asked = config.listeners.relay_plane
    if asked == "userspace":
        return USERSPACE, None
    reason = missing()
    hosts = _with_relays(config, [each.address.host for each in listeners])
    if reason is None and not links_for(config, hosts):
        reason = nowhere(hosts)
    if reason is None:
        try:
            holding = _attach(config, hosts, logger, share)
        except (BpfError, OSError) as error:
            reason = str(error)
        else:
            return PlaneChoice("kernel", holding.reason, holding.relay.tables), holding
    if asked == "kernel":
        raise _not_here(reason)
    return PlaneChoice("userspace", reason), None


def configured_hosts(config: Config) -> tuple[str, ...]:
    """Where a server with that configuration serves, and relays from."""
    listen = config.listeners.listen or everywhere()
    return _with_relays(
        config, [host.host for each in listen for host in expand_wildcard(each.address)]
    )


def bandwidths(config: Config) -> int:
    """How many there can be at one time: each user's, and that of all."""
    return config.limits.allocations + 1


def links_for(config: Config, hosts: Sequence[str]) -> tuple[NetworkLink, ...]:
    """The interfaces that the program would run on, for what is served on ``hosts``.

    On loopback it does only where the kernel's plane is asked for by name.
    """
    found = interfaces_of(hosts, addresses(), read_links(), default_interfaces())
    by_name = config.listeners.relay_plane == "kernel"
    return tuple(each for each in found if by_name or not each.is_loopback)


def required(links: Sequence[NetworkLink]) -> Sequence[NetworkLink]:
    """Those that the program must be on: all, but loopback only where there is no other."""
    return [each for each in links if not each.is_loopback] or links


def nowhere(hosts: Sequence[str]) -> str:
    """Why there is no interface for what is served on ``hosts``."""
    return ON_LOOPBACK if all(Address(host, 0).ip.is_loopback for host in hosts) else NO_INTERFACE


def _with_relays(config: Config, hosts: Sequence[str]) -> tuple[str, ...]:
    chosen = (config.listeners.relay_ipv4, config.listeners.relay_ipv6)
    return tuple(dict.fromkeys([*hosts, *(str(host) for host in chosen if host is not None)]))


def missing() -> str | None:
    """What this process or system lacks for the kernel's plane, and what to do about it."""
    for each in requirements():
        if not each.is_met:
            remedy = f"; {each.remedy}" if each.remedy else ""
            return f"it needs {each.name}, here is {each.found}{remedy}"
    return None


def _not_here(reason: str) -> ConfigError:
    return ConfigError(
        f"relay plane 'kernel': {reason} (`stun-server plane` says more); "
        "or choose --relay-plane userspace or auto"
    )


def _attach(config: Config, hosts: Sequence[str], logger: Logger, share: Share) -> Holding:
    links = links_for(config, hosts)
    relay = KernelRelay.load(_sizes(config), share)
    attachment = Attachment(relay)
    try:
        relay.tables.set_header(dscp=config.listeners.dscp, ttl=default_ttl())
        left = allow_routes()
        for link in required(links):
            attachment.add(link)
        attachment.refresh()
        return Holding(relay, attachment, partial(links_for, config, hosts), logger, left)
    except BaseException:
        attachment.close()
        relay.close()
        raise


def _sizes(config: Config) -> TableSizes:
    """Room for all allocations that there may be, if not too many have two addresses."""
    workers = config.workers()
    # Clients need not be spread evenly, and each worker has its part.
    halves = config.limits.allocations * (2 if workers > 1 else 1) + workers
    halves = max(_SMALLEST, halves)
    places = places_for(bandwidths(config)) if workers > 1 else bandwidths(config)
    return TableSizes(
        halves, _PERMISSIONS_EACH * halves, _PERMISSIONS_EACH * halves, buckets=2 * places
    )
