"""The path to the first server of a URI that we can reach, for what is sent to one server alone."""

from collections.abc import Callable

from natkit.locate import Target
from natkit.machine import Failure, Path, Transport
from natkit.sip import SipUri
from natkit.sip.flows import Flows
from sip_proxy.desk import Desk
from sip_proxy.events import OpenFlow, ProxyResult
from sip_proxy.hops import targets_in
from sip_proxy.servers import find_servers

__all__ = ["FirstPath"]

Then = Callable[[Path | None, float], None]


class FirstPath:
    """Finds such paths."""

    def __init__(self, desk: Desk, flows: Flows) -> None:
        self._desk = desk
        self._flows = flows

    def find(self, uri: SipUri, then: Then, now: float) -> None:
        """``then`` gets the path, or None where there is no server, or its connection failed."""
        find_servers(
            self._desk, uri, lambda found, at: self.to_first(targets_in(found), then, at), now
        )

    def to_first(self, targets: list[Target], then: Then, now: float) -> None:
        """The same for servers that are known."""
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
        then(None, now)

    def _open(self, target: Target, then: Then, now: float) -> None:
        def opened(path: ProxyResult | Failure, at: float) -> None:
            if isinstance(path, Path):
                self._flows.made(target, path)
                then(path, at)
            else:
                then(None, at)

        self._desk.ask(lambda number: OpenFlow(number, target), opened, now)
