"""Asks one gateway for mappings by PCP or NAT-PMP, and keeps them (RFC 6886, RFC 6887)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Never, assert_never

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import Failure, Path, RandomBytes, RequestId, Transmit
from natkit.portmap.dialect import Announced, Dialect, ExternalHost, Granted, Refused, Reply
from natkit.portmap.ledger import ALL, PATIENCE, Entry, Ledger, State, Timer
from natkit.portmap.mapping import (
    GatewayRestarted,
    Left,
    Mapped,
    Mapping,
    Method,
    PortMapEvent,
    Silent,
    Speaks,
    Wish,
)
from natkit.portmap.registry import CLIENT_PORT, NONCE_LENGTH

__all__ = ["GatewayMapper"]

REMOVAL_PATIENCE: Final = 3.0
"""Seconds to wait for the word that a mapping is removed."""

SHORTEST_RENEWAL: Final = 4.0
"""Seconds between renewals at least (RFC 6887 §11.2.1)."""

RECOVERY_SPREAD: Final = 5.0
"""Seconds over which mappings are asked for again after a gateway's restart (RFC 6887 §8.5)."""

LONGEST_GRANT: Final = 86_400
"""Seconds that a grant counts for at most: gateways exist that promise and forget (§15)."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Entry(Entry):
    """``external`` and ``lifetime`` are those of the last grant."""

    nonce: bytes
    sent: int = 0
    interval: float = 0.0
    external_port: int = 0
    external_host: str | None = None
    lifetime: float = 0.0


class GatewayMapper:
    """Mappings at one gateway, until they are given up; a machine (see :mod:`natkit.machine`).

    ``path`` leads from a local address to the gateway's port.  Each grant is renewed between half
    and five eighths of its lifetime, and asked for again when the gateway's epoch shows that it
    forgot.  Announcements are received on any path whose local port is 5350, and count if they are
    the gateway's own.  ``internal_host``: whom the mappings lead to where that is not
    ``path.local``.
    """

    def __init__(
        self,
        path: Path,
        dialect: Dialect,
        *,
        random: RandomBytes,
        patience: float = PATIENCE,
        internal_host: str | None = None,
    ) -> None:
        self._path = path
        self._dialect = dialect
        self._random = random
        self._patience = patience
        self._internal_host = internal_host or path.local.host
        self._ledger: Ledger[_Entry, Never] = Ledger(dialect.method)
        self._entries, self._timers = self._ledger.entries, self._ledger.timers
        self._events = self._ledger.events
        self._by_key: dict[bytes, _Entry] = {}
        self._transmits: list[Transmit] = []
        self._epoch: tuple[int, float] | None = None
        self._host: str | None = None
        # The probe: for the external address where that is a question of its own.
        self._probing = False
        self._probes_sent = 0
        self._probe_interval = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def gateway(self) -> Address:
        """Whom it asks."""
        return self._path.remote

    # ── what is wanted ──────────────────────────────────────────────────────────────────────────

    def can_say(self, wish: Wish) -> bool:
        """Whether the protocol has words for all of a wish."""
        return self._dialect.method is Method.PCP or not wish.needs_pcp

    def probe(self, now: float) -> None:
        """Find out whether the gateway speaks the protocol: Speaks or Silent follows."""
        self._probing = True
        self._probes_sent = 0
        self._timers.set((ALL, Timer.GIVE_UP), now + self._patience)
        self._send_probe(now)

    def map(self, wish_id: int, wish: Wish, now: float) -> None:
        """Ask for a mapping and keep it.  MisuseError for what the protocol cannot say.

        As for one that is wanted already, and one too many.
        """
        if not self.can_say(wish):
            raise MisuseError("only PCP maps for one peer, for third parties, and with filters")
        nonce = self._random(NONCE_LENGTH)
        key = self._dialect.key(wish, nonce)
        if key in self._by_key:
            raise MisuseError(f"a mapping of port {wish.internal_port} is wanted already")
        entry = _Entry(wish_id=wish_id, wish=wish, nonce=nonce)
        self._ledger.admit(entry, now + self._patience)
        self._by_key[key] = entry
        if self._dialect.tells_host_apart and self._host is None and not self._probes_sent:
            self._send_probe(now)
        self._begin(entry, now)

    def unmap(self, wish_id: int, now: float) -> None:
        """Remove a mapping; one that is not wanted is no error."""
        entry = self._entries.get(wish_id)
        if entry is None or entry.state is State.REMOVING:
            return
        self._ledger.removing(entry, now + REMOVAL_PATIENCE)
        self._begin(entry, now)

    def remove(self, wish_id: int, left: Left, now: float) -> None:
        """Remove what an earlier life left behind: Unmapped follows."""
        key = self._dialect.key(left.wish, left.nonce)
        if key in self._by_key:
            raise MisuseError(f"a mapping of port {left.wish.internal_port} is wanted by now")
        entry = _Entry(wish_id=wish_id, wish=left.wish, nonce=left.nonce, state=State.REMOVING)
        entry.external_port = left.external_port
        self._ledger.admit(entry, now + REMOVAL_PATIENCE)
        self._by_key[key] = entry
        self._begin(entry, now)

    # ── the contract of a machine ───────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram arrived; what is not the gateway's own is ignored."""
        is_answer = path == self._path
        # RFC 6886 §3.2.1, RFC 6887 §14.1.1: anybody on the link can send to the group.
        is_announcement = path.local.port == CLIENT_PORT and path.remote == self._path.remote
        if not is_answer and not is_announcement:
            return
        try:
            reply = self._dialect.parse(data)
        except MalformedMessage:
            return
        entry = self._by_key.get(reply.key) if reply.key is not None else None
        if reply.key is not None and (entry is None or not entry.sent or not is_answer):
            # Nobody asked for it.
            return
        if not is_answer and isinstance(reply.content, Refused):
            return
        self._check_epoch(reply, now)
        match reply.content:
            case Granted() as granted:
                if entry is not None:
                    self._granted(entry, granted, now)
            case Refused() as refused:
                if entry is None:
                    self._probed(Silent(self._dialect.method, refused.reason))
                self._refused(entry, refused, now)
            case ExternalHost(host):
                self._probed(Speaks(self._dialect.method, host))
                self._host_known(host)
            case Announced():
                self._probed(Speaks(self._dialect.method, None))
            case _:
                assert_never(reply.content)

    def disconnected(self, path: Path, now: float) -> None:
        """No stream is ours."""

    def answer(self, request_id: RequestId, result: object | Failure, now: float) -> None:
        """There are no requests to the shell."""

    def handle_timer(self, now: float) -> None:
        """Send again, renew, and notice what ended."""
        for wish_id, timer in self._timers.pop_due(now):
            if wish_id == ALL:
                if timer is Timer.SEND:
                    self._send_probe(now)
                else:
                    self._probed(Silent(self._dialect.method, self._silence()))
                continue
            entry = self._entries[wish_id]
            match timer:
                case Timer.SEND:
                    self._send(entry, now)
                case Timer.RENEW:
                    entry.state = State.RENEWING
                    self._begin(entry, now)
                case Timer.EXPIRE:
                    self._expired(entry)
                case Timer.GIVE_UP:
                    self._given_up(entry)
                case _:
                    assert_never(timer)

    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`, in monotonic seconds."""
        return self._timers.next_deadline()

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        taken, self._transmits = self._transmits, []
        return taken

    def next_event(self) -> PortMapEvent | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None

    # ── sending ─────────────────────────────────────────────────────────────────────────────────

    def _begin(self, entry: _Entry, now: float) -> None:
        entry.sent = 0
        entry.interval = 0.0
        self._send(entry, now)

    def _send(self, entry: _Entry, now: float) -> None:
        external = None
        if entry.external_port:
            external = Address(entry.external_host or "0.0.0.0", entry.external_port)  # noqa: S104 - unknown
        lifetime = 0 if entry.state is State.REMOVING else entry.wish.lifetime
        data = self._dialect.request(
            entry.wish, entry.nonce, self._path.local.host, lifetime, external
        )
        self._transmits.append(Transmit(data, self._path))
        entry.sent += 1
        entry.interval = self._dialect.interval(entry.sent, entry.interval, self._random)
        self._timers.set((entry.wish_id, Timer.SEND), now + entry.interval)

    def _send_probe(self, now: float) -> None:
        if not self._probing and not self._entries:
            self._probes_sent = 0
            return
        self._transmits.append(Transmit(self._dialect.probe(self._path.local.host), self._path))
        self._probes_sent += 1
        self._probe_interval = self._dialect.interval(
            self._probes_sent, self._probe_interval, self._random
        )
        self._timers.set((ALL, Timer.SEND), now + self._probe_interval)

    def _probed(self, answer: Speaks | Silent) -> None:
        self._timers.cancel((ALL, Timer.SEND))
        self._timers.cancel((ALL, Timer.GIVE_UP))
        if self._probing:
            self._probing = False
            self._events.append(answer)

    # ── what the gateway says ───────────────────────────────────────────────────────────────────

    def _check_epoch(self, reply: Reply, now: float) -> None:
        if reply.epoch is None:
            return
        before, self._epoch = self._epoch, (reply.epoch, now)
        if before is None or not self._dialect.lost_state(now - before[1], before[0], reply.epoch):
            return
        self._events.append(GatewayRestarted(self.gateway))
        for entry in self._entries.values():
            if entry.state in (State.GRANTED, State.RENEWING):
                wait = RECOVERY_SPREAD * int.from_bytes(self._random(2), "big") / 0xFFFF
                entry.state = State.RENEWING
                entry.sent = 0
                entry.interval = 0.0
                self._timers.cancel((entry.wish_id, Timer.RENEW))
                self._timers.set((entry.wish_id, Timer.SEND), now + wait)
        if self._dialect.tells_host_apart:
            self._probes_sent = 0
            self._send_probe(now)

    def _granted(self, entry: _Entry, granted: Granted, now: float) -> None:
        if entry.state is State.REMOVING:
            if granted.lifetime == 0:
                self._unkey(entry)
                self._ledger.removed(entry, confirmed=True)
            return
        if not granted.lifetime or not granted.external_port:
            # Late word of a removal, or nonsense.
            return
        entry.external_port = granted.external_port
        entry.external_host = granted.external_host
        entry.lifetime = float(min(granted.lifetime, LONGEST_GRANT))
        # RFC 6887 §11.2.1: between a half and five eighths.
        share = 0.5 + 0.125 * int.from_bytes(self._random(2), "big") / 0xFFFF
        renewal = max(share * entry.lifetime, min(SHORTEST_RENEWAL, entry.lifetime / 2))
        self._ledger.granted(entry, now + renewal, now + entry.lifetime)
        if self._dialect.tells_host_apart and self._host is None:
            self._timers.set((entry.wish_id, Timer.GIVE_UP), now + self._patience)
        self._tell(entry)

    def _tell(self, entry: _Entry) -> None:
        host = entry.external_host or self._host
        if host is None:
            # NAT-PMP: told once the external address is known.
            return
        mapping = Mapping(
            self._dialect.method,
            entry.wish,
            self.gateway,
            Address(entry.wish.third_party or self._internal_host, entry.wish.internal_port),
            Address(host, entry.external_port),
            entry.lifetime,
            entry.nonce,
        )
        self._events.append(Mapped(entry.wish_id, mapping))

    def _host_known(self, host: str) -> None:
        changed, self._host = self._host != host, host
        if not changed:
            return
        for entry in self._entries.values():
            if entry.state in (State.GRANTED, State.RENEWING):
                self._timers.cancel((entry.wish_id, Timer.GIVE_UP))
                self._tell(entry)

    def _refused(self, entry: _Entry | None, refused: Refused, now: float) -> None:
        concerned = [entry] if entry is not None else list(self._entries.values())
        for each in concerned:
            match each.state:
                case State.ASKING:
                    retry = float(refused.lifetime) if refused.lifetime else None
                    self._unkey(each)
                    self._ledger.failed(each, refused.reason, refused.code, retry)
                case State.REMOVING:
                    self._unkey(each)
                    self._ledger.removed(each, confirmed=False)
                case State.RENEWING | State.LOST:
                    # It may be granted again before it ends, or after.
                    wait = max(float(refused.lifetime or 0), SHORTEST_RENEWAL)
                    self._timers.set(
                        (each.wish_id, Timer.SEND), now + min(wait, each.wish.lifetime)
                    )
                case State.GRANTED:
                    pass
                case _:
                    assert_never(each.state)

    # ── ends ────────────────────────────────────────────────────────────────────────────────────

    def _expired(self, entry: _Entry) -> None:
        self._timers.cancel((entry.wish_id, Timer.RENEW))
        self._ledger.expired(entry)

    def _given_up(self, entry: _Entry) -> None:
        self._unkey(entry)
        self._ledger.given_up(entry, self._silence())

    def _silence(self) -> str:
        return f"{self.gateway} does not answer {self._dialect.method.upper()}"

    def _unkey(self, entry: _Entry) -> None:
        """It is to be forgotten: no answer is its any more."""
        del self._by_key[self._dialect.key(entry.wish, entry.nonce)]
