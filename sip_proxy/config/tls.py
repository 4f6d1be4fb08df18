"""``[tls]``: further certificates, and whom to believe."""

from pathlib import Path
from typing import Self

from pydantic import model_validator

from natkit.errors import MisuseError
from natkit.server.certificates import CertificateFiles
from natkit.server.config.tables import Table
from natkit.server.config.values import Switch
from sip_proxy.config.values import Domain
from sip_proxy.shell.securing import TlsSettings

__all__ = ["CertificatePair", "Tls"]


class CertificatePair(Table):
    """One certificate and its key."""

    certificate: Path
    """PEM: the certificate and those above it."""
    key: Path
    """Its private key, in PEM and without a password."""

    def files(self) -> CertificateFiles:
        """What the shell reads."""
        return CertificateFiles(self.certificate, self.key)


class Tls(Table):
    """How peers prove who they are, and we to them, by RFC 5922."""

    certificates: tuple[CertificatePair, ...] = ()
    """Further certificates, for other domains than ``listeners.certificate``: a client is shown the
    one for the domain that it names (SNI)."""
    trust: Path | None = None
    """PEM: the authorities that vouch for servers that are connected to; none: the system's."""
    verify: Switch = True
    """Whether servers must prove by a certificate to be of the domain that is called; without, any
    program between here and there may read and change calls."""
    client_trust: Path | None = None
    """PEM: the authorities that vouch for clients, which are then asked for a certificate; none:
    nobody is asked."""
    client_revoked: Path | None = None
    """PEM: revocation lists of who issues clients' certificates, read again at each reload; a
    certificate counts only if a list of its issuer, which is in force, does not have it."""
    require_client: Switch = False
    """Whether a client without a certificate is turned away; needs ``client_trust``."""
    trusted_domains: tuple[Domain, ...] = ()
    """Domains whose proxies need no credentials on a connection on which their certificate proved
    who they are: one that was made to them, or with ``client_trust`` by them."""
    user_certificates: Switch = False
    """Whether a client's certificate with the URI ``sip:user@domain`` in its subjectAltName stands
    in place of that user's password, on its TLS connection; needs ``client_trust``."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.client_revoked is not None and self.client_trust is None:
            raise MisuseError("client_revoked needs client_trust")
        if self.require_client and self.client_trust is None:
            raise MisuseError("require_client needs client_trust")
        if self.user_certificates and self.client_trust is None:
            raise MisuseError("user_certificates needs client_trust")
        if self.trusted_domains and self.client_trust is None and not self.verify:
            raise MisuseError("trusted_domains needs verify or client_trust")
        return self

    def settings(self, first: CertificateFiles | None) -> TlsSettings:
        """What the shell is told; ``first`` is the certificate of the listeners."""
        further = [each.files() for each in self.certificates]
        return TlsSettings(
            tuple(further if first is None else [first, *further]),
            self.trust,
            self.verify,
            self.client_trust,
            self.client_revoked,
            self.require_client,
        )
