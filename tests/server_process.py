"""A server of ours as a child process: started, watched by its own log, stopped."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import ClassVar

from natkit.address import Address

LIMIT = 90.0
"""Seconds in which the server must start, log or stop; long, because CI machines stall."""

Line = Mapping[str, object]


class ServerProcess:
    """A running server; ``lines`` is its log so far, read as JSON."""

    module: ClassVar[str]
    """Which holds the entry point, ``run``."""
    prelude: ClassVar[str] = ""
    """Python to run before."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        command = f"import sys; {self.prelude}from {self.module} import run; sys.exit(run())"
        self.log_file = directory / "stderr.log"
        self.output_file = directory / "stdout.log"
        with self.log_file.open("wb") as log, self.output_file.open("wb") as output:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-c", command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env=env,
            )

    @property
    def log(self) -> str:
        """All that it logged."""
        return self.log_file.read_text()

    @property
    def output(self) -> str:
        """All that it printed."""
        return self.output_file.read_text()

    def lines(self, event: str) -> list[Line]:
        """The lines about ``event``, oldest first."""
        found = [
            json.loads(line) for line in self.log.splitlines(keepends=True) if line[-1] == "\n"
        ]
        return [line for line in found if line["event"] == event]

    def from_now_on(self, event: str) -> Callable[[], list[Line]]:
        """What gives the lines about ``event`` that come after this call."""
        before = len(self.lines(event))
        return lambda: self.lines(event)[before:]

    def addresses(self, transport: str) -> list[Address]:
        """Where it listens."""
        listening = self.lines("listening")
        return [
            Address.parse(str(line["address"]))
            for line in listening
            if line["transport"] == transport
        ]

    @property
    def address(self) -> Address:
        """The first address that it listens on, by UDP."""
        return self.addresses("udp")[0]

    def wait_until(self, what: Callable[[], object]) -> None:
        """Until ``what()`` is true; fails when the server ends first."""
        deadline = monotonic() + LIMIT
        while not what():
            try:
                self.process.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                assert monotonic() < deadline, f"nothing in {LIMIT} s:\n{self.log}"
            else:
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.log}")

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Stop it by a signal, without it at once; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(LIMIT)

    def refusal(self) -> str:
        """The one line of a server that does not start, but ends with status 2."""
        try:
            assert self.process.wait(LIMIT) == 2, self.log
        finally:
            self.kill()
        assert self.output == ""
        assert self.log.startswith("error: ")
        assert self.log.count("\n") == 1
        return self.log.removeprefix("error: ").rstrip("\n")

    def kill(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
