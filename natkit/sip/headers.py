"""Header fields: kept byte for byte in their order, read by type on demand (RFC 3261 §7.3).

A :class:`HeaderField` holds the bytes of one field as they came, folds included.  What its value
means is read when somebody asks, once, by a :class:`Singular`, :class:`Plural` or
:class:`Repeated`, of which :mod:`natkit.sip.kinds` has one for each header field that we know.
What nobody asks for or changes is passed on as it came.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from sys import intern
from typing import Final, Generic, Protocol, Self, TypeVar

from natkit.errors import MalformedMessage, MisuseError
from natkit.sip.grammar import excerpt
from natkit.sip.registry import COMPACT_FORMS
from natkit.sip.remembering import Memory
from natkit.sip.values import is_token, split_list

__all__ = ["HeaderField", "Headers", "Kind", "Plural", "Repeated", "Singular", "key_of"]

T = TypeVar("T")

CRLF: Final = b"\r\n"

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
    ``reads_back``: what can be written reads as what was written, so that nobody need read it.
    """

    name: str
    read: Callable[[str], T]
    write: Callable[[T], str] = str
    reads_back: bool = False
    key: str = field(init=False)
    known: Memory[tuple[T, ...]] = field(
        init=False, default_factory=Memory, repr=False, compare=False
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
    # Interned, for it is compared with others' all the time.
    return intern(COMPACT_FORMS.get(lower, lower))


class HeaderField:
    """One field; immutable.  ``raw`` has its name, folds and final line end as they came."""

    __slots__ = ("key", "raw")

    def __init__(self, raw: bytes, key: str) -> None:
        self.raw = raw
        self.key = key

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Take the bytes of one field, its line end included; MalformedMessage without a name."""
        return cls(raw, key_in(raw))

    @classmethod
    def of(cls, kind: Singular[T] | Plural[T] | Repeated[T], *values: T) -> Self:
        """Write a field of values that are valid; MisuseError when one holds a line end."""
        text = kind.write(values[0]) if len(values) == 1 else ", ".join(map(kind.write, values))
        if "\r" in text or "\n" in text:
            raise MisuseError(f"{kind.name} cannot hold {excerpt(text)}")
        raw = f"{kind.name}: {text}\r\n".encode("utf-8", "surrogateescape")
        if kind.reads_back:
            kind.known.keep(raw, values)
        return cls(raw, kind.key)

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
        return _text_in(self.raw)

    def values(self, kind: Singular[T] | Plural[T] | Repeated[T]) -> tuple[T, ...]:
        """What the field says; MalformedMessage when it does not follow its format."""
        values = kind.known.get(self.raw)
        return _read(kind, self.raw) if values is None else values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeaderField) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"HeaderField({self.raw!r})"


_Parts = tuple[list[str], list[bytes], dict[str, bytes]]


class Headers:
    """The header fields of a message, in order; immutable: each change gives a new Headers.

    They are kept as bytes, and a HeaderField is made of those that somebody asks for.
    """

    __slots__ = ("_first", "_keys", "_raws")

    def __init__(self, fields: Iterable[HeaderField] = (), parts: _Parts | None = None) -> None:
        """``parts`` in place of ``fields``: their keys, their bytes, and the first of each key."""
        if parts is None:
            known = tuple(fields)
            parts = _parts_of([one.key for one in known], [one.raw for one in known])
        # None of them is changed afterwards, so that copies share what they have in common.
        self._keys, self._raws, self._first = parts

    @classmethod
    def of_raw(cls, keys: list[str], raws: list[bytes]) -> "Headers":
        """Of fields by their keys and bytes, as :class:`HeaderField` has them; both are kept."""
        return cls(parts=_parts_of(keys, raws))

    # ── reading ─────────────────────────────────────────────────────────────────────────────────

    def fields(self, kind: Kind | str) -> Sequence[HeaderField]:
        """The fields of one kind, or of a name in any spelling."""
        key = key_of(kind) if isinstance(kind, str) else kind.key
        return tuple([HeaderField(raw, key) for raw in self._found(key)])

    def raw(self, kind: Kind) -> Sequence[bytes]:
        """The bytes of the fields of one kind."""
        return self._found(kind.key)

    def only_raw(self, kind: Kind) -> bytes | None:
        """The bytes of a field that stands once at most, or None; MalformedMessage."""
        raw = self._first.get(kind.key)
        if raw is None or len(self._first) == len(self._keys):
            return raw
        count = self._keys.count(kind.key)
        if count > 1:
            raise MalformedMessage(f"{kind.name} stands {count} times")
        return raw

    def get(self, kind: Singular[T]) -> T | None:
        """The value, or None; MalformedMessage when it is malformed or stands more than once."""
        # This is only_raw, once more: it is asked dozens of times for each message.
        raw = self._first.get(kind.key)
        if raw is None:
            return None
        if len(self._first) < len(self._keys):
            self.only_raw(kind)
        values = kind.known.get(raw)
        return (_read(kind, raw) if values is None else values)[0]

    def get_all(self, kind: Plural[T] | Repeated[T]) -> tuple[T, ...]:
        """All values in order, wherever the commas are; MalformedMessage."""
        values: tuple[T, ...] = ()
        for raw in self._found(kind.key):
            found = kind.known.get(raw)
            values += _read(kind, raw) if found is None else found
        return values

    def first(self, kind: Plural[T]) -> T | None:
        """The first value, or None; fields after it are not read.  MalformedMessage."""
        raw = self._first.get(kind.key)
        if raw is None:
            return None
        values = kind.known.get(raw)
        if values is None:
            values = _read(kind, raw)
        return values[0] if values else self._first_beyond(kind)

    def _first_beyond(self, kind: Plural[T]) -> T | None:
        """The first value where the first field is an empty list."""
        for one in self.fields(kind):
            for value in one.values(kind):
                return value
        return None

    def has(self, kind: Kind | str) -> bool:
        """Whether there is a field of that kind or name."""
        return (key_of(kind) if isinstance(kind, str) else kind.key) in self._first

    def _found(self, key: str) -> Sequence[bytes]:
        raw = self._first.get(key)
        if raw is None:
            return ()
        if len(self._first) == len(self._keys):
            return (raw,)
        return [raw for one, raw in zip(self._keys, self._raws, strict=True) if one == key]

    def __iter__(self) -> Iterator[HeaderField]:
        return map(HeaderField, self._raws, self._keys)

    def __len__(self) -> int:
        return len(self._raws)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._raws == other._raws

    def __hash__(self) -> int:
        return hash(tuple(self._raws))

    def __bytes__(self) -> bytes:
        return b"".join(self._raws)

    def __repr__(self) -> str:
        return f"Headers({bytes(self)!r})"

    @property
    def lengths(self) -> Sequence[int]:
        """Bytes of each field."""
        return list(map(len, self._raws))

    @property
    def size(self) -> int:
        """Bytes of all fields."""
        return sum(map(len, self._raws))

    # ── changing ────────────────────────────────────────────────────────────────────────────────

    def prepend(self, kind: Plural[T], value: T) -> "Headers":
        """Put a value before all others of its kind, in a field of its own."""
        return self.prepend_field(HeaderField.of(kind, value))

    def prepend_field(self, field: HeaderField) -> "Headers":
        """Put a field before all others of its name; where there is none, before everything."""
        key, keys, raws = field.key, self._keys, self._raws
        at = keys.index(key) if key in self._first else 0
        first = self._first.copy()
        first[key] = field.raw
        return Headers(
            parts=([*keys[:at], key, *keys[at:]], [*raws[:at], field.raw, *raws[at:]], first)
        )

    def append(self, kind: Singular[T] | Plural[T] | Repeated[T], *values: T) -> "Headers":
        """Add values after everything else."""
        return self._with(len(self._keys), len(self._keys), _fields_of(kind, values))

    def replace(self, kind: Singular[T] | Plural[T], *values: T) -> "Headers":
        """Put values in the place of all of this kind; where there was none, at the end."""
        key, new = kind.key, _fields_of(kind, values)
        if key not in self._first:
            return self._with(len(self._keys), len(self._keys), new)
        at = self._keys.index(key)
        if self._keys.count(key) == 1:
            return self._with(at, at + 1, new)
        others = list(self.remove(kind))
        return Headers([*others[:at], *new, *others[at:]])

    def replace_first(self, kind: Plural[T], value: T) -> "Headers":
        """Put a value in the place of the first one; MalformedMessage when that cannot be read."""
        return self._first_changed(kind, (value,))

    def remove_first(self, kind: Plural[T]) -> "Headers":
        """Take the first value away; MalformedMessage when it cannot be read."""
        return self._first_changed(kind, ())

    def remove(self, kind: Kind | str) -> "Headers":
        """Take all fields of a kind or name away."""
        key = key_of(kind) if isinstance(kind, str) else kind.key
        return self if key not in self._first else self.only({*self._keys} - {key})

    def only(self, keys: Container[str]) -> "Headers":
        """The fields of these keys alone."""
        kept = [at for at, key in enumerate(self._keys) if key in keys]
        return Headers.of_raw([self._keys[at] for at in kept], [self._raws[at] for at in kept])

    def _first_changed(self, kind: Plural[T], instead: tuple[T, ...]) -> "Headers":
        key = kind.key
        at = -1
        for raw in self._found(key):
            at = self._keys.index(key, at + 1)
            values = kind.known.get(raw)
            if values is None:
                values = _read(kind, raw)
            if not values:
                continue
            if len(values) == 1 and not instead:
                return self._without(at)
            fields = [HeaderField.of(kind, value) for value in instead]
            if len(values) > 1:
                # The other values keep their bytes, unless a fold held them together.
                rest = split_list(_text_in(raw))[1:]
                fields.append(HeaderField.of_text(kind.name, ", ".join(rest)))
            return self._with(at, at + 1, fields)
        raise MisuseError(f"there is no {kind.name}")

    def _without(self, at: int) -> "Headers":
        key = self._keys[at]
        keys, raws = self._keys.copy(), self._raws.copy()
        del keys[at], raws[at]
        first = self._first.copy()
        if key in keys:
            first[key] = raws[keys.index(key)]
        else:
            del first[key]
        return Headers(parts=(keys, raws, first))

    def _with(self, start: int, end: int, fields: Sequence[HeaderField]) -> "Headers":
        raws = [*self._raws[:start], *[one.raw for one in fields], *self._raws[end:]]
        if len(fields) == 1 and fields[0].key in self._keys[start:end] and end - start == 1:
            # One in place of another: the keys stay the same.
            keys, first = self._keys, self._first.copy()
            if keys.index(fields[0].key) == start:
                first[fields[0].key] = fields[0].raw
            return Headers(parts=(keys, raws, first))
        keys = [*self._keys[:start], *[one.key for one in fields], *self._keys[end:]]
        return Headers.of_raw(keys, raws)


def _parts_of(keys: list[str], raws: list[bytes]) -> _Parts:
    # From the end on, so that the first of several is the last to be put in.
    return keys, raws, dict(zip(reversed(keys), reversed(raws), strict=True))


def _fields_of(
    kind: Singular[T] | Plural[T] | Repeated[T], values: Sequence[T]
) -> list[HeaderField]:
    if isinstance(kind, Plural) and kind.in_one_field:
        return [HeaderField.of(kind, *values)] if values else []
    return [HeaderField.of(kind, value) for value in values]


def _read(kind: Singular[T] | Plural[T] | Repeated[T], raw: bytes) -> tuple[T, ...]:
    """What a field says that is not known yet; MalformedMessage."""
    text = _text_in(raw)
    is_list = isinstance(kind, Plural)
    values: tuple[T, ...] = ()
    try:
        if is_list and "," in text:
            values = tuple([kind.read(part) for part in split_list(text)])
        elif text or not is_list:
            values = (kind.read(text),)
    except MalformedMessage as error:
        raise MalformedMessage(f"{kind.name}: {error}") from None
    if not isinstance(kind, Repeated):
        kind.known.keep(raw, values)
    return values


def _text_in(raw: bytes) -> str:
    """The value of a field with folds undone and without surrounding white space."""
    # The final line end must not be taken for a fold.
    value = raw.partition(b":")[2].removesuffix(CRLF)
    if CRLF in value:
        value = _FOLD.sub(b" ", value)
    return _text(value.strip(b" \t"))


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


def keys_in(raws: Sequence[bytes]) -> list[str]:
    """The keys of fields by their bytes; MalformedMessage where there is no name."""
    known = _KNOWN_NAMES.get
    # Nearly all names are known, and few messages have another.
    keys = [known(raw.partition(b":")[0]) for raw in raws]
    return [key_in(raw) if key is None else key for key, raw in zip(keys, raws, strict=True)]


def key_in(raw: bytes) -> str:
    """The key of a field by its bytes; MalformedMessage without a name."""
    name, colon, _ = raw.partition(b":")
    key = _KNOWN_NAMES.get(name)
    if key is None:
        name = name.rstrip(b" \t")
        if not colon or _TOKEN.fullmatch(name) is None:
            raise MalformedMessage(f"{excerpt(_text(raw[:80]))} is not a header field")
        key = key_of(name.decode("ascii"))
    return key
