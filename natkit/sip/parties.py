"""From and To without taking their URIs apart: whether they are well-formed, and their tags.

A proxy looks at the tags of each message, and at the URIs of few (RFC 3261 §16.3 step 1).
"""

import re
from typing import Final

from natkit.errors import MalformedMessage
from natkit.sip.headers import HeaderField, Headers, Singular
from natkit.sip.name_address import NameAddress

__all__ = ["check_party", "tag_of"]

_LABEL = r"[A-Za-z0-9]++(?:-++[A-Za-z0-9]++)*+"
_NAME = rf"(?:{_LABEL}\.)*+[A-Za-z][A-Za-z0-9]*+(?:-++[A-Za-z0-9]++)*+"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_PLAIN: Final = re.compile(
    rf"""
    [A-Za-z]++ [ \t]*+ : [ \t]*+
    (?: "[ !\#-\[\]-~]*+" [ \t]*+ | (?:[A-Za-z0-9\-.!%*_+`'~]++ [ \t]++)*+ )
    <sips?:
    (?: [A-Za-z0-9\-_.!~*'()&=+$,;?/]++ @ )?+
    (?: {_NAME} | {_OCTET}(?:\.{_OCTET}){{3}}+ )
    (?: :[0-9]{{1,4}} )?+
    > (?: ;tag= ([A-Za-z0-9\-.!%*_+`'~]++) )?+ \r\n
    """.encode("ascii"),
    re.VERBOSE,
)
"""What nearly all senders write; anything else is read part by part."""


def check_party(headers: Headers, kind: Singular[NameAddress]) -> None:
    """Raise MalformedMessage unless there is one such field, and it is well-formed."""
    field = _only(headers, kind)
    if field is None:
        raise MalformedMessage(f"there is no {kind.name}")
    if _PLAIN.fullmatch(field.raw) is None:
        field.values(kind)


def tag_of(headers: Headers, kind: Singular[NameAddress]) -> str | None:
    """The tag of From or To, None without one; MalformedMessage (RFC 3261 §19.3)."""
    field = _only(headers, kind)
    if field is None:
        return None
    found = _PLAIN.fullmatch(field.raw)
    if found is None:
        return field.values(kind)[0].tag
    tag: bytes | None = found[1]
    return None if tag is None else tag.decode("ascii")


def _only(headers: Headers, kind: Singular[NameAddress]) -> HeaderField | None:
    found = headers.fields(kind)
    if len(found) > 1:
        raise MalformedMessage(f"{kind.name} stands {len(found)} times")
    return found[0] if found else None
