"""The page about the proxy has examples that work; the list of options is the reference's."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from sip_proxy.admin.metrics import FAMILIES
from sip_proxy.config import Config, load
from sip_proxy.shell.commands import app
from tests.project.tree import ROOT

PAGE = ROOT / "docs" / "sip-proxy.md"
SECRETS = {"key": "0" * 64, "store": "redis://192.0.2.1"}


def text() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", text(), re.DOTALL))
def test_the_examples_of_the_page_are_configurations(example: str, tmp_path: Path) -> None:
    for name in re.findall(r'"/run/secrets/(\w+)"', example):
        (tmp_path / name).write_text(SECRETS.get(name, "a password"))
    file = tmp_path / "proxy.toml"
    file.write_text(example.replace("/run/secrets", str(tmp_path)))
    assert load(file) != Config()


def test_the_page_names_no_option_that_there_is_not() -> None:
    tables = "|".join(Config.model_fields)
    # Some files of the data directory are called like options.
    named = re.findall(
        rf"`({tables})\.(\w+)`", re.sub(r"(users|bindings)\.sqlite3|keys\.json", "", text())
    )
    assert named
    for table, option in named:
        model = Config.model_fields[table].annotation
        assert isinstance(model, type)
        assert option in model.model_fields, f"{table}.{option}"


@pytest.mark.parametrize("line", re.findall(r"^\$ (sip-proxy .*)$", text(), re.MULTILINE))
def test_the_commands_of_the_page_are_understood(line: str) -> None:
    command = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while words and words[0] in getattr(command, "commands", {}):
        command = getattr(command, "commands")[words.pop(0)]  # noqa: B009 - a group's alone
    # Raises for what it does not know; nothing is done.
    command.make_context("sip-proxy", words)


def test_the_page_lists_every_metric_as_it_is() -> None:
    rows = re.findall(r"^\| `(sip_proxy_\w+)` \| (.*?) \| (.*?) \|$", text(), re.MULTILINE)
    assert rows == [
        (family.name, ", ".join(f"`{label}`" for label in family.labels), family.says)
        for family in FAMILIES
    ]
