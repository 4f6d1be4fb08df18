"""A configuration from a TOML file and flags; each mistake is one line that says where it is."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from natkit.errors import ConfigError

__all__ = ["Flag", "contents", "data_dir_of", "validated"]

Model = TypeVar("Model", bound=BaseModel)


class Flag(NamedTuple):
    """A command-line flag, the key of the configuration that it stands for, and its value."""

    name: str
    key: tuple[str, ...]
    value: object

    @classmethod
    def user(cls, text: str) -> "Flag":
        """What ``--user NAME:PASSWORD`` says; ConfigError for what is not written so."""
        name, colon, password = text.partition(":")
        if not (name and colon and password):
            # The text may hold a password, so it is not repeated.
            raise ConfigError("--user: a user is written NAME:PASSWORD")
        return cls("--user", ("users", "passwords", name), password)


def contents(file: Path | None, flags: Sequence[Flag] = ()) -> dict[str, object]:
    """What file and flags say together, not checked yet; ConfigError when it cannot be read."""
    content = _read(file) if file is not None else {}
    for _, key, value in flags:
        _put(content, key, value)
    return content


def validated(
    model: type[Model],
    content: Mapping[str, object],
    file: Path | None = None,
    flags: Sequence[Flag] = (),
) -> Model:
    """Check what :func:`contents` gave; ConfigError says what is wrong, and where in which file."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_line(model, error, file, flags)) from None


def data_dir_of(file: Path) -> Path | None:
    """The data directory that a configuration names; no secret of it is read for that."""
    value = _read(file).get("data_dir")
    return Path(value) if isinstance(value, str) else None


def _read(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is no TOML: {error}") from error


def _put(content: dict[str, object], key: tuple[str, ...], value: object) -> None:
    table = content
    for part in key[:-1]:
        below = table.setdefault(part, {})
        if not isinstance(below, dict):
            # Not a table: the check of the whole names it.
            return
        table = below
    table[key[-1]] = value


def _line(
    model: type[BaseModel], error: ValidationError, file: Path | None, flags: Sequence[Flag]
) -> str:
    """The first mistake; pydantic's text never holds the value, which may be a secret."""
    first = error.errors(include_url=False, include_input=False)[0]
    location = tuple(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        alike = difflib.get_close_matches(location[-1], known, 1)
        hint = f"do you mean {alike[0]}?" if alike else f"known are {', '.join(known)}"
        what = f"there is no such key; {hint}"
    else:
        text = first["msg"].removeprefix("Value error, ")
        what = text[:1].lower() + text[1:]
    for name, key, _ in flags:
        if location[: len(key)] == key:
            return f"{name}: {what}"
    # What several tables make wrong together has no location.
    places = ("" if file is None else str(file), ".".join(location), what)
    return ": ".join(filter(None, places))


def _known_keys(model: type[BaseModel], table: tuple[str, ...]) -> list[str]:
    for name in table:
        kind = model.model_fields[name].annotation if name in model.model_fields else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return [field.alias or name for name, field in model.model_fields.items()]
