"""``tel:`` URIs (RFC 3966) and the parameters that they share with SIP URIs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from natkit.errors import MalformedMessage
from natkit.sip.grammar import (
    ALPHANUM,
    DIGIT,
    HEXDIG,
    PARAMETER_CHARACTERS,
    USER_CHARACTERS,
    domain_name,
    escape,
    excerpt,
    numeric_host,
    read_host,
    spelled,
    unescape_unreserved,
)

__all__ = ["Parameter", "TelUri", "parameter_of", "read_parameters"]

_VISUAL_SEPARATORS: Final = frozenset("-.()")
_NO_SEPARATORS: Final = str.maketrans("", "", "-.()")
_PHONE_DIGITS: Final = DIGIT | _VISUAL_SEPARATORS
_LOCAL_DIGITS: Final = HEXDIG | frozenset("*#")
_PARAMETER_NAME: Final = ALPHANUM | frozenset("-")
_URIC: Final = PARAMETER_CHARACTERS | frozenset("?@=,")
"""What an ISDN subaddress is made of; ``;`` ends it."""

_FIRST_PARAMETERS: Final = ("isub", "postd")
"""They stand before the others, which follow by name (RFC 3261 §19.1.6)."""


class Parameter(NamedTuple):
    """A URI parameter; both parts as written, ``value`` None when there is no ``=``."""

    name: str
    value: str | None = None

    @property
    def key(self) -> str:
        """The name in the one spelling by which parameters are found."""
        return unescape_unreserved(self.name).lower()

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value}"


def read_parameters(text: str, characters: frozenset[str], uri: str) -> tuple[Parameter, ...]:
    """Read ``name=value;name;…``; MalformedMessage names ``uri``, the whole.

    No name may be given twice (RFC 3261 §19.1.1, RFC 3966 §3).
    """
    parameters = []
    seen = set()
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if not name or (equals and not value):
            raise MalformedMessage(f"{excerpt(uri)} has an empty parameter")
        if not (spelled(name, characters - frozenset("=")) and spelled(value, characters)):
            raise MalformedMessage(
                f"a parameter of {excerpt(uri)} has a character that needs an escape"
            )
        parameter = Parameter(name, value if equals else None)
        if parameter.key in seen:
            raise MalformedMessage(f"{excerpt(uri)} has the parameter {excerpt(name)} twice")
        seen.add(parameter.key)
        parameters.append(parameter)
    return tuple(parameters)


def parameter_of(parameters: Sequence[Parameter], name: str) -> Parameter | None:
    """The parameter called ``name``, in lower case, or None."""
    for parameter in parameters:
        if name in (parameter.name, parameter.key):
            return parameter
    return None


@dataclass(frozen=True, slots=True)
class TelUri:
    """A telephone number.  Build one by :meth:`parse`; the constructor checks nothing.

    ``number`` keeps its visual separators.
    """

    number: str
    parameters: tuple[Parameter, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URI; MalformedMessage when it does not follow RFC 3966 §3."""
        if text[:4].lower() != "tel:":
            raise MalformedMessage(f"{excerpt(text)} does not begin with tel:")
        number, semicolon, rest = text[4:].partition(";")
        uri = cls(number, read_parameters(rest, _URIC, text) if semicolon else ())
        uri._check(text)
        return uri

    @classmethod
    def from_user(cls, user: str) -> Self:
        """Read the telephone-subscriber that stands in the user part of a SIP URI (§19.1.6)."""
        # What SIP made us escape and tel: allows bare; a semicolon stays escaped, it would divide.
        for escaped, character in (("%23", "#"), ("%3A", ":"), ("%5B", "["), ("%5D", "]")):
            user = user.replace(escaped, character).replace(escaped.lower(), character)
        return cls.parse(f"tel:{user}")

    def __str__(self) -> str:
        return f"tel:{self._subscriber()}"

    @property
    def is_global(self) -> bool:
        """Whether the number is valid everywhere, that is, begins with ``+``."""
        return self.number.startswith("+")

    @property
    def digits(self) -> str:
        """The number without visual separators, hexadecimal digits in lower case."""
        return self.number.translate(_NO_SEPARATORS).lower()

    @property
    def phone_context(self) -> str | None:
        """Where a local number is valid: a domain, or a global number's beginning."""
        return self.parameter("phone-context")

    def parameter(self, name: str) -> str | None:
        """The value of a parameter as written; None when it is absent or has none."""
        found = parameter_of(self.parameters, name)
        return None if found is None else found.value

    def equivalent(self, other: "TelUri") -> bool:
        """Whether both are the same number by RFC 3966 §4."""
        return (
            self.is_global == other.is_global
            and self.digits == other.digits
            and {parameter.key: _comparable(parameter) for parameter in self.parameters}
            == {parameter.key: _comparable(parameter) for parameter in other.parameters}
        )

    def user_part(self) -> str:
        """The number as the user part of a SIP URI that also carries ``user=phone``.

        In the one order and case that RFC 3261 §19.1.6 recommends, so that equivalent numbers give
        equal users.
        """
        ordered = sorted(self.parameters, key=_canonical_place)
        folded = TelUri(
            self.number.lower(),
            tuple(
                Parameter(one.key, None if one.value is None else one.value.lower())
                for one in ordered
            ),
        )
        # Escapes that came with the URI stay what they were.
        return escape(folded._subscriber(), USER_CHARACTERS | frozenset("%"))

    def _subscriber(self) -> str:
        return self.number + "".join(f";{parameter}" for parameter in self.parameters)

    def _check(self, text: str) -> None:
        if self.is_global:
            digits = self.number[1:]
            allowed, needed = _PHONE_DIGITS, DIGIT
        else:
            digits = self.number
            allowed, needed = _LOCAL_DIGITS | _VISUAL_SEPARATORS, _LOCAL_DIGITS
        if not allowed.issuperset(digits) or needed.isdisjoint(digits):
            raise MalformedMessage(f"{excerpt(text)} is not a telephone number")
        for one in self.parameters:
            if not _PARAMETER_NAME.issuperset(one.name):
                raise MalformedMessage(f"{excerpt(text)} has a parameter with a wrong name")
            characters = _URIC if one.key == "isub" else PARAMETER_CHARACTERS
            if one.value is not None and not spelled(one.value, characters):
                raise MalformedMessage(
                    f"a parameter of {excerpt(text)} has a character that needs an escape"
                )
        extension = parameter_of(self.parameters, "ext")
        if extension and not _PHONE_DIGITS.issuperset(extension.value or " "):
            raise MalformedMessage(f"the extension of {excerpt(text)} is not made of digits")
        # RFC 2806 allowed more contexts; with a global number none has a meaning.
        if not self.is_global and not _is_context(self.phone_context or ""):
            raise MalformedMessage(
                f"the local number {excerpt(text)} needs phone-context= with a domain or +number"
            )


def _is_context(text: str) -> bool:
    if text.startswith("+"):
        return _PHONE_DIGITS.issuperset(text[1:]) and not DIGIT.isdisjoint(text)
    try:
        return numeric_host(read_host(text)) is None
    except MalformedMessage:
        return False


def _comparable(parameter: Parameter) -> str | None:
    if parameter.value is None:
        return None
    value = unescape_unreserved(parameter.value).lower()
    if parameter.key == "ext" or (parameter.key == "phone-context" and value.startswith("+")):
        return value.translate(_NO_SEPARATORS)
    if parameter.key == "phone-context":
        return domain_name(value)
    return value


def _canonical_place(parameter: Parameter) -> tuple[int, str]:
    key = parameter.key
    return (_FIRST_PARAMETERS.index(key), "") if key in _FIRST_PARAMETERS else (2, key)
