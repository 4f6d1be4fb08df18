"""The names that a host knows by itself: its hosts file, and ``localhost``."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from sipdns.records import AddressRecord, Answer, Question, RecordType, Status

__all__ = ["Hosts"]

HOSTS_TTL: Final = 10
"""Seconds for which a name of the file is kept: a change of the file is soon seen."""

_FAMILIES: Final = {RecordType.A: 4, RecordType.AAAA: 6}
_LOOPBACK: Final = ("::1", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Hosts:
    """Addresses by name, names in the one form of :mod:`sipdns.records`."""

    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a hosts file; lines that are none are passed over, as every resolver does."""
        found: dict[str, tuple[str, ...]] = {}
        for line in text.splitlines():
            literal, *names = line.partition("#")[0].split() or [""]
            try:
                address = str(ipaddress.ip_address(literal))
            except ValueError:
                continue
            for name in names:
                key = name.lower().removesuffix(".")
                if address not in found.get(key, ()):
                    found[key] = (*found.get(key, ()), address)
        return cls(found)

    def answer(self, question: Question) -> Answer | None:
        """The host's own answer; None where the DNS is to be asked.

        ``localhost`` never reaches the DNS (RFC 6761 §6.3).  For other names the file settles the
        addresses, and the DNS all else.
        """
        name = question.name
        if name == "localhost" or name.endswith(".localhost"):
            known: tuple[str, ...] = _LOOPBACK
        elif question.type in _FAMILIES and name in self.addresses:
            known = self.addresses[name]
        else:
            return None
        records = tuple(
            AddressRecord(address, HOSTS_TTL)
            for address in known
            if ipaddress.ip_address(address).version == _FAMILIES.get(question.type)
        )
        if records:
            return Answer(Status.RECORDS, records)
        return Answer(Status.NO_DATA, negative_ttl=HOSTS_TTL)
