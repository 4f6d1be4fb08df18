"""What the proxy needs of those who find servers."""

from collections.abc import Sequence
from typing import Protocol

from natkit import locate
from natkit.locate import Target
from natkit.sip.via import SentBy

__all__ = ["Locator"]


class Locator(locate.Locator, Protocol):
    """Finds the servers of a URI, and the sender of a request; :class:`sipdns.Locator` is one."""

    async def locate_response(self, sent_by: SentBy) -> Sequence[Target]:
        """Where to send a response whose connection is gone (RFC 3263 §5); raises LocateError."""
        ...

    def locate_known(self, uri: str) -> Sequence[Target] | None:
        """What :meth:`locate` would give, where nobody has to be asked for it; else None."""
        ...
