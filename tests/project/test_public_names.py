"""What a package offers is what its ``__all__`` says, and importing a machine loads no I/O."""

import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

from tests.project.tree import PACKAGES, ROOT, packages

METADATA = {"__version__"}


@pytest.mark.parametrize("name", packages())
def test_all_names_of_a_package_are_its_public_names(name: str) -> None:
    package = import_module(name)
    declared: list[str] = package.__all__
    public = {
        attribute
        for attribute, value in vars(package).items()
        if not attribute.startswith("_")
        and not isinstance(value, ModuleType)
        # What is imported from elsewhere to be used here is nobody's public name.
        and (attribute in declared or getattr(value, "__module__", name).startswith(PACKAGES))
    }
    assert len(declared) == len(set(declared))
    assert public == set(declared) - METADATA


@pytest.mark.parametrize("package", ["natkit", "natkit.stun", "natkit.turn", "natkit.sip"])
def test_importing_machines_loads_no_event_loop(package: str) -> None:
    unwanted = ("asyncio", "ssl", "threading", "random", "secrets", "logging")
    script = f"import sys, {package}; print(*[m for m in {unwanted!r} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    assert loaded.stdout.split() == []
