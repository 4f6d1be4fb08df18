"""Other addresses of a server behind a NAT64 are found by its prefix."""

import pytest

from natkit.address import Address
from natkit.behaviour.nat64 import reached_as

KNOWN = Address("192.0.2.33", 3478)
OTHER = Address("192.0.2.34", 3479)


@pytest.mark.parametrize(
    ("seen", "other"),
    [
        # RFC 6052 §2.4, from a prefix of 32 bits to one of 96; and the well-known one.
        ("2001:db8:c000:221::", "2001:db8:c000:222::"),
        ("2001:db8:1c0:2:21::", "2001:db8:1c0:2:22::"),
        ("2001:db8:122:c000:2:2100::", "2001:db8:122:c000:2:2200::"),
        ("2001:db8:122:3c0:0:221::", "2001:db8:122:3c0:0:222::"),
        ("2001:db8:122:344:c0:2:2100::", "2001:db8:122:344:c0:2:2200::"),
        ("2001:db8:122:344::192.0.2.33", "2001:db8:122:344::192.0.2.34"),
        ("64:ff9b::192.0.2.33", "64:ff9b::192.0.2.34"),
    ],
)
def test_the_prefix_that_leads_to_the_server_leads_to_its_other_address(
    seen: str, other: str
) -> None:
    found = reached_as(OTHER, seen=Address.of(seen, 3478), told=KNOWN)
    assert found == Address.of(other, 3479)
    assert (
        reached_as(KNOWN, seen=Address.of(seen, 3478), told=KNOWN).host == Address.of(seen, 0).host
    )


@pytest.mark.parametrize(
    ("there", "seen", "told"),
    [
        ("192.0.2.34", "192.0.2.33", "192.0.2.33"),
        ("2001:db8::34", "2001:db8::33", "2001:db8::33"),
        # Not the same address in other clothes: a server behind a forwarding of its own.
        ("192.0.2.34", "64:ff9b::192.0.2.99", "192.0.2.33"),
        ("192.0.2.34", "2001:db8:122:344:ffc0:2:2100:0", "192.0.2.33"),
        ("2001:db8::34", "64:ff9b::192.0.2.33", "192.0.2.33"),
    ],
)
def test_without_a_nat64_an_address_stays_as_it_is(there: str, seen: str, told: str) -> None:
    left = reached_as(
        Address.of(there, 3479), seen=Address.of(seen, 3478), told=Address.of(told, 1)
    )
    assert left == Address.of(there, 3479)
