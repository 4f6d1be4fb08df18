"""Which process holds a port, for the line that tells of it; Linux only, and only a hint."""

from collections.abc import Iterator
from pathlib import Path

from natkit.address import Address
from natkit.machine import Transport

__all__ = ["port_holder"]

_PROC = Path("/proc")
_TCP_LISTEN = "0A"


def port_holder(transport: Transport, address: Address) -> str | None:
    """``name (process 123)``, or None when it can't be told, as for other users' processes."""
    try:
        sockets = {f"socket:[{inode}]" for inode in _inodes(transport, address)}
        if not sockets:
            return None
        for process in _PROC.iterdir():
            if process.name.isdigit() and _holds(process, sockets):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    except (OSError, ValueError, IndexError):
        pass
    return None


def _inodes(transport: Transport, address: Address) -> Iterator[str]:
    """The inodes of sockets on that port that a bind to ``address`` may have run into."""
    for table in (f"net/{transport}", f"net/{transport}6"):
        lines = (_PROC / table).read_text().splitlines()[1:]
        for line in lines:
            fields = line.split()
            local, state, inode = fields[1], fields[3], fields[9]
            if int(local.rpartition(":")[2], 16) != address.port:
                continue
            if transport is Transport.TCP and state != _TCP_LISTEN:
                continue
            yield inode


def _holds(process: Path, sockets: set[str]) -> bool:
    try:
        return any(str(entry.readlink()) in sockets for entry in (process / "fd").iterdir())
    except OSError:
        return False
