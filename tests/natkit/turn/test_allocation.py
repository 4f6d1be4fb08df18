"""A client's allocation is kept, lost and ended at a server that the test plays."""

import pytest

from natkit.address import Address
from natkit.errors import (
    AllocationMismatch,
    BadRequest,
    TransactionTimeout,
)
from natkit.machine import (
    CloseSocket,
    Connect,
    OpenSocket,
    Path,
    Transport,
)
from natkit.stun.attributes import (
    ErrorCode,
    Lifetime,
    Nonce,
    Realm,
    XorRelayedAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn.events import (
    Allocated,
    AllocateFailed,
    AllocationClosed,
    AllocationLost,
    Refreshed,
)
from tests.natkit.turn.table import GRANT, KEY, REALM, RELAYED, SERVER, Table


def test_a_refresh_leaves_80_seconds_before_the_end(table: Table) -> None:
    table.pass_time(519.9)
    assert table.sent == []
    table.pass_time(0.1)
    refresh = table.request()
    assert refresh.method == Method.REFRESH
    assert refresh.get(Lifetime) is None
    table.succeed(refresh, Lifetime(300))
    assert table.take(Refreshed).lifetime == 300.0
    table.pass_time(219.9)
    assert table.sent == []
    table.pass_time(0.1)
    assert table.request().method == Method.REFRESH


def test_a_short_lifetime_is_refreshed_at_its_half() -> None:
    table = Table()
    table.allocate(XorRelayedAddress(RELAYED), Lifetime(10))
    table.take(Allocated)
    table.pass_time(4.9)
    assert table.sent == []
    table.pass_time(0.1)
    assert table.request().method == Method.REFRESH


def test_an_unanswered_refresh_is_repeated_under_a_new_id_until_the_end(table: Table) -> None:
    table.pass_time(600.0)
    identities = {Message.parse(data).transaction_id for data in table.sent}
    assert len(identities) >= 2
    assert isinstance(table.events[-1], AllocationLost)
    assert isinstance(table.events[-1].error, TransactionTimeout)
    assert table.allocation.next_deadline() is None


def test_a_refresh_that_fails_for_the_moment_is_tried_again(table: Table) -> None:
    table.pass_time(520.0)
    table.refuse(table.request(), 508)
    table.pass_time(9.0)
    assert table.sent == []
    table.pass_time(1.0)
    table.succeed(table.request(), Lifetime(600))
    table.take(Refreshed)


def test_a_refused_refresh_is_not_repeated_and_its_error_is_the_end(table: Table) -> None:
    table.pass_time(520.0)
    table.refuse(table.request(), 400)
    table.pass_time(79.0)
    assert table.sent == []
    assert table.events == []
    table.pass_time(1.0)
    assert isinstance(table.events[-1], AllocationLost)
    assert isinstance(table.events[-1].error, BadRequest)


@pytest.mark.parametrize("code", [437, None])
def test_a_refresh_that_finds_no_allocation_loses_it(table: Table, code: int | None) -> None:
    table.pass_time(520.0)
    if code is None:
        table.succeed(table.request(), Lifetime(0))
    else:
        table.refuse(table.request(), code)
    closed, lost = table.events
    assert closed == CloseSocket(Address("192.168.1.2", 40001))
    assert isinstance(lost, AllocationLost)
    assert isinstance(lost.error, AllocationMismatch)


@pytest.mark.parametrize("code", [None, 437])
def test_close_is_confirmed_by_success_and_by_there_being_nothing(
    table: Table, code: int | None
) -> None:
    table.permitted()
    table.allocation.close(table.now)
    delete = table.request()
    assert delete.get(Lifetime) == Lifetime(0)
    if code is None:
        table.succeed(delete, Lifetime(0))
    else:
        table.refuse(delete, code)
    assert table.events == [
        CloseSocket(Address("192.168.1.2", 40001)),
        AllocationClosed(confirmed=True),
    ]
    assert table.allocation.next_deadline() is None


def test_close_gets_past_a_stale_nonce(table: Table) -> None:
    table.allocation.close(table.now)
    delete = table.request()
    table.refuse(delete, 438, Realm(REALM), Nonce(b"new"))
    delete = table.request()
    assert delete.get(Nonce) == Nonce(b"new")
    table.succeed(delete, Lifetime(0))
    assert table.events[-1] == AllocationClosed(confirmed=True)


def test_an_unanswered_close_ends_after_five_seconds(table: Table) -> None:
    table.allocation.close(table.now)
    table.pass_time(5.0)
    assert table.events[-1] == AllocationClosed(confirmed=False)


def test_close_before_there_is_anything_is_done_at_once() -> None:
    table = Table()
    table.allocation.close(table.now)
    assert table.take(AllocationClosed).confirmed
    opening = Table()
    opening.allocation.allocate(opening.now)
    request = opening.take(OpenSocket)
    opening.allocation.close(opening.now)
    assert opening.take(AllocationClosed).confirmed
    opening.allocation.answer(request.request_id, Address("192.168.1.2", 5), opening.now)
    opening.take(CloseSocket)


def test_a_stream_that_breaks_while_closing_is_the_end() -> None:
    table = Table(Transport.TCP)
    table.allocation.allocate(table.now)
    path = Path(Transport.TCP, Address("192.168.1.2", 40001), SERVER)
    table.allocation.answer(table.take(Connect).request_id, path, table.now)
    table.succeed(table.challenge(), *GRANT)
    table.take(Allocated)
    table.allocation.close(table.now)
    table.allocation.disconnected(path, table.now)
    assert table.take(AllocationClosed) == AllocationClosed(confirmed=False)


def test_the_error_code_of_an_unlisted_error_is_kept() -> None:
    table = Table()
    table.allocation.allocate(table.now)
    table.open()
    request = table.challenge()
    table.receive(request.error(ErrorCode(499, "Odd")).encode(integrity=KEY))
    failed = table.events[-1]
    assert isinstance(failed, AllocateFailed)
    assert str(failed.error) == "499 Odd"
