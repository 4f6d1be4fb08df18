"""Bindings in Redis, or in what speaks its protocol, for one proxy or several.

``natkit:bindings:ADDRESS-OF-RECORD`` is a text (:mod:`sip_proxy.location.text`) that vanishes when
the last of its bindings has expired.  ``natkit:bindings`` is a sorted set of the addresses of
record by that time, by which they are counted and listed.

A change is made on what was read, and kept if that still stands there; else it is made again on
what now does.  So two proxies that change one address of record at once both have their way.  What
is acknowledged outlives Redis itself only where it writes an append-only file with each command:
``appendonly yes``, ``appendfsync always``.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from natkit.errors import MalformedMessage, StoreFailure
from natkit.machine import Failure
from natkit.server.stores.redis_connection import redis_at
from sip_proxy.location import Outcome
from sip_proxy.location.group import Change, Held, apply_all
from sip_proxy.location.text import from_text, to_text

__all__ = ["RedisBindings"]

INDEX: Final = "natkit:bindings"

ATTEMPTS: Final = 16
"""How often a change is made again because another proxy was faster."""

GRACE: Final = 1.0
"""Seconds that a text stays beyond its last binding: who reads it looks at the times too."""

# KEYS: the text, the index.  ARGV: what stands there as far as we know, what shall, for how many
# milliseconds, until which Unix time, and the name in the index.  What a lost connection makes us
# send twice is done once.
_REPLACE: Final = """
local found = redis.call('GET', KEYS[1]) or ''
if found == ARGV[2] then return 1 end
if found ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[5])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  redis.call('ZADD', KEYS[2], ARGV[4], ARGV[5])
end
return 1
"""


class RedisBindings:
    """:class:`~sip_proxy.shell.stores.shared.Bindings` in Redis.

    ``url`` is ``redis://user:password@host:port/number``, ``rediss:`` for TLS, or
    ``unix:///path/to/socket``; ConfigError for another.
    """

    def __init__(self, url: str) -> None:
        self._redis, self._name = redis_at(url)
        self._advice: list[str] = []

    @property
    def name(self) -> str:
        """Where it is."""
        return self._name

    @property
    def advice(self) -> Sequence[str]:
        """What of its configuration loses registrations."""
        return self._advice

    async def open(self) -> None:
        """Look how it is configured; nothing has to be made."""
        info = await self._redis.info()
        self._advice = []
        if not int(info.get("aof_enabled", 1)):
            self._advice.append("registrations end with Redis: set appendonly yes")
        if info.get("maxmemory_policy", "noeviction") != "noeviction":
            self._advice.append("Redis may drop registrations: set maxmemory-policy noeviction")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._redis.aclose()

    async def fetch(self, addresses_of_record: Sequence[str]) -> Mapping[str, Held]:
        """What is held of each."""
        texts = await self._redis.mget([_key(name) for name in addresses_of_record])
        return {
            name: self._read(name, text)
            for name, text in zip(addresses_of_record, texts, strict=True)
            if text is not None
        }

    async def apply(
        self, changes: Sequence[Change], largest_count: int
    ) -> Sequence[Outcome | Failure]:
        """Apply each on what is held."""
        failure = Failure(f"{self._name}: others change this address of record all the time")
        outcomes: list[Outcome | Failure] = [failure] * len(changes)
        left = list(range(len(changes)))
        for _ in range(ATTEMPTS):
            if not left:
                break
            group = [changes[number] for number in left]
            made, lost = await self._attempt(group, largest_count)
            again = []
            for number, change, outcome in zip(left, group, made, strict=True):
                if change.address_of_record in lost:
                    again.append(number)
                else:
                    outcomes[number] = outcome
            left = again
        return outcomes

    async def forget_expired(self, unix_now: float) -> int:
        """Take what has expired out of the index; the texts vanish by themselves."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.zremrangebyscore(INDEX, "-inf", unix_now)
            pipeline.zcard(INDEX)
            _, count = await pipeline.execute()
        return int(count)

    async def listed(self, limit: int) -> Sequence[str]:
        """Those that expire last."""
        found = await self._redis.zrevrange(INDEX, 0, limit - 1)
        return [name.decode() for name in found if isinstance(name, bytes)]

    async def _attempt(
        self, changes: Sequence[Change], largest_count: int
    ) -> tuple[list[Outcome | Failure], set[str]]:
        """The outcomes, and for which addresses of record they are void."""
        names = list({change.address_of_record: None for change in changes})
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.zcard(INDEX)
            pipeline.mget([_key(name) for name in names])
            count, texts = await pipeline.execute()
        before = {name: text or b"" for name, text in zip(names, texts, strict=True)}
        held: dict[str, Held] = {
            name: self._read(name, text) for name, text in before.items() if text
        }
        outcomes = apply_all(changes, held, largest_count - int(count))
        written = await self._write(before, held, changes)
        lost = {name for name, done in written.items() if done == 0}
        for number, change in enumerate(changes):
            done = written.get(change.address_of_record)
            if isinstance(done, Failure):
                outcomes[number] = done
        return outcomes, lost

    async def _write(
        self, before: Mapping[str, bytes | str], held: Mapping[str, Held], changes: Sequence[Change]
    ) -> dict[str, int | Failure]:
        """By address of record that is to change: 1, 0 for one that another changed, or Failure."""
        latest = {change.address_of_record: change.unix_now for change in changes}
        written: list[str] = []
        async with self._redis.pipeline(transaction=False) as pipeline:
            for name, bindings in held.items():
                if isinstance(bindings, Failure):
                    continue
                after = to_text(bindings).encode() if bindings else b""
                if after == before[name]:
                    continue
                until = max((binding.expires_at for binding in bindings), default=0.0)
                milliseconds = max(1, round((until - latest[name] + GRACE) * 1000))
                pipeline.eval(
                    _REPLACE, 2, _key(name), INDEX, before[name], after, milliseconds, until, name
                )
                written.append(name)
            # What fails with one must not fail the others.
            done = await pipeline.execute(raise_on_error=False) if written else []
        return {
            name: Failure(f"{self._name}: {one}") if isinstance(one, Exception) else int(one)
            for name, one in zip(written, done, strict=True)
        }

    def _read(self, name: str, text: bytes | str) -> Held:
        try:
            return from_text(text.decode() if isinstance(text, bytes) else text)
        except (MalformedMessage, UnicodeDecodeError) as error:
            return Failure(str(StoreFailure(f"{self._name}: {_key(name)}: {error}")))


def _key(name: str) -> str:
    return f"{INDEX}:{name}"
