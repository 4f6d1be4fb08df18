"""A UDP socket that accepts DTLS associations, and keeps nothing for clients that may be forged.

One OpenSSL connection listens: it answers a ClientHello with a cookie and forgets it.  The client
that brings the cookie back receives at its address, and the connection that listened becomes its
association (RFC 6347 §4.2.1).
"""

import asyncio
import hashlib
import hmac
import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final, Protocol, cast

from OpenSSL import SSL

from natkit.address import Address
from natkit.aio.dtls_association import Association, datagrams
from natkit.machine import Path, Transport
from natkit.net.batch import DatagramBatch, DatagramSocket
from natkit.stun.credentials import secrets_equal

__all__ = ["HALF_OPEN", "Admission", "DtlsListener", "Listening", "use_cookies"]

_log = logging.getLogger(__name__)

HALF_OPEN: Final = 1000
"""Handshakes that one listener has under way: at some 65 KB each they can't eat the memory, and in
the seconds that each may take a busy server has fewer."""

COOKIE_TIME: Final = 60.0
"""Seconds for which a cookie is made: it is good for these and as many more."""

_SHORTEST_HELLO = 59  # the headers, version and random
_LARGEST_HELLO = 2048
_COOKIE_LENGTH = 32
_SECRET_LENGTH = 32

# RFC 6347 §4.1, §4.2.2; RFC 5246 §6.2.1, §7.4
_CHANGE_CIPHER_SPEC = 20
_HANDSHAKE = 22
_EPOCH_0 = b"\0\0"
_CLIENT_HELLO = 1


class Admission(Protocol):
    """Who may have an association."""

    def admit(self, path: Path) -> bool:
        """Whether one more may be; each that may is released."""
        ...

    def release(self, path: Path) -> None:
        """An admitted one ended."""
        ...


class Listening(Protocol):
    """Whom a listener tells."""

    def opened(self, association: Association, listener: "DtlsListener") -> None:
        """A handshake succeeded; an earlier association of this path has been told to be over."""
        ...

    def received(self, association: Association, message: bytes) -> None:
        """A message arrived."""
        ...

    def over(self, association: Association) -> None:
        """An association that was opened ended."""
        ...


class _Cookies:
    """Makes cookies that say which address was answered, and when; keeps nothing for them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.remote: Address | None = None
        self._clock = clock
        self._secret = os.urandom(_SECRET_LENGTH)

    def make(self, age: int = 0) -> bytes:
        period = int(self._clock() / COOKIE_TIME) - age
        text = f"{self.remote} {period}".encode()
        return hmac.digest(self._secret, text, hashlib.sha256)[:_COOKIE_LENGTH]

    def is_good(self, cookie: bytes) -> bool:
        return any(secrets_equal(self.make(age), cookie) for age in (0, 1))


def use_cookies(context: SSL.Context) -> None:
    """Have connections of ``context`` ask the listener whose they are."""

    def cookies(connection: SSL.Connection) -> _Cookies:
        return cast("_Cookies", connection.get_app_data())

    context.set_cookie_generate_callback(lambda connection: cookies(connection).make())
    context.set_cookie_verify_callback(
        lambda connection, cookie: cookies(connection).is_good(cookie)
    )


class DtlsListener:
    """Accepts associations on ``sock``, a bound UDP socket that belongs to it from now on.

    ``context`` may change: handshakes that begin later use it.
    """

    def __init__(
        self,
        sock: socket.socket,
        batch: DatagramBatch,
        context: Callable[[], SSL.Context],
        admission: Admission,
        tell: Listening,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = DatagramSocket(sock, batch)
        self._fileno = self._socket.fileno()
        self.local = self._socket.local
        self.half_open = 0
        """Handshakes under way."""
        self.crowded_out = 0
        """Clients with a good cookie that were turned away because too many shook hands."""
        self._context = context
        self._admission = admission
        self._tell = tell
        self._cookies = _Cookies(self._loop.time)
        self._listening: SSL.Connection | None = None
        self._listens_with: SSL.Context | None = None
        self._associations: dict[Address, Association] = {}
        # Handshakes of clients whose address has an association, which it will replace (§4.2.8).
        self._successors: dict[Address, Association] = {}
        self._outgoing: list[tuple[bytes, Address]] = []
        self._loop.add_reader(self._fileno, self._read)

    def __len__(self) -> int:
        return len(self._associations) + len(self._successors)

    def close(self) -> None:
        """End all associations, and close the socket."""
        self._loop.remove_reader(self._fileno)
        for association in (*self._associations.values(), *self._successors.values()):
            self.end(association)
        self._flush()
        self._socket.close()

    def end(self, association: Association) -> None:
        """Close an association in order; nobody is told."""
        association.close()
        self._forget(association)

    # ── what arrives ────────────────────────────────────────────────────────────────────────────

    def _read(self) -> None:
        try:
            received = self._socket.receive()
        except OSError as error:
            _log.warning("cannot receive on DTLS %s: %s", self.local, error)
            return
        for datagram, remote in received:
            self._route(datagram, remote)
        self._flush()

    def _route(self, datagram: bytes, remote: Address) -> None:
        held = self._associations.get(remote)
        successor = self._successors.get(remote)
        if _is_client_hello(datagram) and not any(
            one is not None and one.hello == _random_of(datagram) for one in (held, successor)
        ):
            self._hear(datagram, remote)
        elif successor is not None and datagram[:1] in _OF_A_HANDSHAKE:
            successor.feed(datagram)
        elif held is not None:
            held.feed(datagram)

    def _hear(self, datagram: bytes, remote: Address) -> None:
        """A ClientHello of a handshake that is not under way (RFC 6347 §4.2.1)."""
        connection = self._listener()
        self._cookies.remote = remote
        try:
            connection.bio_write(datagram)
            connection.DTLSv1_listen()
        except SSL.WantReadError:
            self._answer(connection, remote)
        except SSL.Error:
            # What it could not read may have left it in any state.
            self._listening = None
        else:
            self._listening = None
            self._begin(connection, remote, _random_of(datagram))

    def _listener(self) -> SSL.Connection:
        context = self._context()
        if self._listening is None or self._listens_with is not context:
            self._listening = SSL.Connection(context, None)
            self._listening.set_accept_state()
            self._listening.set_app_data(self._cookies)
            self._listens_with = context
        return self._listening

    def _answer(self, connection: SSL.Connection, remote: Address) -> None:
        try:
            self._send(datagrams(connection.bio_read(_LARGEST_HELLO)), remote)
        except SSL.WantReadError:
            # No ClientHello that deserves a cookie.
            pass

    def _begin(self, connection: SSL.Connection, remote: Address, hello: bytes) -> None:
        path = Path(Transport.DTLS, self.local, remote)
        # Who brings a cookie is there now; another handshake from its address was given up.
        for other in (self._successors.get(remote), self._associations.get(remote)):
            if other is not None and not other.is_established:
                other.abandon()
                self._forget(other)
        if self.half_open >= HALF_OPEN:
            self.crowded_out += 1
            return
        if not self._admission.admit(path):
            return
        association = Association(
            path,
            connection,
            send=lambda sent: self._send(sent, remote),
            established=self._established,
            receive=self._tell.received,
            ended=self._ended,
            hello=hello,
        )
        table = self._successors if remote in self._associations else self._associations
        table[remote] = association
        self.half_open += 1
        association.start()

    # ── what becomes of associations ────────────────────────────────────────────────────────────

    def _established(self, association: Association) -> None:
        self.half_open -= 1
        remote = association.path.remote
        if self._successors.get(remote) is association:
            del self._successors[remote]
            held = self._associations[remote]
            # Without close_notify: the client has forgotten the keys, and it would confuse it.
            held.abandon()
            self._admission.release(held.path)
            self._tell.over(held)
            self._associations[remote] = association
        self._tell.opened(association, self)

    def _ended(self, association: Association, reason: str | None) -> None:
        if reason is not None:
            _log.debug("DTLS association of %s: %s", association.path.remote, reason)
        self._forget(association)
        if association.is_established:
            self._tell.over(association)

    def _forget(self, association: Association) -> None:
        remote = association.path.remote
        for table in (self._associations, self._successors):
            if table.get(remote) is association:
                del table[remote]
                self._admission.release(association.path)
                if not association.is_established:
                    self.half_open -= 1
        if remote in self._successors and remote not in self._associations:
            self._associations[remote] = self._successors.pop(remote)

    # ── what leaves ─────────────────────────────────────────────────────────────────────────────

    def _send(self, sent: Sequence[bytes], remote: Address) -> None:
        if not self._outgoing:
            # Relayed packets come one by one; those of one round of the loop leave together.
            self._loop.call_soon(self._flush)
        self._outgoing += [(datagram, remote) for datagram in sent]

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if outgoing:
            self._socket.send(outgoing)


_OF_A_HANDSHAKE = (bytes([_CHANGE_CIPHER_SPEC]), bytes([_HANDSHAKE]))


def _random_of(hello: bytes) -> bytes:
    """What no two clients draw (RFC 6347 §4.2.2, RFC 5246 §7.4.1.2)."""
    return hello[27:59]


def _is_client_hello(datagram: bytes) -> bool:
    return (
        _SHORTEST_HELLO <= len(datagram) <= _LARGEST_HELLO
        and datagram[0] == _HANDSHAKE
        and datagram[3:5] == _EPOCH_0
        and datagram[13] == _CLIENT_HELLO
    )
