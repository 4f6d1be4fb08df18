"""PCP across a simulated network: anycast, third parties, and NATs that lie between."""

from typing import Final

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.portmap import (
    GatewayMapper,
    Mapped,
    MappingFailed,
    Method,
    NatPmp,
    Pcp,
    PcpServers,
    PortMapEvent,
    PortMapper,
    Protocol,
    Silent,
    Speaks,
    Unmapped,
    Wish,
)
from natkit.portmap.registry import PCP_ANYCAST, SERVER_PORT, PcpResult
from natkit.portmap.servers import ANYCAST_PATIENCE
from natkit.portmap.upnp import Exchange, HttpResponse
from tests.natkit.portmap.fake_gateway import EXTERNAL, MAPPED_PREFIX, FakeGateway
from tests.simnet import Conditions, Host, NatBehaviour, Network, Shell

PHONE: Final = "198.51.100.2"
ROUTER: Final = Address("198.51.100.1", SERVER_PORT)
ANYCAST: Final = {family: Address(PCP_ANYCAST[family], SERVER_PORT) for family in PCP_ANYCAST}[
    ROUTER.family
]
WISH: Final = Wish(Protocol.UDP, 5060)
MISMATCH: Final = bytes([PcpResult.ADDRESS_MISMATCH])


class Serving:
    """A gateway at an address of the network."""

    def __init__(self, host: Host, at: Address, gateway: FakeGateway) -> None:
        self.gateway = gateway
        self._host = host
        host.bind(at, self)

    def datagram(self, data: bytes, local: Address, remote: Address) -> None:
        answer = self.gateway.answer(data)
        if data[0] and data[8:24] != MAPPED_PREFIX + remote.ip.packed:
            # RFC 6887 §8.2: the client's address is not where it came from.
            answer = answer[:3] + MISMATCH + answer[4:]
        self._host.send_datagram(answer, local, remote)


class Phone:
    """A host with a mapper for the router and for the anycast address."""

    def __init__(self, network: Network, *, natted: bool = False, loss: float = 0.0) -> None:
        self.network = network
        nat = network.nat("home", "198.51.100.7", behaviour=NatBehaviour()) if natted else None
        address = "192.168.1.2" if natted else PHONE
        link = Conditions(loss=loss, delay=0.01)
        host = network.host("phone", address, behind=nat, link=link)
        local = Address(address, 40000)
        random = network.random_bytes("phone")
        pcp = PcpServers(
            [
                GatewayMapper(Path(Transport.UDP, local, ROUTER), Pcp(), random=random),
                GatewayMapper(
                    Path(Transport.UDP, local, ANYCAST),
                    Pcp(),
                    random=random,
                    patience=ANYCAST_PATIENCE,
                ),
            ]
        )
        nat_pmp = GatewayMapper(Path(Transport.UDP, local, ROUTER), NatPmp(), random=random)
        self.mapper = PortMapper({Method.PCP: pcp, Method.NAT_PMP: nat_pmp})
        self.shell: Shell[PortMapEvent | Exchange, HttpResponse] = Shell(host, self.mapper)
        self.shell.bind(local)

    def map(self, wish: Wish = WISH) -> Mapped | MappingFailed:
        self.shell.call(lambda now: self.mapper.map(1, wish, now))
        self.network.run_until(lambda: bool(self._outcomes()), 60.0)
        (outcome,) = self._outcomes()
        return outcome

    def _outcomes(self) -> list[Mapped | MappingFailed]:
        return [each for each in self.shell.events if isinstance(each, Mapped | MappingFailed)]


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_where_the_router_speaks_no_pcp_the_anycast_address_is_asked(loss: float) -> None:
    with Network(3) as network:
        phone = Phone(network, loss=loss)
        carrier = Serving(network.host("carrier", ANYCAST.host), ANYCAST, FakeGateway())
        mapped = phone.map()
        assert isinstance(mapped, Mapped)
        assert mapped.mapping.gateway == ANYCAST
        assert mapped.mapping.external == Address(EXTERNAL, 5060)
        phone.shell.call(lambda now: phone.mapper.unmap(1, now))
        network.run_until(lambda: bool(phone.shell.take(Unmapped)), 10.0)
        # It was mapped and removed at one and the same.
        assert {request[1] for request in carrier.gateway.requests} == {0, 1}
        assert carrier.gateway.requests[-1][4:8] == bytes(4)


def test_a_router_that_speaks_pcp_is_the_only_one_that_is_asked() -> None:
    with Network(3) as network:
        phone = Phone(network)
        Serving(network.host("router", ROUTER.host), ROUTER, FakeGateway())
        carrier = Serving(network.host("carrier", ANYCAST.host), ANYCAST, FakeGateway())
        mapped = phone.map()
        assert isinstance(mapped, Mapped)
        assert mapped.mapping.gateway == ROUTER
        assert carrier.gateway.requests == []


def test_a_router_of_nat_pmp_is_not_kept_waiting_for_the_anycast_address() -> None:
    with Network(3) as network:
        phone = Phone(network)
        Serving(network.host("router", ROUTER.host), ROUTER, FakeGateway(speaks_pcp=False))
        started = network.now
        mapped = phone.map()
        assert isinstance(mapped, Mapped)
        assert mapped.mapping.method is Method.NAT_PMP
        assert network.now - started < 2.0


def test_nobody_at_either_place_is_told_with_both() -> None:
    with Network(3) as network:
        phone = Phone(network)
        failed = phone.map()
        assert isinstance(failed, MappingFailed)
        for place in (ROUTER, ANYCAST):
            assert f"{place} does not answer PCP" in failed.reason
        assert [type(each) for each in phone.shell.events[:2]] == [Silent, Silent]


def test_behind_a_nat_the_anycast_address_maps_nothing_that_leads_elsewhere() -> None:
    with Network(3) as network:
        phone = Phone(network, natted=True)
        Serving(network.host("carrier", ANYCAST.host), ANYCAST, FakeGateway())
        failed = phone.map()
        assert isinstance(failed, MappingFailed)
        assert "another NAT lies between" in failed.reason
        assert not [each for each in phone.shell.events if isinstance(each, Speaks)]


def test_a_mapping_for_a_third_party_leads_there() -> None:
    with Network(3) as network:
        phone = Phone(network)
        router = Serving(network.host("router", ROUTER.host), ROUTER, FakeGateway())
        mapped = phone.map(Wish(Protocol.TCP, 80, 8080, third_party="198.51.100.50"))
        assert isinstance(mapped, Mapped)
        assert mapped.mapping.internal == Address("198.51.100.50", 80)
        assert mapped.mapping.external.port == 8080
        # RFC 6887 §13.1: option 1 of 16 bytes, with whom it is for.
        option = bytes([1, 0, 0, 16]) + MAPPED_PREFIX + bytes([198, 51, 100, 50])
        assert router.gateway.requests[-1].endswith(option)


def test_a_third_party_that_the_gateway_does_not_serve_is_a_refusal() -> None:
    with Network(3) as network:
        phone = Phone(network)
        gateway = FakeGateway()
        Serving(network.host("router", ROUTER.host), ROUTER, gateway)
        phone.shell.call(phone.mapper.probe)
        network.run_until(lambda: phone.mapper.is_decided, 20.0)
        gateway.result = PcpResult.UNSUPP_OPTION
        failed = phone.map(Wish(Protocol.TCP, 80, third_party="198.51.100.50"))
        assert isinstance(failed, MappingFailed)
        assert failed.code == PcpResult.UNSUPP_OPTION
        assert "option" in failed.reason
