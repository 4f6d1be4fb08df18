"""PostgreSQL, MariaDB and Redis on loopback, each with a user, a password and an empty database.

They keep what they hold when they are stopped and started again.  PostgreSQL and MariaDB refuse to
run as root, so root starts them as nobody, in a directory that nobody can reach.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from natkit.address import Address
from tests.peering.ports import free_port
from tests.peering.process import PeerFailed, PeerProcess
from tests.peering.roster import program_path

HOST = "127.0.0.1"
PROBE_TIMEOUT = 0.2
SET_UP_LIMIT = 60.0
NOBODY = 65534
USER = "natkit"


class Database(ABC):
    """A database server that can be stopped and started; ``url`` is what a store is told."""

    name: str
    stopped_by = signal.SIGTERM

    def __init__(self) -> None:
        # Not below pytest's directories, which are closed to all but their owner.
        self.directory = Path(tempfile.mkdtemp(prefix=f"natkit-{self.name}-"))
        self.address = Address(HOST, free_port(HOST))
        self.password = secrets.token_hex(8)
        self._process: PeerProcess | None = None
        if self.is_unprivileged:
            os.chown(self.directory, NOBODY, NOBODY)
        try:
            self.set_up()
            self.start()
        except BaseException:
            self.remove()
            raise

    @property
    @abstractmethod
    def url(self) -> str:
        """Where a store finds it."""

    @abstractmethod
    def set_up(self) -> None:
        """Make what the server needs to be started."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """What starts the server."""

    @property
    def process(self) -> PeerProcess:
        """The running server."""
        assert self._process is not None
        return self._process

    @property
    def is_unprivileged(self) -> bool:
        """Whether it is started as nobody."""
        return os.geteuid() == 0

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = PeerProcess(self.name, self._as_nobody(self.command()), self.directory)
        self._process.wait_until(self.answers)

    def answers(self) -> bool:
        """Whether it serves: all three greet or answer a line."""
        with socket.socket() as probe:
            probe.settimeout(PROBE_TIMEOUT)
            return probe.connect_ex(self.address) == 0

    def stop(self) -> None:
        """Stop it; clients are cut off."""
        if self._process is not None:
            self._process.stop(self.stopped_by)

    def remove(self) -> None:
        """Stop it for good, and delete what it held."""
        self.stop()
        shutil.rmtree(self.directory)

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run a program that sets up, to its end."""
        done = subprocess.run(
            self._as_nobody([_path(program), *arguments]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.directory,
            timeout=SET_UP_LIMIT,
            check=False,
        )
        if done.returncode != 0:
            raise PeerFailed(f"{program} failed:\n{done.stdout}")

    def write(self, name: str, text: str) -> Path:
        """Put a file into the directory."""
        path = self.directory / name
        path.write_text(text)
        return path

    def _as_nobody(self, command: Sequence[str | Path]) -> Sequence[str | Path]:
        if not self.is_unprivileged:
            return command
        ids = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        return ["setpriv", *ids, "--", *command]


class PostgreSql(Database):
    """``postgres``, with passwords by SCRAM."""

    name = "postgresql"
    # SIGTERM would wait for clients to leave.
    stopped_by = signal.SIGINT

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{self.password}@{self.address}/postgres"

    def set_up(self) -> None:
        password = self.write("password", self.password)
        data = self.directory / "data"
        self.run(
            "initdb",
            *("-D", data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={password}", "-N"),
            *("-E", "UTF8", "--no-locale"),
        )

    def command(self) -> Sequence[str | Path]:
        # Beside initdb: what a PATH calls postgres may lack its files.
        program = Path(_path("initdb")).resolve().with_name("postgres")
        settings = {
            "port": self.address.port,
            "listen_addresses": HOST,
            "unix_socket_directories": self.directory,
            "fsync": "off",
        }
        flags = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        return [program, "-D", self.directory / "data", *flags]

    def answers(self) -> bool:
        return "database system is ready to accept connections" in self.process.log()


class MariaDb(Database):
    """``mariadbd``, with its default collation, which takes A for a."""

    name = "mariadb"

    @property
    def url(self) -> str:
        return f"mysql://{USER}:{self.password}@{self.address}/natkit"

    def set_up(self) -> None:
        self.write(
            "init.sql",
            "CREATE DATABASE IF NOT EXISTS natkit CHARACTER SET latin1;\n"
            f"CREATE USER IF NOT EXISTS {USER}@'{HOST}' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON natkit.* TO {USER}@'{HOST}';\n",
        )
        self.run(
            "mariadb-install-db",
            *("--no-defaults", f"--datadir={self.directory / 'data'}", "--skip-test-db"),
            *("--skip-name-resolve", "--auth-root-authentication-method=normal"),
        )

    def command(self) -> Sequence[str | Path]:
        return [
            _path("mariadbd"),
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            f"--socket={self.directory / 'socket'}",
            f"--pid-file={self.directory / 'pid'}",
            f"--port={self.address.port}",
            f"--bind-address={HOST}",
            f"--init-file={self.directory / 'init.sql'}",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=16M",
            "--innodb-flush-log-at-trx-commit=0",
        ]

    def answers(self) -> bool:
        return "ready for connections" in self.process.log()


class RedisServer(Database):
    """``redis-server``, which writes what it holds to a file."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{self.address}/1"

    @property
    def unix_url(self) -> str:
        """Where it is for hosts of the lab, whose loopback is another; the same database."""
        return f"unix://:{self.password}@{self.directory / 'socket'}?db=1"

    def set_up(self) -> None:
        pass

    def command(self) -> Sequence[str | Path]:
        return [
            _path("redis-server"),
            *("--port", str(self.address.port), "--bind", HOST, "--save", ""),
            *("--appendonly", "yes", "--appendfsync", "no", "--dir", self.directory),
            *("--unixsocket", self.directory / "socket", "--unixsocketperm", "700"),
            *("--requirepass", self.password),
        ]

    def answers(self) -> bool:
        return "Ready to accept connections" in self.process.log()


DATABASES: dict[str, type[Database]] = {
    kind.name: kind for kind in (PostgreSql, MariaDb, RedisServer)
}


def _path(program: str) -> str:
    found = program_path(program)
    if found is None:
        raise PeerFailed(f"{program} is not installed")
    return found
