"""What else PCP and leases do at a real gateway, by the library: PEER, renewal, refusals."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.netlab.gateway import OUTSIDE, ROUTER, STRANGER, Home, home, run_on
from tests.netlab.namespaces import Lab
from tests.netlab.test_miniupnpd import echoing, is_reached, mapped, running

pytestmark = [pytest.mark.netns, pytest.mark.peer("iproute2", "miniupnpd", "nftables")]

SCRIPT: Final = """
import asyncio, sys
from natkit.address import Address
from natkit.aio.portmap import MappingRefused, map_on, open_gateway
from natkit.portmap import Filter, Mapped, Method, Protocol, Wish

async def main():
    async with open_gateway(gateway=sys.argv[1], methods=[Method(sys.argv[2])]) as gateway:
        try:
            async with map_on(gateway, WISH) as port:
                print("mapped", port.external.host, port.external.port, flush=True)
                AFTER
        except MappingRefused as error:
            print("refused", error.code, flush=True)

asyncio.run(main())
"""
RENEWED: Final = """async for event in port:
                    print(type(event).__name__.lower(), int(event.mapping.lifetime), flush=True)
                    break"""
SHORT: Final = "min_lifetime=2\n"


@pytest.fixture
def network(lab: Lab, tmp_path: Path) -> Iterator[Home]:
    with home(lab, tmp_path / "miniupnpd") as made:
        yield made


def mapping(network: Home, method: str, wish: str, after: str = "pass") -> list[str]:
    script = SCRIPT.replace("WISH", wish).replace("AFTER", after)
    command = [sys.executable, "-W", "error", "-c", script, ROUTER, method]
    done = run_on(network.host, command)
    assert done.stderr == "", done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("method", ["pcp", "nat-pmp", "upnp"])
def test_a_short_lease_is_renewed_before_it_ends(network: Home, method: str) -> None:
    network.start(extra=SHORT)
    wish = "Wish(Protocol.UDP, 40000, 40000, lifetime=6)"
    assert mapping(network, method, wish, RENEWED) == [f"mapped {OUTSIDE} 40000", "mapped 6"]
    assert "dnat" not in network.rules()


def test_the_mapping_of_one_conversation_is_made_by_peer(network: Home) -> None:
    network.start()
    # RFC 6887 §12: of a conversation with the stranger, and with nobody else.
    wish = f"Wish(Protocol.UDP, 40000, 40000, lifetime=120, remote=Address('{STRANGER}', 7000))"
    (line,) = mapping(network, "pcp", wish)
    assert line == f"mapped {OUTSIDE} 40000"


@pytest.mark.parametrize(
    ("method", "wish"),
    [
        # miniupnpd maps no ports below 1024, as it is configured.
        ("upnp", "Wish(Protocol.TCP, 80, 80)"),
        # It has another address than the one that is insisted on (RFC 6887 §13.2).
        ("pcp", "Wish(Protocol.UDP, 40000, 40000, '11.0.0.9', prefer_failure=True)"),
    ],
)
def test_a_refusal_has_its_code_and_maps_nothing(network: Home, method: str, wish: str) -> None:
    network.start()
    (line,) = mapping(network, method, wish)
    assert line.startswith("refused ")
    assert int(line.split()[1]) > 0
    assert "dnat" not in network.rules()


def test_a_port_that_another_host_holds_is_not_taken_from_it(network: Home) -> None:
    network.start()
    network.host.configure("address", "add", "192.168.77.3/24", "dev", "eth0")
    with echoing(network.host), mapped(network, "--method", "pcp"):
        assert is_reached(network)
        other = [
            *(sys.executable, "-W", "error", "-c", OTHER_HOST, ROUTER),
        ]
        with running(network.host, *other) as process:
            out, errors = process.communicate(timeout=60)
        assert errors == "", errors
        host, port = out.split()
        assert host == OUTSIDE
        assert port != "40000"
        assert is_reached(network)


# Another host of the home, as far as the gateway can tell: it asks from the second address.
OTHER_HOST: Final = """
import asyncio, sys
from natkit.aio.portmap import PortMapping, map_on
from natkit.portmap import Method, Protocol, Wish

async def main():
    gateway = PortMapping(sys.argv[1], "192.168.77.3", [Method.PCP], None)
    async with map_on(gateway, Wish(Protocol.UDP, 40000, 40000)) as port:
        print(port.external.host, port.external.port)
    await gateway.aclose()

asyncio.run(main())
"""
