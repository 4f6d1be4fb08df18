"""Certificates made for one test: an authority, and whom it vouches for."""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Issued:
    """PEM files: the certificate with those above it but the root, and its key."""

    chain: Path
    key: Path
    certificate: x509.Certificate

    @property
    def files(self) -> tuple[Path, Path]:
        return self.chain, self.key

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)


class Authority:
    """A root, or one below another root."""

    def __init__(
        self, directory: Path, name: str = "Test Root", above: "Authority | None" = None
    ) -> None:
        self.directory = directory
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.above = above
        issuer = self if above is None else above
        now = dt.datetime.now(dt.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(issuer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 400 * DAY)
            .not_valid_after(now + 400 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False
            )
            .sign(issuer.key, hashes.SHA256())
        )
        self.file = directory / f"{name.replace(' ', '-')}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def revocation_list(
        self, *revoked: Issued, days: tuple[float, float] = (-1, 30), file: str = "revoked"
    ) -> Path:
        """A PEM file: those that it takes back, in force between these days from now."""
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(now + days[0] * DAY)
            .next_update(now + days[1] * DAY)
        )
        for each in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(each.certificate.serial_number)
                .revocation_date(now)
                .build()
            )
        signed = builder.sign(self.key, hashes.SHA256())
        made = self.directory / f"{file}.pem"
        made.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return made

    def issue(
        self,
        *names: str,
        uris: Sequence[str] = (),
        days: tuple[float, float] = (-1, 30),
        self_signed: bool = False,
        file: str = "server",
    ) -> Issued:
        """A certificate for DNS names or IP addresses, valid between these days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else file)])
        alternative: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(name))
            if name[0].isdigit() or ":" in name
            else x509.DNSName(name)
            for name in names
        ]
        alternative += [x509.UniformResourceIdentifier(uri) for uri in uris]
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if self_signed else self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + days[0] * DAY)
            .not_valid_after(now + days[1] * DAY)
            .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    key.public_key() if self_signed else self.key.public_key()
                ),
                critical=False,
            )
            .sign(key if self_signed else self.key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        chain = certificate.public_bytes(pem)
        if self.above is not None and not self_signed:
            chain += self.certificate.public_bytes(pem)
        chain_file = self.directory / f"{file}.pem"
        key_file = self.directory / f"{file}.key"
        chain_file.write_bytes(chain)
        key_file.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return Issued(chain_file, key_file, certificate)
