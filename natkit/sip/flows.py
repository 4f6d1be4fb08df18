"""Connections by where they lead, so that one is used again (RFC 3261 §18.1.1, RFC 5923)."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from natkit.address import Address
from natkit.locate import Target
from natkit.machine import Path, Transport
from natkit.sip.grammar import domain_name
from natkit.sip.kinds import VIA
from natkit.sip.message import Request
from natkit.sip.registry import DEFAULT_PORTS
from natkit.sip.via import Via

__all__ = ["ConnectionReuse", "Flows"]

_Destination = tuple[Transport, Address, str]


@dataclass(frozen=True, slots=True)
class ConnectionReuse:
    """For whom a connection that came is used as one that leads to whoever opened it (RFC 5923).

    ``secure``: over TLS, for the domains of the peer's certificate.  ``tcp``: over TCP, for the
    address that the peer says is its own if it comes from there.  Any program on that host, and any
    other behind the same NAT, can say so: it is for networks where all of them are ours.
    """

    secure: bool = True
    tcp: bool = False


DEFAULT_REUSE = ConnectionReuse()


class Flows:
    """The open connections: whom each leads to, and for whom its peer speaks."""

    def __init__(self, reuse: ConnectionReuse = DEFAULT_REUSE) -> None:
        self._reuse = reuse
        self._open: set[Path] = set()
        self._made: dict[_Destination, Path] = {}
        self._made_to: dict[tuple[Transport, Address], Path] = {}
        self._leads_to: dict[Path, _Destination] = {}
        self._domains: dict[Path, frozenset[str]] = {}
        self._users: dict[Path, frozenset[str]] = {}
        self._aliases: dict[tuple[Transport, Address], Path] = {}
        self._alias_of: dict[Path, tuple[Transport, Address]] = {}

    def __contains__(self, path: Path) -> bool:
        return path in self._open

    def __len__(self) -> int:
        return len(self._open)

    def configure(self, reuse: ConnectionReuse) -> None:
        """Use connections again like this from now on."""
        self._reuse = reuse

    def counts(self) -> tuple[Counter[Transport], Counter[Transport]]:
        """How many there are by transport: that others made, and that we did."""
        made = Counter(path.transport for path in self._leads_to)
        return Counter(path.transport for path in self._open) - made, made

    # ── what happens ────────────────────────────────────────────────────────────────────────────

    def accepted(self, path: Path) -> None:
        """A connection came, or something came on it."""
        self._open.add(path)

    def made(self, target: Target, path: Path) -> None:
        """We made one to ``target``, whose certificate has its name."""
        self._open.add(path)
        destination = _destination(target)
        self._made[destination] = path
        self._made_to[target.transport, target.address] = path
        self._leads_to[path] = destination

    def identified(self, path: Path, domains: Collection[str], users: Collection[str] = ()) -> None:
        """The peer of a connection proved by its certificate that it speaks for ``domains``.

        And for ``users``, as :func:`natkit.sip.certificate.user_identity` has them.
        """
        self._open.add(path)
        if domains:
            self._domains[path] = frozenset(map(domain_name, domains))
        if users:
            self._users[path] = frozenset(users)

    def advertised(self, path: Path, request: Request) -> None:
        """A request came on ``path``; its topmost Via may ask for reuse (RFC 5923 §5).

        One connection is one alias: a peer that names another address leaves the first.
        """
        if path not in self._domains and not self._reuse.tcp:
            return
        via = request.headers.first(VIA)
        if via is None or not via.wants_alias or not self._may_be_reused(path, via):
            return
        port = via.port or DEFAULT_PORTS[path.transport]
        alias = (path.transport, Address(path.remote.host, port))
        self._forget_alias(path)
        self._alias_of[path] = alias
        self._aliases[alias] = path

    def ended(self, path: Path) -> None:
        """A connection ended."""
        self._open.discard(path)
        self._domains.pop(path, None)
        self._users.pop(path, None)
        self._forget_alias(path)
        destination = self._leads_to.pop(path, None)
        if destination is None:
            return
        if self._made.get(destination) == path:
            del self._made[destination]
        if self._made_to.get(destination[:2]) == path:
            del self._made_to[destination[:2]]

    # ── what is known ───────────────────────────────────────────────────────────────────────────

    def find(self, target: Target) -> Path | None:
        """A connection that leads to ``target`` already.

        A target that is named by its address alone, as in the routes that many proxies write, has
        no domain to prove: one that was made to that address is it, for whichever domain.
        """
        found = self._made.get(_destination(target))
        if found is None and target.tls_name == target.address.host:
            found = self._made_to.get((target.transport, target.address))
        if found is not None:
            return found
        alias = self._aliases.get((target.transport, target.address))
        if alias is None:
            return None
        if target.transport.is_secure and _name(target) not in self.domains_of(alias):
            return None
        return alias

    def domains_of(self, path: Path) -> frozenset[str]:
        """The domains that the peer of a connection speaks for, by its certificate."""
        return self._domains.get(path, _NOBODY)

    def users_of(self, path: Path) -> frozenset[str]:
        """The users that the peer of a connection speaks for, by its certificate."""
        return self._users.get(path, _NOBODY)

    def _may_be_reused(self, path: Path, via: Via) -> bool:
        match path.transport:
            case Transport.TLS:
                return self._reuse.secure and path in self._domains
            case Transport.TCP:
                return self._reuse.tcp and via.address == path.remote.ip
            case _:
                return False

    def _forget_alias(self, path: Path) -> None:
        alias = self._alias_of.pop(path, None)
        if alias is not None and self._aliases.get(alias) == path:
            del self._aliases[alias]


_NOBODY: frozenset[str] = frozenset()


def _destination(target: Target) -> _Destination:
    return (target.transport, target.address, _name(target))


def _name(target: Target) -> str:
    return domain_name(target.tls_name)
