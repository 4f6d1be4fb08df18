"""Where a serving process stands among those of its server."""

from collections.abc import Callable
from dataclasses import dataclass, field

from natkit.address import Address
from natkit.machine import Transport
from stun_server.sharing import Counts, OwnCounts, Sharing
from stun_server.shell.listening import Listener
from stun_server.shell.neighbours import Post
from stun_server.shell.planes import PlaneChoice

__all__ = ["Place"]


def _nobody(_: Address, __: Transport) -> None:
    """There is no other process to know of an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a worker has from its supervisor; by default a process serves alone.

    ``listeners`` are inherited; None has the process open its own.  ``connections`` counts them by
    source.  ``opened`` and ``closed`` are told of relayed addresses, for other workers to know, who
    are reached by ``post``.  ``plane`` was chosen for all workers; None has the process choose.
    ``drained`` is told when a drain has left no session, or no time; None has the process end then.
    """

    worker: int = 0
    listeners: tuple[Listener, ...] | None = None
    sharing: Sharing = field(default_factory=Sharing)
    connections: Counts = field(default_factory=OwnCounts)
    opened: Callable[[Address, Transport], None] = _nobody
    closed: Callable[[Address, Transport], None] = _nobody
    post: Post | None = None
    plane: PlaneChoice | None = None
    drained: Callable[[], None] | None = None
