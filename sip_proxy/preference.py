"""``q``: how much a Contact is preferred to others (RFC 3261 §20.10)."""

from natkit.errors import MalformedMessage
from natkit.sip import NameAddress
from sip_proxy.location.binding import LARGEST_Q

__all__ = ["q_of"]


def q_of(contact: NameAddress) -> int:
    """In thousandths, the largest where none is named; MalformedMessage."""
    text = contact.parameter("q")
    if text is None:
        return LARGEST_Q
    whole, _, decimals = text.partition(".")
    if whole not in ("0", "1") or len(decimals) > 3 or not (decimals or "0").isdecimal():
        raise MalformedMessage(f"q={text!r} is not between 0 and 1")
    thousandths = int(whole + decimals.ljust(3, "0"))
    if thousandths > LARGEST_Q:
        raise MalformedMessage(f"q={text!r} is more than 1")
    return thousandths
