"""A zone file as a DNS of its own: it answers questions as the zone's nameserver would; no I/O."""

import re
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.node
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rrset
import dns.zone

from natkit.errors import ConfigError
from natkit.machine import Failure
from sipdns.messages import Alias, Refusal, make_query, read_answer
from sipdns.records import Answer, Question

__all__ = ["ZoneFile"]

LONGEST_ALIAS_CHAIN: Final = 16
"""CNAMEs followed within the zone; more than a lookup takes, so that it is the lookup that says
so."""

_ORIGIN: Final = re.compile(r"^\$ORIGIN\s+(\S+\.)\s*(?:;.*)?$", re.IGNORECASE)
_EMPTY: Final = re.compile(r"^\s*(?:;.*)?$")
_ACCEPT: Final = re.compile(r"^\s*;\s*sipdns:\s*accept\s+([a-z0-9-]+)", re.MULTILINE)
_DIRECTIVE: Final = re.compile(r"^\$(?!INCLUDE)", re.IGNORECASE)


class ZoneFile:
    """The zone of ``text``; ConfigError, with the line, when it is none.

    Relative names belong to ``origin``, unless ``$ORIGIN`` comes before the first record.
    ``accepted`` are the rules that comments of the form ``; sipdns: accept RULE`` name.
    """

    def __init__(self, text: str, origin: str, name: str) -> None:
        self._name = name
        self._origin = dns.name.from_text(_first_origin(text) or origin)
        try:
            # The zone is not asked to be whole: what `sipdns zone` prints has neither SOA nor NS.
            self._zone = dns.zone.from_text(
                text, self._origin, relativize=False, check_origin=False, filename=name
            )
        except (dns.exception.DNSException, ValueError) as error:
            # Errors of syntax begin with the file's name and the line.
            where = "" if str(error).startswith(name) else f"{name}: "
            raise ConfigError(f"{where}{error}; it is to be a zone file") from error
        self.accepted = frozenset(_ACCEPT.findall(text))
        self._names = {self._origin}
        for owner in self._zone:
            self._names.update(_up_to(owner, self._origin))

    @property
    def origin(self) -> str:
        """The zone's name."""
        return self._origin.to_text(omit_final_dot=True).lower()

    def ask(self, question: Question) -> Answer | Failure:
        """What the zone says of a question; Failure for what lies beyond it."""
        query = dns.message.from_wire(make_query(question, 0))
        if not isinstance(query, dns.message.QueryMessage):
            return Failure("no query")
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        beyond = self._fill(response, query.question[0].name, query.question[0].rdtype)
        if beyond is not None:
            return Failure(f"{beyond.to_text(omit_final_dot=True)} is beyond {self._name}")
        answer = read_answer(response.to_wire(max_size=65535), question)
        if isinstance(answer, Alias):
            return Failure(f"{answer.aliases[-1]} is beyond {self._name}")
        if isinstance(answer, Refusal):
            return Failure(answer.reason)
        return answer if isinstance(answer, Answer) else Failure("more records than DNS can send")

    def _fill(
        self,
        response: dns.message.Message,
        name: dns.name.Name,
        wanted: dns.rdatatype.RdataType,
    ) -> dns.name.Name | None:
        """Answer within the zone; the name at which it is left, if it is."""
        for _ in range(LONGEST_ALIAS_CHAIN):
            if not name.is_subdomain(self._origin) or self._is_delegated(name):
                return name
            node = self._node(name)
            if node is None:
                break
            found = node.get_rdataset(dns.rdataclass.IN, wanted)
            if found is None:
                found = node.get_rdataset(dns.rdataclass.IN, dns.rdatatype.CNAME)
            if found is None:
                break
            response.answer.append(dns.rrset.from_rdata_list(name, found.ttl, list(found)))
            target = found[0]
            if found.rdtype == wanted or not isinstance(target, dns.rdtypes.ANY.CNAME.CNAME):
                return None
            name = target.target
        if name not in self._names and self._node(name) is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        response.authority.append(self._soa())
        return None

    def _node(self, name: dns.name.Name) -> dns.node.Node | None:
        """The records of a name, or those of the wildcard that covers it (RFC 4592 §3.3.1)."""
        if name in self._names:
            return self._zone.get_node(name)
        encloser = name.parent()
        while encloser not in self._names:
            encloser = encloser.parent()
        return self._zone.get_node(dns.name.Name((b"*", *encloser.labels)))

    def _is_delegated(self, name: dns.name.Name) -> bool:
        for ancestor in _up_to(name, self._origin):
            node = self._zone.get_node(ancestor) if ancestor != self._origin else None
            if node and node.get_rdataset(dns.rdataclass.IN, dns.rdatatype.NS):
                return True
        return False

    def _soa(self) -> dns.rrset.RRset:
        """The SOA for a denial; one that stands for it where the file has none."""
        found = self._zone.get_rdataset(self._origin, dns.rdatatype.SOA)
        if found is not None:
            return dns.rrset.from_rdata_list(self._origin, found.ttl, list(found))
        return dns.rrset.from_text(self._origin, 0, "IN", "SOA", ". . 0 0 0 0 0")


def _first_origin(text: str) -> str | None:
    """``$ORIGIN`` where it stands before any record."""
    for line in text.splitlines():
        found = _ORIGIN.match(line)
        if found:
            return found[1]
        if not _EMPTY.match(line) and not _DIRECTIVE.match(line):
            return None
    return None


def _up_to(name: dns.name.Name, origin: dns.name.Name) -> list[dns.name.Name]:
    """The name and its ancestors, as far as the origin."""
    found = [name]
    while found[-1] != origin and len(found[-1]) > len(origin):
        found.append(found[-1].parent())
    return found
