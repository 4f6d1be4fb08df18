"""The alert with which TLS says why a handshake failed (RFC 8446 §6.2), and its way to the peer.

The event loops close a connection whose handshake failed without sending what OpenSSL wrote last,
and over what they did not read, which the system makes a reset of.  A peer then cannot tell a
certificate that is refused from a server that broke down.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Self

__all__ = ["AlertingContext", "HandshakeFailed", "farewell", "reason_of"]

_DRAINED_AT_ONCE: Final = 64 * 1024
_MOST_DRAINED: Final = 16
"""Readings of what a refused client goes on sending, each of 64 KiB at most."""


class HandshakeFailed(ssl.SSLError):
    """A handshake failed, for the reason that is this error's cause; ``alert`` is for the peer."""

    def __init__(self, alert: bytes, *arguments: object) -> None:
        super().__init__(*arguments)
        self.alert = alert


class _Handshake(ssl.SSLObject):
    outgoing: ssl.MemoryBIO | None = None

    def do_handshake(self) -> None:
        """One step; raises HandshakeFailed with what is still to be told to the peer."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLSyscallError):
            raise
        except ssl.SSLError as error:
            alert = b"" if self.outgoing is None else self.outgoing.read()
            # Not by a name of this frame, which its traceback knows: they would keep each other,
            # and all that belongs to the handshake.
            raise HandshakeFailed(alert, *error.args) from error


class AlertingContext(ssl.SSLContext):
    """A context whose handshakes fail with :class:`HandshakeFailed`."""

    def __new__(cls, protocol: int) -> Self:
        """Make one for a protocol of the ssl module."""
        made = super().__new__(cls, protocol)
        made.sslobject_class = _Handshake
        return made

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the ssl module's signature
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As in the ssl module."""
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        if isinstance(made, _Handshake):
            made.outgoing = outgoing
        return made


@asynccontextmanager
async def farewell(sock: socket.socket, linger: float) -> AsyncIterator[None]:
    """While hands are shaken on ``sock``: send the alert where that fails, and close in peace.

    For up to ``linger`` seconds what the peer still sends is read and dropped, because closing
    over it would reset the connection, and the peer might never see why.
    """
    try:
        kept = sock.dup()
    except OSError:
        # Without a descriptor to spare the peer hears no reason.
        yield
        return
    with kept:
        try:
            yield
        except HandshakeFailed as error:
            with suppress(OSError, TimeoutError):
                await _say(kept, error.alert, linger)
            raise


def reason_of(error: OSError | EOFError) -> OSError | EOFError:
    """What an error of a handshake is about."""
    cause = error.__cause__
    return cause if isinstance(error, HandshakeFailed) and isinstance(cause, OSError) else error


async def _say(sock: socket.socket, alert: bytes, linger: float) -> None:
    sock.send(alert)
    sock.shutdown(socket.SHUT_WR)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(linger):
        for _ in range(_MOST_DRAINED):
            if not await loop.sock_recv(sock, _DRAINED_AT_ONCE):
                return
