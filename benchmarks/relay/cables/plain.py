"""The loads where nobody relays: from the clients to a peer, whatever they seem to say."""

from benchmarks.relay.cables.hosts import Hosts, client_host
from benchmarks.relay.cables.loads import Ends, Flow, Load
from natkit.address import Address

__all__ = ["DIRECT", "INTO_DRIVER", "REFERENCES", "ROUTER", "UNFINISHED_DIRECT", "Plain"]

DIRECT = "the load alone"
INTO_DRIVER = "the load alone, native"
ROUTER = "the kernel's router"
UNFINISHED_DIRECT = "the load alone, sums unfinished"
REFERENCES = (DIRECT, INTO_DRIVER, ROUTER, UNFINISHED_DIRECT)


class Plain:
    """Clients and a peer; as many as a load wants."""

    def __init__(self, hosts: Hosts) -> None:
        self._out = hosts.client_socket()
        self._into = hosts.peer_socket()
        self._peer = Address(*self._into.getsockname())

    def grow(self, count: int) -> None:
        """Nothing has to be done for any of them."""

    def ends(self, load: Load) -> Ends:
        """Those of a load."""
        flows = [Flow(client_host(number), self._peer) for number in range(load.clients)]
        return Ends(flows, self._out, self._into)

    def close(self) -> None:
        """Let go of the sockets."""
        self._out.close()
        self._into.close()
