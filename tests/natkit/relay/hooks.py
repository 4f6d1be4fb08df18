"""Whether programs of BPF run on an interface, whoever has attached them."""

import socket

from tests.natkit.relay.cabled import inside
from tests.natkit.relay.kernel_modes import HAS_TC, count_at_tc
from tests.netlab.namespaces import Host


def programs_at_tc(host: Host, interface: str) -> int:
    """How many run at tc, where packets come in by an interface; none where that cannot be."""
    if not HAS_TC:
        return 0
    with inside(host):
        return count_at_tc(socket.if_nametoindex(interface))


def runs_program(host: Host, interface: str) -> bool:
    """Whether one does, of XDP or of tc."""
    return "xdp" in host.configure("link", "show", interface) or bool(
        programs_at_tc(host, interface)
    )
