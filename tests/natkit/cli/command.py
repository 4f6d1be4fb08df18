"""Runs the ``natkit`` command as its users do: in a process of its own."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

LIMIT = 60.0
"""Seconds after which the command is taken for hanging; nothing is measured by it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended."""

    status: int
    output: str
    errors: str

    @property
    def error(self) -> str:
        """The one ``error:`` line, and nothing else on stderr."""
        (line,) = self.errors.splitlines()
        assert line.startswith("error: ")
        return line

    @property
    def result(self) -> dict[str, object]:
        """The one JSON object, and nothing else on stdout."""
        result = cast("dict[str, object]", json.loads(self.output))
        assert result["schema"] == 1
        return result


async def natkit(*arguments: str, environment: Mapping[str, str] | None = None) -> Ended:
    """Run it to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-m",
        "natkit.cli.main",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NO_COLOR": "1", **(environment or {})},
    )
    try:
        async with asyncio.timeout(LIMIT):
            output, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, output.decode(), errors.decode())
