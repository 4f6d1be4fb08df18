"""Contacts of old phones with the address that they were seen at, by option (RFC 3261 §8.1.1.8).

Requests within a dialog find such a phone by the flow in our Record-Route, whatever its Contact
says.  Some peers pass over Record-Route, or take no private address: for them the Contact names the
outside of the NAT, and beside it what it was.  On the way back along the flow that is undone.
"""

from dataclasses import replace
from typing import Final

from natkit.address import Address
from natkit.errors import MalformedMessage
from natkit.sip import AbsoluteUri, Headers, NameAddress, Parameter, SipUri, TelUri
from natkit.sip.grammar import read_host
from natkit.sip.kinds import CONTACT

__all__ = ["restored", "seen_at"]

WAS: Final = "natkit-was"
_BETWEEN: Final = "~"


def seen_at(headers: Headers, remote: Address) -> Headers:
    """The fields with ``remote`` in Contact, where that names another numeric address."""
    try:
        contacts = headers.get_all(CONTACT)
    except MalformedMessage:
        return headers
    contact = contacts[0] if len(contacts) == 1 else None
    if not isinstance(contact, NameAddress):
        return headers
    uri = contact.uri
    if not isinstance(uri, SipUri) or uri.address is None or uri.has_parameter(WAS):
        return headers
    if uri.address == remote.ip and (uri.port or 5060) == remote.port:
        return headers
    host = f"[{remote.host}]" if ":" in remote.host else remote.host
    was = uri.host if uri.port is None else f"{uri.host}{_BETWEEN}{uri.port}"
    parameters = (*uri.parameters, Parameter(WAS, was))
    outside = replace(uri, host=host, port=remote.port, parameters=parameters)
    named = NameAddress(outside, contact.display_name, contact.parameters)
    return headers.replace(CONTACT, named)


def restored(uri: SipUri | TelUri | AbsoluteUri) -> SipUri | TelUri | AbsoluteUri:
    """The contact as the phone wrote it."""
    was = uri.parameter(WAS) if isinstance(uri, SipUri) else None
    if was is None or not isinstance(uri, SipUri):
        return uri
    host, _, port = was.partition(_BETWEEN)
    try:
        inside = read_host(host)
    except MalformedMessage:
        return uri
    if port and not (port.isascii() and port.isdigit() and len(port) < 6):
        return uri
    kept = tuple(one for one in uri.parameters if one.key != WAS)
    return replace(uri, host=inside, port=int(port) if port else None, parameters=kept)
