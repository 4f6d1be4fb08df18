"""Bandwidth: how many bytes a second each user, and all together, may have relayed each way.

A user's allocations share its buckets, which live as long as one of them.  Where nothing is limited
there are none, and relaying costs nothing for it.
"""

from natkit.relay.rates import Rates
from stun_server.authentication import Account
from stun_server.settings import Settings
from stun_server.sharing import Buckets, OwnBuckets, Pair

__all__ = ["Bandwidth"]

# Of no account, since each has a realm.
_ALL = ""


class _Limit:
    """A bucket for each direction, and how many allocations go through them."""

    __slots__ = ("holders", "pair")

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.holders = 0

    def set(self, rate: int) -> None:
        for bucket in self.pair:
            bucket.rate = rate


class Bandwidth:
    """Hands out the buckets; each realm has its own limit for a user.

    ``buckets`` makes them, for all workers of the server together.
    """

    def __init__(self, settings: Settings, buckets: Buckets | None = None) -> None:
        self._buckets = buckets or OwnBuckets()
        self._users: dict[str, _Limit] = {}
        self._all: _Limit | None = None
        self._per_user: dict[str, int | None] = {}
        self._default: int | None = None
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Go by other limits; what was unlimited when an allocation opened stays so for it."""
        self._default = settings.bandwidth_per_user
        self._per_user = {
            choice.settings.realm: choice.settings.bandwidth_per_user for choice in settings.realms
        }
        if settings.bandwidth is None:
            # Allocations may still go through them, so they stay open.
            self._all = None
        elif self._all is None:
            self._all = _Limit(self._buckets.open(_ALL, settings.bandwidth))
        else:
            self._all.set(settings.bandwidth)

    def open(self, account: Account) -> Rates | None:
        """The buckets of a user's new allocation; None when nothing limits it."""
        limit = self._per_user.get(account.realm, self._default)
        if limit is None and self._all is None:
            return None
        pairs = [self._all.pair] if self._all is not None else []
        if limit is not None:
            own = self._users.get(account.name)
            if own is None:
                own = _Limit(self._buckets.open(account.name, limit))
                self._users[account.name] = own
            own.set(limit)
            own.holders += 1
            # First, so that a user beyond its own limit takes nothing from the others.
            pairs.insert(0, own.pair)
        return Rates(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))

    def close(self, account: Account, rates: Rates | None) -> None:
        """The user's allocation that had these buckets is gone."""
        own = self._users.get(account.name)
        if own is None or rates is None or own.pair[0] not in rates.to_peers:
            return
        own.holders -= 1
        if not own.holders:
            del self._users[account.name]
            self._buckets.shut(account.name, own.pair)
