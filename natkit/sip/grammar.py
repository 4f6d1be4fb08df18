"""The tokens of RFC 3261 §25 that more than one header or URI is made of.

A character class is a frozenset of characters; :func:`spelled` checks that a text is made of one,
with ``%HH`` in between where the grammar has ``escaped``.
"""

import ipaddress
import re
from typing import Final

from natkit.errors import MalformedMessage
from natkit.sip.remembering import remembered

__all__ = [
    "HEADER_CHARACTERS",
    "PARAMETER_CHARACTERS",
    "PASSWORD_CHARACTERS",
    "RESERVED",
    "TOKEN",
    "UNRESERVED",
    "USER_CHARACTERS",
    "IPAddress",
    "domain_name",
    "escape",
    "excerpt",
    "numeric_host",
    "read_host",
    "spelled",
    "unescape",
    "unescape_unreserved",
]

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

DIGIT: Final = frozenset("0123456789")
ALPHA: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
ALPHANUM: Final = ALPHA | DIGIT
HEXDIG: Final = DIGIT | frozenset("ABCDEFabcdef")

RESERVED: Final = frozenset(";/?:@&=+$,")
"""What means something else when escaped (RFC 2396 §2.2, RFC 3261 §25.1)."""

UNRESERVED: Final = ALPHANUM | frozenset("-_.!~*'()")
TOKEN: Final = ALPHANUM | frozenset("-.!%*_+`'~")
USER_CHARACTERS: Final = UNRESERVED | frozenset("&=+$,;?/")
PASSWORD_CHARACTERS: Final = UNRESERVED | frozenset("&=+$,")
PARAMETER_CHARACTERS: Final = UNRESERVED | frozenset("[]/:&+$")
HEADER_CHARACTERS: Final = UNRESERVED | frozenset("[]/?:+$")

_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")
# RFC 3261's grammar has it before an IPv4 address, by a slip: it is to be taken (RFC 5118 §4.10).
_EXTRA_COLON = re.compile(r":::(?=[0-9]+(?:\.[0-9]+){3}\]\Z)")
_LONGEST_EXCERPT = 60


def excerpt(text: str) -> str:
    """``text`` quoted for an error line, shortened so that a peer cannot fill a log with it."""
    if len(text) > _LONGEST_EXCERPT:
        text = text[:_LONGEST_EXCERPT] + "…"
    return repr(text)


def spelled(text: str, characters: frozenset[str]) -> bool:
    """Whether ``text`` is made of ``characters`` and well-formed ``%HH`` escapes only."""
    if characters.issuperset(text):
        return True
    return characters.issuperset(_ESCAPED.sub("", text))


def escape(text: str, characters: frozenset[str]) -> str:
    """Write ``text`` with everything but ``characters`` as ``%HH`` of its UTF-8 bytes.

    The reverse of :func:`unescape`, also for the bytes that are no UTF-8.
    """
    return "".join(
        character
        if character in characters
        else "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))
        for character in text
    )


def unescape(text: str) -> str:
    """Replace each ``%HH``; bytes that are no UTF-8 become lone surrogates (PEP 383)."""
    if "%" not in text:
        return text
    octets = bytearray()
    position = 0
    for found in _ESCAPED.finditer(text):
        octets += text[position : found.start()].encode("utf-8", "surrogateescape")
        octets.append(int(found[1], 16))
        position = found.end()
    octets += text[position:].encode("utf-8", "surrogateescape")
    return octets.decode("utf-8", "surrogateescape")


def unescape_unreserved(text: str) -> str:
    """One spelling for texts that RFC 3261 §19.1.4 calls equivalent.

    Escapes of unreserved characters are resolved; those of any other byte stay, in upper case.
    """
    if "%" not in text:
        return text

    def one_spelling(found: re.Match[str]) -> str:
        character = chr(int(found[1], 16))
        return character if character in UNRESERVED else found[0].upper()

    return _ESCAPED.sub(one_spelling, text)


@remembered
def read_host(text: str) -> str:
    """Check a ``host``: a name, an IPv4 address, or an IPv6 address in brackets.

    Gives the text as it came.  No character of a host can be escaped (RFC 3261 §19.1.2).
    """
    if text.startswith("["):
        if not text.endswith("]") or numeric_host(text) is None:
            raise MalformedMessage(f"{excerpt(text)} is not an IPv6 address in brackets")
    elif not _is_hostname(text) and numeric_host(text) is None:
        raise MalformedMessage(f"{excerpt(text)} is neither a host name nor an IP address")
    return text


@remembered
def numeric_host(host: str) -> IPAddress | None:
    """The address that a host spells out, or None for a name."""
    try:
        if host.startswith("["):
            if ":::" in host:
                host = _EXTRA_COLON.sub("::", host)
            return None if "%" in host else ipaddress.IPv6Address(host[1:-1])
        return ipaddress.IPv4Address(host)
    except ValueError:
        return None


def domain_name(host: str) -> str:
    """A host name in the one form to compare and to look up: lower case, no final dot."""
    return host.lower().removesuffix(".")


def _is_hostname(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    return labels[-1][:1] in ALPHA and all(map(_is_label, labels))


def _is_label(label: str) -> bool:
    return (
        bool(label)
        and label[0] in ALPHANUM
        and label[-1] in ALPHANUM
        and ALPHANUM.issuperset(label.replace("-", ""))
    )
