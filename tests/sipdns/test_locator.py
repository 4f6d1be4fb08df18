import asyncio
import subprocess
import sys
from pathlib import Path

import dns.resolver
import pytest

import sipdns
from natkit.address import Address, Family
from natkit.errors import ConfigError, DnsFailure, MisuseError, NoService
from natkit.locate import Locator as LocatorProtocol
from natkit.machine import Transport
from sipdns.system import system_draw, system_nameservers, usable_families


async def test_a_locator_is_what_the_library_expects() -> None:
    locator: LocatorProtocol = sipdns.Locator()
    (target,) = await locator.locate("turn:192.0.2.1?transport=tcp")
    assert (target.transport, target.address) == (Transport.TCP, Address("192.0.2.1", 3478))


async def test_resolve_gives_targets() -> None:
    (target,) = await sipdns.resolve("sip:192.0.2.1;transport=tcp")
    assert target.address == Address("192.0.2.1", 5060)
    assert target.family is Family.IPV4


def test_resolve_sync_needs_no_loop() -> None:
    (target,) = sipdns.resolve_sync("sips:192.0.2.1")
    assert target.transport is Transport.TLS


async def test_resolve_sync_inside_a_loop_is_misuse() -> None:
    with pytest.raises(MisuseError):
        sipdns.resolve_sync("sip:192.0.2.1")


async def test_what_leads_nowhere_is_raised() -> None:
    with pytest.raises(NoService):
        await sipdns.resolve("sip:192.0.2.1;transport=sctp")
    with pytest.raises(MisuseError):
        await sipdns.resolve("sip:")
    refused = sipdns.Locator(nameservers=[Address("127.0.0.1", 9)])
    with pytest.raises(DnsFailure):
        await refused.locate("example.org")


async def test_a_cancelled_lookup_leaves_nothing_behind() -> None:
    loop = asyncio.get_running_loop()
    silent, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    address = Address(*silent.get_extra_info("sockname"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await sipdns.Locator(nameservers=[address]).locate("example.org")
    assert asyncio.all_tasks() == {asyncio.current_task()}
    silent.close()


def test_nameservers_come_from_resolv_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = tmp_path / "resolv.conf"
    configuration.write_text("nameserver 192.0.2.53\nnameserver 2001:db8::53\n")
    real = dns.resolver.Resolver

    def resolver(configure: bool) -> dns.resolver.Resolver:
        assert configure
        return real(str(configuration))

    monkeypatch.setattr(dns.resolver, "Resolver", resolver)
    assert system_nameservers() == [Address("192.0.2.53", 53), Address("2001:db8::53", 53)]
    configuration.write_text("search example.org\n")
    with pytest.raises(ConfigError, match="--resolver"):
        system_nameservers()


def test_the_system_has_a_source_of_chance_and_some_family() -> None:
    assert {system_draw(2) for _ in range(100)} == {0, 1}
    assert usable_families()


def test_uris_are_read_without_an_event_loop() -> None:
    script = "import sys, natkit.sip; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
