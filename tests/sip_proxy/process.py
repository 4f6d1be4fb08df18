"""``sip-proxy`` as a child process: started, waited for, stopped or killed."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from natkit.address import Address
from tests.peering.ports import free_port

LIMIT = 90.0
"""Seconds in which it must start or stop; long, because CI machines stall."""
HOST = "127.0.0.1"
DOMAIN = "example.org"
_COMMAND = "import sys; from sip_proxy.cli import run; sys.exit(run())"


class SipProxyProcess:
    """A proxy for example.org on ports of loopback that stay its own when it is started again.

    UDP and TCP are served at ``address``, WebSocket at ``websocket``, a port above on the same host
    where an address is given.

    ``tables`` are further lines of its configuration; ``prefix`` is a command that runs it.
    """

    def __init__(
        self,
        directory: Path,
        tables: str = "",
        prefix: Sequence[str] = (),
        address: Address | None = None,
    ) -> None:
        directory.mkdir(exist_ok=True)
        if address is not None:
            self.address, self.websocket = address, Address(address.host, address.port + 1)
        else:
            self.address, self.websocket = (Address(HOST, free_port(HOST)) for _ in range(2))
        self.prefix = tuple(prefix)
        self._directory = directory
        self._config = directory / "sip-proxy.toml"
        self._config.write_text(
            f'data_dir = "{directory}"\ndomains = ["{DOMAIN}"]\n'
            f'[listeners]\nlisten = ["udp:{self.address}", "tcp:{self.address}", '
            f'"ws:{self.websocket}"]\n{tables}'
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """All that it wrote since it was started last."""
        return "".join(
            (self._directory / name).read_text() for name in ("stdout.log", "stderr.log")
        )

    def begin(self) -> None:
        """Start it, and wait for nothing."""
        with (
            (self._directory / "stdout.log").open("wb") as output,
            (self._directory / "stderr.log").open("wb") as log,
        ):
            self._process = subprocess.Popen(
                [*self.prefix, sys.executable, "-c", _COMMAND, "--config", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
            )

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self.begin()
        self.wait()

    def wait(self) -> None:
        """Until it serves."""
        process = self._process
        assert process is not None
        deadline = monotonic() + LIMIT
        while "serving " not in self.log:
            try:
                process.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                assert monotonic() < deadline, f"nothing in {LIMIT} s:\n{self.log}"
            else:
                raise AssertionError(f"ended with {process.returncode}:\n{self.log}")

    def kill(self) -> None:
        """End it without a word, as ``kill -9`` does; harmless when it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """End it by SIGINT, which waits for no transaction; its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self) -> int:
        """Its exit status once it has ended."""
        assert self._process is not None
        return self._process.wait(LIMIT)


@contextmanager
def sip_proxy(
    directory: Path, tables: str = "", prefix: Sequence[str] = ()
) -> Iterator[SipProxyProcess]:
    """A proxy that serves; killed at the end, if it still is."""
    started = SipProxyProcess(directory, tables, prefix)
    try:
        started.start()
        yield started
    finally:
        started.kill()
