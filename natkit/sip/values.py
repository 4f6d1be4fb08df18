"""What the values of header fields are made of: lists, parameters, quoted strings (RFC 3261 §25).

All work on a value as text: UTF-8, with lone surrogates for other bytes (PEP 383), and with folds
undone, so that white space is blanks and tabs only.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from natkit.errors import MalformedMessage, MisuseError
from natkit.sip.grammar import excerpt

__all__ = [
    "LWS",
    "QUOTED_STRING",
    "TOKEN",
    "HeaderParameter",
    "is_token",
    "parameter_of",
    "quote",
    "read_number",
    "read_parameters",
    "read_tokens",
    "split_list",
    "unquote",
    "write_parameters",
]

LWS: Final = r"[ \t]*+"
"""Optional white space, as a regular expression."""

TOKEN: Final = r"[A-Za-z0-9\-.!%*_+`'~]++"  # noqa: S105 - no secret: a word of the grammar
"""A token, as a regular expression."""

QUOTED_STRING: Final = r'"(?:[^"\\]|\\.)*+"'
"""A quoted string, quotes included, as a regular expression."""

# token, host (an IPv6 address with brackets, or as in `received` without), or quoted-string.
_PARAMETER_VALUE = rf"(?:[A-Za-z0-9\-.!%*_+`'~:\[\]]++|{QUOTED_STRING})"
_PARAMETER = re.compile(rf"{LWS};{LWS}({TOKEN})(?:{LWS}={LWS}({_PARAMETER_VALUE}))?")
_ELEMENT = re.compile(rf'(?:[^,"<]++|{QUOTED_STRING}|<[^>]*+>)*+')
_QUOTED_STRING = re.compile(QUOTED_STRING, re.DOTALL)
_TOKEN = re.compile(TOKEN)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_NEEDS_ESCAPE = re.compile(r'["\\]')


class HeaderParameter(NamedTuple):
    """A parameter of a header field; ``value`` as written, with its quotes, or None without ``=``.

    A percent sign is a character like others here; URIs alone have escapes.
    """

    name: str
    value: str | None = None

    @property
    def text(self) -> str:
        """The value without quotes; empty when there is none."""
        if self.value is None:
            return ""
        return unquote(self.value) if self.value.startswith('"') else self.value

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value}"


def read_parameters(text: str, start: int = 0) -> tuple[HeaderParameter, ...]:
    """Read ``;name=value;name`` from ``start`` to the end of ``text``.

    MalformedMessage for anything else, and for a name given twice (RFC 3261 §7.3.1).
    """
    parameters: list[HeaderParameter] = []
    position = start
    while (found := _PARAMETER.match(text, position)) is not None:
        parameters.append(HeaderParameter(*found.groups()))
        position = found.end()
    if position < len(text) and text[position:].strip(" \t"):
        raise MalformedMessage(f"{excerpt(text[position:])} is no parameter")
    if len({name.lower() for name, _ in parameters}) < len(parameters):
        raise MalformedMessage(f"a parameter stands twice in {excerpt(text)}")
    return tuple(parameters)


def write_parameters(parameters: Sequence[HeaderParameter]) -> str:
    """The parameters with their semicolons."""
    return "".join(
        [f";{name}" if value is None else f";{name}={value}" for name, value in parameters]
    )


def parameter_of(parameters: Sequence[HeaderParameter], name: str) -> HeaderParameter | None:
    """The parameter called ``name``, in lower case, or None."""
    for parameter in parameters:
        if parameter.name == name or parameter.name.lower() == name:
            return parameter
    return None


def split_list(text: str) -> list[str]:
    """Cut a value at its commas, but not within quoted strings or angle brackets."""
    if "," not in text:
        return [text.strip(" \t")]
    elements = []
    position = 0
    while (found := _ELEMENT.match(text, position)) is not None:
        elements.append(found[0].strip(" \t"))
        position = found.end()
        if position == len(text):
            return elements
        if text[position] != ",":
            break
        position += 1
    raise MalformedMessage(f"{excerpt(text[position:])} opens a quote or bracket and ends within")


def read_tokens(text: str) -> tuple[str, ...]:
    """Read ``token, token``; an empty value has none."""
    if not text.strip(" \t"):
        return ()
    tokens = tuple([token.strip(" \t") for token in text.split(",")])
    for token in tokens:
        if not is_token(token):
            raise MalformedMessage(f"{excerpt(token)} is not a token")
    return tokens


def read_number(text: str, largest: int) -> int:
    """A decimal number, leading zeros allowed, of at most ``largest``."""
    digits = text.strip(" \t")
    # Counting digits first bounds the work that a long number makes.
    if not (digits.isascii() and digits.isdigit()):
        raise MalformedMessage(f"{excerpt(digits)} is not a number")
    digits = digits.lstrip("0")
    if len(digits) > len(str(largest)) or int(digits or "0") > largest:
        raise MalformedMessage(f"{excerpt(digits)} is more than {largest}")
    return int(digits or "0")


def is_token(text: str) -> bool:
    """Whether ``text`` is a token."""
    return _TOKEN.fullmatch(text) is not None


def quote(text: str) -> str:
    """``text`` as a quoted string; MisuseError for line ends, which none can hold."""
    if "\r" in text or "\n" in text:
        raise MisuseError("a quoted string cannot hold a line end")
    return '"' + _NEEDS_ESCAPE.sub(r"\\\g<0>", text) + '"'


def unquote(text: str) -> str:
    """What a quoted string says; MalformedMessage when ``text`` is none."""
    if _QUOTED_STRING.fullmatch(text) is None:
        raise MalformedMessage(f"{excerpt(text)} is not a quoted string")
    return _QUOTED_PAIR.sub(r"\1", text[1:-1])
