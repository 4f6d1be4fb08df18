"""``sip-proxy`` as a child process that is watched by its own log."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.server_process import ServerProcess

DOMAIN = "example.org"


class WatchedProxy(ServerProcess):
    """A running proxy."""

    module = "sip_proxy.cli"


@contextmanager
def watched_proxy(directory: Path, *arguments: str) -> Iterator[WatchedProxy]:
    """A proxy for example.org that is ready; without a --listen of yours on 127.0.0.1 by UDP.

    The users are ``alice`` and ``bob``, with the password ``secret``.
    """
    listen = () if "--listen" in arguments else ("--listen", "udp:127.0.0.1:0")
    domain = () if "--domain" in arguments or "--config" in arguments else ("--domain", DOMAIN)
    started = WatchedProxy(
        directory,
        *("--user", "alice:secret", "--user", "bob:secret"),
        *("--data-dir", str(directory / "state"), "--log-json"),
        *domain,
        *listen,
        *arguments,
    )
    try:
        started.wait_until(lambda: started.lines("ready"))
        yield started
        assert started.stop() == 0, started.log
        assert not started.lines("internal error"), started.log
    finally:
        started.kill()
