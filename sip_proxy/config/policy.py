"""``[policy]``, ``[registrations]``, ``[timers]`` and ``[limits]``: what is done, and how much."""

from dataclasses import replace
from typing import Annotated, Self

from pydantic import Field, model_validator

from natkit.errors import MisuseError
from natkit.server.config.tables import Table
from natkit.server.config.values import Count, Network, Seconds, Switch
from natkit.sip.transactions import SipTiming
from sip_proxy.config.tables import DEFAULT
from sip_proxy.config.values import LocationUrl
from sip_proxy.location import RegistrationLimits
from sip_proxy.location.table import LARGEST_COUNT
from sip_proxy.message_bounds import MessageBounds

__all__ = ["Limits", "Policy", "Registrations", "Timers"]

_TIMING = DEFAULT.timing
_REGISTRATION = DEFAULT.registration

Interval = Annotated[float, Field(ge=0.001, le=600)]


class Policy(Table):
    """What is done with requests."""

    trusted: tuple[Network, ...] = ()
    """Networks whose requests need no credentials: gateways, and proxies before this one."""
    record_route: Switch = DEFAULT.record_route
    """Whether the proxy stays on the way of the dialogs that it opens."""
    redirect: Switch = DEFAULT.redirect
    """Whether callers are answered with the contacts of who is called (302) in place of being put
    through."""
    assert_identity: Switch = DEFAULT.assert_identity
    """Whether a user who proved it is named in P-Asserted-Identity (RFC 3325); what others say
    there without being trusted is taken off always."""
    stateless: Switch = DEFAULT.stateless
    """Whether requests are forwarded without keeping anything of them: to one target, without
    failover, and a CANCEL or ACK without credentials (RFC 3261 §16.11). Registrations stay as they
    are."""
    recurse: Switch = DEFAULT.recurse
    """Whether the contacts of a 3xx are followed in place of being passed back to the caller."""


class Registrations(Table):
    """Where registrations are kept, how long they last, and how many there may be."""

    store: LocationUrl = "sqlite"
    """Where registrations are kept: ``sqlite``, a file in the data directory, and ``memory`` belong
    to one proxy, ``postgresql://USER:PASSWORD@HOST/DATABASE`` and
    ``redis://USER:PASSWORD@HOST:PORT/NUMBER`` to all that name it.  Redis keeps what it answered
    only with ``appendonly yes`` and ``appendfsync always``."""
    addresses: Count = LARGEST_COUNT
    """Users at once, of all that share the store, with a registration; one more is refused by
    503."""
    default_expires: Seconds = _REGISTRATION.default_expires
    """Seconds of a registration that asks for no time."""
    min_expires: Seconds = _REGISTRATION.min_expires
    """Seconds of a registration at the least; a briefer one is refused by 423."""
    max_expires: Seconds = _REGISTRATION.max_expires
    """Seconds of a registration at the most; a longer one is cut."""
    contacts: Count = _REGISTRATION.contacts
    """Contacts of one address of record: phones, and each flow of a phone with several."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.min_expires <= self.default_expires <= self.max_expires:
            raise MisuseError("default_expires is not between min_expires and max_expires")
        return self

    def limits(self) -> RegistrationLimits:
        """What the machine is told."""
        return RegistrationLimits(
            self.default_expires, self.min_expires, self.max_expires, self.contacts
        )


class Timers(Table):
    """How long is waited, in seconds (RFC 3261 §17)."""

    t1: Interval = _TIMING.t1
    """Seconds to the first retransmission; 64 times as long a request waits for an answer."""
    t2: Interval = _TIMING.t2
    """Seconds between retransmissions at the most."""
    t4: Interval = _TIMING.t4
    """Seconds for which a message may be under way."""
    timer_c: Annotated[float, Field(gt=0, le=86_400)] = DEFAULT.timer_c
    """Seconds for which a phone may ring, longer than three minutes; then its call is given up."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.t1 > self.t2:
            raise MisuseError("t1 is above t2")
        # What else they must be to each other the machine says.
        replace(DEFAULT, timing=self.timing(), timer_c=self.timer_c)
        return self

    def timing(self) -> SipTiming:
        """What the machine is told."""
        return SipTiming(self.t1, self.t2, self.t4)


class Limits(Table):
    """How many of everything."""

    transactions: Count = DEFAULT.largest_transactions
    """Transactions at once; a request beyond is refused by 503."""
    pending: Count = DEFAULT.largest_pending
    """Requests at once that wait for the DNS, a store or a connection."""
    branches: Annotated[int, Field(ge=1, le=1000, strict=True)] = DEFAULT.max_breadth
    """Branches at once of one request, with all that they fork into (RFC 5393 §5.3.3)."""
    drain: Annotated[int, Field(ge=0, strict=True)] = 60
    """Seconds that transactions are given to end by themselves when the proxy is to stop."""
    message_size: Count = DEFAULT.bounds.message
    """Bytes of a request; a longer one is refused by 513."""
    body_size: Annotated[int, Field(ge=0, le=65_535, strict=True)] = DEFAULT.bounds.body
    """Bytes of a request's body; a longer one is refused by 413."""
    field_size: Count = DEFAULT.bounds.field
    """Bytes of one header field; a longer one is refused by 400."""
    fields: Count = DEFAULT.bounds.fields
    """Header fields of a request; one with more is refused by 400."""
    connections: Count = 10_000
    """Connections at once that others have made."""
    connections_per_source: Count = 256
    """Such connections at once from one IP address: a site behind one NAT has as many phones."""

    def bounds(self) -> MessageBounds:
        """What the machine is told of long requests."""
        return MessageBounds(self.message_size, self.body_size, self.field_size, self.fields)
