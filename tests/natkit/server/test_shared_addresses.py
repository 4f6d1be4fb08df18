"""Addresses in use, in shared memory: each process sees those of the others."""

import os

import pytest

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.server.shared_addresses import MOST_WORKERS, SharedAddresses

HOSTS = ("192.0.2.1", "2001:db8::1")
FIRST, LAST = Address(HOSTS[0], 0), Address(HOSTS[1], 65535)


def test_an_address_is_elsewhere_while_another_process_uses_it() -> None:
    all_of_them = SharedAddresses.create(HOSTS)
    one, other = (
        SharedAddresses(os.dup(all_of_them.descriptor), HOSTS, number)
        for number in (0, MOST_WORKERS - 1)
    )
    for address in (FIRST, LAST):
        one.add(address)
        assert other.elsewhere(address)
        assert all_of_them.elsewhere(address)
        assert not one.elsewhere(address)
        assert not other.elsewhere(Address(address.host, 7))
        one.remove(address)
        assert not other.elsewhere(address)
    # Another host than those that relay is nobody's.
    one.add(Address("192.0.2.9", 1))
    assert not other.elsewhere(Address("192.0.2.9", 1))
    for each in (all_of_them, one, other):
        each.close()


def test_a_process_that_is_gone_uses_nothing() -> None:
    all_of_them = SharedAddresses.create(HOSTS)
    one, other = (
        SharedAddresses(os.dup(all_of_them.descriptor), HOSTS, number) for number in (0, 1)
    )
    for port in (1, 2, 65535):
        one.add(Address(HOSTS[0], port))
    other.add(LAST)
    all_of_them.forget(0)
    assert not any(other.elsewhere(Address(HOSTS[0], port)) for port in (1, 2, 65535))
    assert one.elsewhere(LAST)
    for each in (all_of_them, one, other):
        each.close()


def test_there_are_no_more_numbers_than_a_byte_tells_apart() -> None:
    all_of_them = SharedAddresses.create(HOSTS)
    with pytest.raises(MisuseError):
        SharedAddresses(all_of_them.descriptor, HOSTS, MOST_WORKERS)
    all_of_them.close()
