"""Equal addresses are equal however they were written."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.errors import MisuseError

PACKED = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)


@given(packed=PACKED, port=st.integers(0, 65535))
def test_text_and_packed_forms_of_an_address_are_equal(packed: bytes, port: int) -> None:
    address = Address.from_packed(packed, port)
    for spelling in (
        address.host,
        address.host.upper(),
        str(ipaddress.ip_address(packed)),
        ipaddress.ip_address(packed).exploded,
    ):
        assert Address.of(spelling, port) == address
    assert address.packed == packed
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize("host", ["::ffff:192.0.2.1", "::ffff:c000:201", "::FFFF:192.0.2.1"])
def test_a_mapped_address_has_one_spelling(host: str) -> None:
    mapped = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 1])
    assert Address.of(host, 1) == Address.from_packed(mapped, 1)


def test_a_zone_is_kept() -> None:
    assert Address.of("FE80:0::1%eth0", 5) == Address("fe80::1%eth0", 5)


@pytest.mark.parametrize("host", ["", "example.org", "192.0.2.256", "1.2.3", "::g", "127.1"])
def test_what_is_no_literal_is_refused(host: str) -> None:
    with pytest.raises(MisuseError, match="not an IP address"):
        Address.of(host, 1)
