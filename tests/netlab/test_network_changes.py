"""A program hears that its host's addresses and gateways change, and what kind they are."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from tests.netlab.namespaces import Host, Lab

pytestmark = [pytest.mark.netns, pytest.mark.peer("iproute2")]

WATCH = """
import asyncio
from natkit.aio.network import *

def shown(found):
    return f"{found.address.interface} {found.host} {found.mtu}" + " deprecated" * found.deprecated

async def main():
    async with watch_network() as changes:
        print("watching", flush=True)
        async for change in changes:
            match change:
                case AddressAdded(found):
                    print("added", shown(found), flush=True)
                case AddressRemoved(found):
                    print("removed", shown(found), flush=True)
                case AddressChanged(_, found):
                    print("changed", shown(found), flush=True)
                case GatewaysChanged(_, after):
                    print("gateways", *(each.host for each in after), flush=True)

asyncio.run(main())
"""
DESCRIBE = """
from natkit.net.local_addresses import local_addresses
for each in local_addresses():
    print(each.host, each.address.is_link_local, each.temporary, each.deprecated, each.mtu)
"""


class Watching:
    """A program that prints each change as a line."""

    def __init__(self, lines: IO[str]) -> None:
        self._lines = lines

    def line(self) -> str:
        return self._lines.readline().strip()


@contextmanager
def watching(host: Host) -> Iterator[Watching]:
    with subprocess.Popen(
        [*host.prefix, sys.executable, "-W", "error", "-c", WATCH],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            made = Watching(process.stdout)
            assert made.line() == "watching"
            yield made
        finally:
            process.kill()


@pytest.fixture(name="host")
def host_on_a_cable(lab: Lab) -> Host:
    host, other = lab.host("host"), lab.host("other")
    lab.cable((host, "eth0", "198.51.100.2/24"), (other, "eth0", "198.51.100.1/24"))
    # Link-local addresses come a second after the cable, and would be a change of their own.
    host.configure("link", "set", "eth0", "addrgenmode", "none")
    host.configure("-6", "address", "flush", "dev", "eth0")
    return host


def test_addresses_that_come_change_and_go_are_told(host: Host) -> None:
    with watching(host) as told:
        host.configure("address", "add", "203.0.113.5/32", "dev", "eth0")
        assert told.line() == "added eth0 203.0.113.5 1500"
        host.configure("address", "add", "2001:db8::5/64", "dev", "eth0", "nodad")
        assert told.line() == "added eth0 2001:db8::5 1500"
        host.configure("address", "change", "2001:db8::5/64", "dev", "eth0", "preferred_lft", "0")
        assert told.line() == "changed eth0 2001:db8::5 1500 deprecated"
        host.configure("address", "delete", "203.0.113.5/32", "dev", "eth0")
        assert told.line() == "removed eth0 203.0.113.5 1500"


def test_another_gateway_is_told_and_so_is_the_loss_of_all(host: Host) -> None:
    with watching(host) as told:
        host.configure("route", "add", "default", "via", "198.51.100.1")
        assert told.line() == "gateways 198.51.100.1"
        host.configure("route", "replace", "default", "via", "198.51.100.9")
        assert told.line() == "gateways 198.51.100.9"
        host.configure("address", "flush", "dev", "eth0")
        assert told.line() == "removed eth0 198.51.100.2 1500"
        assert told.line() == "gateways"


def test_another_mtu_is_told_with_each_address(host: Host) -> None:
    with watching(host) as told:
        host.configure("link", "set", "eth0", "mtu", "1400")
        assert told.line() == "changed eth0 198.51.100.2 1400"


def test_addresses_have_their_flags(host: Host) -> None:
    subprocess.run([*host.prefix, "sysctl", "-qw", "net.ipv6.conf.eth0.use_tempaddr=2"], check=True)
    forever = ("valid_lft", "100000", "preferred_lft", "100000")
    for address, flags in (
        ("2001:db8:1::1/64", ("mngtmpaddr", *forever)),
        ("2001:db8:2::1/64", ("valid_lft", "100000", "preferred_lft", "0")),
        ("fe80::1/64", ()),
    ):
        host.configure("address", "add", address, "dev", "eth0", "nodad", *flags)
    shown = subprocess.run(
        [*host.prefix, sys.executable, "-W", "error", "-c", DESCRIBE],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = dict(line.split(" ", 1) for line in shown.splitlines())
    assert found["198.51.100.2"] == "False False False 1500"
    assert found["2001:db8:1::1"] == "False False False 1500"
    assert found["2001:db8:2::1"] == "False False True 1500"
    assert found["fe80::1%eth0"] == "True False False 1500"
    made = [host for host in found if host.startswith("2001:db8:1:") and not host.endswith("::1")]
    assert [found[host] for host in made] == ["False True False 1500"]
