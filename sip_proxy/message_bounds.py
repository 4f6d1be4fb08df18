"""How long requests may be, within what the parser takes (:class:`natkit.sip.MessageLimits`)."""

from dataclasses import dataclass

from natkit.errors import MalformedMessage, MisuseError
from natkit.sip import Request
from natkit.sip.kinds import CONTENT_LENGTH
from natkit.sip.parser import DEFAULT_LIMITS
from sip_proxy.rejection import Rejection

__all__ = ["MessageBounds", "is_cut_short"]


def is_cut_short(request: Request) -> bool:
    """Whether framing gave of a request its head alone, for it is longer than what is taken."""
    try:
        stated = request.headers.get(CONTENT_LENGTH)
    except MalformedMessage:
        return False
    return stated is not None and stated > len(request.body)


@dataclass(frozen=True, slots=True)
class MessageBounds:
    """What a request may measure, in bytes but for ``fields``; more is refused in so many words.

    What is beyond the parser's own limits is not answered: it is no message that was read.
    """

    message: int = DEFAULT_LIMITS.message
    body: int = DEFAULT_LIMITS.message
    field: int = 8_192
    """One header field with its folds; tokens and certificates in them have some kilobytes."""
    fields: int = 200

    def __post_init__(self) -> None:
        if min(self.message, self.field, self.fields) < 1 or self.body < 0:
            raise MisuseError(f"{self} lets no request through")

    def judge(self, request: Request, size: int) -> Rejection | None:
        """The answer to a request that is too long, or None (RFC 3261 §21.4.11, §21.5.7).

        ``size``: bytes of the message as it came; one that is short has no part that is long.
        """
        is_short = size <= self.field and size <= self.body and size <= self.message
        if is_short and len(request.headers) <= self.fields:
            return None
        body = len(request.body)
        if body > self.body:
            return Rejection(413, f"The body has {body} bytes, {self.body} are allowed")
        headers = request.headers
        if len(headers) > self.fields:
            return Rejection(400, f"More than {self.fields} header fields")
        lengths = headers.lengths
        if max(lengths) > self.field:
            return Rejection(400, f"A header field has more than {self.field} bytes")
        if sum(lengths) + len(request.uri_text) + body > self.message:
            return Rejection(513, f"More than {self.message} bytes")
        return None
