"""Sends what has no transaction: an ACK to a 2xx, and a request that is forwarded statelessly.

Nothing tells whether it arrives, so the first server that can be reached is the only one.
"""

from collections.abc import Callable

from natkit.locate import Target
from natkit.machine import Failure, Path, Transport
from natkit.sip import Request, SipUri
from natkit.sip.flows import Flows
from sip_proxy.desk import Desk
from sip_proxy.events import FindServers, OpenFlow, ProxyResult
from sip_proxy.forwarding import forwarded, signed
from sip_proxy.hops import targets_in
from sip_proxy.targets import Contact

__all__ = ["OneWay"]

SendOn = Callable[[Path, float], None]


class OneWay:
    """Sends requests on, each once."""

    def __init__(self, desk: Desk, flows: Flows) -> None:
        self._desk = desk
        self._flows = flows

    def send(self, request: Request, contact: Contact, branch: str, now: float) -> None:
        """Forward ``request`` to ``contact`` with this ``branch`` in our Via (§16.6)."""
        copy, hop = forwarded(request, contact, None)

        def send(path: Path, _now: float) -> None:
            listener = self._desk.identity.listener_of(path)
            if listener is not None:
                data = bytes(signed(copy, listener, branch))
                self._desk.transactions.transmit(data, path)

        flow = contact.flow
        if flow is not None and (not flow.transport.is_reliable or flow in self._flows):
            send(flow, now)
        elif isinstance(hop, SipUri) and (flow is None or not contact.needs_flow):
            uri = str(hop)
            self._desk.ask(
                lambda number: FindServers(number, uri),
                lambda found, at: self._path_to(targets_in(found), send, at),
                now,
            )

    def _path_to(self, targets: list[Target], then: SendOn, now: float) -> None:
        for target in targets:
            listener = self._desk.identity.listener_for(target.transport, target.address)
            if listener is None:
                continue
            if target.transport is Transport.UDP:
                then(Path(Transport.UDP, listener.address, target.address), now)
            elif (path := self._flows.find(target)) is not None:
                then(path, now)
            else:
                self._open(target, then, now)
            return

    def _open(self, target: Target, then: SendOn, now: float) -> None:
        def opened(path: ProxyResult | Failure, at: float) -> None:
            if isinstance(path, Path):
                self._flows.made(target, path)
                then(path, at)

        self._desk.ask(lambda number: OpenFlow(number, target), opened, now)
