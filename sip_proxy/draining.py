"""A proxy that is to stop begins nothing more: what is new is refused, what goes on is finished."""

from typing import Final

from natkit.machine import RandomBytes
from natkit.sip import Request
from natkit.sip.kinds import TO
from natkit.sip.parties import tag_of
from sip_proxy.rejection import Rejection
from sip_proxy.unavailable import retry_later

__all__ = ["refusal"]

_GOES_ON: Final = frozenset({"ACK", "BYE", "CANCEL"})


def refusal(request: Request, random: RandomBytes) -> Rejection | None:
    """503 with Retry-After for what begins a dialog, a registration or anything else; or None.

    So a client takes another proxy (RFC 3261 §21.5.4).  MalformedMessage where To cannot be read.
    """
    within_dialog = tag_of(request.headers, TO) is not None
    if request.method in _GOES_ON or within_dialog:
        return None
    return Rejection(503, "The proxy is about to stop", [retry_later(random)])
