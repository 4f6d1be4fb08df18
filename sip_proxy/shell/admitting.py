"""How many connections others may have here."""

from collections import Counter

from natkit.machine import Path
from sip_proxy.config.policy import Limits

__all__ = ["Admitted"]

# A household or a site has a /64 at least (RFC 6177 §2): its hosts choose the rest of the address.
_IPV6_SOURCE = 8


class Admitted:
    """Counts connections, in all and of each source, and admits so many.

    A source is an IPv4 address, or an IPv6 /64.  ``limits`` may be replaced; connections that are
    there stay.  ``declined`` counts those beyond a limit, which leave nothing else behind.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.declined = 0
        self._by_source: Counter[bytes] = Counter()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def admit(self, path: Path) -> bool:
        """Whether one more may be."""
        source = _source(path)
        limits = self.limits
        if (
            self._count >= limits.connections
            or self._by_source[source] >= limits.connections_per_source
        ):
            self.declined += 1
            return False
        self._by_source[source] += 1
        self._count += 1
        return True

    def release(self, path: Path) -> None:
        """An admitted one ended."""
        source = _source(path)
        self._count -= 1
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]


def _source(path: Path) -> bytes:
    packed = path.remote.packed
    return packed if len(packed) == 4 else packed[:_IPV6_SOURCE]
