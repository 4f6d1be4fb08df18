"""What real NATs and links do beside mapping and filtering, and that ``natkit nat`` tells it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import pytest

from natkit.address import Address
from tests.certificates import Authority
from tests.netlab.gateway import run_on
from tests.netlab.namespaces import Host, lab
from tests.netlab.nats import ALTERNATE, PRIMARY, Behind, Internet, Kind
from tests.peering.kamailio import Kamailio
from tests.peering.kamailio import start as start_kamailio
from tests.peering.roster import program_path
from tests.stun_server.process import stun_server

pytestmark = [pytest.mark.netns, pytest.mark.peer("iproute2", "nftables")]

NATKIT: Final = (sys.executable, "-W", "error", "-m", "natkit.cli.main", "nat", f"{PRIMARY}:3478")
# One vote each: what is tested here does not depend on votes.
QUICK: Final = ("--json", "--votes", "1", "--patience", "2")
CONFIG: Final = f"""
[listeners]
listen = ["{PRIMARY}:3478"]
alternate = {{ "{PRIMARY}:3478" = "{ALTERNATE}:3479" }}
"""
SIP_PORT, OTHER_SIP_PORT = 5060, 5080
# The kernel's own application level gateway, for SIP to its usual port.
HELPER: Final = """
table ip alg {
    ct helper sip { type "sip" protocol udp; }
    chain prerouting { type filter hook prerouting priority -150; policy accept;
        iifname "lan" udp dport 5060 ct helper set "sip"
    }
}
"""
# Before the kernel puts fragments together.
NO_FRAGMENTS: Final = """
table ip fragments {
    chain prerouting { type filter hook prerouting priority -450; policy accept;
        iifname "INTERFACE" ip frag-off & 0x3fff != 0 drop
    }
}
"""
NO_ERRORS: Final = """
table ip errors {
    chain output { type filter hook output priority 0; policy accept;
        icmp type destination-unreachable drop
    }
}
"""


@pytest.fixture(scope="module")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    """Our server, seen from behind all of them."""
    directory = tmp_path_factory.mktemp("stun-server")
    config = directory / "config.toml"
    config.write_text(CONFIG)
    with lab() as made:
        net = Internet(made)
        arguments = ("--config", str(config), "--listen", f"{PRIMARY}:3478")
        with stun_server(directory, *arguments, prefix=net.servers.prefix):
            yield net


def rules(router: Host, text: str) -> None:
    nft = program_path("nft")
    assert nft is not None
    done = run_on(router, [nft, "-f", "-"], text=text)
    assert done.returncode == 0, done.stderr


def asked(behind: Behind, *arguments: str) -> tuple[int, dict[str, object]]:
    """Exit status, and the one family that was tested."""
    done = run_on(behind.host, [*NATKIT, *QUICK, *arguments], limit=120.0)
    assert done.stderr == "", done.stderr
    (family,) = cast("list[dict[str, object]]", json.loads(done.stdout)["families"])
    return done.returncode, family


def said(family: dict[str, object], section: str, key: str) -> object:
    return cast("dict[str, object]", family[section])[key]


def test_the_mapping_of_tcp_is_named_right_on_linux(internet: Internet) -> None:
    for kind, expected in (
        (Kind.PORT_RESTRICTED, "endpoint-independent"),
        (Kind.SYMMETRIC, "address-and-port-dependent"),
    ):
        _, family = asked(internet.behind(kind), "--tcp")
        assert said(family, "tcp_mapping", "kind") == expected, family
        assert said(family, "ports", "paired") is True


def test_linux_gives_one_port_to_two_hosts(internet: Internet) -> None:
    behind = internet.behind(Kind.PORT_RESTRICTED)
    behind.host.configure("address", "add", "192.168.77.3/24", "dev", "eth0")
    _, family = asked(behind)
    assert said(family, "overloading", "holds") is True, family
    assert said(family, "contiguity", "holds") is True, family


@pytest.mark.parametrize(("interface", "out"), [("lan", False), ("wan", True)])
def test_lost_fragments_are_told_with_their_way(
    internet: Internet, interface: str, out: bool
) -> None:
    behind = internet.behind(Kind.PORT_RESTRICTED)
    rules(behind.router, NO_FRAGMENTS.replace("INTERFACE", interface))
    status, family = asked(behind, "--fragments")
    assert status == 1
    assert said(family, "fragments", "out") is out, family
    assert said(family, "fragments", "passes") is False


@pytest.mark.parametrize("silent", [False, True])
def test_a_narrow_link_shows_its_mtu_and_whether_routers_tell(
    internet: Internet, silent: bool
) -> None:
    behind = internet.behind(Kind.PORT_RESTRICTED)
    behind.router.configure("link", "set", "wan", "mtu", "1400")
    if silent:
        rules(behind.router, NO_ERRORS)
    status, family = asked(behind, "--mtu", "--fragments")
    assert said(family, "path_mtu", "passed") == 1400, family
    assert said(family, "path_mtu", "lost") == 1404
    assert said(family, "path_mtu", "black_hole") is silent
    assert set(cast("list[int]", said(family, "path_mtu", "told"))) == (set() if silent else {1400})
    assert said(family, "fragments", "passes") is True
    assert status == (1 if silent else 0)


def test_a_whole_link_takes_an_ethernets_packets(internet: Internet) -> None:
    status, family = asked(internet.behind(Kind.FULL_CONE), "--mtu")
    assert (status, said(family, "path_mtu", "passed")) == (0, 1500)
    assert said(family, "path_mtu", "lost") is None


# ── the kernel's SIP helper, with Kamailio behind it ────────────────────────────────────────────


@pytest.fixture
def kamailio(internet: Internet, tmp_path: Path) -> Iterator[Kamailio]:
    certificate = Authority(tmp_path).issue("sip.example.org")
    server = start_kamailio(
        tmp_path,
        certificate,
        host=PRIMARY,
        port=SIP_PORT,
        also=OTHER_SIP_PORT,
        prefix=internet.servers.prefix,
    )
    yield server
    server.process.stop()


@pytest.mark.peer("kamailio")
def test_the_kernels_sip_helper_is_found_out_on_its_port_and_not_on_another(
    internet: Internet, kamailio: Kamailio
) -> None:
    behind = internet.behind(Kind.PORT_RESTRICTED)
    rules(behind.router, HELPER)
    servers = [f"{PRIMARY}:{port}" for port in (SIP_PORT, OTHER_SIP_PORT)]
    status, family = asked(behind, "--sip", servers[0], "--sip", f"sip:{servers[1]}")
    assert kamailio.plain == Address(PRIMARY, SIP_PORT)
    sip = cast("list[dict[str, dict[str, object]]]", family["sip"])
    found = {cast("int", each["server"]["port"]): each["rewrites"] for each in sip}
    assert found[SIP_PORT]["holds"] is True, found
    assert (found[OTHER_SIP_PORT]["holds"], found[OTHER_SIP_PORT]["confidence"]) == (False, 1.0)
    assert said(family, "rewrites_addresses", "holds") is False
    assert status == 1


@pytest.mark.peer("kamailio")
@pytest.mark.usefixtures("kamailio")
def test_a_nat_without_a_helper_leaves_sip_as_it_is(internet: Internet) -> None:
    for kind in (Kind.SYMMETRIC, Kind.FULL_CONE):
        _, family = asked(internet.behind(kind), "--sip", f"{PRIMARY}:{SIP_PORT}")
        (sip,) = cast("list[dict[str, dict[str, object]]]", family["sip"])
        assert (sip["rewrites"]["holds"], sip["rewrites"]["confidence"]) == (False, 1.0), sip
