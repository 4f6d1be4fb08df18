"""The lock files: complete, hashed, alike, and silent about where they were made."""

import re
import tomllib
from collections.abc import Iterable

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project.tree import ROOT

LOCKS = ("run", "dev")
PIN = re.compile(r"^(?P<requirement>[A-Za-z0-9].*?==.*?) \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")
ORIGIN = re.compile(r"^    #   ?[A-Za-z0-9 ()\[\]:,./_-]+$|^    # via [A-Za-z0-9 ()\[\]:,./_-]+$")


def lock_lines(name: str) -> list[str]:
    return (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()


def pins(name: str) -> dict[str, str]:
    found = (PIN.match(line) for line in lock_lines(name))
    requirements = [Requirement(match["requirement"]) for match in found if match]
    return {canonicalize_name(pin.name): str(pin.specifier) for pin in requirements}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_pins_hashes_and_origins_and_nothing_else(name: str) -> None:
    odd = [
        line
        for line in lock_lines(name)
        if not (PIN.match(line) or HASH.match(line) or ORIGIN.match(line))
    ]
    assert odd == []


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes(name: str) -> None:
    text = "\n".join(lock_lines(name))
    blocks = re.split(r"\n(?=\S)", text)
    # One name may have several, each for other versions of Python.
    assert len(blocks) == len([line for line in lock_lines(name) if PIN.match(line)])
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_both_locks_pin_the_same_versions() -> None:
    run, dev = pins("run"), pins("dev")
    assert {name: dev.get(name) for name in run} == run


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_what_the_project_asks_for(name: str) -> None:
    missing = [
        str(requirement)
        for requirement in _asked_for(name)
        if canonicalize_name(requirement.name) not in pins(name)
        or not requirement.specifier.contains(
            pins(name)[canonicalize_name(requirement.name)].removeprefix("==")
        )
    ]
    assert missing == []


def _asked_for(name: str) -> Iterable[Requirement]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    extras = project["project"]["optional-dependencies"]
    groups = project["dependency-groups"]
    wanted = [*project["project"]["dependencies"], *extras["server"], *groups["build"]]
    if name == "dev":
        for extra in ("postgresql", "mysql", "redis", "aioice"):
            wanted += extras[extra]
        wanted += [*(entry for entry in groups["dev"] if isinstance(entry, str))]
    return [Requirement(text) for text in wanted]
