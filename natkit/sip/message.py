"""Requests and responses (RFC 3261 §7).

::

    message = parse_message(datagram)
    message.headers.first(VIA), message.headers.get(CSEQ)
    bytes(message)                      # as it came, but for what was changed

:func:`parse_message` takes a message apart and reads as little as that needs.
:meth:`Request.check` and :meth:`Response.check` read what every element relies on; a request that
fails it can still be answered: :meth:`Response.to` copies what the answer needs as it came.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from natkit.errors import MalformedMessage, MisuseError
from natkit.sip.grammar import excerpt
from natkit.sip.headers import HeaderField, Headers
from natkit.sip.kinds import CALL_ID, CONTENT_LENGTH, CSEQ, FROM, MAX_FORWARDS, TO, VIA
from natkit.sip.parser import DEFAULT_LIMITS, MessageLimits, split_message
from natkit.sip.parties import check_party
from natkit.sip.registry import REASON_PHRASES, SIP_VERSION
from natkit.sip.uri import AbsoluteUri, SipUri, TelUri, parse_absolute_uri
from natkit.sip.values import is_token

__all__ = ["Request", "Response", "is_version", "parse_message"]

_VERSION: Final = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE)
_STATUS_LINE: Final = re.compile(r"(SIP/[0-9]+\.[0-9]+) ([1-6][0-9]{2})(?: (.*))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """A request; ``uri_text`` is the Request-URI as written."""

    method: str
    uri_text: str
    headers: Headers
    body: bytes = b""
    version: str = SIP_VERSION

    @classmethod
    def build(
        cls,
        method: str,
        uri: SipUri | TelUri | AbsoluteUri,
        fields: Iterable[HeaderField],
        body: bytes = b"",
    ) -> Self:
        """Make a request; Content-Length is put at its end.  MisuseError when it is not valid."""
        headers = Headers(fields).replace(CONTENT_LENGTH, len(body))
        request = cls(method, str(uri), headers, body)
        try:
            request.check()
        except MalformedMessage as error:
            raise MisuseError(str(error)) from error
        return request

    @property
    def uri(self) -> SipUri | TelUri | AbsoluteUri:
        """The Request-URI; MalformedMessage when it is none."""
        return parse_absolute_uri(self.uri_text)

    def check(self) -> None:
        """Raise MalformedMessage for a request that is to be answered by 400 (RFC 3261 §16.3).

        Another ``version`` is no fault of form: it is answered by 505.
        """
        if not is_token(self.method):
            raise MalformedMessage(f"{excerpt(self.method)} is not a method")
        if not is_version(self.version):
            raise MalformedMessage(f"{excerpt(self.version)} at the end is not a version of SIP")
        uri = self.uri
        if isinstance(uri, SipUri) and uri.headers:
            raise MalformedMessage("a Request-URI has no header fields")
        cseq = _check(self.headers, self.body)
        if cseq != self.method:
            raise MalformedMessage(f"CSeq says {excerpt(cseq)}, the request is a {self.method}")
        self.headers.get(MAX_FORWARDS)

    def __bytes__(self) -> bytes:
        line = f"{self.method} {self.uri_text} {self.version}"
        return _written(line, self.headers, self.body)


@dataclass(frozen=True, slots=True)
class Response:
    """A response; ``status`` is 100 to 699."""

    status: int
    reason: str
    headers: Headers
    body: bytes = b""
    version: str = SIP_VERSION

    @classmethod
    def build(
        cls,
        status: int,
        fields: Iterable[HeaderField],
        body: bytes = b"",
        *,
        reason: str | None = None,
    ) -> Self:
        """Make a response; Content-Length is put at its end.  MisuseError when it is not valid."""
        headers = Headers(fields).replace(CONTENT_LENGTH, len(body))
        response = cls(status, _reason(status, reason), headers, body)
        try:
            response.check()
        except MalformedMessage as error:
            raise MisuseError(str(error)) from error
        return response

    @classmethod
    def to(
        cls,
        request: Request,
        status: int,
        *,
        reason: str | None = None,
        tag: str | None = None,
        fields: Iterable[HeaderField] = (),
        body: bytes = b"",
    ) -> Self:
        """The response to ``request``, which need not be well-formed (RFC 3261 §8.2.6).

        Via, From, To, Call-ID and CSeq are copied as they came; ``tag`` is added to a To without
        one.
        """
        answer = [
            _with_tag(field, tag) if field.key == "to" and tag is not None else field
            for field in request.headers.only(_COPIED)
        ]
        answer += [field for field in fields if field.key != CONTENT_LENGTH.key]
        answer.append(HeaderField.of(CONTENT_LENGTH, len(body)) if body else _NO_BODY)
        return cls(status, _reason(status, reason), Headers(answer), body)

    def check(self) -> None:
        """Raise MalformedMessage for a response that is to be dropped."""
        if self.version.upper() != SIP_VERSION:
            raise MalformedMessage(f"{excerpt(self.version)} is not {SIP_VERSION}")
        _check(self.headers, self.body)

    def __bytes__(self) -> bytes:
        line = f"{self.version} {self.status} {self.reason}"
        return _written(line, self.headers, self.body)


_COPIED: Final = frozenset({"via", "from", "to", "call-id", "cseq"})
_NO_BODY: Final = HeaderField.of(CONTENT_LENGTH, 0)


def is_version(text: str) -> bool:
    """Whether this has the form of a version of SIP (RFC 3261 §25.1)."""
    return _VERSION.fullmatch(text) is not None


def parse_message(data: bytes, limits: MessageLimits = DEFAULT_LIMITS) -> Request | Response:
    """Read a datagram, or a message that framing cut from a stream.

    Empty lines before it are ignored (RFC 3261 §7.5), and so are bytes beyond its Content-Length
    (§18.3).  MalformedMessage when it cannot be taken apart or is beyond ``limits``.
    """
    start_line, headers, body = split_message(data, limits)
    body = body[: _length(headers, body)]
    line = start_line.decode("utf-8", "surrogateescape")
    if line[:4].upper() == "SIP/":
        found = _STATUS_LINE.fullmatch(line)
        if found is None:
            raise MalformedMessage(f"{excerpt(line)} is not a status line")
        version, status, reason = found.groups()
        return Response(int(status), reason or "", headers, body, version)
    method, space, rest = line.partition(" ")
    uri, second_space, version = rest.rpartition(" ")
    if not (method and space and second_space):
        raise MalformedMessage(f"{excerpt(line)} is neither a request line nor a status line")
    return Request(method, uri, headers, body, version)


def _length(headers: Headers, body: bytes) -> int:
    """Bytes of the body; what ``check`` complains of is left as it is."""
    try:
        length = headers.get(CONTENT_LENGTH)
    except MalformedMessage:
        return len(body)
    return len(body) if length is None else length


def _check(headers: Headers, body: bytes) -> str:
    """What requests and responses have in common; gives the method of CSeq."""
    if headers.first(VIA) is None:
        raise MalformedMessage("there is no Via")
    check_party(headers, FROM)
    check_party(headers, TO)
    if headers.get(CALL_ID) is None:
        raise MalformedMessage(f"there is no {CALL_ID.name}")
    cseq = headers.get(CSEQ)
    if cseq is None:
        raise MalformedMessage(f"there is no {CSEQ.name}")
    length = headers.get(CONTENT_LENGTH)
    if length is not None and length != len(body):
        raise MalformedMessage(f"Content-Length is {length}, {len(body)} bytes follow")
    return cseq.method


def _with_tag(field: HeaderField, tag: str) -> HeaderField:
    try:
        to = field.values(TO)[0]
    except MalformedMessage:
        return field
    if to.tag is not None:
        return field
    # At the end it belongs to the field in either form of it; the rest keeps its bytes.
    return HeaderField(field.raw.removesuffix(b"\r\n") + f";tag={tag}\r\n".encode(), field.key)


def _reason(status: int, reason: str | None) -> str:
    if not 100 <= status <= 699:
        raise MisuseError(f"{status} is not a status of SIP")
    if reason is None:
        reason = REASON_PHRASES.get(status, "")
    if "\r" in reason or "\n" in reason:
        raise MisuseError("a reason phrase cannot hold a line end")
    return reason


def _written(line: str, headers: Headers, body: bytes) -> bytes:
    return line.encode("utf-8", "surrogateescape") + b"\r\n" + bytes(headers) + b"\r\n" + body
