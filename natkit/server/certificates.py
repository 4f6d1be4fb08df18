"""The files of a certificate and its key: read, and refused where clients would refuse them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from natkit.errors import ConfigError

__all__ = ["CertificateFiles", "ServerCertificate", "read_certificate"]


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM: ``chain`` is the certificate with those above it, ``key`` its private key."""

    chain: Path
    key: Path


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """One that can be used now; ``names`` are its DNS names and addresses, else its subject."""

    leaf: x509.Certificate
    names: tuple[str, ...]
    until: datetime


def read_certificate(files: CertificateFiles) -> ServerCertificate:
    """Read both files.

    Raises ConfigError for what clients would not accept: a pair that does not match, a certificate
    that has expired or is not valid yet.
    """
    chain = files.chain
    leaf = _read_leaf(chain)
    _check_key(leaf, files)
    now = datetime.now(UTC)
    if leaf.not_valid_after_utc <= now:
        raise ConfigError(
            f"the certificate {chain} expired on {leaf.not_valid_after_utc:%Y-%m-%d}; renew it"
        )
    if leaf.not_valid_before_utc > now:
        raise ConfigError(
            f"the certificate {chain} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}; "
            "check the clock"
        )
    return ServerCertificate(leaf, tuple(_names(leaf)), leaf.not_valid_after_utc)


def _read_leaf(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())[0]
    except OSError as error:
        raise ConfigError(f"cannot read the certificate {file}: {error.strerror}") from error
    except ValueError:
        raise ConfigError(f"{file} holds no certificate in PEM") from None


def _check_key(leaf: x509.Certificate, files: CertificateFiles) -> None:
    file = files.key
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except OSError as error:
        raise ConfigError(f"cannot read the key {file}: {error.strerror}") from error
    except TypeError:
        raise ConfigError(f"the key {file} is encrypted; give one that is not") from None
    except ValueError:
        raise ConfigError(f"{file} holds no private key in PEM") from None
    if key.public_key() != leaf.public_key():
        raise ConfigError(f"the key {file} does not belong to the certificate {files.chain}")


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return [leaf.subject.rfc4514_string()]
    return [
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]
