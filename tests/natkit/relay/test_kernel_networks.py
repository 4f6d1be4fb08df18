"""Networks of clients in the kernel's tables."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_network

import pytest

from natkit.address import IPNetwork
from natkit.relay import kernel_layout as layout
from natkit.relay.kernel_networks import KernelNetworks
from natkit.relay.kernel_tables import KernelRelay, KernelTables, TableSizes
from natkit.relay.source_memory import Clients, State
from stun_server.settings import Settings
from stun_server.strangers import Strangers

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]


@pytest.fixture(name="tables")
def with_room_for_three() -> Iterator[KernelTables]:
    relay = KernelRelay.load(TableSizes(16, 16, 16, buckets=2, networks=3), at_tc=False)
    yield relay.tables
    relay.close()


def settings(*, allowed: Sequence[str] = (), denied: Sequence[str] = ()) -> Settings:
    return Settings(
        "example.org",
        bytes(32),
        (),
        relay_ipv4="10.2.0.1",
        allowed_clients=_networks(allowed),
        denied_clients=_networks(denied),
    )


def _networks(names: Sequence[str]) -> tuple[IPNetwork, ...]:
    return tuple(map(ip_network, names))


@pytest.mark.parametrize(
    ("policy", "clients"),
    [
        (settings(), Clients.ALL),
        (settings(denied=["10.0.0.0/8"]), Clients.OTHERS_TOO),
        (settings(allowed=["::/0"]), Clients.NO_OTHERS),
        (settings(allowed=["::/0"], denied=["10.0.0.0/8", "fd00::/8"]), Clients.NO_OTHERS),
        # The machine decides where they are more than the table holds.
        (settings(denied=[f"10.{number}.0.0/16" for number in range(4)]), Clients.ASK_ABOVE),
    ],
)
def test_what_policy_says_of_networks_is_said_in_memory(
    tables: KernelTables, policy: Settings, clients: Clients
) -> None:
    strangers = Strangers(settings(), bytes)
    strangers.count_in(tables.sources)
    assert tables.sources.state[State.CLIENTS] == Clients.ALL
    strangers.configure(policy)
    assert tables.sources.state[State.CLIENTS] == clients
    strangers.configure(settings(denied=["10.0.0.0/8"]))
    assert tables.sources.state[State.CLIENTS] == Clients.OTHERS_TOO


def test_others_take_the_place_of_those_that_were(tables: KernelTables) -> None:
    table = tables.networks
    networks = KernelNetworks(table)
    one, other = ip_network("10.0.0.0/8"), ip_network("fd00::/8")
    assert networks.replace({one: True, other: False})
    assert networks.replace({other: True})
    assert table.list_keys() == [layout.network_key(other)]
    assert table.get(layout.network_key(other)) == layout.network_value(is_served=True)
