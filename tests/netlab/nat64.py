"""A NAT64 (RFC 6146) on a router of the lab: TAYGA, masquerading, and BIND 9 for DNS64 (RFC 6147).

TAYGA gives each IPv6 host an IPv4 address of its own, and the router's masquerading makes them one.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from tests.netlab.namespaces import Host, Lab, run
from tests.peering.bind9 import executable
from tests.peering.process import PeerFailed, PeerProcess
from tests.peering.roster import program_path

PREFIX: Final = "2001:db8:64::"
"""RFC 6052 §2.2, of 96 bits; the well-known one may not be used for the lab's addresses (§3.1)."""
DOMAIN: Final = "lab.example"
"""Its hosts have IPv4 addresses alone."""

_TAYGA: Final = """
tun-device nat64
ipv4-addr 192.168.255.1
ipv6-addr 2001:db8:6464::1
prefix 2001:db8:64::/96
dynamic-pool 192.168.255.0/24
"""
_NAMED: Final = """
controls {{}};
options {{
  directory "{directory}";
  listen-on {{ none; }};
  listen-on-v6 {{ {address}; }};
  pid-file none;
  session-keyfile none;
  recursion no;
  dnssec-validation no;
  empty-zones-enable no;
  dns64 2001:db8:64::/96 {{ clients {{ any; }}; }};
}};
zone "lab.example" {{ type primary; file "lab"; }};
zone "ipv4only.arpa" {{ type primary; file "ipv4only"; }};
"""
_APEX: Final = "$TTL 60\n@ IN SOA ns hostmaster 1 3600 600 86400 60\n@ IN NS ns\n"
# RFC 7050 §8.2
_IPV4_ONLY: Final = "@ IN A 192.0.0.170\n@ IN A 192.0.0.171\n"


def translate(lab: Lab, router: Host, address: str, hosts: Mapping[str, str]) -> None:
    """Make the router a NAT64, with a DNS64 at ``address`` for these hosts of ``lab.example``."""
    directory = Path(mkdtemp(prefix="natkit-nat64-"))
    lab.at_the_end(lambda: shutil.rmtree(directory))
    _start_tayga(lab, router, directory)
    _start_named(lab, router, directory, address, hosts)


def _start_tayga(lab: Lab, router: Host, directory: Path) -> None:
    program = program_path("tayga")
    if program is None:
        raise PeerFailed("tayga is not installed")
    configuration = directory / "tayga.conf"
    configuration.write_text(_TAYGA)
    run(router, program, "--config", str(configuration), "--mktun")
    for arguments in (
        ("link", "set", "nat64", "up"),
        ("route", "add", "192.168.255.0/24", "dev", "nat64"),
        ("-6", "route", "add", f"{PREFIX}/96", "dev", "nat64"),
    ):
        router.configure(*arguments)
    place = directory / "tayga"
    place.mkdir()
    daemon = PeerProcess(
        "tayga",
        [
            *router.prefix,
            *(program, "--nodetach", "--config", str(configuration)),
            *("--pidfile", str(directory / "tayga.pid")),
        ],
        place,
    )
    lab.at_the_end(daemon.stop)
    # It has the device once that has a carrier.
    daemon.wait_until(lambda: "LOWER_UP" in router.configure("link", "show", "nat64"))


def _start_named(
    lab: Lab, router: Host, directory: Path, address: str, hosts: Mapping[str, str]
) -> None:
    place = directory / "named"
    place.mkdir()
    names = "".join(f"{name} IN A {ipv4}\n" for name, ipv4 in hosts.items())
    (place / "lab").write_text(f"{_APEX}ns IN AAAA {address}\n{names}")
    (place / "ipv4only").write_text(f"{_APEX}ns IN AAAA {address}\n{_IPV4_ONLY}")
    configuration = place / "named.conf"
    configuration.write_text(_NAMED.format(directory=place, address=address))
    daemon = PeerProcess(
        "named",
        [*router.prefix, executable(place), "-g", "-n", "1", "-c", configuration],
        place,
    )
    lab.at_the_end(daemon.stop)
    daemon.wait_until(lambda: "all zones loaded" in daemon.log())
