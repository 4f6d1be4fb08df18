"""The scripts behind `make` say in one line what a machine lacks."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project.tree import ROOT

PARTS = (
    "scripts/environment.sh",
    "scripts/apt-install.sh",
    "requirements/run.txt",
    "requirements/dev.txt",
    "pyproject.toml",
    "natkit/__init__.py",
)
OLD = "Python 3.9.2"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What environment.sh reads, in a directory without .venv."""
    for part in PARTS:
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / part, tmp_path / part)
    return tmp_path


def interpreter(directory: Path, answers: str) -> Path:
    """A stand-in for an interpreter: a shell script."""
    path = directory / "python3-stand-in"
    path.write_text(f"#!/bin/sh\n{answers}\n")
    path.chmod(0o755)
    return path


def set_up(checkout: Path, python: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "scripts" / "environment.sh", "run"],
        env={**os.environ, "PYTHON": str(python)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_one_error(done: subprocess.CompletedProcess[str], *expected: str) -> None:
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    for text in expected:
        assert text in done.stderr


def test_without_python_the_error_names_the_version_needed(checkout: Path) -> None:
    assert_one_error(set_up(checkout, "python3-absent"), "python3-absent", "3.11")


def test_an_old_python_is_named(checkout: Path) -> None:
    old = interpreter(checkout, f'[ "$1" = -V ] && echo {OLD}; exit 1')
    assert_one_error(set_up(checkout, old), str(old), OLD, "3.11")


def test_without_venv_the_error_names_the_package(checkout: Path) -> None:
    bare = interpreter(checkout, 'case "$2" in *ensurepip*) exit 1 ;; esac')
    assert_one_error(set_up(checkout, bare), "python3-venv", "apt-get install")
    assert not (checkout / ".venv").exists()


def test_an_environment_that_is_up_to_date_is_left_alone(checkout: Path) -> None:
    made = checkout / ".venv" / "bin" / "python"
    made.parent.mkdir(parents=True)
    interpreter(checkout, "exit 0").rename(made)
    calls = checkout / "calls"
    made.write_text(f'#!/bin/sh\necho "$*" >>{calls}\n')
    assert set_up(checkout, "python3-absent").returncode == 0
    assert "--require-hashes" in calls.read_text()
    calls.unlink()
    again = set_up(checkout, "python3-absent")
    assert (again.returncode, again.stderr) == (0, "")
    assert "pip" not in calls.read_text()
    (checkout / "requirements" / "run.txt").write_text("changed==1\n")
    assert "changed==1" not in set_up(checkout, "python3-absent").stderr
    assert "--require-hashes" in calls.read_text()
