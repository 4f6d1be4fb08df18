"""Takes the bytes of a message apart: start line, header fields, body (RFC 3261 §7)."""

from dataclasses import dataclass
from typing import Final

from natkit.errors import MalformedMessage, MisuseError
from natkit.sip.headers import Headers, keys_in

__all__ = ["DEFAULT_LIMITS", "MessageLimits", "split_message"]

LINE_END: Final = b"\r\n"
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
) -> tuple[bytes, Headers, bytes]:
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
    head = data[start : end + len(LINE_END)]
    # A CR or LF alone ends a line here too, and so there are more lines than CRLFs.
    raws = head.splitlines(keepends=True)
    if head.count(LINE_END) != len(raws):
        raise MalformedMessage("a line ends in half a CRLF")
    start_line = raws.pop(0)[: -len(LINE_END)]
    if b"\n " in head or b"\n\t" in head:
        raws = _unfolded(raws)
    if len(raws) > limits.fields:
        raise MalformedMessage(f"more than {limits.fields} header fields")
    return start_line, Headers.of_raw(keys_in(raws), raws), data[end + len(EMPTY_LINE) :]


def _unfolded(lines: list[bytes]) -> list[bytes]:
    """The lines of each field in one: one that begins with white space continues it (§7.3.1)."""
    begins = [at for at, line in enumerate(lines) if at == 0 or line[:1] not in _WHITE_SPACE]
    ends = [*begins[1:], len(lines)]
    return [b"".join(lines[start:stop]) for start, stop in zip(begins, ends, strict=True)]
