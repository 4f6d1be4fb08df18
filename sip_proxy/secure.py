"""``sips:`` is never let down, and ``sip:`` not raised (RFC 3261 §16.6, RFC 5630 §5.3)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from natkit.machine import Path
from natkit.sip import AbsoluteUri, HeaderField, Scheme, SipUri, TelUri
from sip_proxy.rejection import Rejection
from sip_proxy.targets import Contact

__all__ = ["NOT_SECURE", "is_secure", "let_through", "may_use", "raised"]

NOT_SECURE: Final = Rejection(
    480, None, (HeaderField.of_text("Warning", '380 sip-proxy "SIPS Not Allowed"'),)
)
"""Nobody is reached by TLS all the way; the warn-code says so (RFC 5630 §5.4)."""


def is_secure(uri: SipUri | TelUri | AbsoluteUri) -> bool:
    """Whether it is a ``sips:`` URI."""
    return isinstance(uri, SipUri) and uri.is_secure


def let_through(asked: SipUri | TelUri | AbsoluteUri, contacts: Sequence[Contact]) -> list[Contact]:
    """The contacts to which a request to ``asked`` may go, as it may go to them.

    To a ``sips:`` contact a request for ``sip:`` goes by TLS too, but says ``sip:``.
    """
    if is_secure(asked):
        return [kept for one in contacts if (kept := _kept(one)) is not None]
    return [_lowered(one) for one in contacts]


def may_use(flow: Path, uri: SipUri | TelUri | AbsoluteUri) -> bool:
    """Whether a request to ``uri`` may go by ``flow``."""
    return flow.transport.is_secure or not is_secure(uri)


def raised(hop: SipUri | TelUri | AbsoluteUri) -> SipUri | TelUri | AbsoluteUri:
    """The next hop of a request to a ``sips:`` URI, whatever its Route says (§16.6 step 7)."""
    return replace(hop, scheme=Scheme.SIPS) if isinstance(hop, SipUri) else hop


def _kept(contact: Contact) -> Contact | None:
    others = tuple(kept for one in contact.others if (kept := _kept(one)) is not None)
    if is_secure(contact.uri) and (contact.flow is None or contact.flow.transport.is_secure):
        return replace(contact, others=others)
    return replace(others[0], others=others[1:]) if others else None


def _lowered(contact: Contact) -> Contact:
    uri = contact.uri
    others = tuple(_lowered(one) for one in contact.others)
    if not isinstance(uri, SipUri) or not uri.is_secure:
        return contact if others == contact.others else replace(contact, others=others)
    return replace(contact, uri=replace(uri, scheme=Scheme.SIP), hop=uri, others=others)
