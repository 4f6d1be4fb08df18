"""The server's certificate: read and checked, then given to TLS and DTLS, and read again."""

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from OpenSSL import SSL

from natkit.aio.dtls import dtls_server_context
from natkit.aio.tls import server_context
from natkit.errors import ConfigError, MisuseError
from natkit.server.certificates import CertificateFiles, read_certificate

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
    read = read_certificate(CertificateFiles(chain, key))
    try:
        return Contexts(
            server_context((chain, key), alpn=ALPN),
            dtls_server_context((chain, key), alpn=ALPN),
            ", ".join(read.names),
            read.until,
        )
    except MisuseError as error:
        raise ConfigError(str(error)) from error
