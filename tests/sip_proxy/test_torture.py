"""The torture messages of RFC 4475 and RFC 5118 on the wire: what the proxy does with each.

It serves example.com, where everybody has a phone, and knows a way to every other host.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from natkit.address import Address, Family
from natkit.locate import Target
from natkit.machine import Transport
from natkit.sip import HeaderField, Request, Response, parse_message
from natkit.sip.kinds import CONTACT, MAX_FORWARDS, UNSUPPORTED, VIA
from sip_proxy.events import Dropped
from sip_proxy.location import Binding, BindingTable, Outcome, Registration
from sip_proxy.settings import Listener
from tests.simnet.endpoint import Endpoint
from tests.simnet.network import Network
from tests.sip_proxy.world import ProxyHost, settings

MESSAGES = Path(__file__).parents[1] / "vectors"
PORTS = (5060, 5050, 5061, 6050, 19823)
"""Those that a Via names, or that its transport implies."""

CHANGED_BY_PROXIES = {"via", "max-forwards", "max-breadth", "route", "record-route", "path"}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Who is where, for one family."""

    proxy: Address
    sender: str
    phone: str
    contact: str
    named: tuple[Address, ...]
    """Addresses that messages name as their target."""

    @property
    def family(self) -> Family:
        return self.proxy.family


IPV4 = Addresses(
    Address("192.0.2.5", 5060),
    "203.0.113.50",
    "203.0.113.77",
    "sip:phone@203.0.113.77",
    (Address("127.0.0.1", 5080),),
)
IPV6 = Addresses(
    Address("2001:db8::10", 5060),
    "2001:db8:5::50",
    "2001:db8:7::77",
    "sip:phone@[2001:db8:7::77]",
    (Address("2001:db8::10:5070", 5060), Address.of("2001:db8::192.0.2.1", 5060)),
)


class Everybody(BindingTable):
    """Whoever is asked for has one phone."""

    def __init__(self, contact: str) -> None:
        super().__init__()
        self.contact = contact
        self.asked: list[str] = []
        self.registered: dict[str, Registration] = {}

    def find(self, address_of_record: str, unix_now: float) -> tuple[Binding, ...]:
        self.asked.append(address_of_record)
        return (Binding(self.contact, unix_now + 60, 1000, "call", 1, unix_now),)

    def update(
        self, address_of_record: str, registration: Registration, unix_now: float
    ) -> Outcome:
        self.registered[address_of_record] = registration
        return super().update(address_of_record, registration, unix_now)


class Everywhere(dict[str, Sequence[Target]]):
    """A DNS that leads from every name to the one phone."""

    def __init__(self, phone: Address) -> None:
        super().__init__()
        self._targets = (Target(Transport.UDP, phone, "phone", ""),)

    def __contains__(self, host: object) -> bool:
        return True

    def __getitem__(self, host: str) -> Sequence[Target]:
        return self._targets


class World:
    """A sender, the proxy, and the phone that everything leads to."""

    def __init__(
        self, network: Network, addresses: Addresses, *, authenticate: bool = False
    ) -> None:
        self.network = network
        self.at = addresses
        listener = Listener(Transport.UDP, addresses.proxy)
        domains = frozenset({"example.com", "[2001:db8::10]"})
        configured = settings(listeners=(listener,), domains=domains, authenticate=authenticate)
        self.proxy = ProxyHost(network, configured)
        self.everybody = Everybody(addresses.contact)
        self.proxy.location = self.everybody
        host = network.host("sender", addresses.sender)
        self.ports = [Endpoint(host, port, addresses.family) for port in PORTS]
        phone = network.host("phone", addresses.phone)
        self.phone = Endpoint(phone, 5060, addresses.family)
        self.proxy.servers = Everywhere(self.phone.address)
        self._named = [
            Endpoint(network.host(str(one), one.host), one.port, one.family)
            for one in addresses.named
        ]

    def send(self, data: bytes) -> None:
        """Send it, and let it arrive; no timer has fired yet."""
        self.ports[0].send(data, self.at.proxy)
        self.network.run_for(0.3)

    @property
    def answers(self) -> list[Response]:
        """What came back to the sender, but for what says that it takes a while."""
        messages = [parse_message(data) for port in self.ports for data, _ in port.received]
        answers = [one for one in messages if isinstance(one, Response)]
        assert len(answers) == len(messages)
        return [one for one in answers if one.status != 100]

    @property
    def forwarded(self) -> list[Request]:
        places = (self.phone, *self._named)
        messages = [parse_message(data) for place in places for data, _ in place.received]
        assert all(isinstance(one, Request) for one in messages)
        return [one for one in messages if isinstance(one, Request)]

    @property
    def dropped(self) -> list[Dropped]:
        return [fact for fact in self.proxy.facts if isinstance(fact, Dropped)]


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(4475) as made:
        yield made


def message(name: str) -> bytes:
    return next(MESSAGES.glob(f"rfc*/{name}.dat")).read_bytes()


def identified(rows: Sequence[tuple[object, ...]]) -> list[str]:
    return [f"{row[0]}-{row[1]}" for row in rows]


# ── RFC 4475 ────────────────────────────────────────────────────────────────────────────────────

TO_PHONE = IPV4.contact
FORWARDED = [
    ("3.1.1.1", "wsinv", "sip:vivekg@chair-dnrc.example.com;unknownparam"),
    ("3.1.1.2", "intmeth", TO_PHONE),
    ("3.1.1.3", "esc01", "sip:sips%3Auser%40example.com@example.net"),
    # No REGISTER, whatever its escapes would be in a URI.
    ("3.1.1.5", "esc02", "sip:registrar.example.com"),
    ("3.1.1.6", "lwsdisp", TO_PHONE),
    ("3.1.1.7", "longreq", TO_PHONE),
    ("3.1.1.9", "semiuri", TO_PHONE),
    ("3.1.1.10", "transports", TO_PHONE),
    # To a strict router, which its Route names.
    ("3.1.1.11", "mpart01", "sip:127.0.0.1:5080"),
    # Proxies need not read a Date, a body, or what its type is.
    ("3.1.2.12", "baddate", TO_PHONE),
    ("3.1.2.14", "badaspec", "sip:user@example.org"),
    # What should have been quoted is clear enough; the file lacks the empty line.
    ("3.1.2.15", "baddn", "sip:t.watson@example.org"),
    ("3.2.1", "badbranch", TO_PHONE),
    ("3.3.6", "invut", TO_PHONE),
    ("3.3.15", "sdp01", TO_PHONE),
    ("3.4.1", "inv2543", TO_PHONE),
]
ANSWERED = [
    ("3.1.1.4", "escnull", 200),
    ("3.1.1.8", "dblreq", 200),
    ("3.1.2.1", "badinv01", 400),
    ("3.1.2.2", "clerr", 400),
    ("3.1.2.3", "ncl", 400),
    ("3.1.2.4", "scalar02", 400),
    ("3.1.2.6", "quotbal", 400),
    ("3.1.2.7", "ltgtruri", 400),
    ("3.1.2.8", "lwsruri", 400),
    ("3.1.2.9", "lwsstart", 400),
    ("3.1.2.10", "trws", 400),
    ("3.1.2.11", "escruri", 400),
    ("3.1.2.13", "regbadct", 400),
    ("3.1.2.16", "badvers", 505),
    ("3.1.2.17", "mismatch01", 400),
    ("3.1.2.18", "mismatch02", 400),
    ("3.3.1", "insuf", 400),
    ("3.3.2", "unkscm", 416),
    ("3.3.3", "novelsc", 416),
    ("3.3.4", "unksm2", 404),
    ("3.3.5", "bext01", 420),
    ("3.3.7", "regaut01", 401),
    ("3.3.8", "multi01", 400),
    ("3.3.9", "mcl01", 400),
    ("3.3.11", "zeromf", 483),
    ("3.3.12", "cparam01", 200),
    ("3.3.13", "cparam02", 200),
    ("3.3.14", "regescrt", 200),
]
# Responses to nothing that we sent, or that are none.
DROPPED = [
    ("3.1.1.12", "unreason"),
    ("3.1.1.13", "noreason"),
    ("3.1.2.5", "scalarlg"),
    ("3.1.2.19", "bigcode"),
    ("3.3.10", "bcast"),
]


def test_each_of_the_49_messages_is_forwarded_or_answered_or_dropped() -> None:
    names = [name for _, name, _ in FORWARDED]
    names += [name for _, name, _ in ANSWERED]
    names += [name for _, name in DROPPED]
    assert sorted(names) == sorted(file.stem for file in (MESSAGES / "rfc4475").glob("*.dat"))


def is_forwarded_as_it_came(world: World, data: bytes, uri: str) -> None:
    """And its answer finds the way back, through the Vias as they were."""
    world.send(data)
    original = parse_message(data)
    assert isinstance(original, Request)
    (copy,) = world.forwarded
    assert copy.method == original.method
    assert copy.uri_text == uri
    assert copy.body == original.body
    assert kept(copy) == kept(original)
    hops = original.headers.get(MAX_FORWARDS)
    assert copy.headers.get(MAX_FORWARDS) == (70 if hops is None else hops - 1)
    ours, marked, *others = vias(copy)
    assert ours.startswith(f"SIP/2.0/UDP {world.at.proxy};branch=z9hG4bK")
    assert marked.endswith(f";received={world.at.sender}")
    first, *rest = vias(original)
    assert marked.split(";")[0].split()[-1] == first.split(";")[0].split()[-1]
    assert others == rest
    assert world.answers == []
    answer = Response.to(copy, 200, tag="phone")
    world.phone.send(bytes(answer), world.at.proxy)
    world.network.run_for(0.3)
    (returned,) = world.answers
    assert returned.status == 200
    assert vias(returned) == [marked, *others]
    assert kept(returned) == kept(answer)


def kept(found: Request | Response) -> list[HeaderField]:
    return [field for field in found.headers if field.key not in CHANGED_BY_PROXIES]


def vias(found: Request | Response) -> list[str]:
    return [str(via) for via in found.headers.get_all(VIA)]


@pytest.mark.parametrize(("section", "name", "uri"), FORWARDED, ids=identified(FORWARDED))
def test_a_message_that_is_well_formed_enough_goes_on_as_it_came(
    network: Network, section: str, name: str, uri: str
) -> None:
    data = message(name) + (b"\r\n" if section == "3.1.2.15" else b"")
    is_forwarded_as_it_came(World(network, IPV4), data, uri)


@pytest.mark.parametrize(("section", "name", "status"), ANSWERED, ids=identified(ANSWERED))
def test_a_message_that_ends_here_is_answered_once(
    network: Network, section: str, name: str, status: int
) -> None:
    world = World(network, IPV4, authenticate=section == "3.3.7")
    world.send(message(name))
    (answer,) = world.answers
    assert answer.status == status
    assert world.forwarded == []
    original = parse_message(message(name))
    for key in ("from", "call-id", "cseq"):
        assert list(answer.headers.fields(key)) == list(original.headers.fields(key))


@pytest.mark.parametrize(("section", "name"), DROPPED, ids=identified(DROPPED))
def test_a_response_to_nothing_goes_nowhere(network: Network, section: str, name: str) -> None:
    del section
    world = World(network, IPV4)
    world.send(message(name))
    assert len(world.dropped) == 1
    assert world.answers == []
    assert world.forwarded == []


def test_a_message_without_its_empty_line_is_dropped(network: Network) -> None:
    world = World(network, IPV4)
    world.send(message("baddn"))
    assert len(world.dropped) == 1
    assert world.answers == []


def test_a_user_with_semicolons_is_that_user(network: Network) -> None:
    # RFC 4475 §3.1.1.9: the user part has no parameters of the URI.
    world = World(network, IPV4)
    world.send(message("semiuri"))
    assert world.everybody.asked == ["sip:user;par=u%40example.net@example.com"]


def test_contacts_of_escaped_nulls_are_two(network: Network) -> None:
    world = World(network, IPV4)
    world.send(message("escnull"))
    (answer,) = world.answers
    contacts = [str(contact) for contact in answer.headers.get_all(CONTACT)]
    assert contacts == [
        "<sip:%00@host5.example.com>;expires=3600",
        "<sip:%00%00@host5.example.com>;expires=3600",
    ]
    assert list(world.everybody.registered) == ["sip:null-%00-null@example.com"]


def test_what_follows_a_request_in_its_datagram_is_no_request(network: Network) -> None:
    world = World(network, IPV4)
    world.send(message("dblreq"))
    assert list(world.everybody.registered) == ["sip:j.user@example.com"]
    assert world.everybody.asked == []


def test_the_extensions_that_only_proxies_need_are_named(network: Network) -> None:
    world = World(network, IPV4)
    world.send(message("bext01"))
    (answer,) = world.answers
    assert answer.headers.get_all(UNSUPPORTED) == (
        "noProxiesSupportThis",
        "norDoAnyProxiesSupportThis",
    )


def test_a_contact_keeps_its_headers_and_no_request_uri_has_them(network: Network) -> None:
    # RFC 4475 §3.3.14, RFC 3261 §19.1.1 table 1: what a contact says beyond, a proxy leaves out.
    world = World(network, IPV4)
    world.send(message("regescrt"))
    (answer,) = world.answers
    (contact,) = [str(contact) for contact in answer.headers.get_all(CONTACT)]
    assert contact == ("<sip:user@example.com?Route=%3Csip:sip.example.com%3E>;expires=3600")
    world.everybody.contact = f"{IPV4.contact};method=BYE;x=1?Route=%3Csip:sip.example.com%3E"
    world.send(message("invut"))
    (invite,) = world.forwarded
    assert invite.uri_text == f"{IPV4.contact};x=1"
    assert not invite.headers.has("Route")


# ── RFC 5118 ────────────────────────────────────────────────────────────────────────────────────

FORWARDED_IPV6 = [
    ("4.3", "port-ambiguous", "sip:[2001:db8::10:5070]"),
    ("4.6", "ipv6-in-sdp", IPV6.contact),
    ("4.7", "mult-ip-in-header", "sip:user@host.example.net"),
    ("4.8", "mult-ip-in-sdp", IPV6.contact),
    ("4.9", "ipv4-mapped-ipv6", IPV6.contact),
    ("4.10", "ipv6-bug-abnf-3-colons", "sip:user@[2001:db8:::192.0.2.1]"),
    ("4.10", "ipv6-correct-abnf-2-colons", "sip:user@[2001:db8::192.0.2.1]"),
]
ANSWERED_IPV6 = [
    ("4.1", "ipv6-good", 200),
    ("4.2", "ipv6-bad", 400),
    ("4.4", "port-unambiguous", 200),
    # A BYE to the proxy itself, and a question to it.
    ("4.5", "via-received-param-with-delim", 404),
    ("4.5", "via-received-param-no-delim", 200),
]


def test_each_of_the_12_messages_is_forwarded_or_answered() -> None:
    names = [name for _, name, _ in FORWARDED_IPV6]
    names += [name for _, name, _ in ANSWERED_IPV6]
    assert sorted(names) == sorted(file.stem for file in (MESSAGES / "rfc5118").glob("*.dat"))


@pytest.mark.parametrize(("section", "name", "uri"), FORWARDED_IPV6, ids=identified(FORWARDED_IPV6))
def test_a_message_with_ipv6_goes_on_as_it_came(
    network: Network, section: str, name: str, uri: str
) -> None:
    del section
    is_forwarded_as_it_came(World(network, IPV6), message(name), uri)


@pytest.mark.parametrize(
    ("section", "name", "status"), ANSWERED_IPV6, ids=identified(ANSWERED_IPV6)
)
def test_a_message_with_ipv6_that_ends_here_is_answered_to_where_it_came_from(
    network: Network, section: str, name: str, status: int
) -> None:
    del section
    world = World(network, IPV6)
    world.send(message(name))
    (answer,) = world.answers
    assert answer.status == status
    # Whatever received said before, with brackets or without.
    (via,) = answer.headers.get_all(VIA)
    assert via.parameters[-1].text == IPV6.sender
