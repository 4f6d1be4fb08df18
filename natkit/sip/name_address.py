"""``"Display Name" <URI>;parameters``: what From, To, Contact and Route hold (RFC 3261 §20.10)."""

import re
from dataclasses import dataclass, replace
from typing import Final, Self

from natkit.errors import MalformedMessage, MisuseError
from natkit.sip.grammar import excerpt
from natkit.sip.uri import AbsoluteUri, SipUri, TelUri, parse_absolute_uri
from natkit.sip.values import (
    LWS,
    QUOTED_STRING,
    HeaderParameter,
    is_token,
    parameter_of,
    quote,
    read_parameters,
    unquote,
    write_parameters,
)

__all__ = ["NameAddress"]

# A display name that should have been quoted is taken up to the bracket (RFC 4475 §3.1.2.15).
_NAME_ADDR: Final = re.compile(rf'{LWS}(?:({QUOTED_STRING})|([^"<]*+))?{LWS}<([^>]*+)>', re.DOTALL)


@dataclass(frozen=True, slots=True)
class NameAddress:
    """A URI with the name to show for it; ``parameters`` are the header field's, not the URI's."""

    uri: SipUri | TelUri | AbsoluteUri
    display_name: str | None = None
    parameters: tuple[HeaderParameter, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``name-addr`` or ``addr-spec`` with parameters; MalformedMessage for neither.

        Blanks within the brackets are ignored (RFC 4475 §3.1.2.14).
        """
        found = _NAME_ADDR.match(text)
        if found is None:
            return cls._parse_bare(text)
        quoted, unquoted, uri = found.groups()
        name = unquote(quoted) if quoted else (unquoted or "").strip(" \t") or None
        return cls(parse_absolute_uri(uri.strip(" \t")), name, read_parameters(text, found.end()))

    @classmethod
    def _parse_bare(cls, text: str) -> Self:
        # Without brackets all parameters are the header field's, and the URI has no ? (§20.10).
        uri, semicolon, _ = text.partition(";")
        uri = uri.strip(" \t")
        if "?" in uri or "," in uri:
            raise MalformedMessage(f"{excerpt(uri)} needs angle brackets around it")
        parameters = read_parameters(text, text.index(";")) if semicolon else ()
        return cls(parse_absolute_uri(uri), None, parameters)

    def __str__(self) -> str:
        name = "" if self.display_name is None else f"{quote(self.display_name)} "
        return f"{name}<{self.uri}>{write_parameters(self.parameters)}"

    @property
    def tag(self) -> str | None:
        """The tag of From or To (RFC 3261 §19.3)."""
        return self.parameter("tag")

    def parameter(self, name: str) -> str | None:
        """The text of a parameter: empty without a value, None when it is absent."""
        found = parameter_of(self.parameters, name)
        return None if found is None else found.text

    def with_tag(self, tag: str) -> Self:
        """The same with this tag in place of any other."""
        if not is_token(tag):
            raise MisuseError(f"{excerpt(tag)} is not a tag")
        kept = tuple(one for one in self.parameters if one.name.lower() != "tag")
        return replace(self, parameters=(*kept, HeaderParameter("tag", tag)))
