"""Whether a certificate names a STUN or TURN server (RFC 8489 §6.2.3, RFC 9525)."""

import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import NameOID

__all__ = ["is_address", "name_mismatch"]


def name_mismatch(certificate: x509.Certificate, name: str) -> str | None:
    """Why a certificate does not name ``name``, a domain or an IP address; None if it does.

    DNS-ID, with a wildcard as the whole leftmost label; CN-ID only where no DNS-ID stands; for an
    address the subjectAltName alone.
    """
    try:
        names, addresses = _alternative_names(certificate)
        if not names:
            subject = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            names = [str(each.value) for each in subject]
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return "its certificate cannot be read"
    if is_address(name):
        wanted = ipaddress.ip_address(name)
        if any(wanted == each for each in addresses):
            return None
    elif any(_matches(each, name) for each in names):
        return None
    held = ", ".join(dict.fromkeys([*names, *map(str, addresses)])) or "nobody"
    return f"its certificate is for {held}, not for {name}"


def is_address(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _alternative_names(
    certificate: x509.Certificate,
) -> tuple[list[str], Sequence[ipaddress.IPv4Address | ipaddress.IPv6Address]]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [], []
    addresses = [
        each
        for each in found.get_values_for_type(x509.IPAddress)
        if isinstance(each, ipaddress.IPv4Address | ipaddress.IPv6Address)
    ]
    return found.get_values_for_type(x509.DNSName), addresses


def _matches(presented: str, wanted: str) -> bool:
    """RFC 9525 §6.3: labels without regard to case, ``*`` for one whole label at the left."""
    theirs = presented.lower().rstrip(".").split(".")
    ours = wanted.lower().rstrip(".").split(".")
    if theirs[0] == "*" and len(theirs) > 2:
        theirs, ours = theirs[1:], ours[1:]
    return theirs == ours
