"""The reference page of the configuration, made from its model.

``python -m stun_server.reference > docs/reference/stun-server.md`` writes it anew.
"""

import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from natkit.stun.registry import PasswordAlgorithmNumber
from stun_server.config import Config, Realm, Redirect
from stun_server.settings import PortRange

__all__ = ["page", "sentences"]

_INTRODUCTION = """\
# stun-server: every option

`stun-server --config FILE` reads TOML with these tables. Keys that are not here are refused, and
`--check-config` checks a file. Where the default is "none" the option says what counts without it.
[stun-server](../stun-server.md) tells how the options go together.

A secret is a text, `{ env = "NAME" }` or `{ file = "PATH" }`.

This page is made by `python -m stun_server.reference`.
"""

_BOUNDS = {
    "ge": "{} or more",
    "le": "{} or less",
    "min_length": "{} or more",
    "max_length": "{} or fewer",
}

_ALGORITHMS = {PasswordAlgorithmNumber.SHA_256: "sha-256", PasswordAlgorithmNumber.MD5: "md5"}


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join((_INTRODUCTION, *_tables(Config, "")))


def sentences(model: type[BaseModel]) -> dict[str, str]:
    """What the attribute docstrings of a model, and of those above it, say of each option."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            # Not pydantic's use_attribute_docstrings: it would do this at each start of the server.
            (body,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
            statements = body.body if isinstance(body, ast.ClassDef) else ()
            for statement, after in pairwise(statements):
                match statement, after:
                    case (
                        ast.AnnAssign(target=ast.Name(name)),
                        ast.Expr(ast.Constant(str(text))),
                    ):
                        found[name] = text
    return found


def _tables(model: type[BaseModel], name: str) -> Iterator[str]:
    """A model's table, and those below it."""
    below = {key: kind for key, field in _fields(model) if (kind := _table_of(field)) is not None}
    options = [(key, field) for key, field in _fields(model) if key not in below]
    if name:
        yield f"## {name}\n"
        yield f"{_line(model.__doc__)}\n"
    if options:
        yield "| option | default | bounds | |"
        yield "| --- | --- | --- | --- |"
        said = sentences(model)
        names = {field.alias or name: name for name, field in model.model_fields.items()}
        yield from (_row(key, field, said.get(names[key], "")) for key, field in options)
        yield ""
    for key, kind in below.items():
        path = f"{name.strip('[]')}.{key}".lstrip(".")
        if kind is Realm:
            yield from _tables(kind, f"[{path}.NAME]")
        elif kind is Redirect:
            yield from _tables(kind, f"[[{path}]]")
        else:
            yield from _tables(kind, f"[{path}]")


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def _table_of(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    for each in (Realm, Redirect):
        if each.__name__ in str(kind):
            return each
    return None


def _row(key: str, field: FieldInfo, sentence: str) -> str:
    default = (
        "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
    )
    return f"| `{key}` | {default} | {_bounds(field)} | {_line(sentence)} |"


def _shown(value: object) -> str:
    return "none" if value is None else f"`{_toml(value)}`"


def _toml(value: object) -> str:
    match value:
        case bool() | None:
            return str(value).lower()
        case PasswordAlgorithmNumber():
            return json.dumps(_ALGORITHMS[value])
        case PortRange(first, last):
            return json.dumps(f"{first}-{last}")
        case Mapping():
            return (
                "{" + ", ".join(f"{_toml(key)} = {_toml(one)}" for key, one in value.items()) + "}"
            )
        case tuple() | list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case int() | float():
            return str(value)
        case _:
            return json.dumps(str(value))


def _bounds(field: FieldInfo) -> str:
    found = []
    for name, text in _BOUNDS.items():
        # Each bound is an object of its own, with one attribute.
        for each in field.metadata:
            limit: object = getattr(each, name, None)
            if isinstance(limit, int):
                found.append(text.format(limit))
    return ", ".join(found)


def _line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
