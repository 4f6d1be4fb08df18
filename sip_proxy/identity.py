"""What names this proxy: its listeners and domains, in URIs and Vias (RFC 3261 §16.3, §16.4)."""

from typing import Final

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.sip import SipUri, Via
from natkit.sip.grammar import domain_name, numeric_host
from natkit.sip.registry import DEFAULT_PORTS
from natkit.sip.remembering import remembered
from sip_proxy.settings import Listener, Settings

__all__ = ["Identity"]


class Identity:
    """Answers whether a URI or a Via means us, and which listener speaks on a path."""

    def __init__(self, settings: Settings) -> None:
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings
        self.is_secure = any(one.transport.is_secure for one in settings.listeners)
        """Whether it can be reached, and reach others, by TLS."""
        self._named: set[tuple[str, int]] = set()
        self._by_address: dict[tuple[Transport, Address], Listener] = {}
        for listener in settings.listeners:
            self._by_address[listener.transport, listener.address] = listener
            port = listener.address.port
            self._named.add((_spelled(listener.address.host.partition("%")[0]), port))
            if listener.name is not None:
                self._named.add((_spelled(listener.name), port))
        edge = settings.outbound.edge
        if edge is not None:
            self._named.add((_spelled(edge.maddr or edge.host), _port_of(edge)))

    def is_ours(self, uri: SipUri) -> bool:
        """Whether a URI leads to this very element: an address or a name of a listener.

        A domain of ours counts too while it names no port and no user.
        """
        if (_spelled(uri.maddr or uri.host), _port_of(uri)) in self._named:
            return True
        return uri.user is None and uri.port is None and self._settings.serves(uri.host)

    def came_as(self, uri: SipUri, path: Path) -> bool:
        """Whether the ``maddr`` of a URI means us, and ``path`` is by its port and transport."""
        maddr = uri.maddr
        if maddr is None or not (
            self._settings.serves(maddr) or (_spelled(maddr), path.local.port) in self._named
        ):
            return False
        by_default = Transport.TLS if uri.is_secure else Transport.UDP
        return _port_of(uri) == path.local.port and path.transport == (uri.transport or by_default)

    def wrote(self, via: Via) -> bool:
        """Whether a Via is one of ours."""
        transport = via.transport
        if transport is None:
            return False
        return (_spelled(via.host), via.port or DEFAULT_PORTS[transport]) in self._named

    def has(self, path: Path) -> bool:
        """Whether a listener is at this end of a path that a user agent made."""
        return (path.transport, path.local) in self._by_address

    def listener_of(self, path: Path) -> Listener | None:
        """The listener that a datagram or a connection came to, or the one we would send from."""
        found = self._by_address.get((path.transport, path.local))
        return found or self.listener_for(path.transport, path.remote)

    def listener_for(self, transport: Transport, remote: Address) -> Listener | None:
        """The first listener of that transport and of the remote's family."""
        for listener in self._settings.listeners:
            same_family = listener.address.family is remote.family
            if listener.transport is transport and same_family:
                return listener
        return None


@remembered
def _spelled(host: str) -> str:
    address = numeric_host(host) if not (":" in host and host[0] != "[") else None
    if address is not None:
        return str(address)
    return domain_name(host)


def _port_of(uri: SipUri) -> int:
    if uri.port is not None:
        return uri.port
    if uri.is_secure and uri.transport == Transport.WS:
        return DEFAULT_PORTS[Transport.WSS]
    if uri.is_secure or uri.transport == Transport.TLS:
        return DEFAULT_PORTS[Transport.TLS]
    return _PORTS.get(uri.transport or "udp", DEFAULT_PORTS[Transport.UDP])


_PORTS: Final = {transport.value: port for transport, port in DEFAULT_PORTS.items()}
