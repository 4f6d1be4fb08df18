"""The prefix of a NAT64 is found by the DNS, and nothing else is taken for one."""

from ipaddress import IPv6Address, IPv6Network

import pytest

from natkit.behaviour.dns64 import embed, prefixes_of
from natkit.errors import MisuseError

# RFC 6052 §2.4: 192.0.2.33 behind prefixes of each length.
EXAMPLES = {
    "2001:db8::/32": "2001:db8:c000:221::",
    "2001:db8:100::/40": "2001:db8:1c0:2:21::",
    "2001:db8:122::/48": "2001:db8:122:c000:2:2100::",
    "2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::",
    "2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100::",
    "2001:db8:122:344::/96": "2001:db8:122:344::c000:221",
    "64:ff9b::/96": "64:ff9b::c000:221",
}


@pytest.mark.parametrize("prefix", EXAMPLES)
def test_an_address_is_embedded_as_the_rfc_shows(prefix: str) -> None:
    assert embed(IPv6Network(prefix), "192.0.2.33") == str(IPv6Address(EXAMPLES[prefix]))


@pytest.mark.parametrize("prefix", EXAMPLES)
def test_what_was_made_of_the_well_known_name_shows_the_prefix(prefix: str) -> None:
    network = IPv6Network(prefix)
    made = [embed(network, each) for each in ("192.0.0.170", "192.0.0.171")]
    assert prefixes_of(made) == (network,)


def test_each_of_several_prefixes_is_found_once() -> None:
    networks = (IPv6Network("64:ff9b::/96"), IPv6Network("2001:db8:122::/48"))
    made = [embed(each, host) for each in networks for host in ("192.0.0.170", "192.0.0.171")]
    assert prefixes_of(made) == networks


@pytest.mark.parametrize(
    "host",
    [
        "2001:db8::1",
        "64:ff9b::192.0.2.1",  # another address
        "2001:db8:122:344:ffc0:0:aa00::",  # its reserved byte is not zero
        "64:ff9b:c000:aa::1",  # something behind it
        "192.0.0.170",
        "nonsense",
    ],
)
def test_what_nobody_made_by_the_rfc_shows_nothing(host: str) -> None:
    assert prefixes_of([host]) == ()


def test_no_other_length_is_a_prefix() -> None:
    with pytest.raises(MisuseError):
        embed(IPv6Network("2001:db8::/72"), "192.0.2.1")
