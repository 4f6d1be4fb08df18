"""This machine's addresses with what the platform tells, and that it may tell nothing."""

import sys

import pytest

from natkit.address import Address
from natkit.aio import network
from natkit.aio.network import watch_network
from natkit.errors import UnreachableError
from natkit.net.interfaces import addresses
from natkit.net.local_addresses import local_addresses
from natkit.net.routes import source_for

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="told by Linux only")


def test_every_address_of_the_machine_is_among_them() -> None:
    assert [each.address for each in local_addresses()] == list(addresses())


@LINUX
def test_loopback_has_its_details() -> None:
    (loopback,) = [each for each in local_addresses() if each.host == "127.0.0.1"]
    assert (loopback.temporary, loopback.deprecated, loopback.tentative) == (False, False, False)
    assert loopback.mtu is not None
    assert loopback.mtu >= 1280


async def test_without_pyroute2_the_details_are_unknown_and_changes_are_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "natkit.net.rtnetlink", None)
    found = local_addresses()
    assert found
    assert {(each.temporary, each.deprecated, each.mtu) for each in found} == {(None, None, None)}
    with pytest.raises(UnreachableError, match="does not tell of changes"):
        async with watch_network():
            pass


@LINUX
async def test_what_the_system_refuses_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(network, "open_signal", refuse)
    with pytest.raises(UnreachableError, match="hear of changes"):
        async with watch_network():
            pass
    monkeypatch.undo()
    monkeypatch.setattr(network, "local_addresses", refuse)
    with pytest.raises(UnreachableError, match="read the addresses"):
        async with watch_network():
            pass


def test_the_source_for_loopback_is_loopback() -> None:
    assert source_for(Address("127.0.0.9", 9)) == Address("127.0.0.1", 0)
    assert source_for(Address("::1", 9)) == Address("::1", 0)
