"""Names, leftovers, and the completeness of the import rules."""

import re
import tomllib

import pytest

from tests.project.tree import PACKAGES, ROOT, files, modules, text_of

VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}
# Spelled so that they do not find themselves.
LEFTOVER = re.compile(r"\b(TOD[O]|FIXM[E]|XX[X])\b")
REGISTRIES = re.compile(
    r"pypi[.]org|pythonhosted[.]org|npmjs[.]|anaconda[.]org|debian[.]org/debian"
)
WORKPLACE = re.compile(r"(?<![\w.~-])/(?:home|root|work)/\w")
FOREIGN_TEXT = ("tests/vectors/",)
"""Copied registries and vectors are kept as they were published."""

SHELLS = re.compile(
    r"natkit\.(aio|cli|compat|net|relay|server)\b"
    r"|stun_server\.(admin|shell|cli|config|reference|__main__)\b"
    r"|sip_proxy\.(admin|shell|cli|config|examples|reference)\b"
    r"|sipdns\.(probe|probe_certificates|cli\w*|examiner|locator|nameservers|system|__main__)\b"
    r"|sipdns\.(doh|dot|enum_lookup|under_way|validating)\b"
    r"|natkit$|sip_proxy$|sipdns$|stun_server$"
)
"""The modules that are not protocol machines."""


def own_texts() -> list[tuple[str, str]]:
    return [
        (str(file), text)
        for file in files()
        if not str(file).startswith(FOREIGN_TEXT) and (text := text_of(file)) is not None
    ]


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [str(file) for file in files() if set(file.with_suffix("").parts) & VAGUE] == []


@pytest.mark.parametrize("unwanted", [LEFTOVER, REGISTRIES, WORKPLACE], ids=lambda p: p.pattern)
def test_no_file_mentions(unwanted: re.Pattern[str]) -> None:
    lines = [
        f"{name}:{number}: {line.strip()}"
        for name, text in own_texts()
        for number, line in enumerate(text.splitlines(), 1)
        if unwanted.search(line)
    ]
    assert lines == []


def test_every_package_says_that_it_is_typed() -> None:
    assert [name for name in PACKAGES if not (ROOT / name / "py.typed").is_file()] == []


def test_every_module_of_natkit_has_a_place_in_the_import_order() -> None:
    layers = [
        name.strip()
        for line in _contract("layers")["layers"]
        for name in re.split(r"[|:]", line.replace("(", "").replace(")", ""))
    ]
    placeless = [
        module
        for module in modules()
        if module not in {"natkit", "natkit.cli"}
        and not any(f"{module}.".startswith(f"{layer}.") for layer in layers)
    ]
    assert placeless == [], "give each a line in the contract `layers` of pyproject.toml"


def test_every_module_is_a_shell_or_held_to_be_a_machine() -> None:
    machines = _contract("machines")["source_modules"]
    neither = [
        module
        for module in modules()
        if not SHELLS.match(module)
        and not any(f"{module}.".startswith(f"{machine}.") for machine in machines)
    ]
    assert neither == [], (
        "put machines into the contract `machines` of pyproject.toml, shells into SHELLS"
    )


def _contract(name: str) -> dict[str, list[str]]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    found: dict[str, list[str]] = next(entry for entry in contracts if entry["id"] == name)
    return found
