"""Names in candidates instead of addresses: multicast DNS for ICE (RFC 6762), without I/O.

draft-ietf-mmusic-mdns-ice-candidates: a host candidate may bear a name under ``.local`` that only
its own link can resolve, so that whoever sees the candidate does not learn a private address.
"""

from natkit.ice.mdns.names import is_mdns_name
from natkit.ice.mdns.naming import Link, MulticastDns, NameResolved, NameUnresolved

__all__ = ["Link", "MulticastDns", "NameResolved", "NameUnresolved", "is_mdns_name"]
