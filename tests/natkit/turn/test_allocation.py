"""The client against a server that the test plays, answer by answer."""

from collections.abc import Callable
from random import Random
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from natkit.address import Address, Family
from natkit.errors import (
    AllocationMismatch,
    BadRequest,
    InsufficientCapacity,
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
    ChannelNumber,
    Data,
    ErrorCode,
    Icmp,
    Lifetime,
    Nonce,
    Realm,
    RequestedAddressFamily,
    RequestedTransport,
    Software,
    UnknownAttribute,
    Username,
    XorMappedAddress,
    XorPeerAddress,
    XorRelayedAddress,
)
from natkit.stun.credentials import long_term_key, verify
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn import Allocation, AllocationState, ChannelData, TurnEvent
from natkit.turn.allocation import MAX_DATA
from natkit.turn.channels import MAX_CHANNELS
from natkit.turn.dual import Wish
from natkit.turn.events import (
    Allocated,
    AllocateFailed,
    AllocationClosed,
    AllocationLost,
    ChannelBound,
    ChannelFailed,
    DataReceived,
    IcmpReceived,
    PermissionFailed,
    PermissionInstalled,
    Refreshed,
)
from natkit.turn.life import ATTEMPTS
from natkit.turn.paths import OPEN_TIMEOUT
from natkit.turn.permissions import MAX_PERMISSIONS

SEED = 3478
SERVER = Address("203.0.113.1", 3478)
RELAYED = Address("203.0.113.1", 50000)
MAPPED = Address("198.51.100.7", 40000)
PEER = Address("192.0.2.9", 5000)
PEER6 = Address("2001:db8::9", 5000)
REALM = "example.org"
KEY = IntegrityKey(long_term_key("ann", REALM, "secret"))
GRANT = (XorRelayedAddress(RELAYED), XorMappedAddress(MAPPED), Lifetime(600))

E = TypeVar("E")


class Table:
    """The client on one side, and what the test says for server and shell on the other."""

    def __init__(
        self,
        transport: Transport = Transport.UDP,
        *,
        local: Address | None = None,
        lifetime: int | None = None,
        family: Wish = None,
    ) -> None:
        print(f"seed {SEED}")
        self.now = 1000.0
        self.port = 40000
        self.events: list[TurnEvent] = []
        self.sent: list[bytes] = []
        self.allocation = Allocation(
            SERVER,
            transport,
            username="ann",
            password="secret",
            random=Random(SEED).randbytes,
            local=local,
            lifetime=lifetime,
            family=family,
        )

    def drain(self) -> None:
        self.sent += [transmit.data for transmit in self.allocation.transmits()]
        while (event := self.allocation.next_event()) is not None:
            self.events.append(event)

    def take(self, kind: type[E]) -> E:
        """The only event there is, of this kind."""
        self.drain()
        (event,) = self.events
        self.events.clear()
        assert isinstance(event, kind), event
        return event

    def request(self) -> Message:
        """The only message that was sent."""
        self.drain()
        (data,) = self.sent
        self.sent.clear()
        return Message.parse(data)

    def pass_time(self, seconds: float) -> None:
        """Fire the timer whenever it is due; once more at the end."""
        end = self.now + seconds
        while (due := self.allocation.next_deadline()) is not None and due <= end:
            assert due >= self.now
            self.now = due
            self.allocation.handle_timer(self.now)
            self.drain()
        self.now = end

    def open(self) -> None:
        """Give the socket that was asked for."""
        request = self.take(OpenSocket)
        assert request.local == Address("0.0.0.0", 0)
        self.port += 1
        self.allocation.answer(request.request_id, Address("192.168.1.2", self.port), self.now)

    @property
    def path(self) -> Path:
        assert self.allocation.path is not None
        return self.allocation.path

    def receive(self, data: bytes) -> None:
        self.allocation.receive(data, self.path, self.now)
        self.drain()

    def succeed(self, request: Message, *attributes: Attribute) -> None:
        self.receive(request.success(*attributes).encode(integrity=KEY))

    def refuse(self, request: Message, code: int, *attributes: Attribute) -> None:
        self.receive(request.error(code, *attributes).encode(integrity=KEY))

    def challenge(self, nonce: bytes = b"nonce") -> Message:
        """Answer the first request with 401; gives the second one."""
        first = self.request()
        assert first.get(Username) is None
        self.receive(first.error(401, Realm(REALM), Nonce(nonce)).encode())
        return self.request()

    def allocate(self, *grant: Attribute) -> Message:
        """Go all the way; gives the authenticated request."""
        self.allocation.allocate(self.now)
        self.open()
        request = self.challenge()
        self.succeed(request, *(grant or GRANT))
        return request

    def allocated(self) -> "Table":
        self.allocate()
        self.take(Allocated)
        return self

    def wishes(self, peer: Address) -> list[Callable[[], None]]:
        """All that may be asked for about a peer."""
        allocation, now = self.allocation, self.now
        return [
            lambda: allocation.permit([peer], now),
            lambda: allocation.bind_channel(peer, now),
            lambda: allocation.send(b"", peer, now),
        ]

    def permitted(self, peer: Address = PEER) -> "Table":
        self.allocation.permit([peer], self.now)
        self.succeed(self.request())
        self.take(PermissionInstalled)
        return self


@pytest.fixture
def table() -> Table:
    """A client that has its allocation."""
    return Table().allocated()


# ── allocating ──────────────────────────────────────────────────────────────────────────────────


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


# ── refreshing ──────────────────────────────────────────────────────────────────────────────────


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


# ── permissions and channels ────────────────────────────────────────────────────────────────────


def test_peers_that_are_permitted_together_share_a_request(table: Table) -> None:
    peers = [PEER, Address("192.0.2.10", 1), Address("192.0.2.11", 2)]
    table.allocation.permit([*peers, PEER._replace(port=9)], table.now)
    request = table.request()
    assert request.method == Method.CREATE_PERMISSION
    assert {each.address.host for each in request.get_all(XorPeerAddress)} == {
        peer.host for peer in peers
    }


def test_permissions_are_refreshed_within_their_300_seconds(table: Table) -> None:
    table.permitted()
    table.pass_time(219.0)
    assert table.sent == []
    table.pass_time(1.0)
    refresh = table.request()
    assert refresh.method == Method.CREATE_PERMISSION
    table.succeed(refresh)
    assert table.events == []
    table.pass_time(220.0)
    assert table.request().method == Method.CREATE_PERMISSION


def test_a_permission_that_is_there_already_is_said_at_once(table: Table) -> None:
    table.permitted()
    table.allocation.permit([PEER], table.now)
    table.take(PermissionInstalled)
    assert table.sent == []


def test_a_permission_request_without_answer_fails_and_may_be_repeated(table: Table) -> None:
    table.allocation.permit([PEER], table.now)
    table.pass_time(40.0)
    table.sent.clear()
    failed = table.take(PermissionFailed)
    assert isinstance(failed.error, TransactionTimeout)
    table.permitted()


def test_a_refresh_of_a_permission_is_repeated_after_a_timeout_and_a_server_error(
    table: Table,
) -> None:
    table.permitted()
    table.pass_time(220.0)
    table.refuse(table.request(), 500)
    table.pass_time(10.0)
    first = table.request()
    table.pass_time(40.0)
    again = Message.parse(table.sent[-1])
    assert again.transaction_id != first.transaction_id
    table.sent.clear()
    table.succeed(again)
    assert table.events == []


def test_a_permission_that_nobody_could_refresh_has_failed(table: Table) -> None:
    table.permitted()
    table.pass_time(300.0)
    assert isinstance(table.take(PermissionFailed).error, TransactionTimeout)


def test_a_peer_of_another_family_is_misuse(table: Table) -> None:
    for action in table.wishes(PEER6):
        with pytest.raises(MisuseError):
            action()


def test_a_channel_brings_the_permission_with_it(table: Table) -> None:
    table.allocation.bind_channel(PEER, table.now)
    request = table.request()
    assert request.method == Method.CHANNEL_BIND
    assert request.get(ChannelNumber) == ChannelNumber(0x4000)
    assert request.get(XorPeerAddress) == XorPeerAddress(PEER)
    # Nothing more is sent for a second wish, nor for data.
    table.allocation.bind_channel(PEER, table.now)
    table.allocation.send(b"early", PEER, table.now)
    table.drain()
    assert table.sent == []
    table.succeed(request)
    assert table.events == [PermissionInstalled(PEER.host), ChannelBound(PEER, 0x4000)]
    assert table.request().get(Data) == Data(b"early")
    table.allocation.send(b"later", PEER, table.now)
    table.drain()
    assert table.sent == [ChannelData(0x4000, b"later").encode(padded=False)]


def test_channels_and_permissions_run_out_without_leaving_anything_behind(table: Table) -> None:
    table.permitted()
    for port in range(MAX_CHANNELS):
        table.allocation.bind_channel(PEER._replace(port=port), table.now)
    stranger = Address("192.0.2.77", 1)
    with pytest.raises(MisuseError, match="channels"):
        table.allocation.bind_channel(stranger, table.now)
    assert not table.allocation.is_permitted(stranger.host)
    crowded = Table().allocated()
    crowd = [Address(f"10.0.{n >> 8}.{n & 255}", 1) for n in range(MAX_PERMISSIONS)]
    crowded.allocation.permit(crowd, crowded.now)
    crowded.drain()
    crowded.sent.clear()
    with pytest.raises(MisuseError, match="permissions"):
        crowded.allocation.bind_channel(PEER, crowded.now)
    with pytest.raises(MisuseError, match="permissions"):
        crowded.allocation.send(b"data", PEER, crowded.now)
    crowded.drain()
    assert crowded.sent == []


def test_a_channel_that_is_bound_already_is_said_at_once(table: Table) -> None:
    table.allocation.bind_channel(PEER, table.now)
    table.succeed(table.request())
    table.events.clear()
    table.allocation.bind_channel(PEER, table.now)
    table.drain()
    assert table.events == [PermissionInstalled(PEER.host), ChannelBound(PEER, 0x4000)]
    assert table.sent == []


def test_a_refused_channel_leaves_the_permission_to_be_asked_for_alone(table: Table) -> None:
    table.allocation.bind_channel(PEER, table.now)
    table.allocation.send(b"data", PEER, table.now)
    table.refuse(table.request(), 508)
    assert isinstance(table.take(ChannelFailed).error, InsufficientCapacity)
    request = table.request()
    assert request.method == Method.CREATE_PERMISSION
    table.succeed(request)
    assert table.request().get(Data) == Data(b"data")


def test_an_unanswered_channel_keeps_its_number_from_other_peers(table: Table) -> None:
    table.permitted()
    table.allocation.bind_channel(PEER, table.now)
    table.pass_time(40.0)
    table.sent.clear()
    assert isinstance(table.take(ChannelFailed).error, TransactionTimeout)
    table.allocation.bind_channel(PEER._replace(port=1), table.now)
    assert table.request().get(ChannelNumber) == ChannelNumber(0x4001)
    table.allocation.bind_channel(PEER, table.now)
    assert table.request().get(ChannelNumber) == ChannelNumber(0x4000)


def test_a_channel_out_of_step_with_the_server_is_given_up(table: Table) -> None:
    table.allocation.bind_channel(PEER, table.now)
    table.succeed(table.request())
    table.events.clear()
    table.sent.clear()
    table.pass_time(519.0)
    table.sent.clear()
    table.events.clear()
    table.pass_time(1.0)
    (bind,) = (
        message
        for message in map(Message.parse, table.sent)
        if message.method == Method.CHANNEL_BIND
    )
    table.refuse(bind, 400)
    assert isinstance(table.events.pop(), ChannelFailed)
    table.receive(ChannelData(0x4000, b"whose?").encode(padded=False))
    assert table.allocation.discarded == 1


# ── data ────────────────────────────────────────────────────────────────────────────────────────


def test_data_from_a_permitted_host_is_received_from_any_port(table: Table) -> None:
    table.permitted()
    peer = PEER._replace(port=77)
    indication = Message.indication(Method.DATA, bytes(12), XorPeerAddress(peer), Data(b""))
    table.receive(indication.encode())
    assert table.take(DataReceived) == DataReceived(b"", peer)


def test_an_icmp_error_is_told(table: Table) -> None:
    table.permitted()
    indication = Message.indication(Method.DATA, bytes(12), XorPeerAddress(PEER), Icmp(3, 4, 1280))
    table.receive(indication.encode())
    assert table.take(IcmpReceived) == IcmpReceived(PEER, 3, 4, 1280)


@pytest.mark.parametrize(
    "message",
    [
        Message.indication(Method.DATA, bytes(12), XorPeerAddress(MAPPED), Data(b"not permitted")),
        Message.indication(Method.DATA, bytes(12), Data(b"from nobody")),
        Message.indication(Method.DATA, bytes(12), XorPeerAddress(PEER)),
        Message.indication(Method.SEND, bytes(12), XorPeerAddress(PEER), Data(b"not ours")),
        Message.indication(
            Method.DATA, bytes(12), XorPeerAddress(PEER), Data(b""), UnknownAttribute(0x7777, b"")
        ),
        Message.request(Method.BINDING, bytes(12)),
        Message.request(Method.REFRESH, bytes(12)).success(),
    ],
    ids=lambda message: repr(message)[:60],
)
def test_messages_that_nobody_asked_for_are_discarded(table: Table, message: Message) -> None:
    table.permitted()
    table.receive(message.encode())
    assert (table.events, table.sent) == ([], [])
    assert table.allocation.discarded == 1


def test_channel_data_on_a_channel_that_is_not_bound_is_discarded(table: Table) -> None:
    table.permitted()
    table.receive(ChannelData(0x4000, b"data").encode(padded=False))
    assert table.events == []
    assert table.allocation.discarded == 1


def test_channel_data_may_come_before_the_channel_is_confirmed(table: Table) -> None:
    table.allocation.bind_channel(PEER, table.now)
    table.receive(ChannelData(0x4000, b"early").encode(padded=False))
    assert table.take(DataReceived) == DataReceived(b"early", PEER)


def test_messages_on_other_paths_are_ignored(table: Table) -> None:
    table.permitted()
    indication = Message.indication(Method.DATA, bytes(12), XorPeerAddress(PEER), Data(b"x"))
    stranger = Path(Transport.UDP, table.path.local, MAPPED)
    table.allocation.receive(indication.encode(), stranger, table.now)
    table.drain()
    assert table.events == []


def test_data_that_fits_no_datagram_is_misuse(table: Table) -> None:
    table.permitted()
    table.allocation.send(bytes(MAX_DATA), PEER, table.now)
    table.drain()
    assert len(table.sent[0]) <= 65507
    with pytest.raises(MisuseError):
        table.allocation.send(bytes(MAX_DATA + 1), PEER, table.now)


@given(data=st.binary(max_size=80))
@settings(max_examples=300)
def test_no_bytes_from_the_server_raise_or_break_anything(data: bytes) -> None:
    table = Table().allocated().permitted()
    for mutated in (data, b"\x40\x00" + data, b"\x01\x03" + data, b"\x00\x17" + data):
        table.receive(mutated)
    assert table.allocation.state is AllocationState.ALLOCATED


# ── the end ─────────────────────────────────────────────────────────────────────────────────────


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
