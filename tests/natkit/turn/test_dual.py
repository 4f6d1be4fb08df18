"""An allocation with an address of each family, from the client's side (RFC 8656 §7.1, §7.3)."""

import pytest

from natkit.address import Address, Family
from natkit.errors import AddressFamilyNotSupported, InsufficientCapacity, MisuseError
from natkit.stun.attributes import (
    AdditionalAddressFamily,
    AddressErrorCode,
    Attribute,
    Data,
    Lifetime,
    RequestedAddressFamily,
    XorMappedAddress,
    XorPeerAddress,
    XorRelayedAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn import Both
from natkit.turn.events import Allocated, DataReceived, PermissionInstalled
from tests.natkit.turn.table import GRANT, MAPPED, PEER, PEER6, RELAYED, Table

RELAYED6 = Address("2001:db8::9", 50001)
TWO = (*GRANT, XorRelayedAddress(RELAYED6))


def test_an_additional_family_is_asked_for_and_no_single_one() -> None:
    request = Table(family=Both.FAMILIES).allocate(*TWO)
    assert request.get(AdditionalAddressFamily) == AdditionalAddressFamily(Family.IPV6)
    assert request.get(RequestedAddressFamily) is None


@pytest.mark.parametrize("first", [0, 1])
def test_both_addresses_are_told_in_whichever_order_they_come(first: int) -> None:
    table = Table(family=Both.FAMILIES)
    relayed = [RELAYED, RELAYED6][:: -1 if first else 1]
    addresses = tuple(map(XorRelayedAddress, relayed))
    table.allocate(*addresses, Lifetime(600), XorMappedAddress(MAPPED))
    assert table.take(Allocated) == Allocated(relayed[0], MAPPED, 600.0, relayed[1])
    assert table.allocation.relayed_addresses == tuple(relayed)


@pytest.mark.parametrize(
    ("code", "error"), [(440, AddressFamilyNotSupported), (508, InsufficientCapacity)]
)
def test_why_a_family_is_missing_is_told(code: int, error: type[Exception]) -> None:
    table = Table(family=Both.FAMILIES)
    table.allocate(*GRANT, AddressErrorCode(Family.IPV6, code))
    granted = table.take(Allocated)
    assert (granted.relayed, granted.second) == (RELAYED, None)
    assert isinstance(granted.missing, error)
    with pytest.raises(MisuseError, match="another address family"):
        table.allocation.permit([PEER6], table.now)


@pytest.mark.parametrize("grant", [GRANT, (XorRelayedAddress(RELAYED6), Lifetime(600))])
def test_one_address_of_either_family_will_do(grant: tuple[Attribute, ...]) -> None:
    table = Table(family=Both.FAMILIES)
    table.allocate(*grant)
    assert table.take(Allocated).second is None


def test_a_second_address_of_the_same_family_or_unasked_for_is_not_used() -> None:
    other = XorRelayedAddress(RELAYED._replace(port=1))
    for table, grant in ((Table(family=Both.FAMILIES), (*GRANT, other)), (Table(), TWO)):
        table.allocate(*grant)
        assert table.take(Allocated).second is None
        assert table.allocation.relayed_addresses == (RELAYED,)


def test_peers_of_both_families_are_permitted_and_heard() -> None:
    table = Table(family=Both.FAMILIES)
    table.allocate(*TWO)
    table.take(Allocated)
    table.allocation.permit([PEER, PEER6], table.now)
    request = table.request()
    assert [each.address for each in request.get_all(XorPeerAddress)] == [PEER, PEER6]
    table.succeed(request)
    assert all(isinstance(event, PermissionInstalled) for event in table.events)
    table.events.clear()
    for peer in (PEER, PEER6):
        data = Message.indication(Method.DATA, bytes(12), XorPeerAddress(peer), Data(b"x"))
        table.receive(data.encode())
        assert table.take(DataReceived) == DataReceived(b"x", peer)


def test_one_refresh_keeps_both_addresses() -> None:
    table = Table(family=Both.FAMILIES)
    table.allocate(*TWO)
    table.take(Allocated)
    table.pass_time(520)
    refresh = table.request()
    # RFC 8656 §8.1: without a family it is for all.
    assert refresh.method == Method.REFRESH
    assert refresh.get(RequestedAddressFamily) is None
