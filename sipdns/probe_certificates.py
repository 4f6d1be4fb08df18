"""Examines the certificates that a server sent: who vouches for them, until when, for whom."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto

from natkit.errors import MalformedMessage, MisuseError
from natkit.sip.certificate import CertificateNames, check_certificate
from sipdns.probe_results import Certificate, Check, Protocol, Standing, printable

__all__ = ["Examination", "examine_certificates"]

_NO_CHECK_TIME: Final = 0x200000
"""``X509_V_FLAG_NO_CHECK_TIME``: dates are a check of their own here."""


@dataclass(frozen=True, slots=True)
class Examination:
    """The three checks, and what the certificates say."""

    chain: Check
    expiry: Check
    name: Check
    certificates: tuple[Certificate, ...]


def examine_certificates(
    ders: Sequence[bytes], name: str, protocol: Protocol, *, trust: Path | None, unix_time: float
) -> Examination:
    """Examine a chain in DER, the server's own first.

    ``trust`` is a PEM file of roots, by default the system's; ``unix_time`` is now.
    """
    try:
        parsed = [x509.load_der_x509_certificate(der) for der in ders]
        names = CertificateNames.from_der(ders[0])
        certificates = tuple(map(_described, parsed))
    except (ValueError, IndexError, MalformedMessage) as error:
        unread = Check(Standing.FAILED, f"the certificate cannot be read: {error}")
        return Examination(unread, unread, unread, ())
    now = datetime.fromtimestamp(unix_time, UTC)
    return Examination(
        _chain(parsed, trust),
        _expiry(certificates, now),
        _name(names, name, protocol),
        certificates,
    )


def _chain(certificates: Sequence[x509.Certificate], trust: Path | None) -> Check:
    store = crypto.X509Store()
    try:
        if trust is not None:
            store.load_locations(str(trust))
        else:
            paths = ssl.get_default_verify_paths()
            store.load_locations(paths.cafile, paths.capath)
    except crypto.Error:
        return Check(Standing.NOT_TESTED, "the trusted roots cannot be read")
    except TypeError:
        return Check(Standing.NOT_TESTED, "this system has no trusted roots")
    store.set_flags(_NO_CHECK_TIME)
    own, *others = map(crypto.X509.from_cryptography, certificates)
    try:
        crypto.X509StoreContext(store, own, others).verify_certificate()
    except crypto.X509StoreContextError as error:
        return Check(Standing.FAILED, f"not trusted: {error}")
    count = len(certificates)
    return Check(Standing.OK, f"trusted; {count} certificate{'s' if count > 1 else ''} sent")


def _expiry(certificates: Sequence[Certificate], now: datetime) -> Check:
    for one in certificates:
        if now < one.not_before:
            return Check(Standing.FAILED, f"{one.subject} is not valid before {one.not_before:%F}")
        if now > one.not_after:
            return Check(Standing.FAILED, f"{one.subject} expired on {one.not_after:%F}")
    first = min(one.not_after for one in certificates)
    return Check(Standing.OK, f"valid until {first:%F}, {(first - now).days} days from now")


def _name(names: CertificateNames, name: str, protocol: Protocol) -> Check:
    try:
        if protocol is Protocol.SIP:
            match = check_certificate(names, name)
            return Check(Standing.OK if match.matches else Standing.FAILED, match.reason)
    except MisuseError as error:
        return Check(Standing.NOT_TESTED, str(error))
    # RFC 8489 §6.2.3 leaves it to RFC 6125: DNS names and addresses, wildcards for one label.
    wanted = name.lower().removesuffix(".")
    for entry in (*names.dns_names, *names.addresses):
        pattern = entry.lower()
        if pattern == wanted or (
            pattern.startswith("*.") and wanted.partition(".")[2] == pattern[2:]
        ):
            return Check(Standing.OK, f"{entry!r} in its subjectAltName")
    found = ", ".join((*names.dns_names, *names.addresses)[:5]) or "nothing"
    return Check(Standing.FAILED, f"it speaks for {found}, not for {wanted}")


def _described(certificate: x509.Certificate) -> Certificate:
    names = CertificateNames.from_der(certificate.public_bytes(Encoding.DER))
    return Certificate(
        printable(certificate.subject.rfc4514_string()),
        printable(certificate.issuer.rfc4514_string()),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        tuple(map(printable, (*names.uris, *names.dns_names, *names.addresses))),
    )
