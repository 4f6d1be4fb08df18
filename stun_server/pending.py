"""Requests that wait for the shell: for a credential, a socket, or what another worker has."""

from typing import NamedTuple

from natkit.machine import Path, RequestId
from natkit.stun.message import Message
from stun_server.allocate import Opening
from stun_server.authentication import Claim
from stun_server.mobility import Taking
from stun_server.realms import Realm
from stun_server.redeem import Redeeming

__all__ = ["MAX_PENDING", "PENDING_LIFETIME", "Kept", "Lookup", "Pending", "Waiting"]

MAX_PENDING = 1024
"""Requests that wait at a time: each holds its message, and a shell that answers at once needs one.

Beyond them lookups are dropped, for clients retransmit, and Allocates get 508.
"""

PENDING_LIFETIME = 5.0
"""Seconds that a request waits for the shell: by then a client has retransmitted it four times."""


class Lookup(NamedTuple):
    """A request that waits for the credential of the user that it claims to be from."""

    request: Message
    path: Path
    claim: Claim
    realm: Realm
    malformed: bool


Waiting = Lookup | Opening | Taking | Redeeming


class Kept(NamedTuple):
    """What waits, and until when."""

    waiting: Waiting
    until: float


class Pending:
    """All that wait, by the ids that the shell answers by.

    Of one path any number of lookups may wait, but one alone of what will be its allocation: that
    is in ``opening``.  Every packet asks whether there is anything in ``kept``.
    """

    __slots__ = ("_last_id", "_looking_up", "kept", "opening")

    def __init__(self) -> None:
        # In the order of their deadlines, for each waits equally long.
        self.kept: dict[RequestId, Kept] = {}
        self._looking_up: set[tuple[Path, bytes]] = set()
        self.opening: dict[Path, Waiting] = {}
        self._last_id: RequestId = 0

    def next_id(self) -> RequestId:
        """An id that no question to the shell had before."""
        self._last_id += 1
        return self._last_id

    def add(self, waiting: Waiting, now: float) -> RequestId:
        """Let a request wait; the id to ask the shell by."""
        self._last_id += 1
        self.kept[self._last_id] = Kept(waiting, now + PENDING_LIFETIME)
        if isinstance(waiting, Lookup):
            self._looking_up.add((waiting.path, waiting.request.transaction_id))
        else:
            self.opening[waiting.path] = waiting
        return self._last_id

    def take(self, request_id: RequestId) -> Waiting | None:
        """What waited for this answer of the shell, and waits no more; None for a late one."""
        kept = self.kept.pop(request_id, None)
        if kept is None:
            return None
        waiting = kept.waiting
        if isinstance(waiting, Lookup):
            self._looking_up.discard((waiting.path, waiting.request.transaction_id))
        else:
            del self.opening[waiting.path]
        return waiting

    def take_overdue(self, now: float) -> Waiting | None:
        """What has waited in vain, one at a time."""
        if not self.kept:
            return None
        request_id, (_, until) = next(iter(self.kept.items()))
        return self.take(request_id) if until <= now else None

    def take_all_of(self, path: Path) -> list[Waiting]:
        """What waits on ``path``, and waits no more."""
        ids = [number for number, kept in self.kept.items() if kept.waiting.path == path]
        return [taken for each in ids if (taken := self.take(each)) is not None]

    def has(self, path: Path, transaction_id: bytes) -> bool:
        """Whether this very request waits."""
        opening = self.opening.get(path)
        return (path, transaction_id) in self._looking_up or (
            opening is not None and opening.request.transaction_id == transaction_id
        )

    def next_deadline(self) -> float | None:
        """When the first has waited in vain."""
        return next(iter(self.kept.values())).until if self.kept else None
