"""Long lives in a simulated network: nonces that expire, servers that restart, whole days."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest

from natkit.errors import AllocationMismatch, UnreachableError
from natkit.machine import Transport
from natkit.stun.registry import StunError
from natkit.turn.events import (
    AllocationClosed,
    AllocationLost,
    ChannelBound,
    ChannelFailed,
    PermissionFailed,
    PermissionInstalled,
)
from stun_server.events import AllocationRefreshed, RequestRefused
from stun_server.events import ChannelBound as ServerBound
from stun_server.events import PermissionInstalled as ServerPermitted
from tests.conftest import Sized
from tests.natkit.turn.simulated import (
    PEER_HOSTS,
    SETTINGS,
    Caller,
    Relay,
    caller_on,
    network_of,
)
from tests.simnet import Endpoint

HOUR: Final = 3600.0
TRANSPORTS: Final = [Transport.UDP, Transport.TCP]


class House:
    """A relay, a caller, an echoing peer."""

    def __init__(
        self, transport: Transport = Transport.UDP, *, nonce_lifetime: float = HOUR
    ) -> None:
        self.network = network_of(1)
        self.transport = transport
        settings = replace(SETTINGS, nonce_lifetime=nonce_lifetime)
        self.relay = Relay(self.network, settings=settings)
        self.caller = caller_on(self.relay, transport=transport)
        self.peer = Endpoint(self.network.host("peer", *PEER_HOSTS), echo=True)

    def replace_caller(self) -> None:
        """A new client on the host of the old one."""
        self.caller = Caller(self.relay, self.caller.host, transport=self.transport)

    def furnish(self) -> None:
        """An allocation with a permission and a channel."""
        self.caller.allocate()
        self.caller.bind_channel(self.peer.address)
        self.caller.until(lambda: bool(self.caller.shell.take(ChannelBound)))
        assert self.caller.shell.take(PermissionInstalled)

    def echo(self, data: bytes) -> bool:
        self.caller.send(data, self.peer.address)
        self.network.run_for(1.0)
        return self.caller.received() == [(data, self.peer.address)]

    def losses(self) -> list[object]:
        """Events that tell of something that ended."""
        lost = AllocationLost | PermissionFailed | ChannelFailed
        return [event for event in self.caller.events if isinstance(event, lost)]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("nonce_lifetime", [30.0, 300.0])
def test_nonces_that_expire_are_renewed_without_the_owner_noticing(
    transport: Transport, nonce_lifetime: float
) -> None:
    house = House(transport, nonce_lifetime=nonce_lifetime)
    with house.network as network:
        house.furnish()
        network.run_for(3 * HOUR)
        assert house.losses() == []
        assert house.echo(b"three hours later")
        assert house.caller.agrees_with_relay()
        refused = house.relay.shell.take(RequestRefused)
        stale = [each for each in refused if each.code == StunError.STALE_NONCE]
        assert len(stale) >= 20
        assert {each.code for each in refused} <= {StunError.STALE_NONCE, StunError.UNAUTHENTICATED}


def test_a_permission_without_a_channel_is_refreshed_until_it_is_released() -> None:
    house = House()
    with house.network as network:
        house.caller.allocate()
        house.caller.permit(house.peer.address)
        network.run_for(HOUR)
        house.relay.shell.take(ServerPermitted)
        house.peer.send(b"an hour later", house.caller.relayed)
        network.run_for(1.0)
        assert house.caller.received() == [(b"an hour later", house.peer.address)]
        house.caller.allocation.release(house.peer.address.host)
        network.run_for(301.0)
        assert house.relay.shell.take(ServerPermitted) == []
        house.peer.send(b"too late", house.caller.relayed)
        network.run_for(1.0)
        assert house.caller.received() == []
        assert house.caller.is_alive


def test_refreshes_come_before_the_end_of_what_they_refresh_and_not_much_too_often() -> None:
    house = House()
    with house.network as network:
        house.furnish()
        until = {}
        for kind in (AllocationRefreshed, ServerPermitted, ServerBound):
            house.relay.shell.take(kind)
            until[kind] = network.now
        counts = dict.fromkeys(until, 0)

        def note(event: object) -> None:
            if isinstance(event, AllocationRefreshed | ServerPermitted | ServerBound):
                counts[type(event)] += 1

        house.relay.shell.on_event = note
        network.run_for(24 * HOUR)
        # At most as often as every other half of its lifetime; at least once a lifetime.
        for kind, lifetime in (
            (AllocationRefreshed, 600.0),
            (ServerPermitted, 300.0),
            (ServerBound, 600.0),
        ):
            assert 24 * HOUR / lifetime <= counts[kind] <= 3 * 24 * HOUR / lifetime, counts


# ── the server restarts ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("nonce_key_survives", [True, False])
def test_after_a_restart_the_client_learns_that_its_allocation_is_gone(
    *, nonce_key_survives: bool
) -> None:
    house = House()
    with house.network as network:
        house.furnish()
        network.run_for(100.0)
        key = SETTINGS.nonce_key if nonce_key_survives else bytes(32)
        house.relay.restart(replace(SETTINGS, nonce_key=key))
        # The next refresh of the permission asks for what is not there.
        network.run_for(300.0)
        [lost] = house.caller.shell.take(AllocationLost)
        assert isinstance(lost.error, AllocationMismatch)
        assert house.caller.host.sockets == ()
        assert house.relay.relayed == ()
        house.replace_caller()
        assert house.caller.allocate().relayed in house.relay.relayed
        assert house.echo(b"with the new server")


def test_after_a_restart_a_stream_client_learns_it_at_once() -> None:
    house = House(Transport.TCP)
    with house.network as network:
        house.furnish()
        house.relay.restart()
        network.run_for(1.0)
        [lost] = house.caller.shell.take(AllocationLost)
        assert isinstance(lost.error, UnreachableError)
        house.replace_caller()
        assert house.caller.allocate().relayed in house.relay.relayed


# ── whole days ──────────────────────────────────────────────────────────────────────────────────


def table_sizes(machine: object) -> dict[str, int]:
    """The length of every container that a machine holds, by the way to it."""
    total: Counter[str] = Counter()
    for way, size in _sizes(machine, type(machine).__name__, set()):
        total[way] += size
    return total


def _sizes(subject: object, way: str, seen: set[int]) -> Iterator[tuple[str, int]]:
    if id(subject) in seen or isinstance(subject, str | bytes | int | float | type):
        return
    seen.add(id(subject))
    if isinstance(subject, dict):
        yield way, len(subject)
        for value in subject.values():
            yield from _sizes(value, f"{way}[]", seen)
    elif isinstance(subject, list | set | frozenset | tuple | deque):
        yield way, len(subject)
        for value in subject:
            yield from _sizes(value, f"{way}[]", seen)
    elif isinstance(subject, bytearray):
        yield way, len(subject)
    else:
        names = list(getattr(subject, "__dict__", ()))
        for kind in type(subject).__mro__:
            names += [name for name in getattr(kind, "__slots__", ()) if hasattr(subject, name)]
        for name in names:
            yield from _sizes(getattr(subject, name), f"{way}.{name}", seen)


def test_table_sizes_sees_containers_behind_attributes_slots_and_other_containers() -> None:
    house = House()
    with house.network:
        before = sum(table_sizes(house.relay.machine).values())
        house.furnish()
        after = table_sizes(house.relay.machine)
        assert sum(after.values()) > before
        assert after["Server.allocations._by_client"] == 1
        assert after["Server.allocations._by_id[].channels"] == 1


def total_size(house: House) -> int:
    """The entries in all tables of both ends."""
    ends = (house.caller.allocation, house.relay.machine)
    return sum(sum(table_sizes(end).values()) for end in ends)


def assert_no_growth(hourly: list[int]) -> None:
    """The second half of a run of hours is no larger than the first."""
    half = len(hourly) // 2
    assert max(hourly[half:]) <= max(hourly[:half]), hourly


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_day_of_one_allocation_with_a_channel_grows_no_table(
    transport: Transport, sized: Sized
) -> None:
    house = House(transport)
    with house.network as network:
        house.furnish()
        hourly: list[int] = []
        for _ in range(sized(quick=24, full=30 * 24)):
            sizes: list[int] = []
            for minute in range(60):
                network.run_for(59.0)
                assert house.echo(bytes([minute]))
                assert house.losses() == []
                house.caller.events.clear()
                house.relay.shell.events.clear()
                sizes.append(total_size(house))
            # The least of an hour is that of a moment without a transaction under way.
            hourly.append(min(sizes))
        assert_no_growth(hourly)
        assert house.caller.agrees_with_relay()
        kept = house.relay.machine.allocations.of_relayed(house.caller.relayed)
        assert kept is not None
        assert len(kept.permissions) == len(kept.channels) == len(kept.channels_by_peer) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_allocations_that_come_and_go_leave_nothing_behind(
    transport: Transport, sized: Sized, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What closed allocations were answered is kept in a bounded list, which is full sooner so.
    monkeypatch.setattr("stun_server.answers.ANSWERS_WITHOUT_ALLOCATION", 32)
    house = House(transport)
    with house.network as network:
        sizes: list[int] = []
        for number in range(sized(quick=200, full=20_000)):
            house.replace_caller()
            house.furnish()
            if number % 3:
                house.caller.close()
                network.run_for(1.0)
                assert house.caller.shell.take(AllocationClosed)
            else:
                # It vanishes; over UDP the server waits for its lifetime to end.
                house.caller.shell.stop()
                network.run_for(700.0)
            house.relay.shell.events.clear()
            assert house.relay.relayed == ()
            assert house.caller.host.sockets == ()
            sizes.append(sum(table_sizes(house.relay.machine).values()))
        assert_no_growth(sizes)
        assert len(house.relay.machine.allocations) == 0
