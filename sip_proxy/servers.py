"""The servers of a URI (RFC 3263 §4): one that names an address is told from it alone.

What requests within a dialog go to is mostly that, and for everything else the shell is asked.
"""

from natkit.address import Address
from natkit.locate import Target
from natkit.machine import Transport
from natkit.sip import SipUri
from natkit.sip.registry import DEFAULT_PORTS
from sip_proxy.desk import Desk, Then
from sip_proxy.events import FindServers
from sip_proxy.identity import Identity

__all__ = ["find_servers", "server_named_by"]


def find_servers(desk: Desk, uri: SipUri, then: Then, now: float) -> None:
    """``then`` gets Targets in the order to try, or a Failure: at once where nobody is asked."""
    named = server_named_by(uri, desk.identity)
    if named is not None:
        then((named,), now)
        return
    text = str(uri)
    desk.ask(lambda number: FindServers(number, text), then, now)


def server_named_by(uri: SipUri, identity: Identity) -> Target | None:
    """The server that a URI spells out, for UDP, which we speak; else None (§4.1, §4.2)."""
    if uri.is_secure or uri.address is None or uri.port == 0:
        return None
    for parameter in uri.parameters:
        if parameter.key == "maddr" or (
            parameter.key == "transport" and (parameter.value or "").lower() != Transport.UDP
        ):
            return None
    host = str(uri.address)
    address = Address.of(host, uri.port or DEFAULT_PORTS[Transport.UDP])
    if identity.listener_for(Transport.UDP, address) is None:
        return None
    return Target(Transport.UDP, address, host, host)
