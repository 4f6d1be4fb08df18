"""DTLS 1.2 associations that carry one message a datagram (RFC 6347, RFC 7350), for a driver.

::

    client = DtlsClient("turn.example.org", dtls_client_context())
    associations = DtlsAssociations(client=client)
    path = await associations.connect(Transport.DTLS, None, remote)

They look like streams to a machine, which opens them by Connect and is told of their end, but lose
datagrams as UDP does.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import cast

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from natkit.address import Address
from natkit.aio.driver import Inputs
from natkit.aio.dtls_association import NO_ANSWER, Association, dtls_context
from natkit.aio.dtls_association import why as why_dtls
from natkit.aio.dtls_listener import Admission, DtlsListener, use_cookies
from natkit.aio.server_name import is_address, name_mismatch
from natkit.aio.system_errors import unreachable
from natkit.aio.tls import TlsSession
from natkit.aio.udp import bind_udp, source_address
from natkit.errors import MisuseError, TlsFailed, UnreachableError
from natkit.machine import Path, Transmit, Transport
from natkit.net import sockaddr
from natkit.net.batch import datagram_batch

__all__ = ["DtlsAssociations", "DtlsClient", "dtls_client_context", "dtls_server_context"]

_READ_AT_ONCE = 64
_LARGEST_DATAGRAM = 65535

# <openssl/x509_vfy.h>
_VERIFY_ERRORS = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed",
    19: "the root that signed it is not trusted",
    20: "who signed it is not trusted",
    21: "who signed it is not trusted",
    26: "it is not for servers",
}


@dataclass(frozen=True, slots=True)
class DtlsClient:
    """How associations are made secure.

    ``server_name`` is named to the server (SNI) unless it is an IP address, and must stand in its
    certificate if the ``context`` verifies.
    """

    server_name: str
    context: SSL.Context


def dtls_client_context(
    *, trust: FilePath | None = None, verify: bool = True, alpn: Sequence[str] = ()
) -> SSL.Context:
    """A client's context.  ``trust`` is a PEM file of roots, by default the system's.

    Raises MisuseError when it can't be read.
    """
    context = dtls_context(SSL.DTLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_PEER if verify else SSL.VERIFY_NONE, _note_error)
    if verify:
        system = ssl.get_default_verify_paths()
        file = str(trust) if trust is not None else system.cafile
        directory = None if trust is not None else system.capath
        try:
            if file or directory:
                context.load_verify_locations(file, directory)
        except SSL.Error as error:
            raise MisuseError(f"cannot read the trusted certificates in {file}") from error
    if alpn:
        context.set_alpn_protos([name.encode() for name in alpn])
    return context


def _note_error(
    connection: SSL.Connection, _: crypto.X509, error: int, __: int, is_good: int
) -> bool:
    """OpenSSL's own text does not say what is wrong with a certificate; its number does."""
    if not is_good:
        cast("list[int]", connection.get_app_data()).append(error)
    return bool(is_good)


def dtls_server_context(
    certificate: tuple[FilePath, FilePath], *, alpn: Sequence[str] = ()
) -> SSL.Context:
    """A server's context: ``certificate`` is a PEM file of the chain and one of its key.

    Raises MisuseError when they can't be used.
    """
    context = dtls_context(SSL.DTLS_SERVER_METHOD)
    use_cookies(context)
    chain, key = certificate
    try:
        context.use_certificate_chain_file(str(chain))
        context.use_privatekey_file(str(key))
        context.check_privatekey()
    except SSL.Error as error:
        raise MisuseError(f"cannot use {chain} with {key}: {why_dtls(error)}") from error
    if alpn:
        ours = [name.encode() for name in alpn]

        def choose(_: SSL.Connection, theirs: list[bytes]) -> bytes:
            for name in ours:
                if name in theirs:
                    return name
            # OpenSSL sends the alert no_application_protocol for any exception (RFC 7301 §3.2).
            raise SSL.Error([("", "", "no application protocol in common")])

        context.set_alpn_select_callback(choose)
    return context


class DtlsAssociations:
    """The DTLS associations of one driver; a :class:`natkit.aio.driver.StreamCarrier`.

    Makes them as ``client`` says, and accepts them on each socket of :meth:`listen`.  Messages for
    an association that is gone are dropped.
    """

    def __init__(self, *, client: DtlsClient | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._inputs: Inputs | None = None
        self._batch = datagram_batch()
        self._associations: dict[Path, Association] = {}
        self._homes: dict[Path, DtlsListener | _ClientSocket] = {}
        self._listeners: list[DtlsListener] = []

    def attach(self, inputs: Inputs) -> None:
        """From now on tell ``inputs``; associations made before that are started."""
        self._inputs = inputs
        for path in tuple(self._homes):
            self.start(path)

    def listen(
        self, sock: socket.socket, context: Callable[[], SSL.Context], admission: Admission
    ) -> DtlsListener:
        """Accept associations on a bound UDP socket, which now belongs to this carrier."""
        listener = DtlsListener(sock, self._batch, context, admission, self)
        self._listeners.append(listener)
        return listener

    # ── the carrier ─────────────────────────────────────────────────────────────────────────────

    async def connect(self, transport: Transport, local: Address | None, remote: Address) -> Path:
        """Shake hands with ``remote``, within the time limit; UnreachableError, TlsFailed."""
        doing = f"connect to {remote} over {transport.upper()}"
        if transport is not Transport.DTLS:
            raise UnreachableError(f"cannot {doing}: this program speaks DTLS only")
        if self._client is None:
            raise TlsFailed(f"cannot {doing}: this program only accepts DTLS")
        home = _ClientSocket(self, self._client, local or source_address(remote), remote, doing)
        try:
            await home.done
            home.check()
        except BaseException:
            home.close()
            raise
        self._associations[home.path] = home.association
        self._homes[home.path] = home
        return home.path

    def session(self, path: Path) -> TlsSession:
        """What the handshake on ``path`` agreed on; MisuseError when there is no association."""
        association = self._associations.get(path)
        if association is None:
            raise MisuseError(f"{path} is no association")
        connection = association.connection
        chain = connection.get_peer_cert_chain(as_cryptography=True) or ()
        return TlsSession(
            version=connection.get_protocol_version_name(),
            cipher=connection.get_cipher_name() or "",
            alpn=connection.get_alpn_proto_negotiated().decode("ascii", "replace") or None,
            certificates=tuple(each.public_bytes(Encoding.DER) for each in chain),
        )

    def start(self, path: Path) -> None:
        """Begin to deliver what arrives on an association that :meth:`connect` made."""
        home = self._homes.get(path)
        if isinstance(home, _ClientSocket):
            home.start()

    def send(self, transmit: Transmit) -> None:
        """Send a message as one datagram."""
        self.offer(transmit.path, transmit.data)

    def offer(self, path: Path, data: bytes) -> bool:
        """The same; whether it left as far as is known here."""
        association = self._associations.get(path)
        return association is not None and association.write(data)

    def close_path(self, path: Path) -> None:
        """Close that association with a close_notify, if it is there."""
        association = self._associations.get(path)
        if association is not None:
            self._homes[path].end(association)
            # Told from the loop, as the end of a stream is.
            self._loop.call_soon(self.over, association)

    def last_messages(self) -> dict[Path, float]:
        """Each open path, and the loop's time of its last message or else its beginning."""
        return {path: held.last_message for path, held in self._associations.items()}

    def __len__(self) -> int:
        return len(self._associations)

    async def aclose(self) -> None:
        """Close every association and every socket."""
        self._inputs = None
        for listener in self._listeners:
            listener.close()
        for home in self._homes.values():
            home.close()
        self._associations.clear()
        self._homes.clear()

    # ── what listeners and sockets tell ─────────────────────────────────────────────────────────

    def opened(self, association: Association, listener: DtlsListener) -> None:
        """A client has shaken hands."""
        self._associations[association.path] = association
        self._homes[association.path] = listener

    def received(self, association: Association, message: bytes) -> None:
        """A message arrived."""
        if self._inputs is not None:
            self._inputs.receive(message, association.path)

    def over(self, association: Association) -> None:
        """An association ended, whoever brought it about."""
        path = association.path
        if self._associations.get(path) is association:
            del self._associations[path]
            home = self._homes.pop(path)
            if isinstance(home, _ClientSocket):
                home.close()
            if self._inputs is not None:
                self._inputs.disconnected(path)


class _ClientSocket:
    """A connected UDP socket with the one association on it."""

    def __init__(
        self,
        owner: DtlsAssociations,
        client: DtlsClient,
        local: Address,
        remote: Address,
        doing: str,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._client = client
        self._doing = doing
        self._socket = bind_udp(local)
        self._started = False
        self._early: list[bytes] = []
        self._over = False
        try:
            self._socket.connect(sockaddr.python_address(remote))
            bound = sockaddr.unpack(sockaddr.from_python(self._socket.getsockname()))
        except OSError as error:
            self._socket.close()
            raise unreachable(doing, error) from error
        self.path = Path(Transport.DTLS, bound, remote)
        self.done: asyncio.Future[None] = self._loop.create_future()
        connection = SSL.Connection(client.context, None)
        connection.set_connect_state()
        self._verify_errors: list[int] = []
        connection.set_app_data(self._verify_errors)
        if not is_address(client.server_name):
            connection.set_tlsext_host_name(client.server_name.encode("ascii"))
        self.association = Association(
            self.path,
            connection,
            send=self._send,
            established=self._established,
            receive=self._received,
            ended=self._ended,
        )
        self._loop.add_reader(self._socket.fileno(), self._read)
        self.association.start()

    def check(self) -> None:
        """TlsFailed if the certificate is not the server's (RFC 8489 §6.2.3)."""
        if self._client.context.get_verify_mode() == SSL.VERIFY_NONE:
            return
        certificate = self.association.connection.get_peer_certificate(as_cryptography=True)
        mismatch = (
            "it showed no certificate"
            if certificate is None
            else name_mismatch(certificate, self._client.server_name)
        )
        if mismatch is not None:
            raise TlsFailed(f"cannot {self._doing}: {mismatch}")

    def start(self) -> None:
        """Deliver what arrived meanwhile, and what will."""
        self._started = True
        early, self._early = self._early, []
        for message in early:
            self._owner.received(self.association, message)
        if self._over:
            self._owner.over(self.association)

    def end(self, association: Association) -> None:
        """Say goodbye."""
        association.close()

    def close(self) -> None:
        """Say goodbye, and close the socket."""
        self.association.close()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _read(self) -> None:
        for _ in range(_READ_AT_ONCE):
            try:
                datagram = self._socket.recv(_LARGEST_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                # Later it may pass; whoever waits for a handshake wants to know.
                self._fail(unreachable(self._doing, error))
                return
            self.association.feed(datagram)
            if not self.association.is_open:
                return

    def _send(self, sent: Sequence[bytes]) -> None:
        for datagram in sent:
            try:
                self._socket.send(datagram)
            except OSError as error:
                self._fail(unreachable(self._doing, error))

    def _fail(self, error: UnreachableError) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def _established(self, _: Association) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _received(self, association: Association, message: bytes) -> None:
        if self._started:
            self._owner.received(association, message)
        elif len(self._early) < _READ_AT_ONCE:
            self._early.append(message)

    def _ended(self, association: Association, reason: str | None) -> None:
        untrusted = _VERIFY_ERRORS.get(self._verify_errors[0], "") if self._verify_errors else None
        if untrusted is not None:
            reason = f"its certificate is not trusted: {untrusted or 'OpenSSL refuses it'}"
        error = UnreachableError if reason == NO_ANSWER else TlsFailed
        self._fail(error(f"cannot {self._doing}: {reason or 'it ended the connection'}"))
        self._over = True
        if self._started:
            self._owner.over(association)
