"""A client asks for an allocation, of a server that the test plays."""

import pytest

from natkit.address import Address, Family
from natkit.errors import (
    AllocationMismatch,
    IntegrityViolation,
    MalformedMessage,
    MisuseError,
    StaleNonce,
    TlsFailed,
    TransactionTimeout,
    TryAlternate,
    UnreachableError,
)
from natkit.machine import (
    ClosePath,
    CloseSocket,
    Connect,
    Failure,
    OpenSocket,
    Path,
    Transport,
)
from natkit.stun.attributes import (
    AlternateServer,
    Attribute,
    Lifetime,
    Nonce,
    Realm,
    RequestedAddressFamily,
    RequestedTransport,
    Software,
    Username,
    XorMappedAddress,
    XorRelayedAddress,
)
from natkit.stun.credentials import verify
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn import AllocationState
from natkit.turn.events import (
    Allocated,
    AllocateFailed,
)
from natkit.turn.life import ATTEMPTS
from natkit.turn.paths import OPEN_TIMEOUT
from tests.natkit.turn.table import GRANT, KEY, MAPPED, PEER, PEER6, REALM, RELAYED, SERVER, Table


def test_the_first_request_is_bare_and_the_second_one_proves_who_asks() -> None:
    table = Table()
    request = table.allocate()
    assert request.method == Method.ALLOCATE
    assert request.get(RequestedTransport) == RequestedTransport(17)
    assert request.get(Lifetime) is None
    assert request.get(RequestedAddressFamily) is None
    assert request.get(Username) == Username("ann")
    assert request.get(Software) is not None
    assert verify(request, KEY.key) is KEY.integrity
    assert table.take(Allocated) == Allocated(RELAYED, MAPPED, 600.0)


def test_wishes_for_lifetime_and_family_are_in_the_request() -> None:
    table = Table(lifetime=1800, family=Family.IPV4)
    request = table.allocate()
    assert request.get(Lifetime) == Lifetime(1800)
    assert request.get(RequestedAddressFamily) == RequestedAddressFamily(Family.IPV4)


@pytest.mark.parametrize("lifetime", [0, -1, 1 << 32])
def test_a_lifetime_that_cannot_be_asked_for_is_misuse(lifetime: int) -> None:
    with pytest.raises(MisuseError):
        Table(lifetime=lifetime)


def test_a_local_address_is_bound_as_given() -> None:
    table = Table(local=Address("192.168.1.2", 0))
    table.allocation.allocate(table.now)
    assert table.take(OpenSocket).local == Address("192.168.1.2", 0)
    stream = Table(Transport.TCP)
    stream.allocation.allocate(stream.now)
    connect = stream.take(Connect)
    assert (connect.transport, connect.local, connect.remote) == (Transport.TCP, None, SERVER)


def test_a_socket_that_cannot_be_opened_is_unreachable_and_allocate_may_be_tried_again() -> None:
    table = Table()
    table.allocation.allocate(table.now)
    request = table.take(OpenSocket)
    table.allocation.answer(request.request_id, Failure("no such device"), table.now)
    failed = table.take(AllocateFailed)
    assert isinstance(failed.error, UnreachableError)
    assert "no such device" in str(failed.error)
    table.allocated()


def test_dtls_is_opened_and_closed_like_a_stream_and_loses_datagrams() -> None:
    table = Table(Transport.DTLS)
    table.allocation.allocate(table.now)
    connect = table.take(Connect)
    assert (connect.transport, connect.remote) == (Transport.DTLS, SERVER)
    path = Path(Transport.DTLS, Address("192.168.1.2", 40001), SERVER)
    table.allocation.answer(connect.request_id, path, table.now)
    table.pass_time(39.4)
    assert len(table.sent) == 7
    table.pass_time(0.2)
    closed, failed = table.events
    assert closed == ClosePath(path)
    assert isinstance(failed, AllocateFailed)
    assert isinstance(failed.error, TransactionTimeout)


def test_tls_that_fails_is_told_as_such() -> None:
    table = Table(Transport.TLS)
    table.allocation.allocate(table.now)
    request = table.take(Connect)
    refusal = Failure("its certificate has expired", tls_failed=True)
    table.allocation.answer(request.request_id, refusal, table.now)
    assert isinstance(table.take(AllocateFailed).error, TlsFailed)


def test_a_shell_that_never_answers_is_given_up_and_what_it_opens_later_is_closed() -> None:
    table = Table()
    table.allocation.allocate(table.now)
    request = table.take(OpenSocket)
    table.pass_time(OPEN_TIMEOUT)
    assert isinstance(table.take(AllocateFailed).error, UnreachableError)
    late = Address("192.168.1.2", 4444)
    table.allocation.answer(request.request_id, late, table.now)
    assert table.take(CloseSocket).local == late
    path = Path(Transport.TCP, late, SERVER)
    table.allocation.answer(request.request_id, path, table.now)
    assert table.take(ClosePath).path == path
    table.allocation.answer(request.request_id, Failure("late"), table.now)
    table.drain()
    assert table.events == []


def test_an_unanswered_request_is_sent_seven_times_and_ends_in_a_timeout() -> None:
    table = Table()
    table.allocation.allocate(table.now)
    table.open()
    table.pass_time(39.4)
    assert len(table.sent) == 7
    assert len(set(table.sent)) == 1
    table.pass_time(0.2)
    closed, failed = table.events
    assert isinstance(closed, CloseSocket)
    assert isinstance(failed, AllocateFailed)
    assert isinstance(failed.error, TransactionTimeout)
    assert table.allocation.state is AllocationState.IDLE
    first_id = Message.parse(table.sent[0]).transaction_id
    table.events.clear()
    table.sent.clear()
    table.allocation.allocate(table.now)
    table.open()
    assert table.request().transaction_id != first_id


def test_a_stale_nonce_is_answered_with_the_new_one_and_not_for_ever() -> None:
    table = Table()
    table.allocation.allocate(table.now)
    table.open()
    request = table.challenge()
    for number in range(10):
        nonce = Nonce(b"fresh %d" % number)
        table.receive(request.error(438, Realm(REALM), nonce).encode())
        if not table.sent:
            break
        request = table.request()
        assert request.get(Nonce) == nonce
    assert number < 9
    assert isinstance(table.events[-1], AllocateFailed)
    assert isinstance(table.events[-1].error, StaleNonce)


def test_a_taken_5_tuple_is_left_for_another_three_times_in_all() -> None:
    table = Table()
    table.allocation.allocate(table.now)
    for attempt in range(1, ATTEMPTS + 1):
        table.open()
        path = table.path
        table.refuse(table.challenge(), 437)
        closed = table.events.pop(0)
        assert closed == CloseSocket(path.local)
        assert len(table.events) == 1, attempt
    assert isinstance(table.take(AllocateFailed).error, AllocationMismatch)


def test_a_fixed_local_port_has_no_other_5_tuple() -> None:
    table = Table(local=Address("192.168.1.2", 4444))
    table.allocation.allocate(table.now)
    table.allocation.answer(table.take(OpenSocket).request_id, Address("192.168.1.2", 4444), 0.0)
    table.refuse(table.challenge(), 437)
    assert isinstance(table.events[-1], AllocateFailed)


def test_another_server_to_try_is_in_the_error() -> None:
    table = Table()
    table.allocation.allocate(table.now)
    table.open()
    elsewhere = Address("203.0.113.2", 3479)
    table.refuse(table.challenge(), 300, AlternateServer(elsewhere))
    table.events.pop(0)
    error = table.take(AllocateFailed).error
    assert isinstance(error, TryAlternate)
    assert error.servers == (elsewhere,)


def test_a_forged_answer_is_not_believed() -> None:
    table = Table()
    table.allocation.allocate(table.now)
    table.open()
    request = table.challenge()
    table.receive(request.success(*GRANT).encode(integrity=IntegrityKey(b"wrong key")))
    assert table.allocation.state is AllocationState.ALLOCATING
    table.pass_time(60.0)
    failed = table.events[-1]
    assert isinstance(failed, AllocateFailed)
    assert isinstance(failed.error, IntegrityViolation)


@pytest.mark.parametrize(
    "grant",
    [
        (XorMappedAddress(MAPPED), Lifetime(600)),
        (XorRelayedAddress(RELAYED), Lifetime(0)),
        (XorRelayedAddress(PEER6), Lifetime(600)),
    ],
    ids=["no relayed address", "no lifetime", "another family"],
)
def test_an_allocation_that_is_of_no_use_is_deleted(grant: tuple[Attribute, ...]) -> None:
    table = Table(family=Family.IPV4)
    table.allocate(*grant)
    delete = table.request()
    assert delete.method == Method.REFRESH
    assert delete.get(Lifetime) == Lifetime(0)
    table.succeed(delete, Lifetime(0))
    closed, failed = table.events
    assert isinstance(closed, CloseSocket)
    assert isinstance(failed, AllocateFailed)
    assert isinstance(failed.error, MalformedMessage)
    # RFC 8656 §7.3: not again on that server.
    with pytest.raises(MisuseError):
        table.allocation.allocate(table.now)


def test_a_success_without_lifetime_counts_as_the_default() -> None:
    table = Table()
    table.allocate(XorRelayedAddress(RELAYED))
    assert table.take(Allocated) == Allocated(RELAYED, None, 600.0)


def test_nothing_can_be_done_without_an_allocation() -> None:
    table = Table()
    for action in table.wishes(PEER):
        with pytest.raises(MisuseError):
            action()
    table.allocated()
    with pytest.raises(MisuseError):
        table.allocation.allocate(table.now)
