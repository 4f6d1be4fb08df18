"""Sends what has no transaction: an ACK to a 2xx, and a request that is forwarded statelessly.

Nothing tells whether it arrives, so the first server that can be reached is the only one.
"""

from natkit.machine import Path
from natkit.sip import Request, SipUri
from natkit.sip.flows import Flows
from sip_proxy.desk import Desk
from sip_proxy.first_path import FirstPath
from sip_proxy.forwarding import forwarded, signed
from sip_proxy.targets import Contact

__all__ = ["OneWay"]


class OneWay:
    """Sends requests on, each once."""

    def __init__(self, desk: Desk, flows: Flows) -> None:
        self._desk = desk
        self._flows = flows
        self._first_path = FirstPath(desk, flows)

    def send(self, request: Request, contact: Contact, branch: str, now: float) -> None:
        """Forward ``request`` to ``contact`` with this ``branch`` in our Via (§16.6)."""
        copy, hop = forwarded(request, contact, None)

        def send(path: Path | None, _now: float) -> None:
            listener = None if path is None else self._desk.identity.listener_of(path)
            if path is not None and listener is not None:
                data = bytes(signed(copy, listener, branch))
                self._desk.transactions.transmit(data, path)

        flow = contact.flow
        if flow is not None and self._is_usable(flow):
            send(flow, now)
        elif isinstance(hop, SipUri) and (flow is None or not contact.needs_flow):
            self._first_path.find(hop, send, now)

    def _is_usable(self, flow: Path) -> bool:
        return not flow.transport.is_reliable or flow in self._flows
