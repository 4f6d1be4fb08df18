"""SIP (RFC 3261): what identifies a resource.  No I/O."""

from natkit.sip.uri import Header, Parameter, Scheme, SipUri, TelUri, UriForm, parse_uri

__all__ = ["Header", "Parameter", "Scheme", "SipUri", "TelUri", "UriForm", "parse_uri"]
