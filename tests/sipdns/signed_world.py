"""Signed zones as data, and what a resolver would send from them; no sockets.

Denials hold all NSEC or NSEC3 records of the zone: what proves nothing must not disturb.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dns.dnssec
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rdtypes.ANY.DNSKEY
import dns.rrset
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from dns.dnssectypes import Algorithm

from sipdns.chain import ChainCache
from sipdns.dnssec import AskForKeys, Judged, Validation
from sipdns.messages import Asking, make_query
from sipdns.records import Question
from sipdns.signatures import Judgement
from sipdns.trust_anchors import Anchors

NOW = 1_800_000_000.0
DAY = 86400.0
SOA = "@ 60 IN SOA ns hostmaster 1 3600 600 86400 30\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53\n"
OUTWORN = {"sha1": f"1 13 1 {'00' * 20}", "rsamd5": f"1 1 2 {'00' * 32}"}
DELEGATION_TYPES = frozenset({dns.rdatatype.NS, dns.rdatatype.DS, dns.rdatatype.NSEC})


@dataclass(frozen=True)
class Signing:
    """How a zone is signed; ``signed=False`` leaves it plain."""

    signed: bool = True
    nsec3: bool = False
    opt_out: bool = False
    iterations: int = 0
    inception: float = NOW - DAY
    expiration: float = NOW + 30 * DAY
    ds: str = "right"
    """What the parent publishes: ``right``, ``wrong``, ``none``, or one of OUTWORN."""
    algorithm: Algorithm = Algorithm.ECDSAP256SHA256


PLAIN = Signing(signed=False, ds="none")


@dataclass
class SignedZone:
    origin: dns.name.Name
    sets: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset]
    signing: Signing
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    signatures: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset] = field(
        default_factory=dict
    )

    @property
    def dnskey(self) -> dns.rdtypes.ANY.DNSKEY.DNSKEY:
        return dns.dnssec.make_dnskey(self.key.public_key(), self.signing.algorithm, flags=257)

    def add(self, name: dns.name.Name, kind: str, data: str, ttl: int = 60) -> None:
        rdata = dns.rdata.from_text("IN", kind, data)
        key = (name, rdata.rdtype)
        if key not in self.sets:
            self.sets[key] = dns.rrset.RRset(name, rdata.rdclass, rdata.rdtype)
        self.sets[key].add(rdata, ttl)

    def is_below_cut(self, name: dns.name.Name) -> bool:
        while name != self.origin:
            if (name, dns.rdatatype.NS) in self.sets:
                return True
            name = name.parent()
        return False

    def sign(self) -> None:
        """DNSKEY, the chain of denials, then all signatures."""
        if not self.signing.signed:
            return
        self.add(self.origin, "DNSKEY", self.dnskey.to_text())
        if self.signing.nsec3:
            self._add_nsec3()
        else:
            self._add_nsec()
        dnskey = self.dnskey
        for (name, kind), rrset in self.sets.items():
            if self._is_signed(name, kind):
                rrsig = dns.dnssec.sign(
                    rrset,
                    self.key,
                    self.origin,
                    dnskey,
                    inception=int(self.signing.inception),
                    expiration=int(self.signing.expiration),
                )
                self.signatures[name, kind] = dns.rrset.from_rdata(name, rrset.ttl, rrsig)

    def _is_signed(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> bool:
        if name == self.origin or not self.is_below_cut(name):
            return True
        at_cut = (name, dns.rdatatype.NS) in self.sets
        return at_cut and kind in DELEGATION_TYPES - {dns.rdatatype.NS}

    def _owners(self) -> list[dns.name.Name]:
        """Names of the zone that it has the word on, delegations among them."""
        names = {name for name, _ in self.sets}
        below = {name for name in names if name != self.origin and self.is_below_cut(name.parent())}
        return sorted(names - below)

    def types(self, name: dns.name.Name) -> set[str]:
        return {dns.rdatatype.to_text(kind) for owner, kind in self.sets if owner == name}

    def _add_nsec(self) -> None:
        owners = self._owners()
        for owner, following in zip(owners, [*owners[1:], owners[0]], strict=True):
            types = " ".join(sorted({*self.types(owner), "RRSIG", "NSEC"}))
            self.add(owner, "NSEC", f"{following} {types}", ttl=30)

    def _add_nsec3(self) -> None:
        self.add(self.origin, "NSEC3PARAM", f"1 0 {self.signing.iterations} -", ttl=0)
        names: set[dns.name.Name] = set()
        for owner in self._owners():
            insecure = owner != self.origin and self.types(owner) == {"NS"}
            if insecure and self.signing.opt_out:
                continue
            names |= {owner.split(count)[1] for count in range(len(self.origin), len(owner) + 1)}
        hashed = sorted((self.hash(name), name) for name in names)
        flags = int(self.signing.opt_out)
        for (own, name), (following, _) in zip(hashed, [*hashed[1:], hashed[0]], strict=True):
            types = self.types(name) - {"NSEC3"}
            if types and types != {"NS"}:
                types.add("RRSIG")
            data = f"1 {flags} {self.signing.iterations} - {following} {' '.join(sorted(types))}"
            self.add(dns.name.from_text(own, self.origin), "NSEC3", data, ttl=30)

    @property
    def text(self) -> str:
        """The zone with its signatures, as a file for a nameserver."""
        sets = [*self.sets.values(), *self.signatures.values()]
        return "".join(f"{rrset.to_text()}\n" for rrset in sets)

    def hash(self, name: dns.name.Name) -> str:
        return dns.dnssec.nsec3_hash(name, None, self.signing.iterations, "SHA1")


class SignedWorld:
    """Zones by name, the root among them; each parent publishes its children's DS."""

    def __init__(self, zones: Mapping[str, str], **signings: Signing) -> None:
        self.zones: dict[dns.name.Name, SignedZone] = {}
        self.asked: list[Question] = []
        self.tamper: Callable[[dns.message.Message], None] = lambda _: None
        default = signings.pop("default", Signing())
        by_name = {dns.name.from_text(key.replace("_", ".")): one for key, one in signings.items()}
        for origin in sorted(map(dns.name.from_text, zones), reverse=True):
            text = zones[origin.to_text()]
            zone = dns.zone.from_text(SOA + text, origin, relativize=False)
            sets = {
                (name, rdataset.rdtype): dns.rrset.from_rdata_list(
                    name, rdataset.ttl, list(rdataset)
                )
                for name, rdataset in zone.iterate_rdatasets()
            }
            signed = SignedZone(origin, sets, by_name.get(origin, default))
            self.zones[origin] = signed
            for child in self._children(origin):
                self._delegate(signed, child)
            signed.sign()

    def _children(self, origin: dns.name.Name) -> Iterator[SignedZone]:
        for name, zone in self.zones.items():
            if name != origin and name.is_subdomain(origin) and self.zone_above(name) == origin:
                yield zone

    def _delegate(self, parent: SignedZone, child: SignedZone) -> None:
        parent.add(child.origin, "NS", f"ns.{child.origin}")
        parent.add(dns.name.from_text("ns", child.origin), "A", "192.0.2.53")
        if child.signing.ds == "none" or not parent.signing.signed:
            return
        key = child.dnskey
        if child.signing.ds == "wrong":
            other = ec.generate_private_key(ec.SECP256R1()).public_key()
            key = dns.dnssec.make_dnskey(other, child.signing.algorithm, flags=257)
        if child.signing.ds in OUTWORN:
            parent.add(child.origin, "DS", OUTWORN[child.signing.ds])
            return
        parent.add(child.origin, "DS", dns.dnssec.make_ds(child.origin, key, "SHA256").to_text())

    def zone_above(self, name: dns.name.Name) -> dns.name.Name:
        above = [zone for zone in self.zones if name.is_subdomain(zone) and name != zone]
        return max(above, key=len)

    @property
    def anchors(self) -> Anchors:
        key = self.zones[dns.name.root].dnskey
        return {dns.name.root: (key,)}

    def response(self, question: Question) -> bytes:
        """What a resolver that does not validate sends, then tampered with."""
        query = dns.message.from_wire(make_query(question, 1, asking=Asking(signed=True)))
        message = dns.message.make_response(query, recursion_available=True)
        name, kind = message.question[0].name, message.question[0].rdtype
        for _ in range(10):
            zone = self._zone_for(name, kind)
            target = self._answer(message, zone, name, kind)
            if target is None:
                break
            name = target
        self.tamper(message)
        return message.to_wire(max_size=65535)

    def _zone_for(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> SignedZone:
        is_ds = kind == dns.rdatatype.DS and name in self.zones and name != dns.name.root
        start = name.parent() if is_ds else name
        return self.zones[max((one for one in self.zones if start.is_subdomain(one)), key=len)]

    def _answer(
        self,
        message: dns.message.Message,
        zone: SignedZone,
        name: dns.name.Name,
        kind: dns.rdatatype.RdataType,
    ) -> dns.name.Name | None:
        """Fill the sections; the target of a CNAME to go on with."""
        for wanted in (kind, dns.rdatatype.CNAME):
            for owner in (name, *self._wildcards(zone, name)):
                if (owner, wanted) in zone.sets:
                    self._put(message.answer, zone, owner, wanted, shown_as=name)
                    if owner != name:
                        self._deny(message, zone)
                    if wanted == kind:
                        return None
                    return dns.name.from_text(zone.sets[owner, wanted][0].to_text())
        self._put(message.authority, zone, zone.origin, dns.rdatatype.SOA)
        self._deny(message, zone)
        exists = any(known.is_subdomain(name) for known, _ in zone.sets)
        if not exists and not any(
            (one, each) in zone.sets for one in self._wildcards(zone, name) for each in _KINDS
        ):
            message.set_rcode(dns.rcode.NXDOMAIN)
        return None

    @staticmethod
    def _wildcards(zone: SignedZone, name: dns.name.Name) -> Sequence[dns.name.Name]:
        if any(known.is_subdomain(name) for known, _ in zone.sets) or name == zone.origin:
            return ()
        return (dns.name.from_text("*", name.parent()),)

    def _deny(self, message: dns.message.Message, zone: SignedZone) -> None:
        for owner, kind in zone.sets:
            if kind in (dns.rdatatype.NSEC, dns.rdatatype.NSEC3):
                self._put(message.authority, zone, owner, kind)

    @staticmethod
    def _put(
        section: list[dns.rrset.RRset],
        zone: SignedZone,
        owner: dns.name.Name,
        kind: dns.rdatatype.RdataType,
        shown_as: dns.name.Name | None = None,
    ) -> None:
        shown = shown_as or owner
        for source in (zone.sets, zone.signatures):
            rrset = source.get((owner, kind))
            if rrset is not None:
                copy = dns.rrset.from_rdata_list(shown, rrset.ttl, list(rrset))
                section.append(copy)

    def judge(
        self, question: Question, *, cache: ChainCache | None = None, now: float = NOW
    ) -> Judgement:
        """Run a validation to its end."""
        validation = Validation(
            [(question, self.response(question))],
            anchors=self.anchors,
            now=now - NOW,
            unix_offset=NOW,
            cache=cache,
        )
        self.asked = []
        while True:
            match validation.next_event():
                case Judged(judgement):
                    assert validation.next_event() is None
                    return judgement
                case AskForKeys(request_id, asked):
                    self.asked.append(asked)
                    validation.answer(request_id, self.response(asked), now - NOW)
                case None:
                    raise AssertionError("the validation neither asks nor ends")


_KINDS = (
    dns.rdatatype.A,
    dns.rdatatype.SRV,
    dns.rdatatype.NAPTR,
    dns.rdatatype.CNAME,
    dns.rdatatype.TXT,
)
