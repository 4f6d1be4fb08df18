"""A whole network from one seed: the internet, hosts, and NATs and firewalls to hide behind."""

from natkit.address import Address
from tests.simnet.behaviour import Dependence, NatBehaviour
from tests.simnet.firewall import Firewall
from tests.simnet.host import Host
from tests.simnet.link import Conditions, Link
from tests.simnet.nat import Nat
from tests.simnet.packet import Protocol
from tests.simnet.realm import AddressRealm, Router
from tests.simnet.simulation import START, Simulation


class Network(Simulation):
    """Builds the parts; ``behind`` puts one behind a NAT or firewall instead of on the internet."""

    def __init__(self, seed: int, *, start: float = START) -> None:
        super().__init__(seed, start=start)
        self.internet = AddressRealm(self, "internet")

    def host(
        self,
        name: str,
        *addresses: str,
        behind: Router | None = None,
        link: Conditions | None = None,
    ) -> Host:
        """A host; ``link`` holds both ways and may be changed later at ``host.link``."""
        return Host(self, name, addresses, self._realm(behind), self._link(name, link))

    def nat(
        self,
        name: str,
        *addresses: str,
        behaviour: NatBehaviour | None = None,
        behind: Router | None = None,
        link: Conditions | None = None,
    ) -> Nat:
        """A NAT with external ``addresses``; behind another NAT, that is the carrier's."""
        return Nat(
            self,
            name,
            addresses,
            self._realm(behind),
            self._link(name, link),
            behaviour or NatBehaviour(),
        )

    def firewall(
        self,
        name: str,
        *,
        filtering: Dependence = Dependence.ADDRESS_AND_PORT_DEPENDENT,
        lifetime: float = 300.0,
        blocked: frozenset[Protocol] = frozenset(),
        open: frozenset[Address] = frozenset(),  # noqa: A002 - the word for it
        behind: Router | None = None,
        link: Conditions | None = None,
    ) -> Firewall:
        """A stateful firewall."""
        return Firewall(
            self,
            name,
            self._realm(behind),
            self._link(name, link),
            filtering=filtering,
            lifetime=lifetime,
            blocked=blocked,
            open=open,
        )

    def _realm(self, behind: Router | None) -> AddressRealm:
        return self.internet if behind is None else behind.inside

    def _link(self, name: str, conditions: Conditions | None) -> Link:
        return Link(self, name, conditions or Conditions())
