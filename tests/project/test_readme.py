"""The code of the README runs; :mod:`tests.project.snippets` has the convention."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from natkit.address import Address
from tests.peering.binding_probe import answers_binding
from tests.peering.plugin import StartNamed
from tests.peering.ports import free_port
from tests.peering.process import PeerProcess
from tests.project.snippets import Snippet, commands, snippets, words
from tests.project.tree import ROOT

README = ROOT / "README.md"
ZONES = Path(__file__).parent / "zones"
USER = "alice:secret"
TIME_LIMIT = 60


def found(*, with_dns: bool) -> list[Snippet]:
    return [
        snippet
        for snippet in snippets(README)
        if snippet.is_run and (snippet.dns is not None) == with_dns
    ]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Address]:
    """Our server, as the README's reader runs it."""
    address = Address("127.0.0.1", free_port("127.0.0.1"))
    directory = tmp_path / "server"
    directory.mkdir()
    arguments = ["--listen", str(address), "--user", USER, "--allow-peer", "127.0.0.0/8"]
    process = PeerProcess(
        "stun-server",
        [
            sys.executable,
            "-c",
            "import sys; from stun_server.cli import run; sys.exit(run())",
            *arguments,
            "--data-dir",
            directory,
        ],
        directory,
    )
    try:
        process.wait_until(lambda: answers_binding(address))
        yield address
    finally:
        process.stop()


def run_snippet(snippet: Snippet, replacements: dict[str, str], directory: Path) -> None:
    body = snippet.body
    for placeholder, actual in replacements.items():
        body = body.replace(placeholder, actual)
    if snippet.language == "python":
        script = directory / "snippet.py"
        script.write_text(body)
        _run([sys.executable, "-W", "error", str(script)], body)
        return
    for command in commands(body):
        printed = Counter(words(_run(["sh", "-c", command.text], command.text)))
        absent = Counter(command.shown_words) - printed
        assert not absent, f"{command.text} does not print {sorted(absent)}"


def _run(arguments: list[str], what: str) -> str:
    directories = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        arguments,
        cwd=ROOT,
        env={**os.environ, "PATH": directories},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert done.returncode == 0, f"{what}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("snippet", found(with_dns=False), ids=lambda snippet: snippet.name)
def test_what_the_readme_shows_works(
    snippet: Snippet, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    replacements = {}
    if snippet.server is not None:
        replacements[snippet.server] = str(request.getfixturevalue("server"))
    run_snippet(snippet, replacements, tmp_path)


@pytest.mark.peer("bind9")
@pytest.mark.parametrize("snippet", found(with_dns=True), ids=lambda snippet: snippet.name)
def test_what_the_readme_shows_of_the_dns_works(
    snippet: Snippet, start_named: StartNamed, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    zones = {file.name: file.read_text() for file in ZONES.iterdir()}
    replacements = {str(snippet.dns): str(start_named(zones))}
    if snippet.server is not None:
        replacements[snippet.server] = str(request.getfixturevalue("server"))
    run_snippet(snippet, replacements, tmp_path)


def test_the_readme_has_a_snippet_for_each_of_the_three_uses() -> None:
    shown = "\n".join(snippet.body for snippet in snippets(README) if snippet.is_run)
    assert "natkit" in shown
    assert "sipdns" in shown
    assert "stun-server" in README.read_text()
