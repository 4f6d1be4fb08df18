"""Header fields: kept byte for byte in their order, read by type on demand (RFC 3261 §7.3).

A :class:`HeaderField` holds the bytes of one field as they came, folds included.  What its value
means is read when somebody asks, once, by a :class:`Singular`, :class:`Plural` or
:class:`Repeated`, of which :mod:`natkit.sip.kinds` has one for each header field that we know.
What nobody asks for or changes is passed on as it came.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, Self, TypeVar

from natkit.errors import MalformedMessage, MisuseError
from natkit.sip.grammar import excerpt
from natkit.sip.registry import COMPACT_FORMS
from natkit.sip.values import is_token, split_list

__all__ = ["HeaderField", "Headers", "Kind", "Plural", "Repeated", "Singular", "key_of"]

T = TypeVar("T")

CRLF: Final = b"\r\n"

MOST_KNOWN: Final = 1024
"""Fields of one kind that are remembered: those of some hundred calls that are being set up."""

LONGEST_KNOWN: Final = 256
"""Bytes; what is longer is read anew each time, so that nobody can fill the memory with it."""

_FOLD: Final = re.compile(rb"[ \t]*\r\n[ \t]+")
_TOKEN: Final = re.compile(rb"[A-Za-z0-9\-.!%*_+`'~]++")


class Kind(Protocol):
    """What says how a field is read, where its name is all that counts."""

    @property
    def name(self) -> str:
        """The field's name, in its long form."""
        ...

    @property
    def key(self) -> str:
        """The spelling of it by which fields are found: :func:`key_of`."""
        ...


@dataclass(frozen=True, slots=True)
class _Reader(Generic[T]):
    """How the values of one header field are read and written.

    ``read`` raises MalformedMessage.  ``write`` gives the text of a value; it can hold no line end.
    """

    name: str
    read: Callable[[str], T]
    write: Callable[[T], str] = str
    key: str = field(init=False)
    known: dict[bytes, tuple[T, ...]] = field(
        init=False, default_factory=dict, repr=False, compare=False
    )
    """What fields that were read of late said: the messages of a call repeat each other's."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", key_of(self.name))


class Singular(_Reader[T]):
    """A header field that stands in a message once at most."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Plural(_Reader[T]):
    """A header field that may come several times, or hold several values between commas.

    ``read`` reads one value.  ``in_one_field``: whether we write many values into one field; some
    receivers expect Via, Route and Contact one by one.
    """

    in_one_field: bool = False


class Repeated(_Reader[T]):
    """A header field that may come several times, each with one value, whose commas are its own.

    RFC 3261 §7.3.1 has four: challenges and credentials.
    """

    __slots__ = ()


def key_of(name: str) -> str:
    """The one spelling of a field name: lower case, the long form (RFC 3261 §7.3.1, §7.3.3)."""
    lower = name.lower()
    return COMPACT_FORMS.get(lower, lower)


class HeaderField:
    """One field; immutable.  ``raw`` has its name, folds and final line end as they came."""

    __slots__ = ("_kind", "_values", "key", "raw")

    def __init__(self, raw: bytes, key: str) -> None:
        self.raw = raw
        self.key = key
        self._kind: object = None
        self._values: tuple[object, ...] = ()

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Take the bytes of one field, its line end included; MalformedMessage without a name."""
        name, colon, _ = raw.partition(b":")
        key = _KNOWN_NAMES.get(name)
        if key is None:
            name = name.rstrip(b" \t")
            if not colon or _TOKEN.fullmatch(name) is None:
                raise MalformedMessage(f"{excerpt(_text(raw[:80]))} is not a header field")
            key = key_of(name.decode("ascii"))
        return cls(raw, key)

    @classmethod
    def of(cls, kind: Singular[T] | Plural[T] | Repeated[T], *values: T) -> Self:
        """Write a field of values that are valid; MisuseError when one holds a line end."""
        text = ", ".join([kind.write(value) for value in values])
        if "\r" in text or "\n" in text:
            raise MisuseError(f"{kind.name} cannot hold {excerpt(text)}")
        field = cls(f"{kind.name}: {text}\r\n".encode("utf-8", "surrogateescape"), kind.key)
        if not any(isinstance(value, str) for value in values):
            # Who wrote it knows what it says; texts alone may not be what their kind asks for.
            field._kind, field._values = kind, values
        return field

    @classmethod
    def of_text(cls, name: str, value: str) -> Self:
        """Write a field of any name; MisuseError when the two cannot stand in a message."""
        raw = f"{name}: {value}".encode("utf-8", "surrogateescape")
        if b"\r" in raw or b"\n" in raw or not is_token(name):
            raise MisuseError(f"{excerpt(name)} with {excerpt(value)} is no header field")
        return cls(raw + CRLF, key_of(name))

    @property
    def name(self) -> str:
        """The name as written."""
        return self.raw.partition(b":")[0].rstrip(b" \t").decode("ascii")

    @property
    def text(self) -> str:
        """The value with folds undone and without surrounding white space."""
        value = self.raw.partition(b":")[2]
        # The final line end must not be taken for a fold.
        value = value.removesuffix(CRLF)
        if CRLF in value:
            value = _FOLD.sub(b" ", value)
        return _text(value.strip(b" \t"))

    def values(self, kind: Singular[T] | Plural[T] | Repeated[T]) -> tuple[T, ...]:
        """What the field says, read once; MalformedMessage when it does not follow its format."""
        if self._kind is not kind:
            values = kind.known.get(self.raw)
            if values is None:
                values = self._read(kind)
            self._values = values
            self._kind = kind
        return self._values  # type: ignore[return-value]  # they are of that kind

    def _read(self, kind: Singular[T] | Plural[T] | Repeated[T]) -> tuple[T, ...]:
        text = self.text
        try:
            if not isinstance(kind, Plural):
                values: tuple[T, ...] = (kind.read(text),)
            else:
                values = tuple([kind.read(part) for part in split_list(text)]) if text else ()
        except MalformedMessage as error:
            raise MalformedMessage(f"{kind.name}: {error}") from None
        if len(self.raw) <= LONGEST_KNOWN and not isinstance(kind, Repeated):
            if len(kind.known) >= MOST_KNOWN:
                kind.known.clear()
            kind.known[self.raw] = values
        return values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeaderField) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"HeaderField({self.raw!r})"


class Headers:
    """The header fields of a message, in order; immutable: each change gives a new Headers."""

    __slots__ = ("_by_key", "_fields")

    def __init__(self, fields: Iterable[HeaderField] = ()) -> None:
        self._fields = tuple(fields)
        self._by_key: dict[str, Sequence[HeaderField]] | None = None

    # ── reading ─────────────────────────────────────────────────────────────────────────────────

    def fields(self, kind: Kind | str) -> Sequence[HeaderField]:
        """The fields of one kind, or of a name in any spelling."""
        return self._found(key_of(kind) if isinstance(kind, str) else kind.key)

    def get(self, kind: Singular[T]) -> T | None:
        """The value, or None; MalformedMessage when it is malformed or stands more than once."""
        found = self._found(kind.key)
        if not found:
            return None
        if len(found) > 1:
            raise MalformedMessage(f"{kind.name} stands {len(found)} times")
        return found[0].values(kind)[0]

    def get_all(self, kind: Plural[T] | Repeated[T]) -> tuple[T, ...]:
        """All values in order, wherever the commas are; MalformedMessage."""
        return tuple([value for one in self._found(kind.key) for value in one.values(kind)])

    def first(self, kind: Plural[T]) -> T | None:
        """The first value, or None; fields after it are not read.  MalformedMessage."""
        key = kind.key
        # What comes first is mostly near the front, and no index is made for it.
        for one in self._fields:
            if one.key == key:
                for value in one.values(kind):
                    return value
        return None

    def has(self, kind: Kind | str) -> bool:
        """Whether there is a field of that kind or name."""
        return bool(self.fields(kind))

    def _found(self, key: str) -> Sequence[HeaderField]:
        by_key = self._by_key
        if by_key is None:
            by_key = self._by_key = _indexed(self._fields)
        return by_key.get(key, ())

    def __iter__(self) -> Iterator[HeaderField]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._fields == other._fields

    def __hash__(self) -> int:
        return hash(self._fields)

    def __bytes__(self) -> bytes:
        return b"".join([field.raw for field in self._fields])

    def __repr__(self) -> str:
        return f"Headers({bytes(self)!r})"

    # ── changing ────────────────────────────────────────────────────────────────────────────────

    def prepend(self, kind: Plural[T], value: T) -> "Headers":
        """Put a value before all others of its kind, in a field of its own."""
        return self.prepend_field(HeaderField.of(kind, value))

    def prepend_field(self, field: HeaderField) -> "Headers":
        """Put a field before all others of its name; where there is none, before everything."""
        key = field.key
        position = next((n for n, one in enumerate(self._fields) if one.key == key), 0)
        return self._with(position, position, (field,))

    def append(self, kind: Singular[T] | Plural[T] | Repeated[T], *values: T) -> "Headers":
        """Add values after everything else."""
        end = len(self._fields)
        return self._with(end, end, _fields_of(kind, values))

    def replace(self, kind: Singular[T] | Plural[T], *values: T) -> "Headers":
        """Put values in the place of all of this kind; where there was none, at the end."""
        key = kind.key
        kept: list[HeaderField] = []
        position: int | None = None
        for one in self._fields:
            if one.key != key:
                kept.append(one)
            elif position is None:
                position = len(kept)
        new = _fields_of(kind, values)
        if position is None:
            position = len(kept)
        return Headers([*kept[:position], *new, *kept[position:]])

    def replace_first(self, kind: Plural[T], value: T) -> "Headers":
        """Put a value in the place of the first one; MalformedMessage when that cannot be read."""
        return self._first_changed(kind, (value,))

    def remove_first(self, kind: Plural[T]) -> "Headers":
        """Take the first value away; MalformedMessage when it cannot be read."""
        return self._first_changed(kind, ())

    def remove(self, kind: Kind | str) -> "Headers":
        """Take all fields of a kind or name away."""
        key = key_of(kind) if isinstance(kind, str) else kind.key
        return Headers([field for field in self._fields if field.key != key])

    def _first_changed(self, kind: Plural[T], instead: tuple[T, ...]) -> "Headers":
        key = kind.key
        for position, one in enumerate(self._fields):
            if one.key != key:
                continue
            values = one.values(kind)
            if not values:
                continue
            fields = [HeaderField.of(kind, value) for value in instead]
            if len(values) > 1:
                # The other values keep their bytes, unless a fold held them together.
                rest = split_list(one.text)[1:]
                fields.append(HeaderField.of_text(kind.name, ", ".join(rest)))
            return self._with(position, position + 1, fields)
        raise MisuseError(f"there is no {kind.name}")

    def _with(self, start: int, end: int, fields: Sequence[HeaderField]) -> "Headers":
        return Headers((*self._fields[:start], *fields, *self._fields[end:]))


def _fields_of(
    kind: Singular[T] | Plural[T] | Repeated[T], values: Sequence[T]
) -> list[HeaderField]:
    if isinstance(kind, Plural) and kind.in_one_field:
        return [HeaderField.of(kind, *values)] if values else []
    return [HeaderField.of(kind, value) for value in values]


def _indexed(fields: Sequence[HeaderField]) -> dict[str, Sequence[HeaderField]]:
    by_key: dict[str, Sequence[HeaderField]] = {one.key: (one,) for one in fields}
    if len(by_key) < len(fields):
        several: dict[str, list[HeaderField]] = {}
        for one in fields:
            several.setdefault(one.key, []).append(one)
        return {key: tuple(found) for key, found in several.items()}
    return by_key


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


_COMMON_NAMES: Final = (
    "Accept",
    "Allow",
    "Authorization",
    "Call-ID",
    "Contact",
    "Content-Length",
    "Content-Type",
    "CSeq",
    "Expires",
    "From",
    "Max-Forwards",
    "Path",
    "Proxy-Authorization",
    "Record-Route",
    "Require",
    "Route",
    "Server",
    "Subject",
    "Supported",
    "To",
    "User-Agent",
    "Via",
)
# The spellings that nearly all senders use, so that a name costs one look-up.
_KNOWN_NAMES: Final = {
    spelling.encode("ascii"): key_of(name)
    for name in (*_COMMON_NAMES, *COMPACT_FORMS)
    for spelling in (name, name.lower())
}
