"""What nobody needs to see of a message: proofs of passwords, keys of media, and what people write.

With the proof in an Authorization field a password can be guessed at leisure; the keys in SDP
(RFC 4568 §6.1, RFC 8839 §5.4) open the media.  Bodies are shown where they belong to signalling.
All that is masked keeps its length, so that lengths which a message states stay right.
"""

import re
from typing import Final

from sip_proxy.printable import printable

__all__ = ["masked", "shown"]

_EMPTY_LINE: Final = b"\r\n\r\n"
_CREDENTIALS: Final = re.compile(
    rb"(\r\n(?:proxy-)?(?:authorization|authentication-info)[ \t]*:)"
    rb"((?:[^\r\n]|\r?\n[ \t]|\r(?!\n))*)",
    re.IGNORECASE,
)
_PARAMETER: Final = re.compile(
    rb'([^=,\s"]+[ \t\r\n]*=[ \t\r\n]*)("(?:[^"\\]|\\.)*"?|[^,\s]*)', re.DOTALL
)
_PROOFS: Final = frozenset({b"response", b"rspauth"})
_MEDIA_KEYS: Final = re.compile(
    rb"(inline:|\na=ice-pwd:|\na=key-mgmt:|\nk=)([^|\r\n]+)", re.IGNORECASE
)
_CONTENT_TYPE: Final = re.compile(rb"\r\n(?:content-type|c)[ \t]*:[ \t]*([^;\r\n]*)", re.IGNORECASE)
_SIGNALLING: Final = frozenset({b"application/sdp", b"message/sipfrag"})


def masked(data: bytes) -> bytes:
    """The message in as many bytes; a body of people's own is crossed out as a whole."""
    head, body, kind = _apart(data)
    return _head(head) + (_body(body) if kind in _SIGNALLING else b"x" * len(body))


def shown(data: bytes) -> str:
    """The same to be read; of a body of people's own there is a line that says how long it is."""
    head, body, kind = _apart(data)
    if not body or kind in _SIGNALLING:
        whole = _head(head) + _body(body)
    else:
        of = kind.decode("ascii", "replace") or "an unknown kind"
        whole = _head(head) + f"[{len(body)} bytes of {of}, not shown]\r\n".encode()
    text = whole.decode("utf-8", "replace").replace("\r\n", "\n")
    return printable(text, kept="\n")


def _apart(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Start line and fields with the empty line, the body, and the kind of that."""
    head, empty, body = data.partition(_EMPTY_LINE)
    found = _CONTENT_TYPE.search(head)
    kind = found[1].strip().lower() if found is not None else b""
    return head + empty, body, kind


def _head(head: bytes) -> bytes:
    return _CREDENTIALS.sub(_without_proof, head)


def _without_proof(field: re.Match[bytes]) -> bytes:
    name, value = field[1], field[2]
    hidden = _PARAMETER.sub(_parameter, value)
    if hidden != value:
        return name + hidden
    # Another scheme, or none: all of it may be the secret.
    start = len(value) - len(value.lstrip())
    scheme, blank, secret = value[start:].partition(b" ")
    return name + value[:start] + scheme + blank + re.sub(rb"[^\r\n \t]", b"x", secret)


def _parameter(found: re.Match[bytes]) -> bytes:
    is_proof = found[1].rstrip(b" \t\r\n=").lower() in _PROOFS
    return _crossed_out(found) if is_proof else found[0]


def _body(body: bytes) -> bytes:
    return _MEDIA_KEYS.sub(_crossed_out, body)


def _crossed_out(found: re.Match[bytes]) -> bytes:
    return found[1] + b"x" * len(found[2])
