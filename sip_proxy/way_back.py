"""Another way for a response whose connection is gone (RFC 3261 §18.2.2, RFC 3263 §5)."""

from collections import deque
from dataclasses import dataclass, field

from natkit.locate import Target
from natkit.machine import Failure, Path
from natkit.sip.flows import Flows
from natkit.sip.transactions import TransactionId
from natkit.sip.via import ResponseAddress, SentBy
from sip_proxy.desk import Desk
from sip_proxy.events import FindSender, OpenFlow, ProxyResult
from sip_proxy.hops import targets_in

__all__ = ["WayBack"]


@dataclass(slots=True)
class _Search:
    """``fallback`` is whom to look up once ``targets`` are used up."""

    transaction: TransactionId
    targets: deque[Target] = field(default_factory=deque)
    fallback: SentBy | None = None


class WayBack:
    """Finds it, one search a transaction; where none is found the response is lost."""

    def __init__(self, desk: Desk, flows: Flows) -> None:
        self._desk = desk
        self._flows = flows
        self._searches: dict[TransactionId, _Search] = {}

    def __len__(self) -> int:
        return len(self._searches)

    def lost(
        self, transaction: TransactionId, destination: ResponseAddress | SentBy, now: float
    ) -> None:
        """A response could not be sent in the stream of its request."""
        if transaction in self._searches:
            # The transaction sends its last response once it has a path again.
            return
        search = self._searches[transaction] = _Search(transaction)
        match destination:
            case ResponseAddress(transport, address, _, fallback):
                # Its certificate is for what the sender calls itself.
                name = address.host if fallback is None else fallback.host
                search.targets.append(Target(transport, address, name, name))
                search.fallback = fallback
            case SentBy():
                search.fallback = destination
        self._next(search, now)

    def ended(self, transaction: TransactionId) -> None:
        """The transaction is over."""
        self._searches.pop(transaction, None)

    def _next(self, search: _Search, now: float) -> None:
        if self._searches.get(search.transaction) is not search:
            return
        while search.targets:
            target = search.targets.popleft()
            if self._desk.identity.listener_for(target.transport, target.address) is None:
                continue
            path = self._flows.find(target)
            if path is not None:
                self._found(search, path)
            else:
                self._open(search, target, now)
            return
        if search.fallback is None:
            del self._searches[search.transaction]
            return
        sent_by, search.fallback = search.fallback, None
        self._desk.ask(
            lambda number: FindSender(number, sent_by),
            lambda found, at: self._located(search, found, at),
            now,
        )

    def _located(self, search: _Search, found: ProxyResult | Failure, now: float) -> None:
        search.targets.extend(targets_in(found))
        self._next(search, now)

    def _open(self, search: _Search, target: Target, now: float) -> None:
        def opened(path: ProxyResult | Failure, at: float) -> None:
            if isinstance(path, Path):
                self._flows.made(target, path)
                self._found(search, path)
            else:
                self._next(search, at)

        self._desk.ask(lambda number: OpenFlow(number, target), opened, now)

    def _found(self, search: _Search, path: Path) -> None:
        if self._searches.pop(search.transaction, None) is search:
            self._desk.transactions.move(search.transaction, path)
