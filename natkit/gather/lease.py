"""One allocation of a gatherer: its machine, whom it asks, and what it may carry."""

from collections.abc import Callable
from functools import partial

from natkit.address import Address, Family
from natkit.errors import MisuseError, NatkitError
from natkit.gather.desk import Desk
from natkit.gather.events import ConnectServer, GatherResult, Slot
from natkit.gather.settings import TurnServer
from natkit.locate import Target
from natkit.machine import (
    ClosePath,
    CloseSocket,
    Connect,
    Failure,
    OpenSocket,
    Path,
    RandomBytes,
    Transport,
)
from natkit.turn.allocation import Allocation
from natkit.turn.allocation_state import AllocationState
from natkit.turn.dual import Wish
from natkit.turn.events import ChannelFailed, PermissionFailed, TurnEvent

__all__ = ["Lease"]


class Lease:
    """An allocation that was asked for at one address of a server.

    ``addresses`` are the relayed ones that are in use, ``refusals`` the server's last word against
    each peer that it relays nothing to.
    """

    def __init__(
        self,
        number: int,
        slot: Slot,
        server: TurnServer,
        target: Target,
        wish: Wish,
        *,
        local: Address | None,
        random: RandomBytes,
    ) -> None:
        self.number = number
        self.slot = slot
        self.target = target
        self.addresses: dict[Family, Address] = {}
        self.refusals: dict[str, NatkitError] = {}
        self.allocation = Allocation(
            target.address,
            target.transport,
            username=server.username,
            password=server.password,
            token=server.token,
            random=random,
            local=local,
            family=wish,
        )

    def owns(self, path: Path) -> bool:
        """Whether what comes on ``path`` is this allocation's."""
        mine = self.allocation.path
        if mine is None or mine.local != path.local or mine.transport is not path.transport:
            return False
        return mine.transport is Transport.UDP or mine.remote == path.remote

    def address_of(self, family: Family) -> Address:
        """The relayed address by which a peer of ``family`` is spoken with."""
        return self.addresses.get(family) or next(iter(self.addresses.values()))

    # ── data ────────────────────────────────────────────────────────────────────────────────────

    def send(self, data: bytes, peer: Address, now: float) -> None:
        """Best effort: what the allocation has no room or permission for is lost."""
        if self._is_usable(peer):
            try:
                self.allocation.send(data, peer, now)
            except MisuseError as error:
                self.refusals[peer.host] = error

    def permit(self, peer: Address, now: float) -> None:
        """Ask for a permission, unless there is one."""
        if self._is_usable(peer) and not self.allocation.is_permitted(peer.host):
            try:
                self.allocation.permit([peer], now)
            except MisuseError as error:
                self.refusals[peer.host] = error

    def bind_channel(self, peer: Address, now: float) -> None:
        """Ask for a channel."""
        if self._is_usable(peer):
            try:
                self.allocation.bind_channel(peer, now)
            except MisuseError as error:
                self.refusals[peer.host] = error

    def note(self, event: TurnEvent) -> None:
        """Keep why a peer is not relayed to."""
        if isinstance(event, PermissionFailed):
            self.refusals[event.host] = event.error
        elif isinstance(event, ChannelFailed):
            self.refusals[event.peer.host] = event.error

    def _is_usable(self, peer: Address) -> bool:
        return self.allocation.state is AllocationState.ALLOCATED and peer.family in self.addresses

    # ── what it asks of the shell ───────────────────────────────────────────────────────────────

    def ask(self, event: TurnEvent, desk: Desk, follow_up: Callable[[float], None]) -> bool:
        """Pass a wish on to the shell under the gatherer's numbers; False if it is none.

        ``follow_up`` is called after the allocation got the answer.
        """
        match event:
            case OpenSocket():
                answered = self._answered(event.request_id, follow_up)
                desk.ask(partial(OpenSocket, local=event.local), answered)
            case Connect():
                answered = self._answered(event.request_id, follow_up)
                wish = partial(ConnectServer, local=event.local, target=self.target)
                desk.ask(wish, answered)
            case CloseSocket() | ClosePath():
                desk.tell(event)
            case _:
                return False
        return True

    def _answered(
        self, inner: int, follow_up: Callable[[float], None]
    ) -> Callable[[GatherResult | Failure, float], None]:
        def take(result: GatherResult | Failure, now: float) -> None:
            if isinstance(result, Address | Path | Failure):
                self.allocation.answer(inner, result, now)
                follow_up(now)

        return take
