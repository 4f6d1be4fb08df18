"""The server's certificate: read and checked, then given to TLS and DTLS, and read again."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from natkit.aio.dtls import dtls_server_context
from natkit.aio.tls import server_context
from natkit.errors import ConfigError, MisuseError

__all__ = ["ALPN", "Certificates", "Contexts", "load_contexts"]

ALPN = ("stun.turn", "stun.nat-discovery")
"""The protocols that this server speaks (RFC 7443 §3)."""


@dataclass(frozen=True, slots=True)
class Contexts:
    """One certificate, as both libraries want it; ``names`` and ``until`` are for the log."""

    tls: ssl.SSLContext
    dtls: SSL.Context
    names: str
    until: datetime


class Certificates:
    """The certificate in use, ``current``; handshakes that begin after it was set get it."""

    def __init__(self, chain: Path, key: Path) -> None:
        self.current = load_contexts(chain, key)


def load_contexts(chain: Path, key: Path) -> Contexts:
    """Read a certificate with those above it, and its key, both PEM.

    Raises ConfigError for what clients would not accept: a pair that does not match, a certificate
    that has expired or is not valid yet.
    """
    leaf = _read_chain(chain)
    _check_key(leaf, chain, key)
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
    try:
        return Contexts(
            server_context((chain, key), alpn=ALPN),
            dtls_server_context((chain, key), alpn=ALPN),
            ", ".join(_names(leaf)),
            leaf.not_valid_after_utc,
        )
    except MisuseError as error:
        raise ConfigError(str(error)) from error


def _read_chain(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())[0]
    except OSError as error:
        raise ConfigError(f"cannot read the certificate {file}: {error.strerror}") from error
    except ValueError:
        raise ConfigError(f"{file} holds no certificate in PEM") from None


def _check_key(leaf: x509.Certificate, chain: Path, file: Path) -> None:
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except OSError as error:
        raise ConfigError(f"cannot read the key {file}: {error.strerror}") from error
    except TypeError:
        raise ConfigError(f"the key {file} is encrypted; give one that is not") from None
    except ValueError:
        raise ConfigError(f"{file} holds no private key in PEM") from None
    if key.public_key() != leaf.public_key():
        raise ConfigError(f"the key {file} does not belong to the certificate {chain}")


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return [leaf.subject.rfc4514_string()]
    return [
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]
