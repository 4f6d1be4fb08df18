"""Certificates in SIP (RFC 5922): for which domains a certificate speaks, or for which users.

The domain is the one that the request is for, never the name of the server that the DNS gave for
it (§7.3): whoever forges the DNS could give any name.  Chains, dates and revocation are the TLS
library's; here it is names and the purpose alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

import idna
from cryptography import x509
from cryptography.x509.oid import NameOID

from natkit.errors import MalformedMessage, MisuseError
from natkit.sip.grammar import domain_name, excerpt, numeric_host
from natkit.sip.uri import Scheme, SipUri

__all__ = [
    "SIP_DOMAIN",
    "CertificateNames",
    "DomainIdentity",
    "NameMatch",
    "NameSource",
    "check_certificate",
    "names_to_carry",
    "user_identity",
]

SIP_DOMAIN: Final = "1.3.6.1.5.5.7.3.20"
"""The extended key usage id-kp-sipDomain (RFC 5924 §4)."""

_SERVER_AUTH: Final = "1.3.6.1.5.5.7.3.1"
_CLIENT_AUTH: Final = "1.3.6.1.5.5.7.3.2"
_ANY_USAGE: Final = "2.5.29.37.0"
_USAGES: Final = frozenset({SIP_DOMAIN, _SERVER_AUTH, _ANY_USAGE})
_USERS_USAGES: Final = frozenset({_CLIENT_AUTH, _ANY_USAGE})


class NameSource(Enum):
    """Where in the certificate a name stands."""

    URI = "subjectAltName URI"
    DNS = "subjectAltName DNS"
    COMMON_NAME = "CN"


@dataclass(frozen=True, slots=True)
class DomainIdentity:
    """A domain that the certificate speaks for; ``text`` is the entry as it stands there."""

    domain: str
    source: NameSource
    text: str


@dataclass(frozen=True, slots=True)
class CertificateNames:
    """What a certificate says of its owner.

    ``common_names`` count only where ``has_alternative_names`` is False (§7.1).  ``addresses`` are
    never a SIP identity.  ``usages`` are the OIDs of its extended key usage, None without one.
    """

    uris: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    common_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    has_alternative_names: bool = False
    usages: tuple[str, ...] | None = None

    @classmethod
    def from_der(cls, certificate: bytes) -> "CertificateNames":
        """Read a certificate as TLS delivers it; MalformedMessage when it cannot be read."""
        try:
            parsed = x509.load_der_x509_certificate(certificate)
            alternative = _alternative_names(parsed)
            subject = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            common_names = tuple(str(one.value) for one in subject)
            usages = _usages(parsed)
        except (
            ValueError,
            x509.InvalidVersion,
            x509.DuplicateExtension,
            x509.UnsupportedGeneralNameType,
        ) as error:
            raise MalformedMessage(f"the certificate cannot be read: {error}") from error
        if alternative is None:
            return cls(common_names=common_names, usages=usages)
        return cls(
            tuple(alternative.get_values_for_type(x509.UniformResourceIdentifier)),
            tuple(alternative.get_values_for_type(x509.DNSName)),
            common_names,
            tuple(str(one) for one in alternative.get_values_for_type(x509.IPAddress)),
            has_alternative_names=True,
            usages=usages,
        )

    def identities(self) -> tuple[DomainIdentity, ...]:
        """The SIP domain identities (§7.1)."""
        by_uri = tuple(_uri_identities(self.uris))
        if by_uri:
            return by_uri
        if self.has_alternative_names:
            source, names = NameSource.DNS, self.dns_names
        else:
            source, names = NameSource.COMMON_NAME, self.common_names
        return tuple(DomainIdentity(_canonical(name), source, name) for name in names)

    def users(self) -> frozenset[str]:
        """The users whom it speaks for as a client, each as :func:`user_identity` has them.

        They are in its sip: URIs that have a user part, which therefore name no domain (§7.1).  A
        certificate for SIP domains alone (RFC 5924 §4) speaks for no user.
        """
        if self.usages is not None and _USERS_USAGES.isdisjoint(self.usages):
            return frozenset()
        found = [_read_uri(text) for text in self.uris]
        # With a password or a port it would be something else than an address of record.
        return frozenset(
            user_identity(uri)
            for uri in found
            if uri is not None and uri.user and uri.password is None and uri.port is None
        )


@dataclass(frozen=True, slots=True)
class NameMatch:
    """Whether a certificate speaks for a domain, and why.

    ``identity`` is the entry that says so.  ``reason`` is one line for a person: what matched, or
    what is missing; where a laxer rule would have matched, it says which and why that one is not
    SIP's.
    """

    domain: str
    matches: bool
    reason: str
    identity: DomainIdentity | None = None


def user_identity(uri: SipUri) -> str:
    """The user that an address of record is about, whichever scheme and port it names."""
    found = uri.address_of_record()
    return f"{found.user or ''}@{found.host}"


def names_to_carry(domain: str) -> tuple[str, ...]:
    """What a certificate for ``domain`` should hold in its subjectAltName (§6), as OpenSSL has it.

    The URI marks it as one for SIP; the DNS name serves those that do not know SIP's rules.
    """
    name = _a_labels(domain)
    return (f"URI:sip:{name}", f"DNS:{name}")


def check_certificate(names: CertificateNames, domain: str) -> NameMatch:
    """Whether a peer that shows ``names`` may act for the SIP domain ``domain`` (§7.2, §7.3).

    MisuseError when ``domain`` is neither a domain name nor an IP address.
    """
    wanted = _a_labels(domain)
    if names.usages is not None and _USAGES.isdisjoint(names.usages):
        reason = "its extended key usage allows neither SIP domains nor TLS servers (RFC 5924 §4)"
        return NameMatch(wanted, matches=False, reason=reason)
    identities = names.identities()
    for one in identities:
        # As a whole: no suffix, and "*" stands for nothing but itself.
        if one.domain == wanted:
            reason = f"{one.source.value} {excerpt(one.text)} (RFC 5922 §7.1)"
            return NameMatch(wanted, matches=True, reason=reason, identity=one)
    return NameMatch(wanted, matches=False, reason=_why_not(names, identities, wanted))


def _why_not(names: CertificateNames, identities: tuple[DomainIdentity, ...], wanted: str) -> str:
    found = ", ".join(f"{one.source.value} {excerpt(one.text)}" for one in identities[:5])
    if len(identities) > 5:
        found += f" and {len(identities) - 5} more"
    reason = f"it speaks for {found}, not for {wanted}" if found else "it names no SIP domain"
    notes = []
    by_uri = bool(identities) and identities[0].source is NameSource.URI
    if by_uri and any(_canonical(one) == wanted for one in names.dns_names):
        notes.append("its DNS name does not count beside a sip: URI (§7.1)")
    if names.has_alternative_names and any(_canonical(one) == wanted for one in names.common_names):
        notes.append("its CN does not count beside a subjectAltName (§7.1)")
    if any(_wildcard_covers(one.domain, wanted) for one in identities):
        notes.append("SIP has no wildcards (§7.2)")
    if any(_is_of_user(one, wanted) for one in names.uris):
        notes.append("a sip: URI with a user speaks for that user only (§7.1)")
    if wanted in names.addresses:
        notes.append("an IP address entry is no SIP identity (§7.1)")
    return "; ".join([reason, *notes]) + ("" if notes else " (RFC 5922 §7.2)")


def _uri_identities(uris: tuple[str, ...]) -> Iterator[DomainIdentity]:
    for text in uris:
        uri = _read_uri(text)
        if uri is not None and uri.scheme is Scheme.SIP and "@" not in text:
            yield DomainIdentity(_canonical(uri.host), NameSource.URI, text)


def _read_uri(text: str) -> SipUri | None:
    try:
        return SipUri.parse(text)
    except (MalformedMessage, MisuseError):
        return None


def _is_of_user(text: str, wanted: str) -> bool:
    uri = _read_uri(text)
    return uri is not None and "@" in text and _canonical(uri.host) == wanted


def _wildcard_covers(pattern: str, wanted: str) -> bool:
    return pattern.startswith("*.") and wanted.partition(".")[2] == pattern[2:]


def _canonical(host: str) -> str:
    """RFC 4343: ASCII letters alone have no case."""
    address = numeric_host(host)
    return domain_name(host) if address is None else str(address)


def _a_labels(domain: str) -> str:
    """RFC 5280 §7.2: international names are compared as A-labels."""
    if domain.isascii():
        return _canonical(domain)
    try:
        return domain_name(idna.encode(domain, uts46=True).decode("ascii"))
    except idna.IDNAError as error:
        raise MisuseError(f"{excerpt(domain)} is not a domain name: {error}") from error


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    return found.value


def _usages(certificate: x509.Certificate) -> tuple[str, ...] | None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return None
    return tuple(one.dotted_string for one in usage.value)
