"""Turns away messages whose reading would cost more than any honest one's, before they are read.

64 kB hold 4,000 records, and by compression (RFC 1035 §4.1.4) each of them can name 127 labels:
seconds of work for one answer.  Counting them takes a thousandth of that.
"""

from typing import Final

import dns.rdatatype

from natkit.errors import MalformedMessage

__all__ = ["MOST_LABELS", "MOST_RECORDS", "check_size"]

MOST_RECORDS: Final = 2500
"""In one message: SRV sets of a hundred are large, and 2,000 SRV records fill 64 kB."""

MOST_LABELS: Final = 25_000
"""Of all names in one message, compression undone: ten for each of MOST_RECORDS."""

_NAME_AT: Final[dict[int, int]] = {
    dns.rdatatype.NS: 0,
    dns.rdatatype.CNAME: 0,
    dns.rdatatype.SOA: 0,
    dns.rdatatype.PTR: 0,
    dns.rdatatype.MX: 2,
    dns.rdatatype.SRV: 6,
    dns.rdatatype.DNAME: 0,
    dns.rdatatype.AFSDB: 2,
    dns.rdatatype.RT: 2,
    dns.rdatatype.KX: 2,
    dns.rdatatype.PX: 2,
    dns.rdatatype.RP: 0,
    dns.rdatatype.NSEC: 0,
    dns.rdatatype.RRSIG: 18,
    dns.rdatatype.SIG: 18,
}
"""Where the first name stands in the data of a record; a second is as long at most, twice that."""


def check_size(data: bytes) -> None:
    """MalformedMessage for a message with too many records or labels, or that breaks off."""
    try:
        _Scan(data).run()
    except IndexError:
        raise MalformedMessage("the answer cannot be read: it breaks off") from None


class _Scan:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._labels: dict[int, int] = {}
        """Of the name at an offset."""

    def run(self) -> None:
        data = self._data
        questions, *counts = (int.from_bytes(data[at : at + 2], "big") for at in (4, 6, 8, 10))
        records = sum(counts)
        if questions + records > MOST_RECORDS:
            raise MalformedMessage(f"the answer has {records} records, over {MOST_RECORDS}")
        position = 12
        total = 0
        for _ in range(questions):
            position = self._skip(position) + 4
        for _ in range(records):
            total += self._count(position)
            position = self._skip(position)
            kind = int.from_bytes(data[position : position + 2], "big")
            length = data[position + 8] << 8 | data[position + 9]
            position += 10
            name_at = self._name_at(kind, position)
            if name_at is not None and length > name_at:
                total += 2 * self._count(position + name_at)
            position += length
            if total > MOST_LABELS:
                raise MalformedMessage(f"the answer's names have more than {MOST_LABELS} labels")

    def _name_at(self, kind: int, position: int) -> int | None:
        if kind != dns.rdatatype.NAPTR:
            return _NAME_AT.get(kind)
        offset = 4
        for _ in range(3):
            offset += 1 + self._data[position + offset]
        return offset

    def _skip(self, position: int) -> int:
        """Past the name that begins here."""
        while True:
            length = self._data[position]
            if length == 0:
                return position + 1
            if length >= 0xC0:
                return position + 2
            position += 1 + length

    def _count(self, position: int) -> int:
        """Labels of the name that begins here; each label and pointer is looked at once.

        Each pointer leads to before all that the name had so far, so that none leads around.
        """
        passed: list[int] = []
        first = position
        while position not in self._labels:
            length = self._data[position]
            if length == 0:
                self._labels[position] = 0
            elif length >= 0xC0:
                target = (length & 0x3F) << 8 | self._data[position + 1]
                if target >= first:
                    raise MalformedMessage(
                        "the answer cannot be read: a name points forward or into itself"
                    )
                passed.append(position)
                position = first = target
            else:
                passed.append(position)
                position += 1 + length
        count = self._labels[position]
        for one in reversed(passed):
            count += 1
            self._labels[one] = count
        return count
