"""The reference page of a configuration, made from its model."""

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

__all__ = ["Reference", "options_of", "undocumented"]

_INTRODUCTION = """\
# {program}: every option

`{program} --config FILE` reads TOML with these tables. Keys that are not here are refused, and
`--check-config` checks a file. Where the default is "none" the option says what counts without it.
[{program}](../{program}.md) tells how the options go together.

A secret is a text, `{{ env = "NAME" }}` or `{{ file = "PATH" }}`.

This page is made by `python -m {module}`.
"""

_BOUNDS = {
    "ge": "{} or more",
    "gt": "more than {}",
    "le": "{} or less",
    "min_length": "{} or more",
    "max_length": "{} or fewer",
}


def _by_its_kind(_: object) -> None:
    """No value is of a type of its own."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Of which program; ``spell`` gives the text for a value of a type of its own, else None."""

    program: str
    module: str
    model: type[BaseModel]
    spell: Callable[[object], str | None] = _by_its_kind

    def page(self) -> str:
        """The whole page, in Markdown."""
        introduction = _INTRODUCTION.format(program=self.program, module=self.module)
        return "\n".join((introduction, *self._tables(self.model, "", "")))

    def _tables(self, model: type[BaseModel], name: str, path: str) -> Iterator[str]:
        """A model's table, and those below it."""
        below = _tables_of(model)
        options = [(key, field) for key, field in _fields(model) if key not in below]
        if name:
            yield f"## {name}\n"
            yield f"{_line(model.__doc__)}\n"
        if options:
            yield "| option | default | bounds | |"
            yield "| --- | --- | --- | --- |"
            said = _sentences(model)
            names = {field.alias or name: name for name, field in model.model_fields.items()}
            yield from (self._row(key, field, said.get(names[key], "")) for key, field in options)
            yield ""
        for key, (shape, kind) in below.items():
            inner = shape.format(f"{path}{key}")
            yield from self._tables(kind, inner, f"{inner.strip('[]')}.")

    def _row(self, key: str, field: FieldInfo, sentence: str) -> str:
        default = (
            "required"
            if field.is_required()
            else self._shown(field.get_default(call_default_factory=True))
        )
        return f"| `{key}` | {default} | {_bounds(field)} | {_line(sentence)} |"

    def _shown(self, value: object) -> str:
        return "none" if value is None else f"`{self._toml(value)}`"

    def _toml(self, value: object) -> str:
        text = self.spell(value)
        if text is not None:
            return json.dumps(text)
        match value:
            case bool() | None:
                return str(value).lower()
            case Mapping():
                pairs = [f"{self._toml(key)} = {self._toml(one)}" for key, one in value.items()]
                return "{" + ", ".join(pairs) + "}"
            case tuple() | list():
                return "[" + ", ".join(map(self._toml, value)) + "]"
            case int() | float():
                return str(value)
            case _:
                return json.dumps(str(value))


def options_of(model: type[BaseModel], path: str = "") -> list[str]:
    """All options, those of the tables below included, as ``table.option``."""
    below = _tables_of(model)
    found = [f"{path}{key}" for key, _ in _fields(model) if key not in below]
    for key, (_, kind) in below.items():
        found += options_of(kind, f"{path}{key}.")
    return found


def undocumented(model: type[BaseModel], path: str = "") -> list[str]:
    """The options of a model and of the tables below it that no sentence is said of."""
    said = _sentences(model)
    below = _tables_of(model)
    names = {field.alias or name: name for name, field in model.model_fields.items()}
    missing = [
        f"{path}{key}"
        for key, name in names.items()
        if key not in below and not said.get(name, "").rstrip().endswith(".")
    ]
    for key, (_, kind) in below.items():
        missing += undocumented(kind, f"{path}{key}.")
    return missing


def _tables_of(model: type[BaseModel]) -> dict[str, tuple[str, type[BaseModel]]]:
    """The tables below one, by their keys: how each is headed, with {} for its path."""
    return {key: found for key, field in _fields(model) if (found := _table_of(field.annotation))}


def _sentences(model: type[BaseModel]) -> dict[str, str]:
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


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def _table_of(kind: object) -> tuple[str, type[BaseModel]] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "[{}]", kind
    arguments: Sequence[object] = get_args(kind)
    for each in arguments:
        if isinstance(each, type) and issubclass(each, BaseModel):
            return ("[[{}]]" if get_origin(kind) is tuple else "[{}.NAME]"), each
    return None


def _bounds(field: FieldInfo) -> str:
    found = []
    for name, text in _BOUNDS.items():
        # Each bound is an object of its own, with one attribute.
        for each in field.metadata:
            limit: object = getattr(each, name, None)
            if isinstance(limit, int | float):
                found.append(text.format(limit))
    return ", ".join(found)


def _line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("``", "`").replace("|", "\\|")
