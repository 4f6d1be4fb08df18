"""What is read of a recorded message, which may be none."""

import re
from dataclasses import dataclass
from typing import Final

from natkit.errors import MalformedMessage
from natkit.sip import Request, Response, SipUri, parse_message
from natkit.sip.kinds import CSEQ, FROM, TO, VIA
from natkit.sip.name_address import NameAddress
from sip_proxy.printable import printable

__all__ = ["Reading", "call_id_of", "read"]

_CALL_ID: Final = re.compile(
    rb"\r\n(?:call-id|i)[ \t]*:(?:[ \t]|\r\n[ \t])*([^\r\n]*)", re.IGNORECASE
)
_FIRST_LINE: Final = 200
"""Characters of a start line that are shown."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a ladder says of a message; fields that could not be read are empty.

    ``sender`` and ``receiver`` are From and To, ``user`` whom the Request-URI names.
    """

    summary: str
    method: str = ""
    status: int = 0
    cseq: str = ""
    branch: str = ""
    from_tag: str = ""
    to_tag: str = ""
    sender: str = ""
    receiver: str = ""
    sender_user: str = ""
    user: str = ""

    @property
    def is_in_dialog(self) -> bool:
        """Whether it belongs to a dialog that is there, or is an answer."""
        return self.status > 0 or bool(self.to_tag)


def call_id_of(data: bytes) -> bytes:
    """The Call-ID as written, without a look at the rest; empty where there is none."""
    found = _CALL_ID.search(data)
    return found[1].strip() if found is not None else b""


def read(data: bytes) -> Reading:
    """Read a message as far as that is possible."""
    try:
        message = parse_message(data)
    except MalformedMessage:
        line = data.lstrip(b"\r\n").partition(b"\r\n")[0].decode("utf-8", "replace")
        return Reading(printable(line[:_FIRST_LINE]) or "(empty)")
    try:
        return _read(message)
    except MalformedMessage:
        return Reading(_summary(message), message.method if isinstance(message, Request) else "")


def _read(message: Request | Response) -> Reading:
    headers = message.headers
    cseq, via = headers.get(CSEQ), headers.first(VIA)
    sender, receiver = headers.get(FROM), headers.get(TO)
    request = message if isinstance(message, Request) else None
    return Reading(
        summary=_summary(message),
        method=message.method if isinstance(message, Request) else (cseq.method if cseq else ""),
        status=message.status if isinstance(message, Response) else 0,
        cseq=str(cseq or ""),
        branch=(via.branch if via else None) or "",
        from_tag=(sender.tag if sender else None) or "",
        to_tag=(receiver.tag if receiver else None) or "",
        sender=_party(sender),
        receiver=_party(receiver),
        sender_user=_user(sender.uri) if sender else "",
        user=_user(request.uri) if request is not None else "",
    )


def _summary(message: Request | Response) -> str:
    if isinstance(message, Request):
        return printable(f"{message.method} {message.uri_text}"[:_FIRST_LINE])
    return printable(f"{message.status} {message.reason}"[:_FIRST_LINE].rstrip())


def _party(party: NameAddress | None) -> str:
    return "" if party is None else printable(str(party.uri))


def _user(uri: object) -> str:
    return printable(uri.user_text or "") if isinstance(uri, SipUri) else ""
