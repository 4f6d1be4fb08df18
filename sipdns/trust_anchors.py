"""Where a chain of trust begins (RFC 4035 §4.4)."""

from collections.abc import Iterable, Mapping
from typing import Final

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.DNSKEY
import dns.rdtypes.ANY.DS
import dns.zonefile

from natkit.errors import ConfigError

__all__ = ["ROOT_ANCHORS", "Anchor", "Anchors", "read_anchors"]

Anchor = dns.rdtypes.ANY.DS.DS | dns.rdtypes.ANY.DNSKEY.DNSKEY
Anchors = Mapping[dns.name.Name, tuple[Anchor, ...]]
"""By zone.  The deepest zone above a name counts for it."""

# https://data.iana.org/root-anchors/root-anchors.xml: KSK-2017 and KSK-2024.
_ROOT: Final = """\
. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
. IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16
"""


def read_anchors(text: str, where: str = "the trust anchors") -> Anchors:
    """Read DS or DNSKEY records as zone files have them; ConfigError names what is wrong."""
    try:
        sets = dns.zonefile.read_rrsets(text, rdclass=None, default_ttl=0)
    except (dns.exception.DNSException, ValueError) as error:
        raise ConfigError(f"{where}: no DS or DNSKEY records: {error}") from error
    found: dict[dns.name.Name, tuple[Anchor, ...]] = {}
    for rrset in sets:
        found[rrset.name] = found.get(rrset.name, ()) + tuple(_anchors(rrset, where))
    if not found:
        raise ConfigError(f"{where}: no DS or DNSKEY record")
    return found


def _anchors(rrset: Iterable[dns.rdata.Rdata], where: str) -> Iterable[Anchor]:
    for one in rrset:
        if not isinstance(one, dns.rdtypes.ANY.DS.DS | dns.rdtypes.ANY.DNSKEY.DNSKEY):
            kind = dns.rdatatype.to_text(one.rdtype)
            raise ConfigError(f"{where}: {kind} is neither DS nor DNSKEY")
        yield one


ROOT_ANCHORS: Final = read_anchors(_ROOT)
