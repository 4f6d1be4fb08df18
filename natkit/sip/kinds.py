"""The header fields that are read by type: each kind says its name and how a value is read.

A new one is a line here, or anywhere else: ``EVENT = Singular("Event", read_event)``.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self

from natkit.errors import MalformedMessage
from natkit.sip.grammar import excerpt
from natkit.sip.headers import Plural, Singular
from natkit.sip.name_address import NameAddress
from natkit.sip.registry import LARGEST_CSEQ, LARGEST_MAX_FORWARDS
from natkit.sip.values import (
    LWS,
    TOKEN,
    HeaderParameter,
    is_token,
    parameter_of,
    read_number,
    read_parameters,
    write_parameters,
)
from natkit.sip.via import Via

__all__ = [
    "ALLOW",
    "CALL_ID",
    "CONTACT",
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "CSEQ",
    "EXPIRES",
    "FLOW_TIMER",
    "FROM",
    "MAX_BREADTH",
    "MAX_FORWARDS",
    "MIN_EXPIRES",
    "PATH",
    "PROXY_REQUIRE",
    "REASON",
    "RECORD_ROUTE",
    "REQUIRE",
    "RETRY_AFTER",
    "ROUTE",
    "SERVER",
    "SERVICE_ROUTE",
    "SUPPORTED",
    "TO",
    "UNSUPPORTED",
    "USER_AGENT",
    "VIA",
    "CSeq",
    "RetryAfter",
    "Wildcard",
]

LARGEST_LENGTH: Final = 2**31 - 1
"""Bytes of a body: far more than any limit lets through, and a bound for what is read."""

LARGEST_DELTA_SECONDS: Final = 2**32 - 1
"""RFC 3261 §20.19."""

# RFC 3261 §25.1: word [ "@" word ].
_CALL_ID = re.compile(
    r"[A-Za-z0-9\-.!%*_+`'~()<>:\\\"/\[\]?{}]++(?:@[A-Za-z0-9\-.!%*_+`'~()<>:\\\"/\[\]?{}]++)?"
)
_CSEQ = re.compile(rf"([0-9]++)[ \t]++({TOKEN})")
_RETRY_AFTER = re.compile(rf"([0-9]++){LWS}(\((?:[^()\\]|\\.)*+\))?")


class Wildcard(Enum):
    """``Contact: *``: all bindings of a registration (RFC 3261 §10.2.2)."""

    ALL = "*"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class CSeq:
    """The place of a request in its dialog, and its method (RFC 3261 §20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``number method``; MalformedMessage."""
        found = _CSEQ.fullmatch(text)
        if found is None:
            raise MalformedMessage(f"{excerpt(text)} is not a number and a method")
        return cls(read_number(found[1], LARGEST_CSEQ), found[2])

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """When to come back, in ``seconds``, and how long the server expects to stay (§20.33)."""

    seconds: int
    parameters: tuple[HeaderParameter, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``seconds (comment);parameters``; the comment is passed over.  MalformedMessage."""
        found = _RETRY_AFTER.match(text)
        if found is None:
            raise MalformedMessage(f"{excerpt(text)} is not a number of seconds")
        seconds = read_number(found[1], LARGEST_DELTA_SECONDS)
        return cls(seconds, read_parameters(text, found.end()))

    @property
    def duration(self) -> int | None:
        """Seconds for which the called party will be reachable then, or None."""
        found = parameter_of(self.parameters, "duration")
        return None if found is None else read_number(found.text, LARGEST_DELTA_SECONDS)

    def __str__(self) -> str:
        return f"{self.seconds}{write_parameters(self.parameters)}"


def _read_call_id(text: str) -> str:
    if _CALL_ID.fullmatch(text) is None:
        raise MalformedMessage(f"{excerpt(text)} is not a Call-ID")
    return text


def _read_contact(text: str) -> NameAddress | Wildcard:
    return Wildcard.ALL if text == "*" else NameAddress.parse(text)


def _read_max_forwards(text: str) -> int:
    return read_number(text, LARGEST_MAX_FORWARDS)


def _read_breadth(text: str) -> int:
    return read_number(text, LARGEST_MAX_FORWARDS)


def _read_length(text: str) -> int:
    return read_number(text, LARGEST_LENGTH)


def _read_seconds(text: str) -> int:
    return read_number(text, LARGEST_DELTA_SECONDS)


def _read_token(text: str) -> str:
    if not is_token(text):
        raise MalformedMessage(f"{excerpt(text)} is not a token")
    return text


VIA: Final = Plural("Via", Via.parse, reads_back=True)
FROM: Final = Singular("From", NameAddress.parse)
TO: Final = Singular("To", NameAddress.parse)
CALL_ID: Final = Singular("Call-ID", _read_call_id)
CSEQ: Final = Singular("CSeq", CSeq.parse)
MAX_FORWARDS: Final = Singular("Max-Forwards", _read_max_forwards)
CONTACT: Final = Plural("Contact", _read_contact)
ROUTE: Final = Plural("Route", NameAddress.parse)
RECORD_ROUTE: Final = Plural("Record-Route", NameAddress.parse)
CONTENT_LENGTH: Final = Singular("Content-Length", _read_length)
CONTENT_TYPE: Final = Singular("Content-Type", str)
EXPIRES: Final = Singular("Expires", _read_seconds)
MIN_EXPIRES: Final = Singular("Min-Expires", _read_seconds)
PATH: Final = Plural("Path", NameAddress.parse)  # RFC 3327 §4
SERVICE_ROUTE: Final = Plural("Service-Route", NameAddress.parse)  # RFC 3608 §5
FLOW_TIMER: Final = Singular("Flow-Timer", _read_seconds)  # RFC 5626 §11.1
MAX_BREADTH: Final = Singular("Max-Breadth", _read_breadth)  # RFC 5393 §5.2
REASON: Final = Plural("Reason", str)  # RFC 3326 §2
RETRY_AFTER: Final = Singular("Retry-After", RetryAfter.parse)
SERVER: Final = Singular("Server", str)
USER_AGENT: Final = Singular("User-Agent", str)
ALLOW: Final = Plural("Allow", _read_token, in_one_field=True)
SUPPORTED: Final = Plural("Supported", _read_token, in_one_field=True)
UNSUPPORTED: Final = Plural("Unsupported", _read_token, in_one_field=True)
REQUIRE: Final = Plural("Require", _read_token, in_one_field=True)
PROXY_REQUIRE: Final = Plural("Proxy-Require", _read_token, in_one_field=True)
