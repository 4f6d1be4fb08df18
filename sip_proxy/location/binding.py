"""One binding: a contact of an address of record, and the way to it."""

from dataclasses import dataclass

from natkit.errors import MalformedMessage
from natkit.machine import Path
from natkit.sip import SipUri, parse_absolute_uri

__all__ = ["LARGEST_Q", "Binding"]

LARGEST_Q = 1000
"""q is kept in thousandths, as many as it has digits (RFC 3261 §25.1 qvalue)."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a registration leaves behind; all of it can be stored as text and numbers.

    ``contact`` is the URI as the user agent wrote it, ``expires_at`` Unix time, ``q`` thousandths.
    ``path`` are the URIs of the Path fields, outermost first (RFC 3327 §5.3).  ``flow`` is what the
    registration came on, where no other proxy stood between and the phone is reached by it; then
    the path begins with an entry of the proxy that holds it.
    """

    contact: str
    expires_at: float
    q: int
    call_id: str
    cseq: int
    updated_at: float
    path: tuple[str, ...] = ()
    flow: Path | None = None
    instance: str | None = None
    reg_id: int | None = None
    user_agent: str = ""
    since: float = 0.0
    """Unix time of the first of the registrations with this Call-ID, which this one renews."""

    @property
    def is_outbound(self) -> bool:
        """Whether it is one of several flows of a user agent (RFC 5626 §6)."""
        return self.instance is not None and self.reg_id is not None

    @property
    def needs_flow(self) -> bool:
        """Whether no way leads to it but its flow: it names no host that it was seen at."""
        if self.is_outbound or self.flow is None:
            return self.is_outbound
        try:
            uri = parse_absolute_uri(self.contact)
        except MalformedMessage:
            return True
        remote = self.flow.remote
        return not (
            isinstance(uri, SipUri) and (uri.host == remote.host or uri.address == remote.ip)
        )
