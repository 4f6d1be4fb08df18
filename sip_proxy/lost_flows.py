"""Bindings go with the flow that they were reached by (RFC 5626 §6)."""

from collections.abc import Sequence
from typing import Final

from natkit.machine import Failure, Path
from natkit.sip import SipUri
from natkit.sip.flows import Flows
from sip_proxy.desk import Desk
from sip_proxy.edge import Edge
from sip_proxy.events import BindingsChanged, ProxyResult, UpdateBindings
from sip_proxy.location import Accepted, Binding, LostFlow, Registration
from sip_proxy.targets import Origin

__all__ = ["LostFlows"]

MOST_ADDRESSES: Final = 1000
"""Addresses of record that are remembered of one connection: a branch exchange has as many.

Bindings of those beyond stay until a call finds the flow gone, or until they expire.
"""


class LostFlows:
    """Knows which addresses of record are reached by a connection, and has its end recorded."""

    def __init__(self, desk: Desk, edge: Edge, flows: Flows) -> None:
        self._desk = desk
        self._edge = edge
        self._flows = flows
        self._bound: dict[Path, dict[str, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._bound.values()))

    def registered(
        self, address_of_record: str, flow: Path, bindings: Sequence[Binding], now: float
    ) -> bool:
        """A REGISTER that came by ``flow`` left these bindings; whether the flow is still there.

        It may have ended while the store was at work.
        """
        if not flow.transport.is_reliable:
            return True
        is_bound = any(binding.flow == flow for binding in bindings)
        if flow not in self._flows:
            if is_bound:
                self._bound[flow] = {address_of_record: None}
            self.disconnected(flow, now)
            return False
        if is_bound:
            bound = self._bound.setdefault(flow, {})
            if len(bound) < MOST_ADDRESSES:
                bound[address_of_record] = None
        elif flow in self._bound:
            self._bound[flow].pop(address_of_record, None)
        return True

    def disconnected(self, flow: Path, now: float) -> None:
        """A connection ended: what was reached by it is not reached any more."""
        bound = self._bound.pop(flow, {})
        entry = self._edge.entry(flow)
        if entry is not None:
            for address_of_record in bound:
                self._remove(address_of_record, LostFlow(entry), now)

    def failed(self, origin: Origin, now: float) -> None:
        """A request found no flow: a 430 came, from the proxy that should hold it or from us."""
        if origin.flow is not None and self._is_kept_by_us(origin.address_of_record):
            self._remove(origin.address_of_record, origin.flow, now)

    def _is_kept_by_us(self, address_of_record: str) -> bool:
        return self._desk.settings.serves(SipUri.parse(address_of_record).host)

    def _remove(self, address_of_record: str, lost: LostFlow, now: float) -> None:
        gone = Registration((), "", 0, lost=lost)

        def removed(outcome: ProxyResult | Failure, at: float) -> None:
            del at
            # Where the store is down, the binding stays and is found gone once more.
            if isinstance(outcome, Accepted):
                self._desk.events.append(BindingsChanged(address_of_record, outcome.bindings))

        self._desk.ask(lambda number: UpdateBindings(number, address_of_record, gone), removed, now)
