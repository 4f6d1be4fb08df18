"""Asks a UPnP Internet gateway device for mappings, and keeps them (IGD:1, IGD:2)."""

from collections.abc import Callable, Sequence
from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from typing import Final, assert_never

from natkit.address import Address, Family
from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import Failure, Path, RandomBytes, Request, RequestId, Transmit
from natkit.portmap.dialect import is_reachable
from natkit.portmap.ledger import ALL, PATIENCE, Entry, Ledger, State, Timer
from natkit.portmap.mapping import (
    Left,
    Mapped,
    Mapping,
    Method,
    PortMapEvent,
    Silent,
    Speaks,
    Unmapped,
    Wish,
)
from natkit.portmap.upnp import soap
from natkit.portmap.upnp.description import FIREWALL, Service, read_description
from natkit.portmap.upnp.soap import Call, Returned
from natkit.portmap.upnp.ssdp import (
    GROUP,
    GROUP_IPV6,
    SEARCH_TARGETS,
    is_on,
    read_response,
    search,
)

__all__ = ["Exchange", "HttpResponse", "IgdMapper"]

SEARCH_INTERVAL: Final = 1.0
"""Seconds between searches: datagrams get lost (UDA §1.3.2)."""

SEARCHES: Final = 3

CHECK_INTERVAL: Final = 1200.0
"""Seconds after which a mapping without end is asked for again: UPnP tells of no restart."""

MOST_TRIES: Final = 8
"""External ports that are tried before a conflict counts."""

EXCHANGE_PATIENCE: Final = 10.0
"""Seconds for one HTTP exchange."""

_FIRST_PORT: Final = 1024


@dataclass(frozen=True, slots=True)
class Exchange(Request):
    """Do an HTTP exchange: POST with ``body``, GET without.  Result: HttpResponse, or Failure.

    No redirections are followed, no proxies asked; ``limit`` bytes of the body are enough.
    """

    url: str
    headers: Table[str, str] = field(default_factory=dict)
    body: bytes | None = None
    limit: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What came back."""

    status: int
    body: bytes


IgdEvent = PortMapEvent | Exchange


@dataclass(slots=True, eq=False, kw_only=True)
class _Entry(Entry):
    """``pinhole`` is the id of one for IPv6."""

    port: int = 0
    lease: int = 0
    tries: int = 0
    busy: bool = False
    pinhole: str | None = None


class IgdMapper:
    """Mappings at one gateway device; a machine, with the face of GatewayMapper.

    ``path`` leads from a local address to SSDP's group, ``gateway`` is the only host whose word
    counts: the default router's address.  With an IPv6 address it opens pinholes.
    """

    def __init__(
        self, path: Path, gateway: str, *, random: RandomBytes, patience: float = PATIENCE
    ) -> None:
        self._path = path
        self._gateway = gateway
        self._random = random
        self._patience = patience
        self._is_ipv6 = path.local.family is Family.IPV6
        self._ledger: Ledger[_Entry, Exchange] = Ledger(Method.UPNP)
        self._entries, self._timers = self._ledger.entries, self._ledger.timers
        self._events = self._ledger.events
        self._service: Service | None = None
        self._host: str | None = None
        self._searched = 0
        self._describing = False
        self._probing = False
        self._continuations: dict[RequestId, Callable[[HttpResponse | Failure, float], None]] = {}
        self._last_request_id = 0
        self._transmits: list[Transmit] = []

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def gateway(self) -> Address:
        """Whom it asks."""
        return Address(self._gateway, GROUP.port)

    @staticmethod
    def group(family: Family) -> Address:
        """Where devices are searched, for ``path.remote``."""
        return GROUP if family is Family.IPV4 else GROUP_IPV6

    # ── what is wanted ──────────────────────────────────────────────────────────────────────────

    def can_say(self, wish: Wish) -> bool:
        """Whether UPnP has words for all of a wish; a pinhole may be for one peer."""
        for_one_peer = wish.remote is not None
        return not wish.needs_pcp or (
            self._is_ipv6
            and for_one_peer
            and not (wish.third_party or wish.prefer_failure or wish.filters)
        )

    def probe(self, now: float) -> None:
        """Find out whether there is a gateway device: Speaks or Silent follows."""
        self._probing = True
        self._timers.set((ALL, Timer.GIVE_UP), now + self._patience)
        if self._service is None and not self._searched:
            self._search(now)
        elif self._service is not None:
            self._probed(now)

    def map(self, wish_id: int, wish: Wish, now: float) -> None:
        """Ask for a mapping and keep it.  MisuseError for what UPnP cannot say, or one too many."""
        if not self.can_say(wish):
            raise MisuseError("only PCP maps for one peer, for third parties, and with filters")
        port = wish.external_port or wish.internal_port
        entry = _Entry(wish_id=wish_id, wish=wish, port=port, lease=wish.lifetime)
        self._ledger.admit(entry, now + self._patience)
        if self._service is not None:
            self._ask(entry, now)
        elif not self._searched:
            self._search(now)

    def unmap(self, wish_id: int, now: float) -> None:
        """Remove a mapping; one that is not wanted is no error."""
        entry = self._entries.get(wish_id)
        if entry is None or entry.state is State.REMOVING:
            return
        was_granted = entry.state is State.GRANTED
        if self._service is None or not was_granted:
            self._forget(entry)
            self._events.append(Unmapped(wish_id, confirmed=not was_granted))
            return
        self._ledger.removing(entry, now + EXCHANGE_PATIENCE)
        self._delete(entry)

    def remove(self, wish_id: int, left: Left, now: float) -> None:
        """Remove what an earlier life left behind, once the device is known: Unmapped follows."""
        if self._service is None:
            self._events.append(Unmapped(wish_id, confirmed=False))
            return
        entry = _Entry(
            wish_id=wish_id,
            wish=left.wish,
            state=State.REMOVING,
            port=left.external_port,
            pinhole=left.pinhole,
        )
        self._ledger.admit(entry, now + EXCHANGE_PATIENCE)
        self._delete(entry)

    def _delete(self, entry: _Entry) -> None:
        action, arguments = "DeletePortMapping", self._place(entry)
        if self._is_ipv6:
            action, arguments = "DeletePinhole", {"UniqueID": entry.pinhole or ""}

        def removed(result: Returned | str, _: float) -> None:
            if entry.wish_id in self._entries:
                gone = isinstance(result, Returned) and result.error in (None, soap.NO_SUCH_ENTRY)
                self._ledger.removed(entry, confirmed=gone)
                self._rest()

        self._call(action, arguments, removed)

    # ── the contract of a machine ───────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram arrived on the socket that searched; only the gateway's own count."""
        if path.local != self._path.local or path.remote.host != self._gateway:
            return
        if self._service is not None or self._describing or not self._searched:
            return
        try:
            found = read_response(data, path.remote)
        except MalformedMessage:
            return
        self._describing = True

        def described(result: HttpResponse | Failure, now: float) -> None:
            self._describing = False
            self._described(found.location, result, now)

        self._exchange(Exchange(0, found.location), described)
        self._timers.cancel((ALL, Timer.SEND))
        del now

    def disconnected(self, path: Path, now: float) -> None:
        """No stream is ours: the shell does the HTTP."""

    def answer(self, request_id: RequestId, result: HttpResponse | Failure, now: float) -> None:
        """The outcome of an Exchange."""
        follow = self._continuations.pop(request_id, None)
        if follow is not None:
            follow(result, now)

    def handle_timer(self, now: float) -> None:
        """Search again, renew, and notice what ended."""
        for wish_id, timer in self._timers.pop_due(now):
            if wish_id == ALL:
                if timer is Timer.SEND:
                    self._search(now)
                else:
                    self._fail_all(self._why_nothing(), None)
                continue
            entry = self._entries[wish_id]
            match timer:
                case Timer.GIVE_UP:
                    self._given_up(entry)
                case Timer.RENEW:
                    if not entry.busy:
                        self._ask(entry, now)
                case Timer.EXPIRE:
                    self._ledger.expired(entry)
                case Timer.SEND:
                    pass  # it is for all, never for one
                case _:
                    assert_never(timer)

    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`, in monotonic seconds."""
        return self._timers.next_deadline()

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        taken, self._transmits = self._transmits, []
        return taken

    def next_event(self) -> IgdEvent | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None

    # ── finding the service ─────────────────────────────────────────────────────────────────────

    def _search(self, now: float) -> None:
        wanted = self._probing or bool(self._entries)
        if self._searched >= SEARCHES or not wanted:
            self._searched = SEARCHES if wanted else 0
            return
        self._searched += 1
        for target in SEARCH_TARGETS:
            self._transmits.append(Transmit(search(self._path.remote, target), self._path))
        self._timers.set((ALL, Timer.SEND), now + SEARCH_INTERVAL)

    def _described(self, location: str, result: HttpResponse | Failure, now: float) -> None:
        try:
            if isinstance(result, Failure):
                raise MalformedMessage(result.reason)
            services = read_description(result.body, location, self._gateway)
        except MalformedMessage as error:
            self._fail_all(f"the device's description cannot be used: {error}", None)
            return
        usable = [each for each in services if (each.kind == FIREWALL) is self._is_ipv6]
        if not usable:
            self._fail_all("the device maps no ports of this address family", None)
            return
        self._service = usable[0]
        if self._is_ipv6:
            self._probed(now)
            self._ask_all(now)
        else:
            self._call("GetExternalIPAddress", {}, self._host_told)

    def _host_told(self, result: Returned | str, now: float) -> None:
        text = "" if isinstance(result, str) else result.values.get("NewExternalIPAddress", "")
        try:
            host = Address.of(text, 0).host
            if not is_reachable(host):
                raise MisuseError("nobody is reached there")
        except MisuseError:
            said = result if isinstance(result, str) else (result.description or repr(text))
            self._service, self._searched = None, 0
            self._fail_all(f"the device has no external address: {said}", None)
            return
        self._host = host
        self._probed(now)
        self._ask_all(now)

    def _probed(self, now: float) -> None:  # noqa: ARG002 - as its neighbours
        if self._probing:
            self._probing = False
            self._timers.cancel((ALL, Timer.GIVE_UP))
            self._events.append(Speaks(Method.UPNP, self._host))

    def _ask_all(self, now: float) -> None:
        # A device that was found anew may have forgotten what it had granted.
        for entry in list(self._entries.values()):
            if entry.state is not State.REMOVING and not entry.busy:
                self._ask(entry, now)

    # ── asking for a mapping ────────────────────────────────────────────────────────────────────

    def _place(self, entry: _Entry) -> dict[str, str | int]:
        return {
            "NewRemoteHost": "",
            "NewExternalPort": entry.port,
            "NewProtocol": entry.wish.protocol.name,
        }

    def _ask(self, entry: _Entry, now: float) -> None:
        service = self._service
        if service is None:
            self._search_anew(now)
            self._timers.set((entry.wish_id, Timer.RENEW), now + _pause(entry))
            return
        entry.busy = True
        if self._is_ipv6:
            action, arguments = _pinhole(entry, self._path.local.host)
        else:
            # IGD:2 §2.5.17: it takes another port than the one that is wanted, if it must.
            fresh = entry.state is not State.GRANTED
            action = "AddAnyPortMapping" if service.is_version_2 and fresh else "AddPortMapping"
            arguments = self._place(entry) | {
                "NewInternalPort": entry.wish.internal_port,
                "NewInternalClient": self._path.local.host,
                "NewEnabled": 1,
                "NewPortMappingDescription": "natkit",
                "NewLeaseDuration": entry.lease,
            }

        def asked(result: Returned | str, now: float) -> None:
            entry.busy = False
            if entry.wish_id in self._entries and entry.state is not State.REMOVING:
                self._asked(entry, result, now)

        self._call(action, arguments, asked)

    def _asked(self, entry: _Entry, result: Returned | str, now: float) -> None:
        if isinstance(result, str):
            self._refused(entry, result, None, now)
        elif result.error is None:
            self._granted(entry, result, now)
        elif self._may_try_again(entry, result.error):
            self._ask(entry, now)
        else:
            words = _ERRORS.get(result.error) or result.description or "it refuses"
            self._refused(entry, f"{words} (UPnP {result.error})", result.error, now)

    def _may_try_again(self, entry: _Entry, error: int) -> bool:
        """Whether the same wish may be told in another way."""
        entry.tries += 1
        if entry.tries > MOST_TRIES:
            return False
        match error:
            case soap.ONLY_PERMANENT_LEASES if entry.lease:
                entry.lease = 0
            case soap.SAME_PORT_REQUIRED if entry.port != entry.wish.internal_port:
                entry.port = entry.wish.internal_port
            case soap.CONFLICT | soap.CONFLICT_WITH_OTHER_MECHANISM:
                drawn = int.from_bytes(self._random(2), "big")
                entry.port = _FIRST_PORT + drawn % (0x10000 - _FIRST_PORT)
            case _:
                return False
        return True

    def _granted(self, entry: _Entry, result: Returned, now: float) -> None:
        reserved = result.values.get("NewReservedPort", "")
        if reserved.isascii() and reserved.isdigit() and 0 < int(reserved[:6]) <= 0xFFFF:
            entry.port = int(reserved)
        entry.pinhole = result.values.get("UniqueID") or entry.pinhole
        entry.tries = 0
        renewal = entry.lease / 2 if entry.lease else CHECK_INTERVAL
        ends_at = now + entry.lease if entry.lease else None
        self._ledger.granted(entry, now + renewal, ends_at)
        internal = Address(self._path.local.host, entry.wish.internal_port)
        external = internal if self._is_ipv6 else Address(self._host or "", entry.port)
        mapping = Mapping(
            Method.UPNP,
            entry.wish,
            self.gateway,
            internal,
            external,
            float(entry.lease),
            pinhole=entry.pinhole,
        )
        self._events.append(Mapped(entry.wish_id, mapping))

    def _refused(self, entry: _Entry, reason: str, code: int | None, now: float) -> None:
        if entry.state is State.ASKING:
            self._ledger.failed(entry, reason, code)
            self._rest()
            return
        entry.tries = 0
        if code is not None:
            entry.pinhole = None
        else:
            self._search_anew(now)
        self._timers.set((entry.wish_id, Timer.RENEW), now + _pause(entry))

    def _search_anew(self, now: float) -> None:
        """It is no longer where it was: a restarted device serves on another port."""
        if not self._describing:
            self._service, self._searched = None, 0
            self._search(now)

    # ── calls ───────────────────────────────────────────────────────────────────────────────────

    def _call(
        self,
        action: str,
        arguments: Table[str, str | int],
        follow: Callable[[Returned | str, float], None],
    ) -> None:
        """Call an action; ``follow`` gets what it returned, or why it returned nothing."""
        service = self._service
        if service is None:
            raise AssertionError("no service to call")
        made: Call = soap.call(service, action, arguments)

        def returned(result: HttpResponse | Failure, now: float) -> None:
            if isinstance(result, Failure):
                follow(result.reason, now)
                return
            try:
                follow(soap.read_result(result.status, result.body, service, action), now)
            except MalformedMessage as error:
                follow(str(error), now)

        self._exchange(Exchange(0, made.url, made.headers, made.body), returned)

    def _exchange(
        self, request: Exchange, follow: Callable[[HttpResponse | Failure, float], None]
    ) -> None:
        if not is_on(request.url, self._gateway):
            raise AssertionError("no other host than the gateway is asked")
        self._last_request_id += 1
        self._continuations[self._last_request_id] = follow
        self._events.append(
            Exchange(self._last_request_id, request.url, request.headers, request.body)
        )

    # ── ends ────────────────────────────────────────────────────────────────────────────────────

    def _given_up(self, entry: _Entry) -> None:
        self._ledger.given_up(entry, self._why_nothing())
        self._rest()

    def _why_nothing(self) -> str:
        if self._service is not None or self._describing:
            return f"the device at {self._gateway} does not answer"
        return f"{self._gateway} is no UPnP gateway"

    def _fail_all(self, reason: str, code: int | None) -> None:
        if self._probing:
            self._probing = False
            self._timers.cancel((ALL, Timer.GIVE_UP))
            self._events.append(Silent(Method.UPNP, reason))
        for entry in list(self._entries.values()):
            if entry.state is State.ASKING:
                self._ledger.failed(entry, reason, code)
        self._rest()

    def _forget(self, entry: _Entry) -> None:
        self._ledger.forget(entry)
        self._rest()

    def _rest(self) -> None:
        """Without a wish, and without a device, nothing is searched."""
        if not self._entries and self._service is None:
            self._timers.cancel((ALL, Timer.SEND))
            self._searched = 0


def _pause(entry: _Entry) -> float:
    """Seconds until a mapping that was not renewed is asked for again."""
    return min(CHECK_INTERVAL, max(entry.lease / 8, EXCHANGE_PATIENCE))


def _pinhole(entry: _Entry, host: str) -> tuple[str, dict[str, str | int]]:
    """AddPinhole, or UpdatePinhole for one that is open (WANIPv6FirewallControl:1 §2.5)."""
    if entry.pinhole is not None:
        return "UpdatePinhole", {"UniqueID": entry.pinhole, "NewLeaseTime": entry.lease}
    remote = entry.wish.remote
    return "AddPinhole", {
        "RemoteHost": remote.host if remote is not None else "",
        "RemotePort": remote.port if remote is not None else 0,
        "InternalClient": host,
        "InternalPort": entry.wish.internal_port,
        "Protocol": int(entry.wish.protocol),
        "LeaseTime": min(entry.lease, 86_400),
    }


_ERRORS: Final = {
    soap.NOT_AUTHORIZED: "mapping is not allowed for this host",
    soap.CONFLICT: "every external port that was tried is taken",
    soap.NO_PORT_MAPS_AVAILABLE: "it has no room for another mapping",
    soap.WILDCARD_NOT_PERMITTED_IN_EXTERNAL_PORT: "it wants an external port to be named",
    soap.REMOTE_HOST_ONLY_WILDCARD: "it does not map for one remote host",
}
