"""What real NATs and links do beside mapping and filtering, and that ``natkit nat`` tells it.

All are asked side by side, the kernel's SIP helper with Kamailio behind it among them.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, cast

import pytest

from tests.certificates import Authority
from tests.netlab.namespaces import lab, run
from tests.netlab.nat64 import PREFIX
from tests.netlab.nats import (
    ALTERNATE,
    ALTERNATE_IPV6,
    PRIMARY,
    PRIMARY_IPV6,
    Behind,
    Internet,
    Kind,
)
from tests.peering.kamailio import start as start_kamailio
from tests.stun_server.process import stun_server

pytestmark = [
    pytest.mark.netns,
    pytest.mark.peer("iproute2", "nftables", "kamailio", "tayga", "bind9"),
]

NATKIT: Final = (sys.executable, "-W", "error", "-m", "natkit.cli.main", "nat")
# One vote each: what is tested here does not depend on votes.
QUICK: Final = ("--json", "--votes", "1", "--patience", "4")
CONFIG: Final = f"""
[listeners]
listen = ["{PRIMARY}:3478", "[{PRIMARY_IPV6}]:3478"]
alternate = {{ "{PRIMARY}:3478" = "{ALTERNATE}:3479", \
"[{PRIMARY_IPV6}]:3478" = "[{ALTERNATE_IPV6}]:3479" }}
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


@dataclass(frozen=True, slots=True)
class Case:
    """What stands in the way, what is done to it, and what is asked."""

    kind: Kind
    arguments: tuple[str, ...] = ()
    change: Callable[[Behind, Internet], None] | None = None
    server: str = f"{PRIMARY}:3478"


def with_rules(text: str) -> Callable[[Behind, Internet], None]:
    def change(behind: Behind, _: Internet) -> None:
        run(behind.router, "nft", "-f", "-", text=text)

    return change


def with_a_second_address(behind: Behind, _: Internet) -> None:
    behind.host.configure("address", "add", "192.168.77.3/24", "dev", "eth0")


def narrow(behind: Behind, internet: Internet) -> None:
    behind.router.configure("link", "set", "wan", "mtu", "1400")
    number = behind.outside.split(".")[2]
    internet.servers.configure("link", "set", f"to{number}", "mtu", "1400")


def narrow_and_silent(behind: Behind, internet: Internet) -> None:
    narrow(behind, internet)
    run(behind.router, "nft", "-f", "-", text=NO_ERRORS)


SIP: Final = ("--sip", f"{PRIMARY}:{SIP_PORT}", "--sip", f"sip:{PRIMARY}:{OTHER_SIP_PORT}")
CASES: Final = {
    "kept": Case(Kind.PORT_RESTRICTED, ("--tcp", *SIP)),
    "random": Case(Kind.SYMMETRIC, ("--tcp", *SIP)),
    "two hosts": Case(Kind.FULL_CONE, ("--mtu",), with_a_second_address),
    "no fragments out": Case(
        Kind.FULL_CONE, ("--fragments",), with_rules(NO_FRAGMENTS.replace("INTERFACE", "lan"))
    ),
    "no fragments back": Case(
        Kind.FULL_CONE, ("--fragments",), with_rules(NO_FRAGMENTS.replace("INTERFACE", "wan"))
    ),
    "narrow": Case(Kind.FULL_CONE, ("--mtu", "--fragments"), narrow),
    "black hole": Case(Kind.FULL_CONE, ("--mtu",), narrow_and_silent),
    "narrow for IPv6": Case(
        Kind.FIREWALL_IPV6, ("--mtu", "--fragments"), narrow, f"[{PRIMARY_IPV6}]:3478"
    ),
    "helper": Case(Kind.FULL_CONE, SIP, with_rules(HELPER)),
    "nat64": Case(Kind.NAT64, ("--nat64", "--resolver", "{gateway_ipv6}")),
}


class Asked:
    """A running ``natkit nat`` behind one of them."""

    def __init__(self, case: Case, internet: Internet) -> None:
        behind = internet.behind(case.kind)
        if case.change is not None:
            case.change(behind, internet)
        self.outside = behind.outside
        arguments = [each.format(gateway_ipv6=behind.gateway_ipv6) for each in case.arguments]
        self._process = subprocess.Popen(
            [*behind.host.prefix, *NATKIT, case.server, *QUICK, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def whole(self) -> tuple[int, dict[str, object]]:
        """Exit status, and all that was found."""
        output, errors = self._process.communicate(timeout=180)
        assert errors == "", errors
        return self._process.returncode, cast("dict[str, object]", json.loads(output))

    def result(self) -> tuple[int, dict[str, object]]:
        """Exit status, and the one family that was tested."""
        status, found = self.whole()
        (family,) = cast("list[dict[str, object]]", found["families"])
        return status, family

    def stop(self) -> None:
        """If it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Asked]]:
    """All at once, and the servers that all of them see."""
    directory = tmp_path_factory.mktemp("servers")
    for name in ("stun", "sip"):
        (directory / name).mkdir()
    config = directory / "config.toml"
    config.write_text(CONFIG)
    certificate = Authority(directory).issue("sip.example.org")
    with ExitStack() as stack:
        internet = Internet(stack.enter_context(lab()))
        prefix = internet.servers.prefix
        arguments = ("--config", str(config))
        stack.enter_context(stun_server(directory / "stun", *arguments, prefix=prefix))
        kamailio = start_kamailio(
            directory / "sip",
            certificate,
            host=PRIMARY,
            port=SIP_PORT,
            also=OTHER_SIP_PORT,
            prefix=prefix,
        )
        stack.callback(kamailio.process.stop)
        running = {}
        for name, case in CASES.items():
            running[name] = Asked(case, internet)
            stack.callback(running[name].stop)
        yield running


def said(family: dict[str, object], section: str, key: str) -> object:
    return cast("dict[str, object]", family[section])[key]


def of_sip(family: dict[str, object]) -> dict[int, tuple[object, object]]:
    """By port: whether it is rewritten, and how sure that is."""
    sip = cast("list[dict[str, dict[str, object]]]", family["sip"])
    return {
        cast("int", each["server"]["port"]): (
            each["rewrites"]["holds"],
            each["rewrites"]["confidence"],
        )
        for each in sip
    }


@pytest.mark.parametrize(
    ("name", "status", "mapping"),
    [("kept", 0, "endpoint-independent"), ("random", 1, "address-and-port-dependent")],
)
def test_tcp_is_mapped_as_udp_is_and_sip_left_alone(
    asked: dict[str, Asked], name: str, status: int, mapping: str
) -> None:
    ended, family = asked[name].result()
    assert said(family, "tcp_mapping", "kind") == mapping, family
    assert said(family, "ports", "paired") is True
    assert of_sip(family) == {SIP_PORT: (False, 1.0), OTHER_SIP_PORT: (False, 1.0)}
    assert ended == status


def test_linux_gives_one_port_to_two_hosts(asked: dict[str, Asked]) -> None:
    status, family = asked["two hosts"].result()
    assert said(family, "overloading", "holds") is True, family
    assert said(family, "contiguity", "holds") is True, family
    # And its link takes an Ethernet's packets.
    assert said(family, "path_mtu", "passed") == 1500
    assert said(family, "path_mtu", "lost") is None
    assert status == 0


@pytest.mark.parametrize(
    ("name", "out"), [("no fragments out", False), ("no fragments back", True)]
)
def test_lost_fragments_are_told_with_their_way(
    asked: dict[str, Asked], name: str, out: bool
) -> None:
    status, family = asked[name].result()
    assert said(family, "fragments", "out") is out, family
    assert said(family, "fragments", "passes") is False
    assert status == 1


@pytest.mark.parametrize("name", ["narrow", "narrow for IPv6"])
def test_a_narrow_link_shows_its_mtu_and_that_its_router_tells(
    asked: dict[str, Asked], name: str
) -> None:
    status, family = asked[name].result()
    assert said(family, "path_mtu", "passed") == 1400, family
    assert said(family, "path_mtu", "lost") == 1404
    assert said(family, "path_mtu", "black_hole") is False
    assert set(cast("list[int]", said(family, "path_mtu", "told"))) == {1400}
    assert said(family, "fragments", "passes") is True, family
    assert status == 0


def test_a_router_that_tells_nothing_makes_a_black_hole(asked: dict[str, Asked]) -> None:
    status, family = asked["black hole"].result()
    assert said(family, "path_mtu", "passed") == 1400, family
    assert said(family, "path_mtu", "black_hole") is True
    assert said(family, "path_mtu", "told") == []
    assert status == 1


def test_the_kernels_sip_helper_is_found_out_on_its_port_and_not_on_another(
    asked: dict[str, Asked],
) -> None:
    status, family = asked["helper"].result()
    assert of_sip(family) == {SIP_PORT: (True, 1.0), OTHER_SIP_PORT: (False, 1.0)}, family
    # It knows nothing of STUN.
    assert said(family, "rewrites_addresses", "holds") is False
    assert status == 1


def test_a_nat64_is_found_by_the_dns_and_a_server_of_ipv4_reached_through_it(
    asked: dict[str, Asked],
) -> None:
    status, found = asked["nat64"].whole()
    # The host has no IPv4 address, and the server was named by its own.
    assert found["families"] == []
    nat64 = cast("dict[str, object]", found["nat64"])
    assert nat64["prefixes"] == [f"{PREFIX}/96"], nat64
    assert cast("dict[str, object]", nat64["works"])["holds"] is True
    mapped = cast("dict[str, object]", nat64["mapped_address"])
    assert mapped["address"] == asked["nat64"].outside
    assert status == 0
