"""Settings that make no sense are refused."""

from dataclasses import replace

import pytest

from natkit.address import Address, Family
from natkit.errors import MisuseError
from stun_server.settings import LAST_WORKER, PortRange
from tests.stun_server.world import LISTENER, LISTENER6, SETTINGS


def test_mistakes_are_named() -> None:
    for realm in ("", "r" * 128):
        with pytest.raises(MisuseError, match="realm"):
            replace(SETTINGS, realm=realm)
    with pytest.raises(MisuseError, match="software"):
        replace(SETTINGS, software="s" * 128)
    with pytest.raises(MisuseError, match="nonce key"):
        replace(SETTINGS, nonce_key=b"short")
    for number in (-1, LAST_WORKER + 1):
        with pytest.raises(MisuseError, match="worker"):
            replace(SETTINGS, worker=number)
    for ports in (PortRange(0, 9), PortRange(9, 8), PortRange(9, 65536)):
        with pytest.raises(MisuseError, match="relay ports"):
            replace(SETTINGS, relay_ports=ports)
    with pytest.raises(MisuseError, match="default lifetime"):
        replace(SETTINGS, default_lifetime=4000)
    with pytest.raises(MisuseError, match="default lifetime"):
        replace(SETTINGS, default_lifetime=0)
    with pytest.raises(MisuseError, match="family"):
        replace(SETTINGS, relay_ipv4="::1")
    with pytest.raises(MisuseError, match="family"):
        replace(SETTINGS, relay_ipv6="127.0.0.1")
    with pytest.raises(MisuseError, match="not an IP address"):
        replace(SETTINGS, relay_ipv4="relay.example.org")


def test_the_relayed_host_is_the_one_set_or_the_clients_listeners_or_the_first() -> None:
    second = LISTENER._replace(host="198.51.100.2")
    settings = replace(SETTINGS, listeners=(LISTENER6, LISTENER, second))
    assert settings.relay_host(Family.IPV4, second) == second.host
    assert settings.relay_host(Family.IPV4, LISTENER6) == LISTENER.host
    assert settings.relay_host(Family.IPV6, second) == LISTENER6.host
    chosen = replace(settings, relay_ipv4="192.0.2.99", relay_ipv6="2001:DB8:0::99")
    assert chosen.relay_host(Family.IPV4, second) == "192.0.2.99"
    assert chosen.relay_host(Family.IPV6, LISTENER6) == "2001:db8::99"
    assert replace(SETTINGS, listeners=(LISTENER,)).relay_host(Family.IPV6, LISTENER) is None
    assert chosen.relay_host(3, second) is None


def test_a_client_of_the_other_family_is_relayed_from_a_host_that_reaches_as_far() -> None:
    here, there = Address("127.0.0.1", 3478), Address("::1", 3478)
    private, world = Address("10.0.0.1", 3478), Address("192.0.0.9", 3478)
    local6, world6 = Address("fd00::1", 3478), Address("2600::1", 3478)
    everywhere = (here, there, private, world, Address("fe80::1", 3478), local6, world6)
    settings = replace(SETTINGS, listeners=everywhere)
    assert settings.relay_host(Family.IPV4, there) == here.host
    assert settings.relay_host(Family.IPV6, here) == there.host
    assert settings.relay_host(Family.IPV4, local6) == private.host
    assert settings.relay_host(Family.IPV6, private) == local6.host
    assert settings.relay_host(Family.IPV4, world6) == world.host
    assert settings.relay_host(Family.IPV6, world) == world6.host
    # What a loopback address is for is of no use to anybody else.
    alone = replace(SETTINGS, listeners=(here, there, world))
    assert alone.relay_host(Family.IPV6, world) is None
    assert alone.relay_host(Family.IPV6, here) == there.host
    mixed = replace(SETTINGS, listeners=(here, private, world6))
    assert mixed.relay_host(Family.IPV4, world6) == private.host
