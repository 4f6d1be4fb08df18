"""Kamailio finds our proxy by the NAPTR and SRV records that BIND 9 serves for its domain.

It asks port 53 of who stands in /etc/resolv.conf and no other, hence a host of their own.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from natkit.address import Address
from tests.certificates import Authority
from tests.netlab.namespaces import Host, Lab
from tests.peering import bind9, kamailio
from tests.peering.kamailio_scripts import by_dns
from tests.peering.process import PeerProcess
from tests.peering.roster import program_path
from tests.peering.sipp_scenarios import answer, hear, request, scenario, take, within
from tests.sip_proxy.process import DOMAIN, HOST, SipProxyProcess

pytestmark = [pytest.mark.netns, pytest.mark.peer("iproute2", "kamailio", "bind9", "sipp")]

PROXY, KAMAILIO, CALLER, CALLEE = 5070, 5060, 5080, 5090
DEAD = 5099
"""A port where nobody is."""
LIMIT = 60.0
CALLS = 3

# The first server of two refuses.
ZONE = f"""$TTL 60
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A {HOST}
@ IN NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.{DOMAIN}.
_sip._tcp IN SRV 10 10 {DEAD} proxy
_sip._tcp IN SRV 20 10 {PROXY} proxy
proxy IN A {HOST}
"""
NAMED = """controls {{}};
options {{
  directory "{directory}";
  listen-on port 53 {{ {host}; }};
  listen-on-v6 {{ none; }};
  pid-file none;
  session-keyfile none;
  recursion no;
  dnssec-validation no;
}};
zone "{domain}" {{ type primary; file "zone.db"; }};
"""
TABLES = f"""
[users]
authenticate = false
[policy]
trusted = ["127.0.0.0/8"]
[[routes]]
name = "the callee"
domains = ["{DOMAIN}"]
next_hops = ["sip:{HOST}:{CALLEE}"]
"""


def test_calls_to_our_domain_come_by_naptr_and_srv_past_a_server_that_is_dead(
    lab: Lab, tmp_path: Path
) -> None:
    host = lab.host("all")
    certificate = Authority(tmp_path).issue("kamailio.example", file="kamailio")
    proxy = SipProxyProcess(tmp_path / "proxy", TABLES, host.prefix, Address(HOST, PROXY))
    try:
        proxy.begin()
        with named(host, tmp_path) as resolver:
            prefix = asking(host, resolver, tmp_path)
            peer = kamailio.start(
                tmp_path, certificate, script=by_dns(), host=HOST, port=KAMAILIO, prefix=prefix
            )
            try:
                proxy.wait()
                assert called(host, tmp_path) == 0, peer.log() + proxy.log
            finally:
                peer.process.stop()
    finally:
        proxy.kill()
    assert proxy.log.count(f"client={HOST}") >= CALLS
    assert "transport=tcp" in proxy.log


@contextmanager
def named(host: Host, directory: Path) -> Iterator[str]:
    """BIND 9 with the zone of our domain; its address."""
    (directory / "zone.db").write_text(ZONE)
    configuration = directory / "named.conf"
    configuration.write_text(NAMED.format(directory=directory, host=HOST, domain=DOMAIN))
    place = directory / "named-output"
    place.mkdir()
    process = PeerProcess(
        "named",
        [*host.prefix, bind9.executable(directory), "-g", "-n", "1", "-c", configuration],
        place,
    )
    try:
        process.wait_until(lambda: "running" in process.log())
        yield HOST
    finally:
        process.stop()


def asking(host: Host, resolver: str, directory: Path) -> Sequence[str]:
    """What runs a program on the host so that its system's resolver asks that server."""
    configuration = directory / "resolv.conf"
    configuration.write_text(f"nameserver {resolver}\n")
    # `ip netns exec` gives each program mounts of its own.
    mounting = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    return (*host.prefix, "sh", "-c", mounting, str(configuration))


def called(host: Host, directory: Path) -> int:
    """Let sipp call sipp by way of Kamailio; the caller's exit status."""
    caller = scenario(
        request("INVITE", 1),
        hear(100, optional=True),
        hear(200, rrs="true"),
        within("ACK", 1, again=False),
        within("BYE", 2),
        hear(200),
    )
    callee = scenario(
        take("INVITE"),
        answer(200, again=True),
        take("ACK"),
        take("BYE"),
        answer(200, tag=False),
    )
    with (
        sipp(host, directory, "callee", CALLEE, callee),
        sipp(host, directory, "caller", CALLER, caller, f"{HOST}:{KAMAILIO}") as calling,
    ):
        return calling.wait(timeout=LIMIT)


@contextmanager
def sipp(
    host: Host, directory: Path, name: str, port: int, steps: str, *remote: str
) -> Iterator[subprocess.Popen[bytes]]:
    """One sipp that plays a scenario as often as there are calls."""
    file = directory / f"{name}.xml"
    file.write_text(steps)
    process = subprocess.Popen(
        [
            *(*host.prefix, program_path("sipp") or "sipp", *remote, "-sf", str(file)),
            *("-i", HOST, "-p", str(port), "-m", str(CALLS), "-nostdin"),
        ],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
