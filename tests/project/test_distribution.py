"""What is installed: the wheel, and the commands with nothing but the base dependencies."""

import subprocess
import sys
import zipfile
from email import message_from_string

import pytest

import natkit
from tests.project.test_commands import COMMANDS
from tests.project.tree import PACKAGES, ROOT, files

SERVER_ONLY = ("uvloop", "aiohttp", "prometheus_client", "pydantic", "structlog", "sqlalchemy")
"""The import names of what natkit[server] adds."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (built,) = directory.iterdir()
    assert built.name == f"natkit-{natkit.__version__}-py3-none-any.whl"
    return zipfile.ZipFile(built)


def test_the_wheel_has_the_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == {str(file) for file in files() if file.parts[0] in PACKAGES}


def test_the_wheel_has_the_kernels_relay_plane_as_it_is_compiled(wheel: zipfile.ZipFile) -> None:
    for name in ("relay.bpf.o", "relay.bpf.c", "relay_tables.h"):
        path = f"natkit/relay/{name}"
        assert wheel.read(path) == (ROOT / path).read_bytes()
    # Nothing is left to be compiled at an installation, and it is the same on every machine.
    tags = wheel.read(f"natkit-{natkit.__version__}.dist-info/WHEEL").decode()
    assert "Root-Is-Purelib: true" in tags
    assert "Tag: py3-none-any" in tags


def test_the_wheel_has_licence_commands_and_extras(wheel: zipfile.ZipFile) -> None:
    information = f"natkit-{natkit.__version__}.dist-info"
    assert f"{information}/licenses/LICENSE" in wheel.namelist()
    commands = wheel.read(f"{information}/entry_points.txt").decode()
    for command, module in COMMANDS.items():
        assert f"{command} = {module}:run" in commands
    metadata = message_from_string(wheel.read(f"{information}/METADATA").decode())
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    extras = set(metadata.get_all("Provides-Extra", []))
    assert {"server", "proxy", "postgresql", "mysql", "redis", "aioice"} <= extras


def start_with_base_only(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start a command where the libraries of natkit[server] cannot be imported."""
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({SERVER_ONLY!r}));"
        f"from {COMMANDS[command]} import run; sys.exit(run())"
    )
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", ["natkit", "sipdns"])
def test_library_commands_need_no_extra(command: str) -> None:
    shown = start_with_base_only(command, "--version")
    assert (shown.returncode, shown.stderr) == (0, "")


def test_the_server_says_which_extra_it_needs() -> None:
    shown = start_with_base_only("stun-server", "--listen", "127.0.0.1:0")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.startswith("error: ")
    assert "natkit[server]" in shown.stderr
    assert len(shown.stderr.splitlines()) == 1
