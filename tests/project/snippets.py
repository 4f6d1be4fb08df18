"""The code blocks of a Markdown page, and how they say that they are to be run.

Every ``python`` and ``console`` block is run by a test, or says why not, in an HTML comment on the
line before its fence::

    <!-- run -->                            as it stands; python blocks need not say it
    <!-- run server=127.0.0.1:3478 -->      while our server runs; it is started for the test, and
                                            its address replaces this text
    <!-- run dns=192.0.2.53:53 -->          while BIND 9 serves tests/project/zones, likewise
    <!-- run server=… dns=… -->             both
    <!-- run gateway=192.168.1.1 -->        behind miniupnpd, in a network of the test's own
    <!-- not run: installs the project -->  never; only for console blocks

The server knows the user ``alice`` with the password ``secret`` and allows loopback as a peer.

In a console block the lines that begin with ``$ `` are commands, a backslash continues one, and
every other line shows output.  Each command must exit with status 0, and what it prints must have
the words of the output shown, except for those with a digit: numbers, addresses, times differ.
A python block must end without exception and without warning.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"(?:^<!-- (?P<directive>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
RUNNABLE = {"python", "console"}
SETTING = re.compile(r"(server|dns|gateway)=(\S+)")


@dataclass(frozen=True, slots=True)
class Snippet:
    """One block.

    ``server``, ``dns`` and ``gateway`` are the texts that the running peers' addresses replace.
    """

    page: str
    line: int
    language: str
    body: str
    is_run: bool
    server: str | None = None
    dns: str | None = None
    gateway: str | None = None

    @property
    def name(self) -> str:
        """Where it stands, for the name of its test."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a console block, and the words of the output that the page shows for it."""

    text: str
    shown_words: Sequence[str]


def snippets(page: Path) -> list[Snippet]:
    """The python and console blocks of ``page``; ValueError when one does not say what it must."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        if match["language"] not in RUNNABLE:
            continue
        line = text.count("\n", 0, match.start("language")) + 1
        where = f"{page.name}:{line}"
        directive = match["directive"] or ("run" if match["language"] == "python" else "")
        if directive.startswith("not run: ") and match["language"] == "console":
            found.append(Snippet(page.name, line, match["language"], match["body"], is_run=False))
            continue
        verb, _, rest = directive.partition(" ")
        settings = dict(SETTING.findall(rest))
        if verb != "run" or SETTING.sub("", rest).strip():
            raise ValueError(f"{where}: no <!-- run --> comment that can be understood before it")
        for placeholder in settings.values():
            if placeholder not in match["body"]:
                raise ValueError(f"{where}: {placeholder} does not occur in the block")
        found.append(
            Snippet(page.name, line, match["language"], match["body"], is_run=True, **settings)
        )
    return found


def commands(body: str) -> list[Command]:
    """The commands of a console block with their output."""
    found: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if found and found[-1][0].endswith("\\"):
            found[-1] = (f"{found[-1][0][:-1]}{line}", found[-1][1])
        elif line.startswith("$ "):
            found.append((line[2:], []))
        elif found:
            found[-1][1].extend(words(line))
        else:
            raise ValueError(f"output before any command: {line!r}")
    return [Command(text, shown) for text, shown in found]


def words(text: str) -> list[str]:
    """The words of an output that are the same in every run: those without digits."""
    return [word for word in text.split() if not any(letter.isdigit() for letter in word)]
