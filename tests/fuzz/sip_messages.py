"""An endless supply of hostile SIP messages, drawn from one seed.

They are made of valid ones (``seeds``): most keep the form of a message and are wrong in one place
or in a few, for what is wrong everywhere is turned away by the first check.
"""

import random
import re
from collections.abc import Iterator, Sequence

LARGEST = 70_000
"""Bytes of the longest message; one more than any datagram has."""

NUMBERS = (
    b"-1",
    b"0",
    b"00",
    b"1",
    b"69",
    b"255",
    b"256",
    b"65535",
    b"65536",
    b"2147483647",
    b"2147483648",
    b"4294967295",
    b"4294967296",
    b"9" * 400,
    b"1e9",
    b"0x10",
    b" 7 ",
    b"+5",
    b"\xd9\xa3",
    b"",
)
MARKS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n ",
    b"\r\n\t",
    b'"',
    b"<",
    b">",
    b";",
    b",",
    b"\\",
    b":",
    b"@",
    b"?",
    b"=",
    b"%",
    b"%00",
    b"%zz",
    b"[",
    b"]",
    b"\0",
    b"\xff",
    b"\xc3\x28",
    b" ",
    b"\t",
    b"*",
    b"/",
    b"(",
    b")",
)
NAMES = (
    b"Via",
    b"v",
    b"From",
    b"f",
    b"To",
    b"t",
    b"Call-ID",
    b"i",
    b"CSeq",
    b"Contact",
    b"m",
    b"Route",
    b"Record-Route",
    b"Path",
    b"Max-Forwards",
    b"Max-Breadth",
    b"Expires",
    b"Content-Length",
    b"l",
    b"Content-Type",
    b"Require",
    b"Proxy-Require",
    b"Supported",
    b"k",
    b"Authorization",
    b"Reason",
    b"Proxy-Authorization",
    b"Retry-After",
    b"User-Agent",
    b"Flow-Timer",
    b"RSeq",
    b"Subject",
    b"X-Other",
)
VALUES = (
    b"*",
    b"sip:",
    b"<sip:>",
    b"<>",
    b"sip:a@b",
    b"<sip:alice@example.org;lr>",
    b"tel:+1",
    b"isbn:1",
    b"<sips:bob@example.org>",
    b"<sip:192.0.2.5;lr>",
    b"<sip:192.0.2.5:5060;transport=tcp;lr>",
    b"<sip:bob@example.org?Route=%3Csip:192.0.2.5%3E>",
    b"SIP/2.0/UDP 192.0.2.5;branch=z9hG4bK",
    b"SIP/2.0/TCP [::1]:1;branch=z9hG4bK1;received=1.2.3.4;rport=9",
    b"SIP/2.0/UDP a;maddr=224.2.0.1;ttl=1",
    b"SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK2",
    b"SIP/2.0/SCTP x;rport",
    b"1 ACK",
    b"1 CANCEL",
    b"SIP;cause=200",
    b"Digest",
    b'Digest realm="example.org"',
    b"Basic YTpi",
    b"path, outbound, gruu",
)
METHODS = (
    b"INVITE",
    b"ACK",
    b"BYE",
    b"CANCEL",
    b"REGISTER",
    b"OPTIONS",
    b"SUBSCRIBE",
    b"NOTIFY",
    b"MESSAGE",
    b"PRACK",
    b"UPDATE",
    b"invite",
    b"\xc3\xa9",
    b"",
)
URIS = (
    b"sip:example.org",
    b"sip:bob@example.org",
    b"sips:bob@example.org",
    b"sip:192.0.2.5",
    b"tel:+12125551212",
    b"sip:192.0.2.5;lr",
    b"sip:bob@192.0.2.77",
    b"sip:bob@[2001:db8::1]",
    b"urn:service:sos",
    b"sip:%00@example.org",
    b"sip:bob@example.org;maddr=192.0.2.77",
    b"sip:bob@example.org;transport=sctp",
    b"*",
    b"sip:",
    b"<sip:bob@example.org>",
)
STATUSES = (
    b"100",
    b"180",
    b"183",
    b"200",
    b"202",
    b"302",
    b"401",
    b"407",
    b"430",
    b"486",
    b"487",
    b"503",
    b"600",
    b"699",
    b"000",
    b"099",
    b"700",
    b"2000",
    b"abc",
)
VERSIONS = (b"SIP/2.0", b"sip/2.0", b"SIP/3.0", b"SIP/2.00", b"HTTP/1.1", b"SIP", b"")
_IDENTIFIER = re.compile(rb"z9hG4bK|\r\n(?:call-id|i)[ \t]*:[ \t]*", re.IGNORECASE)
_NUMBER = re.compile(rb"[0-9]+")
_PARAMETER = re.compile(rb";[^;,\r\n>]*")


class HostileSip:
    """Messages without end; the same seed gives the same ones."""

    def __init__(self, seed: int, seeds: Sequence[bytes]) -> None:
        self.random = random.Random(seed)
        self._seeds = list(seeds)
        self._changes = (
            self._number,
            self._number,
            self._mark,
            self._mark,
            self._byte,
            self._cut,
            self._double,
            self._remove,
            self._swap,
            self._rename,
            self._respell,
            self._fold,
            self._value,
            self._value,
            self._insert,
            self._parameter,
            self._parameter,
            self._start_line,
            self._length,
            self._body,
            self._lengthen,
            self._many,
        )

    def __iter__(self) -> Iterator[bytes]:
        while True:
            draw = self.random.random()
            if draw < 0.03:
                yield self.random.randbytes(self.random.choice((0, 1, 2, 4, 40, 400)))
            elif draw < 0.08:
                one, other = self._seed(), self._seed()
                start = one[: self.random.randrange(len(one))]
                yield start + other[self.random.randrange(len(other)) :]
            else:
                yield self.changed(self._seed())

    def changed(self, message: bytes) -> bytes:
        """``message`` with something wrong, or several things."""
        for _ in range(self.random.choice((1, 1, 1, 2, 3, 6))):
            message = self.random.choice(self._changes)(message)[:LARGEST]
        return message

    def fresh(self, message: bytes) -> bytes:
        """The same message of another transaction and another call."""
        unique = self.random.randbytes(6).hex().encode()
        return _IDENTIFIER.sub(lambda found: found[0] + unique, message)

    def _seed(self) -> bytes:
        seed = self.random.choice(self._seeds)
        # What comes again unchanged meets the transaction that is there.
        return self.fresh(seed) if self.random.random() < 0.8 else seed

    # ── anywhere ────────────────────────────────────────────────────────────────────────────────

    def _place(self, data: bytes) -> int:
        return self.random.randrange(len(data) + 1)

    def _number(self, data: bytes) -> bytes:
        found = list(_NUMBER.finditer(data))
        if not found:
            return data
        one = self.random.choice(found)
        return data[: one.start()] + self.random.choice(NUMBERS) + data[one.end() :]

    def _mark(self, data: bytes) -> bytes:
        place = self._place(data)
        return data[:place] + self.random.choice(MARKS) + data[place + self.random.randrange(2) :]

    def _byte(self, data: bytes) -> bytes:
        place = self._place(data)
        return data[:place] + self.random.randbytes(1) + data[place + 1 :]

    def _cut(self, data: bytes) -> bytes:
        place = self._place(data)
        if self.random.random() < 0.2:
            return data[:place]
        return data[:place] + data[place + self.random.randrange(1, 30) :]

    def _parameter(self, data: bytes) -> bytes:
        found = list(_PARAMETER.finditer(data))
        if not found:
            return data
        one, other = self.random.choice(found), self.random.choice(found)
        choices = (b"", one[0] * 2, other[0], one[0] + b"=", b";lr", b";rport", b";tag=", b";;")
        return data[: one.start()] + self.random.choice(choices) + data[one.end() :]

    # ── among the fields ────────────────────────────────────────────────────────────────────────

    def _lines(self, data: bytes) -> tuple[list[bytes], bytes]:
        head, empty, body = data.partition(b"\r\n\r\n")
        return head.split(b"\r\n"), empty + body

    def _joined(self, lines: list[bytes], rest: bytes) -> bytes:
        return b"\r\n".join(lines) + rest

    def _one(self, lines: list[bytes]) -> int:
        return self.random.randrange(1, len(lines)) if len(lines) > 1 else 0

    def _double(self, data: bytes) -> bytes:
        lines, rest = self._lines(data)
        lines.insert(self._one(lines), lines[self._one(lines)])
        return self._joined(lines, rest)

    def _remove(self, data: bytes) -> bytes:
        lines, rest = self._lines(data)
        del lines[self._one(lines)]
        return self._joined(lines, rest)

    def _swap(self, data: bytes) -> bytes:
        lines, rest = self._lines(data)
        one, other = self._one(lines), self._one(lines)
        lines[one], lines[other] = lines[other], lines[one]
        return self._joined(lines, rest)

    def _rename(self, data: bytes) -> bytes:
        lines, rest = self._lines(data)
        place = self._one(lines)
        lines[place] = self.random.choice(NAMES) + b":" + lines[place].partition(b":")[2]
        return self._joined(lines, rest)

    def _respell(self, data: bytes) -> bytes:
        lines, rest = self._lines(data)
        place = self._one(lines)
        name, colon, value = lines[place].partition(b":")
        spelling = self.random.choice((name.upper(), name.swapcase(), name + b" \t", b" " + name))
        lines[place] = spelling + colon + value
        return self._joined(lines, rest)

    def _fold(self, data: bytes) -> bytes:
        lines, rest = self._lines(data)
        place = self._one(lines)
        line = lines[place]
        cut = self.random.randrange(len(line) + 1)
        lines[place] = (
            line[:cut] + self.random.choice((b"\r\n ", b"\r\n\t", b" \r\n  ")) + line[cut:]
        )
        return self._joined(lines, rest)

    def _value(self, data: bytes) -> bytes:
        lines, rest = self._lines(data)
        place = self._one(lines)
        name = lines[place].partition(b":")[0]
        other = lines[self._one(lines)].partition(b":")[2]
        lines[place] = name + b": " + self.random.choice((*VALUES, *NUMBERS, other))
        return self._joined(lines, rest)

    def _insert(self, data: bytes) -> bytes:
        lines, rest = self._lines(data)
        line = self.random.choice(NAMES) + b": " + self.random.choice((*VALUES, *NUMBERS))
        lines.insert(max(1, self._one(lines)), line)
        return self._joined(lines, rest)

    def _lengthen(self, data: bytes) -> bytes:
        lines, rest = self._lines(data)
        place = self._one(lines)
        filling = self.random.choice((b"a", b";a", b",", b'"', b" ", b"\\", b"<", b"\r\n ", b"%41"))
        lines[place] += filling * self.random.choice((60, 300, 5_000, 40_000))
        return self._joined(lines, rest)

    def _many(self, data: bytes) -> bytes:
        lines, rest = self._lines(data)
        place = self._one(lines)
        lines[place:place] = [lines[place]] * self.random.choice((3, 70, 300))
        return self._joined(lines, rest)

    # ── first line, length, body ────────────────────────────────────────────────────────────────

    def _start_line(self, data: bytes) -> bytes:
        lines, rest = self._lines(data)
        words = lines[0].split(b" ")
        if words[0].upper().startswith(b"SIP/"):
            words[1:2] = [self.random.choice(STATUSES)]
        else:
            match self.random.randrange(3):
                case 0:
                    words[0] = self.random.choice(METHODS)
                case 1:
                    words[1:-1] = [self.random.choice(URIS)]
                case _:
                    words[-1] = self.random.choice(VERSIONS)
        lines[0] = b" ".join(words)
        return self._joined(lines, rest)

    def _length(self, data: bytes) -> bytes:
        lines, rest = self._lines(data)
        kept = [line for line in lines if not line.lower().startswith((b"content-length", b"l:"))]
        length = self.random.choice((*NUMBERS, str(max(0, len(rest) - 4)).encode()))
        return self._joined([*kept, b"Content-Length: " + length], rest)

    def _body(self, data: bytes) -> bytes:
        lines, _ = self._lines(data)
        body = self.random.choice(
            (
                b"--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--\r\n",
                b"--b\r\n\r\n--b\r\n--b",
                b"\r\n\r\nINVITE sip:bob@example.org SIP/2.0\r\n\r\n",
                b"x" * self.random.choice((1, 1_400, 60_000)),
                self._seed(),
            )
        )
        return self._length(self._joined(lines, b"\r\n\r\n" + body))
