"""A foreign server as a child process: started, watched until it answers, stopped."""

import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

READY_LIMIT = 30.0
"""Seconds in which a server must answer; long, because CI machines stall."""
STOP_LIMIT = 10.0
"""Seconds between SIGTERM and SIGKILL."""
PROBE_INTERVAL = 0.02


class PeerFailed(Exception):
    """A peer did not start; the text ends with what it wrote."""


class PeerProcess:
    """A child process whose output goes to a file."""

    def __init__(self, name: str, command: Sequence[str | Path], directory: Path) -> None:
        self.name = name
        self.log_file = directory / "output.log"
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not exited."""
        return self._process.poll() is None

    def wait(self) -> int:
        """Its exit status once it has ended; negative for a signal."""
        return self._process.wait(timeout=STOP_LIMIT)

    def log(self) -> str:
        """All that it wrote so far."""
        return self.log_file.read_text(errors="replace")

    def wait_until(self, answers: Callable[[], bool]) -> None:
        """Return once ``answers()`` is true; PeerFailed when it exits first or the limit passes."""
        deadline = monotonic() + READY_LIMIT
        while not answers():
            try:
                # The pause between two probes ends at once when the process does.
                status = self._process.wait(timeout=PROBE_INTERVAL)
            except subprocess.TimeoutExpired:
                status = None
            if status is not None:
                raise PeerFailed(f"{self.name} exited with status {status}:\n{self.log()}")
            if monotonic() > deadline:
                raise PeerFailed(f"{self.name} did not answer in {READY_LIMIT} s:\n{self.log()}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, by a signal first; harmless when it has ended."""
        self._process.send_signal(number)
        try:
            self._process.wait(timeout=STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
