"""Programs of :mod:`tests.netlab.sip_phone` on hosts of the lab: what they are told, and say."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

from tests.netlab import sip_phone
from tests.netlab.namespaces import Host


class Told:
    """A program of :mod:`tests.netlab.sip_phone`, and what it said."""

    def __init__(self, host: Host, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*host.prefix, sys.executable, "-W", "error", sip_phone.__file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> dict[str, object]:
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        assert text, "it ended"
        return cast("dict[str, object]", json.loads(text))

    def say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()


@contextmanager
def until_the_end(processes: Sequence["subprocess.Popen[str]"]) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()
