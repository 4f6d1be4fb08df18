"""The convention for code in documents is held, and a page that breaks it is refused."""

from pathlib import Path

import pytest

from tests.project.snippets import Command, commands, snippets


def page(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "page.md"
    file.write_text(text)
    return file


def test_a_python_block_is_run_without_being_asked(tmp_path: Path) -> None:
    (snippet,) = snippets(page(tmp_path, "Words.\n\n```python\nprint(1)\n```\n"))
    assert (snippet.name, snippet.body, snippet.is_run) == ("page.md:3", "print(1)\n", True)


def test_a_console_block_says_what_runs_meanwhile(tmp_path: Path) -> None:
    text = "<!-- run server=a:1 dns=b:2 -->\n```console\n$ natkit stun a:1 b:2\n```\n"
    (snippet,) = snippets(page(tmp_path, text))
    assert (snippet.server, snippet.dns, snippet.is_run) == ("a:1", "b:2", True)


def test_a_console_block_may_say_why_it_is_not_run(tmp_path: Path) -> None:
    (snippet,) = snippets(page(tmp_path, "<!-- not run: why -->\n```console\n$ make\n```\n"))
    assert not snippet.is_run


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ make\n```\n",
        "<!-- run nothing=1 -->\n```console\n$ make\n```\n",
        "<!-- not run: why -->\n```python\nprint(1)\n```\n",
        "<!-- run server=a:1 -->\n```python\nprint(1)\n```\n",
    ],
    ids=["silent", "unknown setting", "python not run", "placeholder absent"],
)
def test_a_block_that_does_not_say_how_it_is_run_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"page\.md:\d"):
        snippets(page(tmp_path, text))


def test_other_languages_are_left_alone(tmp_path: Path) -> None:
    assert snippets(page(tmp_path, "```toml\na = 1\n```\n```\nplain\n```\n")) == []


def test_commands_are_told_from_their_output() -> None:
    assert commands("$ one \\\n    --flag\nshown at 10:00\n$ two\n") == [
        Command("one     --flag", ["shown", "at"]),
        Command("two", []),
    ]
