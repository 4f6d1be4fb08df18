"""Our client with access tokens at our server, through a simulated network (RFC 7635)."""

from dataclasses import replace
from functools import partial
from typing import TypeVar

import pytest

from natkit.address import Address
from natkit.errors import MisuseError, Unauthenticated
from natkit.machine import Path, Transport
from natkit.stun.authentication import TokenCredential
from natkit.stun.framing import StunFraming
from natkit.stun.tokens import KEY_LENGTH, TokenKey, grant
from natkit.turn import Allocation, AllocationState
from natkit.turn.events import (
    Allocated,
    AllocateFailed,
    AllocationClosed,
    AllocationLost,
    Moved,
    PermissionInstalled,
    TurnEvent,
)
from tests.natkit.turn.simulated import REALM, SETTINGS, UNIX_OFFSET, Relay, exchanges, network_of
from tests.simnet import Network, Shell

KEY = TokenKey("north", b"n" * KEY_LENGTH)
TAKING = replace(SETTINGS, token_keys=(KEY,))
E = TypeVar("E", bound=TurnEvent)


class Holder:
    """A client with a token at a relay that takes them, or does not."""

    def __init__(self, network: Network, *, taking: bool = True, **given: int) -> None:
        self.network = network
        self.relay = Relay(network, settings=TAKING if taking else SETTINGS)
        self.host = network.host("client", "192.0.2.1")
        self.allocation = Allocation(
            self.relay.address(),
            Transport.UDP,
            token=self.token(**given),
            random=network.random_bytes("client"),
            mobile=True,
        )
        self.shell: Shell[TurnEvent, Address | Path] = Shell(
            self.host, self.allocation, framing=StunFraming
        )

    def token(self, lifetime: int = 600, size: int = 32) -> TokenCredential:
        """What the authorization server gives it now."""
        made = grant(
            KEY,
            REALM,
            now=self.network.now + UNIX_OFFSET,
            lifetime=lifetime,
            random=self.network.random_bytes("authorization server"),
            key_length=size,
        )
        return TokenCredential(made.kid, made.access_token, made.mac_key)

    def allocate(self, kind: type[E]) -> E:
        self.shell.call(self.allocation.allocate)
        self.network.run_for(2.0)
        [event] = self.shell.take(kind)
        return event


@pytest.mark.parametrize("size", [20, 32])
def test_a_token_opens_an_allocation_with_all_that_belongs_to_it(size: int) -> None:
    with network_of(1) as network:
        holder = Holder(network, size=size)
        assert holder.allocate(Allocated).lifetime == pytest.approx(600, abs=2)
        peer = Address("203.0.113.20", 5000)
        holder.shell.call(lambda now: holder.allocation.permit([peer], now))
        network.run_for(1.0)
        assert holder.shell.take(PermissionInstalled)
        holder.shell.call(holder.allocation.move)
        network.run_for(1.0)
        assert holder.shell.take(Moved)
        holder.shell.call(holder.allocation.close)
        network.run_for(1.0)
        assert holder.shell.take(AllocationClosed) == [AllocationClosed(confirmed=True)]


def test_an_allocation_ends_with_its_token() -> None:
    with network_of(1) as network:
        holder = Holder(network, lifetime=300)
        assert holder.allocate(Allocated).lifetime <= 300
        network.run_for(299.0)
        assert holder.allocation.state is AllocationState.ALLOCATED
        network.run_for(30.0)
        assert holder.shell.take(AllocationLost)
        assert holder.relay.relayed == ()


def test_a_renewed_token_lets_it_live_on() -> None:
    with network_of(1) as network:
        holder = Holder(network, lifetime=300)
        holder.allocate(Allocated)
        for _ in range(20):
            network.run_for(200.0)
            holder.shell.call(partial(holder.allocation.renew, holder.token(300)))
        network.run_for(10.0)
        assert holder.allocation.state is AllocationState.ALLOCATED
        assert len(holder.relay.relayed) == 1


def test_a_server_that_takes_no_tokens_is_shown_none() -> None:
    with network_of(1) as network:
        holder = Holder(network, taking=False)
        failed = holder.allocate(AllocateFailed)
        assert isinstance(failed.error, Unauthenticated)
        assert len(exchanges(network, "client")) == 1


def test_a_refused_token_is_not_sent_again() -> None:
    with network_of(1) as network:
        holder = Holder(network, lifetime=1)
        network.run_for(60.0)
        failed = holder.allocate(AllocateFailed)
        assert isinstance(failed.error, Unauthenticated)
        assert len(exchanges(network, "client")) == 2


def test_who_has_a_password_has_no_token_to_renew() -> None:
    with network_of(1) as network:
        holder = Holder(network)
        plain = Allocation(
            holder.relay.address(),
            Transport.UDP,
            username="alice",
            password="secret",
            random=network.random_bytes("other"),
        )
        with pytest.raises(MisuseError, match="by a password"):
            plain.renew(holder.token(), 0.0)
