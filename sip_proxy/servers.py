"""The servers of a URI (RFC 3263 §4): one that names an address is told from it alone.

What requests within a dialog go to is mostly that, and for everything else the shell is asked.
"""

from functools import lru_cache

from natkit.address import Address
from natkit.locate import Target
from natkit.machine import Transport
from natkit.sip import SipUri
from natkit.sip.grammar import numeric_host
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
    if uri.parameters and not (uri.maddr is None and uri.transport in (None, "udp")):
        return None
    named = _target(uri.host, uri.port or DEFAULT_PORTS[Transport.UDP])
    return None if identity.listener_for(Transport.UDP, named.address) is None else named


# The messages of a call go to the same few.
@lru_cache(1024)
def _target(numeric: str, port: int) -> Target:
    host = str(numeric_host(numeric))
    return Target(Transport.UDP, Address.of(host, port), host, host)
