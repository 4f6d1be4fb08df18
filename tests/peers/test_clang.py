"""The relay plane in the kernel, compiled once more."""

import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from tests.project.tree import ROOT


@pytest.mark.peer("clang-14")
def test_the_program_in_the_repository_is_what_its_source_compiles_to(tmp_path: Path) -> None:
    again = tmp_path / "relay.bpf.o"
    subprocess.run([ROOT / "scripts" / "bpf.sh", again], check=True, timeout=100)
    shipped = files("natkit.relay").joinpath("relay.bpf.o").read_bytes()
    # If not: make bpf, with the packages that its script names.
    assert again.read_bytes() == shipped
