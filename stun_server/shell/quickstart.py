"""``stun-server quickstart``: a server on loopback to try things out with, and how to use it."""

import secrets
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

import natkit
from natkit.address import Address
from natkit.aio.tcp import bind_tcp
from natkit.aio.udp import bind_udp
from natkit.errors import UnreachableError
from natkit.machine import Transport
from natkit.stun.uri import Scheme, ServerUri
from stun_server.config import Config, Flag, load
from stun_server.shell.listening import Listener

__all__ = ["Account", "banner", "configuration", "natkit_command"]

_LOOPBACK = ("127.0.0.1", "::1")
_ALLOWED_PEERS = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True, slots=True)
class Account:
    """The one user of a quickstart server."""

    user: str
    password: str

    @classmethod
    def generate(cls) -> "Account":
        """A new one; plain letters and digits, so that any shell takes it unquoted."""
        return cls("demo", secrets.token_hex(8))


def configuration(port: int, account: Account, admin: str | None) -> Config:
    """Loopback only, on ``port`` or any if that is 0, with loopback peers allowed.

    ``admin`` is where the status page is, if anywhere.
    """
    present = [host for host in _LOOPBACK if _can_bind(host)]
    return load(
        None,
        (
            Flag("--port", ("listeners", "listen"), [str(Address(host, port)) for host in present]),
            Flag("quickstart", ("users", "passwords"), {account.user: account.password}),
            Flag("quickstart", ("policy", "allow_peer"), list(_ALLOWED_PEERS)),
            Flag("quickstart", ("listeners", "relay_plane"), "userspace"),
            *_pages(admin),
            # The one user may have all.
            Flag("quickstart", ("limits",), {"allocations_per_user": 10_000}),
        ),
    )


def _pages(admin: str | None) -> tuple[Flag, ...]:
    """The status page, and a secret for the connectivity test on it."""
    if admin is None:
        return ()
    return (
        Flag("--admin", ("admin", "listen"), _with_port(admin)),
        Flag("quickstart", ("users", "secrets"), [secrets.token_urlsafe(24)]),
    )


def _with_port(admin: str) -> str:
    """The address with a port that is free, where it has port 0."""
    host, port = Address.parse(admin)
    if port:
        return admin
    with bind_tcp(Address(host, 0)) as free:
        return str(Address(host, free.getsockname()[1]))


def _can_bind(host: str) -> bool:
    """Whether the machine has this address; IPv6 may be switched off."""
    try:
        bind_udp(Address(host, 0)).close()
    except UnreachableError:
        return False
    return True


def natkit_command() -> str:
    """How to start ``natkit``, in the way that this program was started."""
    own = Path(sys.argv[0])
    beside = own.with_name("natkit")
    if own.name == "stun-server" and beside.exists():
        found = shutil.which("natkit")
        if found is not None and Path(found).samefile(beside):
            return "natkit"
        return shlex.quote(str(beside))
    return f"{shlex.quote(sys.executable)} -m natkit.cli.main"


def banner(
    console: Console, listeners: tuple[Listener, ...], account: Account, status_page: str | None
) -> None:
    """Print where the server is, who may use it, its status page, and a command that tests it."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column()
    uris = [uri for listener in listeners for uri in _uris(listener)]
    for scheme in (Scheme.STUN, Scheme.TURN):
        lines = Text("\n".join(str(uri) for uri in uris if uri.scheme is scheme), style="cyan")
        facts.add_row(scheme.upper(), lines)
    facts.add_row("user", Text(account.user, style="bold"))
    facts.add_row("password", Text(account.password, style="bold"))
    if status_page is not None:
        facts.add_row("status page", Text(status_page, style="cyan"))
    facts.add_row("peers", "loopback is allowed here, which a server refuses by default")
    title = f"stun-server {natkit.__version__}"
    body: RenderableType = Group(facts)
    if console.is_terminal:
        panel = Panel(
            body,
            title=Text(title, style="bold green"),
            subtitle="Ctrl-C stops it",
            subtitle_align="left",
            title_align="left",
            border_style="green",
            expand=False,
        )
        console.print(panel, soft_wrap=False)
    else:
        console.print(Text(f"{title}, Ctrl-C stops it"))
        with console.capture() as captured:
            console.print(body)
        console.print(Text("\n".join(line.rstrip() for line in captured.get().splitlines())))
    first = next(str(uri) for uri in uris if uri.scheme is Scheme.TURN)
    command = f"{natkit_command()} turn {first} --user {account.user} --password {account.password}"
    console.print("\nTest it from another terminal:\n")
    # One line however long, so that it can be pasted.
    console.print(Text(f"  {command}\n", style="bold"), soft_wrap=True)
    console.file.flush()


def _uris(listener: Listener) -> list[ServerUri]:
    """RFC 7064, RFC 7065: a ``stun:`` URI stands for UDP, ``turn:`` names another transport."""
    host, port = listener.address
    if listener.transport is Transport.UDP:
        return [ServerUri(Scheme.STUN, host, port), ServerUri(Scheme.TURN, host, port)]
    return [ServerUri(Scheme.TURN, host, port, Transport.TCP)]
