"""``[nat]``: phones behind NATs that know nothing of RFC 5626."""

from typing import Annotated

from pydantic import Field

from natkit.server.config.tables import Table
from natkit.server.config.values import Count, Switch
from sip_proxy.config.tables import DEFAULT
from sip_proxy.nat import Ask, NatSettings

__all__ = ["Nat"]

_NAT = DEFAULT.nat

Interval = Annotated[float, Field(ge=1, le=86_400)]


class Nat(Table):
    """How phones behind NATs stay reachable that do not keep their flows open themselves."""

    keep_alive: Ask = _NAT.keep_alive
    """What is sent to them over UDP: ``options``, which a phone answers, so that any NAT stays open
    and a phone that is gone is noticed; ``crlf``, four bytes, enough for NATs that count what
    enters; or ``none``. Over connections it is CRLF unless ``none``."""
    interval: Interval = _NAT.interval
    """Seconds between two over UDP at the most; some NATs forget after 30."""
    connection_interval: Interval = _NAT.connection_interval
    """Seconds between two over a connection at the most."""
    misses: Annotated[int, Field(ge=1, le=100, strict=True)] = _NAT.misses
    """OPTIONS without an answer, one after the other, that end a registration."""
    everybody: Switch = _NAT.everybody
    """Whether it is done for phones too that no NAT was seen before: firewalls forget as well."""
    phones: Count = _NAT.largest_count
    """Flows that are kept open at once; those of phones beyond are not."""
    rewrite_contacts: Switch = _NAT.rewrite_contacts
    """Whether others get the address that a phone was seen at for the one in its Contact: for peers
    that pass over Record-Route or take no private address. Without it calls work as well."""

    def settings(self) -> NatSettings:
        """What the machine is told."""
        return NatSettings(
            self.keep_alive,
            self.interval,
            self.connection_interval,
            self.misses,
            self.everybody,
            self.phones,
            self.rewrite_contacts,
        )
