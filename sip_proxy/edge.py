"""URIs by which others send along the flows that phones keep open to us (RFC 5626 §5).

A binding whose phone can be reached by the flow of its registration alone has an entry of ours in
its path: a URI that leads to this very proxy, with the flow in its user part.  Any proxy that finds
the binding in a shared store routes by it as by every Path (RFC 3327 §5.3); the one that holds the
flow recognises itself, and needs no hop.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.sip import Parameter, Scheme, SipUri
from sip_proxy.flow_tokens import FlowToken, FlowTokens
from sip_proxy.identity import Identity
from sip_proxy.settings import Listener, Settings

__all__ = ["Edge", "OwnEntry"]

MOST_KNOWN: Final = 4096
"""Entries that are remembered, by their flows."""

_REACHED_BY: Final = {
    # No proxy connects to another by WebSocket.
    Transport.WSS: (Transport.TLS, Transport.TCP, Transport.UDP),
    Transport.WS: (Transport.TCP, Transport.UDP, Transport.TLS),
}


@dataclass(frozen=True, slots=True)
class OwnEntry:
    """An entry of ours in a path; ``flow`` None: it cannot be read, or leads to no listener."""

    flow: Path | None


class Edge:
    """Writes and reads the entries of this proxy."""

    def __init__(self, settings: Settings, identity: Identity, tokens: FlowTokens) -> None:
        self.configure(settings)
        self._identity = identity
        self._tokens = tokens

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings.outbound
        self._listeners = settings.listeners
        # Phones behind one flow, and each phone again and again, get the same.
        self._known = lru_cache(MOST_KNOWN)(self._entry)

    def entry(self, flow: Path) -> str | None:
        """The URI that leads to us and by ``flow`` on; None where no listener has that flow."""
        return self._known(flow)

    def _entry(self, flow: Path) -> str | None:
        base = self._settings.edge
        if base is None:
            listener = self._listener_beside(flow)
            if listener is None:
                return None
            base = _uri_of(listener)
        names = {"transport", "maddr"}
        kept = [one for one in base.parameters if one.name.lower() in names]
        parameters = (*kept, Parameter("lr", None), Parameter("ob", None))
        user = self._tokens.write(FlowToken(flow, is_attached=True))
        return str(replace(base, user=user, password=None, parameters=parameters, headers=()))

    def read(self, uri: SipUri) -> OwnEntry | None:
        """What an entry of ours says; None for those of others."""
        if uri.user is None or not self._identity.is_ours(uri):
            return None
        token = self._tokens.read(uri.user)
        if token is None or not self._identity.has(token.path):
            return OwnEntry(None)
        return OwnEntry(token.path)

    def ours(self, flow: Path | None) -> Path | None:
        """The same flow, where a listener of ours has it."""
        return flow if flow is not None and self._identity.has(flow) else None

    def elsewhere(self, flow: Path) -> SipUri | None:
        """The URI by which another proxy sends along a flow that is its own.

        None for ours, and for those of which no other is known to hold them: proxies that share
        a name and a key listen at the same ports, each at an address of its own.
        """
        local = flow.local
        alike = [one for one in self._listeners if one.transport is flow.transport]
        hosts = {one.address.host for one in self._listeners}
        if local.host in hosts or local.port not in {one.address.port for one in alike}:
            return None
        held_by = Listener(flow.transport, local)
        if flow.transport in _REACHED_BY:
            beside = self._reachable_beside(held_by)
            if beside is None:
                return None
            held_by = Listener(beside.transport, Address(local.host, beside.address.port))
        user = self._tokens.write(FlowToken(flow, is_attached=True))
        base = _uri_of(held_by)
        return replace(base, user=user, parameters=(*base.parameters, Parameter("lr", None)))

    def _listener_beside(self, flow: Path) -> Listener | None:
        """The listener of a flow, or one that other proxies can reach in its place."""
        held_by = self._identity.listener_of(flow)
        if held_by is None or flow.transport not in _REACHED_BY:
            return held_by
        return self._reachable_beside(held_by) or held_by

    def _reachable_beside(self, held_by: Listener) -> Listener | None:
        """A listener of ours that other proxies connect to, of the family of one for WebSockets."""
        for transport in _REACHED_BY[held_by.transport]:
            for listener in self._listeners:
                same_family = listener.address.family is held_by.address.family
                if listener.transport is transport and same_family:
                    return listener
        return None


def _uri_of(listener: Listener) -> SipUri:
    # By its address, never its name: that may stand for several proxies (RFC 5626 §5.1).
    host = replace(listener, name=None).host
    transport = listener.transport
    parameters = () if transport is Transport.UDP else (Parameter("transport", transport.value),)
    return SipUri(Scheme.SIP, host, None, None, listener.address.port, parameters)
