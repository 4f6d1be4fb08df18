"""One DTLS 1.2 association (RFC 6347): OpenSSL between a socket's datagrams and messages.

OpenSSL works on memory.  What it writes is a run of records, which is cut at their headers and
packed into datagrams here; its retransmission timer becomes one of the event loop's.
"""

import asyncio
from collections.abc import Callable, Sequence

from OpenSSL import SSL

from natkit.machine import Path

__all__ = ["HANDSHAKE_TIME", "MTU", "NO_ANSWER", "Association", "datagrams", "dtls_context", "why"]

MTU = 1232
"""Bytes of a handshake's datagrams: what passes each IPv6 link unfragmented (RFC 8200 §5)."""

HANDSHAKE_TIME = 10.0
"""Seconds that a handshake may take: three retransmissions of a lost flight fit in."""

NO_ANSWER = "no answer in the DTLS handshake"
"""Why a handshake ended that had no end in time."""

RECORD_HEADER_LENGTH = 13
"""Bytes before the data of a record (RFC 6347 §4.1)."""

_DTLS_1_2 = 0xFEFD  # RFC 6347 §4.1
# As the ssl module has it: forward secrecy, and none of the weak ones (RFC 8489 §6.2.3, RFC 9325).
_CIPHERS = (
    b"@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
)
_LARGEST_RECORD = 16384 + 512  # the data and what protects it (RFC 6347 §4.1, RFC 5246 §6.2.3)
# OpenSSL's clock and the loop's differ by a little; a timer that is early would only come again.
_LEAST_WAIT = 0.005


def dtls_context(method: int) -> SSL.Context:
    """A context for DTLS 1.2, which neither renegotiates nor resumes nor compresses."""
    context = SSL.Context(method)
    context.set_min_proto_version(_DTLS_1_2)
    context.set_options(
        SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION
    )
    context.set_cipher_list(_CIPHERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def datagrams(records: bytes, mtu: int = MTU) -> Sequence[bytes]:
    """Cut a run of records into datagrams: as many whole ones in each as ``mtu`` bytes hold.

    A record that is longer by itself is a datagram of its own.
    """
    if len(records) <= mtu:
        return (records,) if records else ()
    cut: list[bytes] = []
    first = end = 0
    while end < len(records):
        length = int.from_bytes(records[end + 11 : end + 13], "big")
        after = end + RECORD_HEADER_LENGTH + length
        if after - first > mtu and end > first:
            cut.append(records[first:end])
            first = end
        end = after
    cut.append(records[first:])
    return cut


class Association:
    """An association over ``connection``, whose side is set already.

    ``send`` takes datagrams.  ``established``, ``receive`` and ``ended`` are told of the end of the
    handshake, of each message, and once of the association's end with the reason: None for an
    orderly one.  Nothing is told from within :meth:`close` and :meth:`write`.  ``hello`` is what
    tells the ClientHello that began it from others.
    """

    def __init__(
        self,
        path: Path,
        connection: SSL.Connection,
        *,
        send: Callable[[Sequence[bytes]], None],
        established: Callable[["Association"], None],
        receive: Callable[["Association", bytes], None],
        ended: Callable[["Association", str | None], None],
        hello: bytes = b"",
    ) -> None:
        self.path = path
        self.hello = hello
        self.is_established = False
        self.is_open = True
        self.last_message = 0.0
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._send = send
        self._established = established
        self._receive = receive
        self._ended = ended
        self._retransmission: asyncio.TimerHandle | None = None
        self._limit: asyncio.TimerHandle | None = None
        connection.set_ciphertext_mtu(MTU)

    @property
    def connection(self) -> SSL.Connection:
        """What OpenSSL knows of the peer."""
        return self._connection

    def start(self) -> None:
        """Shake hands, within :data:`HANDSHAKE_TIME`."""
        self.last_message = self._loop.time()
        self._limit = self._loop.call_later(HANDSHAKE_TIME, self._end, NO_ANSWER)
        self._advance()

    def feed(self, datagram: bytes) -> None:
        """A datagram of the peer's, or what somebody sent in its name."""
        if self.is_open:
            self._connection.bio_write(datagram)
            self._advance()

    def write(self, message: bytes) -> bool:
        """Send a message as one datagram; False when that cannot be."""
        if not (self.is_open and self.is_established):
            return False
        try:
            self._connection.send(message)
        except SSL.Error:
            # Too long for a record; a datagram that can't be sent is lost.
            return False
        self._flush()
        return True

    def close(self) -> None:
        """End it, with a close_notify if there is anything to end; ``ended`` is not told."""
        if not self.is_open:
            return
        if self.is_established:
            try:
                self._connection.shutdown()
            except SSL.Error:
                pass
            self._flush()
        self._stop()

    def abandon(self) -> None:
        """End it without a word to the peer; ``ended`` is not told."""
        if self.is_open:
            self._stop()

    def _advance(self) -> None:
        try:
            if not self.is_established:
                self._shake_hands()
            while self.is_open and self.is_established:
                message = self._connection.recv(_LARGEST_RECORD)
                self.last_message = self._loop.time()
                self._receive(self, message)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self._flush()
            self._end(None)
            return
        except SSL.Error as error:
            self._flush()
            self._end(why(error))
            return
        if self.is_open:
            self._flush()
            self._arm()

    def _shake_hands(self) -> None:
        self._connection.do_handshake()
        self.is_established = True
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        # The last flight leaves before anything that is sent because of it.
        self._flush()
        self._established(self)

    def _flush(self) -> None:
        records = b""
        try:
            while len(read := self._connection.bio_read(_LARGEST_RECORD)) == _LARGEST_RECORD:
                records += read
            records += read
        except SSL.WantReadError:
            # Nothing more is there.
            pass
        if records:
            self._send(datagrams(records))

    def _arm(self) -> None:
        if self._retransmission is not None:
            self._retransmission.cancel()
            self._retransmission = None
        left = self._connection.DTLSv1_get_timeout()
        if left is not None:
            self._retransmission = self._loop.call_later(max(left, _LEAST_WAIT), self._retransmit)

    def _retransmit(self) -> None:
        self._retransmission = None
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error as error:
            self._end(why(error))
            return
        self._flush()
        self._arm()

    def _end(self, reason: str | None) -> None:
        if self.is_open:
            self._stop()
            self._ended(self, reason)

    def _stop(self) -> None:
        self.is_open = False
        for timer in (self._retransmission, self._limit):
            if timer is not None:
                timer.cancel()
        self._retransmission = self._limit = None


def why(error: SSL.Error) -> str:
    """Why DTLS failed, in a few words of OpenSSL's."""
    queue = error.args[0] if error.args else ()
    words = str(queue[-1][-1]) if queue else ""
    return f"DTLS failed: {words}" if words else "it ended the connection in the DTLS handshake"
