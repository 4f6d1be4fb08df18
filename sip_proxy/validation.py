"""What a request must be to be treated at all (RFC 3261 §16.3), but for its credentials."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from natkit.sip import AbsoluteUri, HeaderField, Request
from natkit.sip.kinds import MAX_FORWARDS, PROXY_REQUIRE, UNSUPPORTED
from natkit.sip.registry import SIP_VERSION
from sip_proxy.identity import Identity
from sip_proxy.loops import is_loop

__all__ = ["Rejection", "validate"]

SUPPORTED_EXTENSIONS: Final = frozenset({"path", "outbound", "gruu"})


@dataclass(frozen=True, slots=True)
class Rejection:
    """Answer with this; ``reason`` None is the status code's own phrase."""

    status: int
    reason: str | None = None
    fields: Sequence[HeaderField] = ()


def validate(request: Request, received: str, identity: Identity) -> Rejection | None:
    """The first fault by §16.3's numbers, or None.

    ``received`` is the request's fingerprint.
    """
    if request.version.upper() != SIP_VERSION:
        return Rejection(505)
    if isinstance(request.uri, AbsoluteUri):
        return Rejection(416)  # step 2
    if request.headers.get(MAX_FORWARDS) == 0 and request.method != "OPTIONS":
        return Rejection(483)  # step 3
    if is_loop(request, received, identity):
        return Rejection(482)  # step 4
    unknown = [
        option
        for option in request.headers.get_all(PROXY_REQUIRE)
        if option.lower() not in SUPPORTED_EXTENSIONS
    ]
    if unknown:
        return Rejection(420, None, [HeaderField.of(UNSUPPORTED, *unknown)])  # step 5
    return None
