"""Requests that derive from another one: ACK to a rejection, and CANCEL."""

from collections.abc import Sequence
from typing import Final

from natkit.sip.headers import HeaderField, Headers
from natkit.sip.kinds import CALL_ID, CONTENT_LENGTH, CSEQ, FROM, MAX_FORWARDS, ROUTE, TO, VIA, CSeq
from natkit.sip.message import Request, Response
from natkit.sip.registry import INITIAL_MAX_FORWARDS

__all__ = ["ack_of", "cancel_of"]


def ack_of(invite: Request, response: Response) -> Request:
    """The ACK to a response of 300 to 699 (RFC 3261 §17.1.1.3)."""
    to = response.headers.fields(TO) or invite.headers.fields(TO)
    return _derived(invite, "ACK", to)


def cancel_of(invite: Request, fields: Sequence[HeaderField] = ()) -> Request:
    """The CANCEL of a request (§9.1); ``fields`` say why, such as Reason (RFC 3326)."""
    return _derived(invite, "CANCEL", invite.headers.fields(TO), fields)


def _derived(
    request: Request,
    method: str,
    to: Sequence[HeaderField],
    more: Sequence[HeaderField] = (),
) -> Request:
    headers = request.headers
    fields: list[HeaderField] = []
    via = headers.first(VIA)
    if via is not None:
        fields.append(HeaderField.of(VIA, via))
    for kind in (ROUTE, FROM):
        fields.extend(headers.fields(kind))
    fields.extend(to)
    fields.extend(headers.fields(CALL_ID))
    cseq = headers.get(CSEQ)
    number = cseq.number if cseq else 0
    fields.append(HeaderField.of(CSEQ, CSeq(number, method)))
    fields.append(_MAX_FORWARDS)
    fields.extend(more)
    fields.append(_NO_CONTENT)
    return Request(method, request.uri_text, Headers(fields))


_MAX_FORWARDS: Final = HeaderField.of(MAX_FORWARDS, INITIAL_MAX_FORWARDS)
_NO_CONTENT: Final = HeaderField.of(CONTENT_LENGTH, 0)
