"""From and To without taking their URIs apart: whether they are well-formed, and their tags.

A proxy looks at the tags of each message, and at the URIs of few (RFC 3261 §16.3 step 1).
"""

import re
from typing import Final

from natkit.errors import MalformedMessage
from natkit.sip.headers import HeaderField, Headers, Singular
from natkit.sip.name_address import NameAddress
from natkit.sip.remembering import Memory

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


_tags: Final = Memory[str | None]()


def check_party(headers: Headers, kind: Singular[NameAddress]) -> None:
    """Raise MalformedMessage unless there is one such field, and it is well-formed."""
    raw = headers.only_raw(kind)
    if raw is None:
        raise MalformedMessage(f"there is no {kind.name}")
    if raw not in _tags:
        _read_tag(raw, kind)


def tag_of(headers: Headers, kind: Singular[NameAddress]) -> str | None:
    """The tag of From or To, None without one; MalformedMessage (RFC 3261 §19.3)."""
    raw = headers.only_raw(kind)
    if raw is None:
        return None
    return _tags[raw] if raw in _tags else _read_tag(raw, kind)


def _read_tag(raw: bytes, kind: Singular[NameAddress]) -> str | None:
    found = _PLAIN.fullmatch(raw)
    if found is None:
        tag = HeaderField(raw, kind.key).values(kind)[0].tag
    else:
        tag = None if found[1] is None else found[1].decode("ascii")
    _tags.keep(raw, tag)
    return tag
