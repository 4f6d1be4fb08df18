"""Resolves the names of remote candidates, and answers for the names of our own (RFC 6762).

::

    mdns = MulticastDns(links, random=os.urandom)
    name = mdns.publish("192.0.2.1", now)      # goes into the candidate in place of the address
    mdns.resolve("….local", now)               # NameResolved or NameUnresolved follows

A machine (see :mod:`natkit.machine`) over one socket a link.  Names are not probed for: they are
random, so nobody else has them (draft-ietf-mmusic-mdns-ice-candidates §3.1.1).
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from natkit.address import Address, Family
from natkit.errors import MalformedMessage, MisuseError
from natkit.ice.mdns.messages import (
    HostRecord,
    MdnsMessage,
    MdnsQuestion,
    answer,
    legacy_answer,
    parse,
    query,
)
from natkit.ice.mdns.names import is_mdns_name, mdns_name, normalized
from natkit.ice.mdns.registry import HOST_TTL, PORT
from natkit.machine import Failure, Path, RandomBytes, RequestId, Transmit, Transport
from natkit.timers import TimerQueue

__all__ = ["Link", "MdnsEvent", "MulticastDns", "NameResolved", "NameUnresolved"]

INTERVALS: Final = (1.0, 2.0, 2.0)
"""Seconds after each query until the next, or until the name is given up (RFC 6762 §5.2)."""

MOST_RESOLVING: Final = 100
"""Names that are asked for at a time: as many as an agent's check list has pairs."""

MOST_PUBLISHED: Final = 256
"""Names of our own: one for each address and agent, as a rule."""

MOST_HEARD: Final = 256
"""Names that others announced, kept for when they are asked for; the oldest go first."""

ANNOUNCEMENT_INTERVAL: Final = 1.0
"""Seconds between the two announcements of a name (RFC 6762 §8.3)."""

QUIET_TIME: Final = 1.0
"""Seconds in which a record is multicast once on a link at most (RFC 6762 §6)."""

BOTH: Final = frozenset(Family)


@dataclass(frozen=True, slots=True)
class Link:
    """One interface, as one family of IP sees it.

    ``local`` is the socket's identity, ``group`` where its messages go.  ``hosts`` are the
    interface's addresses of both families: their names are answered for here and nowhere else
    (RFC 6762 §6.2).  ``zone`` is that of its link-local IPv6 addresses.
    """

    local: Address
    group: Address
    hosts: frozenset[str]
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class NameResolved:
    """``name`` is at ``host``."""

    name: str
    host: str


@dataclass(frozen=True, slots=True)
class NameUnresolved:
    """``name`` stays a name, for the reason given."""

    name: str
    reason: str


MdnsEvent = NameResolved | NameUnresolved


@dataclass(frozen=True, slots=True)
class _Asking:
    """The name is asked for again."""

    name: str


@dataclass(frozen=True, slots=True)
class _Telling:
    """A name of ours is to be multicast on a link."""

    name: str
    link: Address


@dataclass(slots=True, eq=False)
class _Published:
    """A name of ours, on which links, and when each last heard it."""

    host: str
    last_told: dict[Address, float]


class MulticastDns:
    """The names of candidates, ours and others'; a machine (see :mod:`natkit.machine`)."""

    def __init__(self, links: Iterable[Link], *, random: RandomBytes) -> None:
        self._links = {link.local: link for link in links}
        self._random = random
        self._asked: dict[str, int] = {}
        self._published: dict[str, _Published] = {}
        self._heard: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._timers: TimerQueue[_Asking | _Telling] = TimerQueue()
        self._transmits: list[Transmit] = []
        self._events: deque[MdnsEvent] = deque()
        self.malformed = 0
        """Messages that could not be read."""

    # ── names of others ─────────────────────────────────────────────────────────────────────────

    def resolve(self, name: str, now: float) -> None:
        """Find the address of ``name``: NameResolved or NameUnresolved follows, at most 5 s later.

        One of several addresses is chosen: the first of IPv6, or else of IPv4 (§3.2.2).
        """
        key = normalized(name)
        if key in self._asked:
            return
        known = self._known(key, now)
        if known is not None:
            self._events.append(NameResolved(key, known))
        elif not is_mdns_name(key):
            self._events.append(NameUnresolved(key, "not a name that multicast DNS resolves"))
        elif not self._links:
            self._events.append(NameUnresolved(key, "no link that carries multicast"))
        elif len(self._asked) >= MOST_RESOLVING:
            self._events.append(NameUnresolved(key, f"{MOST_RESOLVING} names are asked for"))
        else:
            self._asked[key] = 0
            self._ask(key, now)

    def forget(self, name: str) -> None:
        """A name is of no interest any more; nothing is told of it."""
        key = normalized(name)
        self._asked.pop(key, None)
        self._timers.cancel(_Asking(key))

    # ── names of ours ───────────────────────────────────────────────────────────────────────────

    def can_publish(self, host: str) -> bool:
        """Whether a link has this address, so that its name would be found."""
        return any(host in link.hosts for link in self._links.values())

    def publish(self, host: str, now: float) -> str:
        """Give an address of ours a new name, and announce it.

        Raises MisuseError when no link has the address, or there are :data:`MOST_PUBLISHED` names.
        """
        links = [link for link in self._links.values() if host in link.hosts]
        if not links:
            raise MisuseError(f"{host} is on no link that carries multicast")
        if len(self._published) >= MOST_PUBLISHED:
            raise MisuseError(f"there are {MOST_PUBLISHED} names already")
        name = mdns_name(self._random(16))
        self._published[name] = _Published(host, {})
        for link in links:
            self._tell(name, link.local, now)
            self._timers.set(_Telling(name, link.local), now + ANNOUNCEMENT_INTERVAL)
        return name

    def withdraw(self, name: str) -> None:
        """Stop answering for a name of ours, and say so to the link (RFC 6762 §10.1)."""
        key = normalized(name)
        published = self._published.pop(key, None)
        if published is None:
            return
        for local in published.last_told:
            self._timers.cancel(_Telling(key, local))
            self._multicast(answer(key, published.host, BOTH, ttl=0), self._links[local])

    def withdraw_all(self) -> None:
        """Stop answering for every name of ours."""
        for name in tuple(self._published):
            self.withdraw(name)

    # ── the machine's contract ──────────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A message arrived on the link of ``path.local``."""
        link = self._links.get(path.local)
        if link is None:
            return
        try:
            message = parse(data)
        except MalformedMessage:
            self.malformed += 1
            return
        if not message.is_response:
            self._answer(message, link, path, now)
        elif path.remote.port == PORT:  # RFC 6762 §6: from any other it would be forged
            self._learn(message, link, now)

    def disconnected(self, path: Path, now: float) -> None:
        """There are no streams here."""

    def answer(self, request_id: RequestId, result: Failure, now: float) -> None:
        """There are no requests here."""

    def handle_timer(self, now: float) -> None:
        """Ask and announce again."""
        for due in self._timers.pop_due(now):
            match due:
                case _Asking(name):
                    self._ask(name, now)
                case _Telling(name, link):
                    self._tell(name, link, now)

    def next_deadline(self) -> float | None:
        """When the next message is due."""
        return self._timers.next_deadline()

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        transmits, self._transmits = self._transmits, []
        return transmits

    def next_event(self) -> MdnsEvent | None:
        """Take the next event."""
        return self._events.popleft() if self._events else None

    # ── asking ──────────────────────────────────────────────────────────────────────────────────

    def _ask(self, name: str, now: float) -> None:
        sent = self._asked[name]
        if sent == len(INTERVALS):
            del self._asked[name]
            self._events.append(NameUnresolved(name, "nobody on the link answered for it"))
            return
        self._asked[name] = sent + 1
        self._timers.set(_Asking(name), now + INTERVALS[sent])
        # One question a message: Chromium reads no more, and answers to none of several.
        for message in [query(name, (family,)) for family in Family]:
            for link in self._links.values():
                self._multicast(message, link)

    def _known(self, name: str, now: float) -> str | None:
        ours = self._published.get(name)
        if ours is not None:
            return ours.host
        host, expires = self._heard.get(name, ("", 0.0))
        return host if now < expires else None

    def _learn(self, message: MdnsMessage, link: Link, now: float) -> None:
        found: dict[str, HostRecord] = {}
        for record in message.records:
            # Ours are ours: what others say of them is a mistake or a forgery.
            if record.name in self._published or not is_mdns_name(record.name):
                continue
            before = found.get(record.name)
            if before is None or (":" in record.host and ":" not in before.host):
                found[record.name] = record
        for name, record in found.items():
            self._heard.pop(name, None)
            if record.ttl == 0:
                continue
            host = _with_zone(record.host, link)
            self._heard[name] = (host, now + min(record.ttl, HOST_TTL))
            if len(self._heard) > MOST_HEARD:
                self._heard.popitem(last=False)
            if name in self._asked:
                self.forget(name)
                self._events.append(NameResolved(name, host))

    # ── answering ───────────────────────────────────────────────────────────────────────────────

    def _answer(self, message: MdnsMessage, link: Link, path: Path, now: float) -> None:
        wanted: dict[str, MdnsQuestion] = {}
        for question in message.questions:
            published = self._published.get(question.name)
            if published is None or published.host not in link.hosts:
                continue
            before = wanted.get(question.name)
            families = question.families | (before.families if before else frozenset())
            by_unicast = question.wants_unicast and (before is None or before.wants_unicast)
            wanted[question.name] = MdnsQuestion(question.name, families, by_unicast)
        for name, question in wanted.items():
            published = self._published[name]
            if path.remote.port != PORT:
                reply = legacy_answer(message.message_id, name, published.host, question.families)
                self._transmits.append(Transmit(reply, path))
            elif _is_known(message, name, published.host):
                continue
            elif question.wants_unicast and _told_lately(published, link, now):
                reply = answer(name, published.host, question.families)
                self._transmits.append(Transmit(reply, path))
            else:
                self._tell_soon(name, link.local, now)

    def _tell_soon(self, name: str, local: Address, now: float) -> None:
        earliest = self._published[name].last_told.get(local, now - QUIET_TIME) + QUIET_TIME
        if earliest <= now:
            self._tell(name, local, now)
        else:
            self._timers.set(_Telling(name, local), earliest)

    def _tell(self, name: str, local: Address, now: float) -> None:
        published = self._published[name]
        published.last_told[local] = now
        self._multicast(answer(name, published.host, BOTH), self._links[local])

    def _multicast(self, message: bytes, link: Link) -> None:
        self._transmits.append(Transmit(message, Path(Transport.UDP, link.local, link.group)))


def _is_known(message: MdnsMessage, name: str, host: str) -> bool:
    """Whether the asker has our record already, for long enough (RFC 6762 §7.1)."""
    text = host.partition("%")[0]
    return any(
        record.name == name and record.host == text and record.ttl >= HOST_TTL // 2
        for record in message.records
    )


def _told_lately(published: _Published, link: Link, now: float) -> bool:
    """Whether the link's caches are fresh enough for an answer to one alone (RFC 6762 §5.4)."""
    told = published.last_told.get(link.local)
    return told is not None and now - told < HOST_TTL / 4


def _with_zone(host: str, link: Link) -> str:
    if link.zone is not None and ":" in host and Address(host, 0).ip.is_link_local:
        return f"{host}%{link.zone}"
    return host
