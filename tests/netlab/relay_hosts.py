"""A relay's host between one of clients and one of peers, each on a cable of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from socket import AddressFamily

from tests.natkit.relay.cabled import CLIENTS, IPV4, IPV6, LISTENERS, MACS, PEERS, RELAYS
from tests.natkit.relay.hooks import runs_program
from tests.natkit.relay.kernel_modes import HAS_TC, ON_CABLES
from tests.netlab.namespaces import Host, Lab, lab, run

__all__ = ["LISTEN", "ON_BOTH", "RELAY_CONFIG", "RelayHosts", "datagrams", "relay_hosts"]

RELAY_CONFIG = f"""
[listeners]
relay_ipv4 = "{RELAYS[IPV4]}"
relay_ipv6 = "{RELAYS[IPV6]}"
"""
LISTEN = tuple(
    word
    for each in (f"{LISTENERS[IPV4]}:3478", f"[{LISTENERS[IPV6]}]:3478")
    for word in ("--listen", each)
)
ON_BOTH = {f"{interface} {ON_CABLES}" for interface in ("clients", "peers")}
"""What a server says of where its program runs."""


@dataclass(frozen=True, slots=True)
class RelayHosts:
    """Clients are on the left, peers on the right."""

    lab: Lab
    server: Host
    left: Host
    right: Host

    def lay_clients(self) -> None:
        """The cable to the clients."""
        _cable(self.lab, self.server, "clients", (self.left, "left"), LISTENERS, CLIENTS)

    @property
    def runs_program(self) -> bool:
        """Whether the kernel's plane is on both interfaces of the server."""
        return all(runs_program(self.server, interface) for interface in ("clients", "peers"))


@contextmanager
def relay_hosts() -> Iterator[RelayHosts]:
    """Three hosts on cables as the system makes them: with checksums that nobody has finished.

    XDP leaves such packets to user space: where it is all there is, senders finish them.
    """
    with lab() as made:
        hosts = RelayHosts(made, *map(made.host, ("server", "left", "right")))
        hosts.lay_clients()
        _cable(made, hosts.server, "peers", (hosts.right, "right"), RELAYS, PEERS)
        yield hosts


def _cable(
    made: Lab,
    server: Host,
    interface: str,
    far: tuple[Host, str],
    here: Mapping[AddressFamily, str],
    there: Mapping[AddressFamily, tuple[str, ...]],
) -> None:
    host, name = far
    far_addresses = [f"{each}/24" for each in there[IPV4]] + [f"{each}/64" for each in there[IPV6]]
    made.cable(
        (server, interface, f"{here[IPV4]}/24 {here[IPV6]}/64"),
        (host, "eth0", " ".join(far_addresses)),
    )
    server.configure("link", "set", interface, "address", MACS["server", interface])
    host.configure("link", "set", "eth0", "address", MACS[name, "eth0"])
    if not HAS_TC:
        run(host, "ethtool", "-K", "eth0", "tx", "off")


def datagrams(host: Host) -> int:
    """How many UDP datagrams its sockets have received."""
    counts = dict[str, int]()
    for name in ("snmp", "snmp6"):
        text = run(host, "cat", f"/proc/net/{name}")
        if name == "snmp":
            names, numbers = [line.split()[1:] for line in text.splitlines() if "Udp: " in line]
            counts["4"] = dict(zip(names, map(int, numbers), strict=True))["InDatagrams"]
        else:
            found = [line.split() for line in text.splitlines() if line.startswith("Udp6InD")]
            counts["6"] = int(found[0][1])
    return sum(counts.values())
