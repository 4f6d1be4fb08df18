"""SIP (RFC 3261): URIs, messages, Via, and the framing of streams.  No I/O."""

from natkit.sip.framing import PING, PONG, Expect, SipFraming
from natkit.sip.headers import HeaderField, Headers, Plural, Singular
from natkit.sip.message import Request, Response, parse_message
from natkit.sip.name_address import NameAddress
from natkit.sip.parser import MessageLimits
from natkit.sip.uri import (
    AbsoluteUri,
    Header,
    Parameter,
    Scheme,
    SipUri,
    TelUri,
    UriForm,
    parse_absolute_uri,
    parse_uri,
)
from natkit.sip.values import HeaderParameter
from natkit.sip.via import ResponseAddress, SentBy, Via, response_destination

__all__ = [
    "PING",
    "PONG",
    "AbsoluteUri",
    "Expect",
    "Header",
    "HeaderField",
    "HeaderParameter",
    "Headers",
    "MessageLimits",
    "NameAddress",
    "Parameter",
    "Plural",
    "Request",
    "Response",
    "ResponseAddress",
    "Scheme",
    "SentBy",
    "Singular",
    "SipFraming",
    "SipUri",
    "TelUri",
    "UriForm",
    "Via",
    "parse_absolute_uri",
    "parse_message",
    "parse_uri",
    "response_destination",
]
