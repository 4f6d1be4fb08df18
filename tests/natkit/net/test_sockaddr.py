import socket
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.net import sockaddr

hosts = st.ip_addresses(v=4) | st.ip_addresses(v=6)
ports = st.integers(0, 65_535)


@given(host=hosts, port=ports)
def test_every_address_survives_the_round_trip(host: object, port: int) -> None:
    address = Address.of(str(host), port)
    name = sockaddr.pack(address)
    assert sockaddr.unpack(name) == address
    assert sockaddr.from_python(sockaddr.to_python(name)) == name
    assert sockaddr.port_of(name) == port
    assert sockaddr.host_bytes(name) == address.packed
    assert len(name) == sockaddr.size_for(address.family.socket_family)


def test_the_bytes_are_those_of_the_kernel() -> None:
    family = int(socket.AF_INET).to_bytes(2, sys.byteorder)
    assert sockaddr.pack(Address("192.0.2.1", 3478)) == (
        family + b"\x0d\x96" + b"\xc0\x00\x02\x01" + bytes(8)
    )


def test_a_zone_becomes_the_number_of_its_interface_and_comes_back() -> None:
    number, name = socket.if_nameindex()[0]
    packed = sockaddr.pack(Address(f"fe80::1%{name}", 9))
    assert sockaddr.to_python(packed) == ("fe80::1", 9, 0, number)
    assert sockaddr.unpack(packed) == Address(f"fe80::1%{name}", 9)


def test_a_numeric_zone_without_interface_stays_a_number() -> None:
    packed = sockaddr.pack(Address("fe80::1%99999", 9))
    assert sockaddr.unpack(packed) == Address("fe80::1%99999", 9)


def test_a_zone_that_names_no_interface_is_misuse() -> None:
    with pytest.raises(MisuseError, match="'nowhere0' is not a network interface"):
        sockaddr.pack(Address("fe80::1%nowhere0", 9))


def test_the_socket_module_gets_a_zone_as_a_number_and_all_else_as_it_is() -> None:
    number, name = socket.if_nameindex()[0]
    assert sockaddr.python_address(Address("192.0.2.1", 7)) == ("192.0.2.1", 7)
    assert sockaddr.python_address(Address("2001:db8::1", 7)) == ("2001:db8::1", 7)
    assert sockaddr.python_address(Address(f"fe80::1%{name}", 7)) == ("fe80::1", 7, 0, number)
    with pytest.raises(MisuseError, match="no-such-one"):
        sockaddr.python_address(Address("fe80::1%no-such-one", 7))
