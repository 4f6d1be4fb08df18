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


def loaded_by(module: str, unwanted: tuple[str, ...]) -> list[str]:
    script = f"import sys, {module}; print(*[m for m in {unwanted!r} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return loaded.stdout.split()


@pytest.mark.parametrize("package", ["natkit", "natkit.stun", "natkit.turn", "natkit.sip"])
def test_importing_machines_loads_no_event_loop(package: str) -> None:
    unwanted = ("asyncio", "ssl", "threading", "random", "secrets", "logging")
    assert loaded_by(package, unwanted) == []


def test_finding_servers_loads_no_http_client() -> None:
    assert loaded_by("sipdns", ("httpx2", "dns.query", "dns.resolver")) == []


@pytest.mark.parametrize("server", ["stun_server", "sip_proxy"])
def test_commands_load_nothing_that_serves(server: str) -> None:
    unwanted = (f"{server}.config", f"{server}.shell.running", f"{server}.shell.serving", "aiohttp")
    assert loaded_by(f"{server}.shell.commands", unwanted) == []
