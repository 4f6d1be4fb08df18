"""Takes the bytes of a message apart: start line, header fields, body (RFC 3261 §7)."""

from dataclasses import dataclass
from typing import Final

from natkit.errors import MalformedMessage, MisuseError
from natkit.sip.headers import HeaderField

__all__ = ["DEFAULT_LIMITS", "MessageLimits", "split_message"]

EMPTY_LINE: Final = b"\r\n\r\n"
_WHITE_SPACE: Final = (b" ", b"\t")


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """How large a message may be; each bounds what a peer can make us keep and read."""

    head: int = 32_768
    """Bytes of start line and header fields; RFC 3261 has none, and proxies see 1 to 4 kB."""

    fields: int = 256
    """Header fields; 70 hops with a Via and a Record-Route each leave room for the others."""

    message: int = 65_535
    """Bytes in all: the largest datagram (RFC 3261 §18.1.1), and as much of a stream."""

    def __post_init__(self) -> None:
        if not 0 < self.head <= self.message or self.fields < 1:
            raise MisuseError(f"{self} lets no message through")


DEFAULT_LIMITS: Final = MessageLimits()


def split_message(
    data: bytes, limits: MessageLimits = DEFAULT_LIMITS
) -> tuple[bytes, list[HeaderField], bytes]:
    """The start line without its line end, the fields, and all that follows the empty line.

    Lines end in CRLF and in nothing else: whatever a more tolerant next hop took for the end of a
    line could smuggle a field past us.  MalformedMessage.
    """
    if len(data) > limits.message:
        raise MalformedMessage(f"{len(data)} bytes; {limits.message} are allowed")
    # Empty lines before the message are ignored (§7.5).
    start = 0
    while data.startswith(b"\r\n", start):
        start += 2
    end = data.find(EMPTY_LINE, start)
    if end < 0:
        raise MalformedMessage("no empty line ends the header fields")
    if end - start > limits.head:
        raise MalformedMessage(f"{end - start} bytes of header fields; {limits.head} are allowed")
    lines = data[start:end].split(b"\r\n")
    breaks = len(lines) - 1
    if data.count(b"\n", start, end) != breaks or data.count(b"\r", start, end) != breaks:
        raise MalformedMessage("a line ends in half a CRLF")
    is_folded = data.find(b"\n ", start, end) >= 0 or data.find(b"\n\t", start, end) >= 0
    if is_folded or breaks > limits.fields:
        fields = _fields(lines, limits.fields)
    else:
        parse = HeaderField.parse
        fields = [parse(line + b"\r\n") for line in lines[1:]]
    return lines[0], fields, data[end + len(EMPTY_LINE) :]


def _fields(lines: list[bytes], largest_count: int) -> list[HeaderField]:
    fields: list[HeaderField] = []
    start = 1
    for stop in range(2, len(lines) + 1):
        # A line that begins with white space continues the field before it (§7.3.1).
        if stop < len(lines) and lines[stop][:1] in _WHITE_SPACE:
            continue
        if len(fields) == largest_count:
            raise MalformedMessage(f"more than {largest_count} header fields")
        fields.append(HeaderField.parse(b"\r\n".join(lines[start:stop]) + b"\r\n"))
        start = stop
    return fields
