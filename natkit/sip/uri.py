"""``sip:``, ``sips:`` (RFC 3261 §19.1) and ``tel:`` (RFC 3966) URIs.

A parsed URI keeps its parts as they were written, escapes included: ``%3B`` and ``;`` differ in
meaning, and a proxy must pass on what it was given.  ``str(uri)`` writes it again, and ``==``
compares that spelling.  :meth:`SipUri.equivalent` and :meth:`TelUri.equivalent` compare as the RFCs
say; that is not transitive, hence no ``==``.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, Self

from natkit.errors import MalformedMessage, MisuseError
from natkit.sip.grammar import (
    HEADER_CHARACTERS,
    PARAMETER_CHARACTERS,
    PASSWORD_CHARACTERS,
    TOKEN,
    USER_CHARACTERS,
    IPAddress,
    domain_name,
    escape,
    excerpt,
    numeric_host,
    read_host,
    spelled,
    unescape,
    unescape_unreserved,
)
from natkit.sip.remembering import remembered
from natkit.sip.tel import Parameter, TelUri, parameter_of, read_parameters

__all__ = [
    "AbsoluteUri",
    "Header",
    "Parameter",
    "Scheme",
    "SipUri",
    "TelUri",
    "UriForm",
    "parse_absolute_uri",
    "parse_uri",
]

LARGEST_TTL: Final = 255

_BOTH_OR_NEITHER: Final = ("transport", "user", "ttl", "method", "maddr")
"""Parameters that two equivalent URIs both have or both lack (RFC 3261 §19.1.4).

The rules for parameters leave out ``transport``; the rule on defaults and an example have it.
"""

_ABSOLUTE_URI: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9+\-.]*+:(?:[A-Za-z0-9\-_.!~*'();/?:@&=+$,\[\]]|%[0-9A-Fa-f]{2})++"
)

_CASE_SENSITIVE_HEADERS: Final = frozenset({"body", "call-id", "i", "subject", "s"})


class Scheme(StrEnum):
    """How the next hop may be reached."""

    SIP = "sip"
    SIPS = "sips"


_SCHEMES: Final[Mapping[str, Scheme]] = {scheme.value: scheme for scheme in Scheme}


class UriForm(Enum):
    """What a SIP URI stands for, as far as its shape tells."""

    ADDRESS_OF_RECORD = "address-of-record"
    """A user at a domain."""
    FQDN = "fqdn"
    """A domain or host itself, without user."""
    NUMERIC = "numeric"
    """A host given by its IP address, with or without user."""
    PUBLIC_GRUU = "public-gruu"
    """One user agent of an address of record: ``gr`` with a value (RFC 5627 §3.1.1)."""
    TEMPORARY_GRUU = "temporary-gruu"
    """One user agent, the address of record hidden: ``gr`` alone (RFC 5627 §3.1.2)."""


@dataclass(frozen=True, slots=True)
class Header:
    """A header field that a request made from the URI is to carry; both parts as written."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


@dataclass(frozen=True, slots=True)
class SipUri:
    """A SIP or SIPS URI.

    Build one by :meth:`parse` or :meth:`build`; the constructor checks nothing.
    ``host`` keeps the brackets of an IPv6 address.  ``user`` may be a telephone-subscriber with its
    own parameters; see :attr:`telephone_subscriber`.
    """

    scheme: Scheme
    host: str
    user: str | None = None
    password: str | None = None
    port: int | None = None
    parameters: tuple[Parameter, ...] = ()
    headers: tuple[Header, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URI; MalformedMessage when it does not follow RFC 3261 §25.1."""
        written, colon, rest = text.partition(":")
        scheme = _SCHEMES.get(written.lower())
        if not colon or scheme is None:
            raise MalformedMessage(f"{excerpt(text)} does not begin with sip: or sips:")
        userinfo, at, address = rest.rpartition("@")
        user, password = _read_userinfo(userinfo, text) if at else (None, None)
        address, question, headers = address.partition("?")
        hostport, semicolon, parameters = address.partition(";")
        host, port = _read_hostport(hostport, text)
        uri = cls(
            scheme,
            host,
            user,
            password,
            port,
            read_parameters(parameters, PARAMETER_CHARACTERS, text) if semicolon else (),
            _read_headers(headers, text) if question else (),
        )
        uri._check_parameters()
        return uri

    @classmethod
    def build(
        cls,
        host: str,
        *,
        scheme: Scheme = Scheme.SIP,
        user: str | None = None,
        password: str | None = None,
        port: int | None = None,
        parameters: Mapping[str, str | None] | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> Self:
        """Make a URI of unescaped parts.  An IPv6 host may lack its brackets.

        A telephone-subscriber as ``user`` keeps its ``;`` and ``=``.  MisuseError when a part
        cannot stand in a URI.
        """
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        uri = cls(
            scheme,
            host,
            None if user is None else escape(user, USER_CHARACTERS),
            None if password is None else escape(password, PASSWORD_CHARACTERS),
            port,
            tuple(
                Parameter(
                    escape(name, PARAMETER_CHARACTERS),
                    None if value is None else escape(value, PARAMETER_CHARACTERS),
                )
                for name, value in (parameters or {}).items()
            ),
            tuple(
                Header(escape(name, HEADER_CHARACTERS), escape(value, HEADER_CHARACTERS))
                for name, value in headers
            ),
        )
        try:
            if cls.parse(str(uri)) != uri:
                raise MisuseError(f"{excerpt(str(uri))} would be read as something else")
        except MalformedMessage as error:
            raise MisuseError(str(error)) from error
        return uri

    def __str__(self) -> str:
        if self.password is None and not (self.parameters or self.headers):
            user = "" if self.user is None else f"{self.user}@"
            port = "" if self.port is None else f":{self.port}"
            return f"{self.scheme.value}:{user}{self.host}{port}"
        text = [self.scheme, ":"]
        if self.user is not None:
            text += (self.user, "" if self.password is None else f":{self.password}", "@")
        text.append(self.host)
        if self.port is not None:
            text.append(f":{self.port}")
        text += (f";{parameter}" for parameter in self.parameters)
        if self.headers:
            text += ("?", "&".join(map(str, self.headers)))
        return "".join(text)

    @property
    def is_secure(self) -> bool:
        """Whether this is a SIPS URI."""
        return self.scheme is Scheme.SIPS

    @property
    def address(self) -> IPAddress | None:
        """The IP address that ``host`` spells out, or None for a name."""
        return numeric_host(self.host)

    @property
    def user_text(self) -> str | None:
        """The user with all escapes resolved; fit for looking up, not for writing a URI."""
        return None if self.user is None else unescape(self.user)

    @property
    def telephone_subscriber(self) -> TelUri | None:
        """The number in the user part when ``user=phone`` says so and it is one (§19.1.6)."""
        if self.user is None or self.user_parameter != "phone":
            return None
        try:
            return TelUri.from_user(self.user)
        except MalformedMessage:
            return None

    @property
    def form(self) -> UriForm:
        """What the URI stands for."""
        if self.has_parameter("gr"):
            named = self.parameter("gr") is not None
            return UriForm.PUBLIC_GRUU if named else UriForm.TEMPORARY_GRUU
        if self.address is not None:
            return UriForm.NUMERIC
        return UriForm.FQDN if self.user is None else UriForm.ADDRESS_OF_RECORD

    @property
    def transport(self) -> str | None:
        """The ``transport`` parameter in lower case; any token is possible."""
        return self._keyword("transport")

    @property
    def user_parameter(self) -> str | None:
        """The ``user`` parameter in lower case: ``phone``, ``ip`` or another token."""
        return self._keyword("user")

    @property
    def method(self) -> str | None:
        """The ``method`` parameter; methods are case-sensitive (RFC 3261 §7.1)."""
        value = self.parameter("method")
        return None if value is None else unescape(value)

    @property
    def maddr(self) -> str | None:
        """The host that is to be contacted in place of ``host``."""
        return self.parameter("maddr")

    @property
    def ttl(self) -> int | None:
        """The time-to-live of multicast packets, 0 to 255."""
        value = self.parameter("ttl")
        return None if value is None else int(value)

    @property
    def loose_routing(self) -> bool:
        """Whether ``lr`` is present, whatever value some give it."""
        return self.has_parameter("lr")

    def has_parameter(self, name: str) -> bool:
        """Whether a parameter of that name is present, with or without value."""
        return parameter_of(self.parameters, name) is not None

    def parameter(self, name: str) -> str | None:
        """The value of a parameter as written; None when it is absent or has none."""
        found = parameter_of(self.parameters, name)
        return None if found is None else found.value

    def address_of_record(self) -> Self:
        """The canonical form under which a registrar binds: no parameters, no needless escapes.

        RFC 3261 §10.3 step 5.  Of a public GRUU it is the address of record that the GRUU belongs
        to (RFC 5627 §3.1.1).
        """
        user = self.user
        if user is not None and "%" in user:
            user = escape(unescape(user), USER_CHARACTERS)
        host = self.host if self.address is not None else domain_name(self.host)
        return type(self)(self.scheme, host, user, None, self.port)

    def equivalent(self, other: "SipUri") -> bool:
        """Whether both name the same resource in the same way (RFC 3261 §19.1.4)."""
        return (
            self.scheme is other.scheme
            and _same_spelling(self.user, other.user)
            and _same_spelling(self.password, other.password)
            and _same_host(self.host, other.host)
            and self.port == other.port
            and self._parameters_match(other)
            and _headers_match(self.headers, other.headers)
        )

    def _parameters_match(self, other: "SipUri") -> bool:
        ours = {parameter.key: parameter.value for parameter in self.parameters}
        theirs = {parameter.key: parameter.value for parameter in other.parameters}
        if any((name in ours) != (name in theirs) for name in _BOTH_OR_NEITHER):
            return False
        return all(
            _same_parameter(name, ours[name], theirs[name]) for name in ours.keys() & theirs.keys()
        )

    def _keyword(self, name: str) -> str | None:
        value = self.parameter(name)
        return None if value is None else unescape(value).lower()

    def _check_parameters(self) -> None:
        for parameter in self.parameters:
            is_right = _CHECKS.get(parameter.key)
            if is_right is not None and not is_right(parameter.value or ""):
                raise MalformedMessage(
                    f"the {parameter.key} parameter of {excerpt(str(self))} is wrong"
                )


@dataclass(frozen=True, slots=True)
class AbsoluteUri:
    """A URI of any other scheme, as written (RFC 3261 §25.1 absoluteURI)."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URI; MalformedMessage when its scheme or a character is impossible."""
        if _ABSOLUTE_URI.fullmatch(text) is None:
            raise MalformedMessage(f"{excerpt(text)} is not a URI")
        return cls(text)

    @property
    def scheme(self) -> str:
        """What stands before the colon, in lower case."""
        return self.text.partition(":")[0].lower()

    def __str__(self) -> str:
        return self.text


@remembered
def parse_absolute_uri(text: str) -> SipUri | TelUri | AbsoluteUri:
    """Read a URI of any scheme; MalformedMessage when it is none, or breaks its scheme's rules."""
    if text.partition(":")[0].lower() in ("sip", "sips", "tel"):
        return parse_uri(text)
    return AbsoluteUri.parse(text)


def parse_uri(text: str) -> SipUri | TelUri:
    """Read a ``sip:``, ``sips:`` or ``tel:`` URI; MalformedMessage for anything else."""
    if text[:4].lower() == "tel:":
        return TelUri.parse(text)
    return SipUri.parse(text)


def _read_userinfo(text: str, uri: str) -> tuple[str, str | None]:
    user, colon, password = text.partition(":")
    if not user:
        raise MalformedMessage(f"{excerpt(uri)} has no user before the @")
    if not spelled(user, USER_CHARACTERS):
        raise MalformedMessage(f"the user of {excerpt(uri)} has a character that needs an escape")
    if not spelled(password, PASSWORD_CHARACTERS):
        raise MalformedMessage(
            f"the password of {excerpt(uri)} has a character that needs an escape"
        )
    return user, password if colon else None


def _read_hostport(text: str, uri: str) -> tuple[str, int | None]:
    # The colons of an IPv6 address stand within its brackets.
    host, bracket, rest = text.rpartition("]")
    name, colon, port = rest.partition(":")
    host = read_host(host + bracket + name)
    if not colon:
        return host, None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise MalformedMessage(f"the port of {excerpt(uri)} is not a number from 0 to 65535")
    return host, int(port)


def _read_headers(text: str, uri: str) -> tuple[Header, ...]:
    headers = []
    for part in text.split("&"):
        name, equals, value = part.partition("=")
        if not (
            name
            and equals
            and spelled(name, HEADER_CHARACTERS)
            and spelled(value, HEADER_CHARACTERS)
        ):
            raise MalformedMessage(f"{excerpt(uri)} has a header that is not name=value")
        headers.append(Header(name, value))
    return tuple(headers)


def _same_spelling(ours: str | None, theirs: str | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return unescape_unreserved(ours) == unescape_unreserved(theirs)


def _same_host(ours: str, theirs: str) -> bool:
    # An IPv6 address has many spellings and is compared by value (RFC 5954 §4.2).
    address = numeric_host(ours)
    if address is not None:
        return address == numeric_host(theirs)
    return domain_name(ours) == domain_name(theirs)


def _same_parameter(name: str, ours: str | None, theirs: str | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    if name == "maddr":
        return _same_host(ours, theirs)
    if name == "ttl":
        return int(ours) == int(theirs)
    if name == "method":
        return _same_spelling(ours, theirs)
    return _same_spelling(ours.lower(), theirs.lower())


def _headers_match(ours: tuple[Header, ...], theirs: tuple[Header, ...]) -> bool:
    if len(ours) != len(theirs):
        return False
    # Repeated fields of one name keep their order; the order of names does not matter.
    pairs = zip(sorted(ours, key=_header_key), sorted(theirs, key=_header_key), strict=True)
    return all(
        _header_key(one) == _header_key(other)
        and _same_header_value(_header_key(one), one.value, other.value)
        for one, other in pairs
    )


def _header_key(header: Header) -> str:
    return unescape_unreserved(header.name).lower()


def _same_header_value(name: str, ours: str, theirs: str) -> bool:
    if _same_spelling(ours, theirs):
        return True
    if name in _CASE_SENSITIVE_HEADERS:
        return False
    ours, theirs = unescape(ours), unescape(theirs)
    try:
        one, other = SipUri.parse(ours), SipUri.parse(theirs)
    except MalformedMessage:
        return ours.lower() == theirs.lower()
    # A URI within a URI within a URI is compared as text, which bounds the recursion.
    if one.headers or other.headers:
        return ours == theirs
    return one.equivalent(other)


def _is_token(text: str) -> bool:
    return bool(text) and TOKEN.issuperset(text)


def _is_host(text: str) -> bool:
    return bool(read_host(text))


def _is_ttl(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= LARGEST_TTL


_CHECKS: Final[Mapping[str, Callable[[str], bool]]] = {
    "transport": _is_token,
    "user": _is_token,
    "method": _is_token,
    "maddr": _is_host,
    "ttl": _is_ttl,
}
"""What the value of a parameter must be (RFC 3261 §25.1)."""
