"""TLS on both sides: which certificate a client is shown, and whom we believe (RFC 5922)."""

import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_crl

from natkit.aio.sip_streams import sip_client
from natkit.aio.tls import TlsClient, TlsSession, client_context, server_context
from natkit.errors import ConfigError, MalformedMessage, MisuseError
from natkit.server.certificates import CertificateFiles, ServerCertificate, read_certificate
from natkit.sip.certificate import CertificateNames, check_certificate

__all__ = ["Securing", "TlsSettings"]


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Certificates of ours, and those who may vouch for others; files in PEM.

    ``certificates``: a client that names no domain (SNI), or none of theirs, is shown the first,
    which is ours too where we are the client.  ``trust`` has the roots for servers that we connect
    to, by default the system's; without ``verify`` any server will do, and none is proven.
    ``client_trust`` has the roots for clients, which are then asked for a certificate, and with
    ``require_client`` must show one; ``client_revoked`` has the revocation lists of who issued
    these.
    """

    certificates: tuple[CertificateFiles, ...] = ()
    trust: FilePath | None = None
    verify: bool = True
    client_trust: FilePath | None = None
    client_revoked: FilePath | None = None
    require_client: bool = False


class Securing:
    """All TLS contexts, read from their files at construction: ConfigError for what is wrong.

    ``tls`` is for SIP's own connections and ``wss`` for WebSockets, where nobody is asked for a
    certificate: a browser would ask its user.  Both are None without a certificate.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self.verify = settings.verify
        self.certificates = tuple([read_certificate(each) for each in settings.certificates])
        self.tls = self._server(settings, are_asked=True)
        self.wss = self._server(settings, are_asked=False)
        own = settings.certificates[0] if settings.certificates else None
        self._client = _reading(
            settings.trust,
            lambda: client_context(
                trust=settings.trust,
                verify=settings.verify,
                certificate=None if own is None else (own.chain, own.key),
            ),
        )

    def client(self, domain: str) -> TlsClient:
        """How to connect to a server whose certificate must be for the SIP domain ``domain``."""
        return sip_client(domain, self._client, verify=self.verify)

    def domains_of(self, session: TlsSession) -> frozenset[str]:
        """For which domains a peer speaks whose certificate we asked for and believe."""
        if not session.certificates:
            return frozenset()
        try:
            names = CertificateNames.from_der(session.certificates[0])
            domains = [one.domain for one in names.identities()]
            return frozenset([one for one in domains if check_certificate(names, one).matches])
        except (MalformedMessage, MisuseError):
            return frozenset()

    def users_of(self, session: TlsSession) -> frozenset[str]:
        """For which users a client speaks whose certificate we asked for and believe."""
        if not session.certificates:
            return frozenset()
        try:
            return CertificateNames.from_der(session.certificates[0]).users()
        except MalformedMessage:
            return frozenset()

    def _server(self, settings: TlsSettings, *, are_asked: bool) -> ssl.SSLContext | None:
        """The context for clients, who are asked for a certificate or not."""
        contexts = [
            _server_context(files, settings if are_asked else TlsSettings())
            for files in settings.certificates
        ]
        if not contexts:
            return None
        contexts[0].sni_callback = _ByName(self.certificates, contexts).choose
        return contexts[0]


class _ByName:
    """Gives a handshake the context whose certificate is for the name that the client asked for."""

    def __init__(
        self, certificates: Sequence[ServerCertificate], contexts: Sequence[ssl.SSLContext]
    ) -> None:
        self._contexts: dict[str, ssl.SSLContext] = {}
        for certificate, context in zip(certificates, contexts, strict=True):
            for name in _names_of(certificate):
                self._contexts.setdefault(name, context)

    def choose(self, tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        """A callback of the ssl module."""
        wanted = (name or "").lower().rstrip(".")
        # A browser knows wildcards (RFC 9525 §6.3), if SIP does not.
        pattern = "*." + wanted.partition(".")[2]
        found = self._contexts.get(wanted) or self._contexts.get(pattern)
        if found is not None:
            tls.context = found


def _names_of(certificate: ServerCertificate) -> Iterator[str]:
    names = CertificateNames.from_der(certificate.leaf.public_bytes(Encoding.DER))
    yield from (one.domain for one in names.identities())
    yield from (one.lower() for one in names.dns_names)


def _server_context(files: CertificateFiles, asking: TlsSettings) -> ssl.SSLContext:
    # Read by itself, so that it is named if it is the one that is wrong.
    trust, revoked = asking.client_trust, asking.client_revoked
    if revoked is not None:
        _check_revocation_lists(revoked)
    return _reading(
        trust,
        lambda: server_context(
            (files.chain, files.key),
            client_trust=trust,
            client_revoked=revoked,
            require_client=asking.require_client,
        ),
    )


def _check_revocation_lists(file: FilePath) -> None:
    try:
        load_pem_x509_crl(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read the revocation lists {file}: {error.strerror}") from error
    except ValueError:
        raise ConfigError(f"{file} holds no revocation list in PEM") from None


def _reading(trust: FilePath | None, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    try:
        return make()
    except MisuseError as error:
        raise ConfigError(str(error)) from error
    except ssl.SSLError:
        raise ConfigError(f"{trust} holds no certificates in PEM") from None
    except OSError as error:
        raise ConfigError(f"cannot read the trusted certificates {trust}: {error.strerror}") from (
            error
        )
