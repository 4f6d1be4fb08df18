"""UPnP gateway devices: what they refuse, what they get wrong, and who pretends to be one."""

import random
from typing import Final
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.errors import MalformedMessage
from natkit.machine import Failure, Machine, Path, Transport
from natkit.portmap import (
    Left,
    Mapped,
    MappingFailed,
    MappingLost,
    Method,
    PortMapEvent,
    Protocol,
    Silent,
    Speaks,
    Unmapped,
    Wish,
)
from natkit.portmap.upnp import Exchange, HttpResponse, IgdMapper
from natkit.portmap.upnp.description import read_description
from natkit.portmap.upnp.ssdp import read_response

START: Final = 5000.25
GATEWAY: Final = "192.168.1.1"
LOCAL: Final = Address("192.168.1.2", 40000)
PATH: Final = Path(Transport.UDP, LOCAL, Address("239.255.255.250", 1900))
FROM_GATEWAY: Final = PATH._replace(remote=Address(GATEWAY, 1900))
WISH: Final = Wish(Protocol.UDP, 5060)
LOCATION: Final = "http://192.168.1.1:5000/root.xml"
EXTERNAL: Final = "198.51.100.7"


def answer_to_search(location: str = LOCATION) -> bytes:
    return (
        "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\n"
        "ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
        f"Location: {location}\r\nEXT:\r\n\r\n"
    ).encode()


def description(version: int = 1, control: str = "/ctl") -> bytes:
    kind = f"urn:schemas-upnp-org:service:WANIPConnection:{version}"
    return (
        '<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device>'
        f"<serviceList><service><serviceType>{kind}</serviceType>"
        f"<controlURL>{escape(control)}</controlURL></service></serviceList></device></root>"
    ).encode()


def envelope(body: str) -> bytes:
    space = "http://schemas.xmlsoap.org/soap/envelope/"
    return f'<s:Envelope xmlns:s="{space}"><s:Body>{body}</s:Body></s:Envelope>'.encode()


class Device:
    """A gateway device and the mapper that talks to it; ``faults`` are told one after another."""

    def __init__(self, version: int = 1, faults: tuple[int, ...] = ()) -> None:
        self.mapper = IgdMapper(PATH, GATEWAY, random=random.Random(1).randbytes)
        contract: Machine[PortMapEvent | Exchange, HttpResponse] = self.mapper
        assert contract.next_event() is None
        self.version = version
        self.faults = list(faults)
        self.calls: list[tuple[str, str]] = []
        self.now = START
        self.told: list[PortMapEvent] = []
        self.reachable = True
        self.external = EXTERNAL

    def serve(self) -> list[PortMapEvent]:
        """Answer all that is asked; what the mapper told meanwhile."""
        while (event := self.mapper.next_event()) is not None:
            if isinstance(event, Exchange):
                result = self._answer(event) if self.reachable else Failure("refused")
                self.mapper.answer(event.request_id, result, self.now)
            else:
                self.told.append(event)
        taken, self.told = self.told, []
        return taken

    def find(self) -> None:
        assert self.mapper.transmits()
        self.mapper.receive(answer_to_search(), FROM_GATEWAY, self.now)

    def map(self, wish: Wish = WISH) -> list[PortMapEvent]:
        self.mapper.map(1, wish, self.now)
        self.find()
        return self.serve()

    def fire(self) -> None:
        deadline = self.mapper.next_deadline()
        assert deadline is not None
        self.now = deadline
        self.mapper.handle_timer(self.now)

    def _answer(self, exchange: Exchange) -> HttpResponse:
        if exchange.body is None:
            assert exchange.url == LOCATION
            return HttpResponse(200, description(self.version))
        action = exchange.headers["SOAPAction"].strip('"').partition("#")[2]
        self.calls.append((action, exchange.body.decode()))
        if action.startswith("Add") and self.faults:
            fault = (
                "<s:Fault><faultcode>s:Client</faultcode><detail>"
                '<UPnPError xmlns="urn:schemas-upnp-org:control-1-0">'
                f"<errorCode>{self.faults.pop(0)}</errorCode></UPnPError></detail></s:Fault>"
            )
            return HttpResponse(500, envelope(fault))
        values = ""
        if action == "GetExternalIPAddress":
            values = f"<NewExternalIPAddress>{self.external}</NewExternalIPAddress>"
        elif action == "AddAnyPortMapping":
            values = "<NewReservedPort>6000</NewReservedPort>"
        kind = f"urn:schemas-upnp-org:service:WANIPConnection:{self.version}"
        return HttpResponse(
            200, envelope(f'<u:{action}Response xmlns:u="{kind}">{values}</u:{action}Response>')
        )


def the_mapping(events: list[PortMapEvent]) -> Mapped:
    (mapped,) = [event for event in events if isinstance(event, Mapped)]
    return mapped


def test_a_device_is_found_and_maps() -> None:
    device = Device()
    mapping = the_mapping(device.map()).mapping
    assert mapping.external == Address(EXTERNAL, 5060)
    assert mapping.internal == Address("192.168.1.2", 5060)
    action, body = device.calls[-1]
    assert action == "AddPortMapping"
    assert "<NewLeaseDuration>7200</NewLeaseDuration>" in body
    assert "<NewInternalClient>192.168.1.2</NewInternalClient>" in body


def test_a_device_of_version_2_may_give_another_port() -> None:
    device = Device(version=2)
    assert the_mapping(device.map()).mapping.external == Address(EXTERNAL, 6000)
    device.fire()
    device.serve()
    # A renewal keeps the port that was given.
    assert device.calls[-1][0] == "AddPortMapping"
    assert "<NewExternalPort>6000</NewExternalPort>" in device.calls[-1][1]


def test_a_taken_port_is_passed_over_for_another() -> None:
    device = Device(faults=(718, 729, 718))
    external = the_mapping(device.map()).mapping.external
    assert external.port not in (0, 5060)
    assert len(device.calls) == 5


def test_a_device_that_knows_endless_leases_alone_gets_one_and_is_asked_on() -> None:
    device = Device(faults=(725,))
    assert the_mapping(device.map()).mapping.lifetime == 0
    device.fire()
    assert device.now <= START + 1200
    assert the_mapping(device.serve()).mapping.lifetime == 0


def test_a_device_that_wants_the_same_port_inside_and_outside_gets_it() -> None:
    device = Device(faults=(724,))
    mapping = the_mapping(device.map(Wish(Protocol.TCP, 8080, 80))).mapping
    assert mapping.external == Address(EXTERNAL, 8080)


@pytest.mark.parametrize("code", [402, 501, 606, 728, 9999])
def test_a_refusal_says_why(code: int) -> None:
    device = Device(faults=(code,))
    (failed,) = device.map()
    assert isinstance(failed, MappingFailed)
    assert (failed.method, failed.code) == (Method.UPNP, code)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "", "the WAN"])
def test_an_external_address_where_nobody_is_reached_is_a_failure(host: str) -> None:
    device = Device()
    device.external = host
    (failed,) = device.map()
    assert isinstance(failed, MappingFailed)
    assert "no external address" in failed.reason
    assert [action for action, _ in device.calls] == ["GetExternalIPAddress"]


def test_a_second_search_follows_a_first_one_that_found_nothing() -> None:
    device = Device()
    device.mapper.probe(device.now)
    device.mapper.transmits()
    events: list[PortMapEvent] = []
    while not events:
        device.fire()
        device.mapper.transmits()
        events = device.serve()
    assert isinstance(events[0], Silent)
    device.mapper.probe(device.now)
    device.find()
    assert device.serve() == [Speaks(Method.UPNP, EXTERNAL)]


def test_ports_that_are_all_taken_end_the_search_for_one() -> None:
    device = Device(faults=(718,) * 100)
    (failed,) = device.map()
    assert isinstance(failed, MappingFailed)
    assert len(device.calls) < 12


def test_a_device_that_vanished_loses_the_mapping_and_is_searched_anew() -> None:
    device = Device()
    device.map()
    device.reachable = False
    device.fire()
    assert device.serve() == []
    events: list[PortMapEvent] = []
    searches = 0
    while not events:
        searches += len(device.mapper.transmits())
        device.fire()
        events = device.serve()
    assert [type(event) for event in events] == [MappingLost]
    assert searches >= 2
    device.reachable = True
    while not device.mapper.transmits():
        device.fire()
    device.mapper.receive(answer_to_search(), FROM_GATEWAY, device.now)
    assert the_mapping(device.serve()).mapping.external.host == EXTERNAL


def test_removing_names_the_mapping() -> None:
    device = Device()
    device.map()
    device.mapper.unmap(1, device.now)
    assert device.serve() == [Unmapped(1, confirmed=True)]
    assert device.calls[-1][0] == "DeletePortMapping"
    assert "<NewExternalPort>5060</NewExternalPort>" in device.calls[-1][1]


def test_what_an_earlier_life_left_is_removed() -> None:
    device = Device()
    device.mapper.probe(device.now)
    device.find()
    assert device.serve() == [Speaks(Method.UPNP, EXTERNAL)]
    device.mapper.remove(7, Left(Method.UPNP, WISH, 6001), device.now)
    assert device.serve() == [Unmapped(7, confirmed=True)]
    assert "<NewExternalPort>6001</NewExternalPort>" in device.calls[-1][1]


def test_silence_is_told_after_three_searches() -> None:
    device = Device()
    device.mapper.probe(device.now)
    sent = len(device.mapper.transmits())
    events: list[PortMapEvent] = []
    while not events:
        device.fire()
        sent += len(device.mapper.transmits())
        events = device.serve()
    assert [type(event) for event in events] == [Silent]
    assert (sent, device.now) == (6, START + 12.0)


@pytest.mark.parametrize(
    ("data", "source"),
    [
        (answer_to_search(), "192.168.1.66"),
        (answer_to_search("http://192.168.1.66:80/root.xml"), GATEWAY),
        (answer_to_search("http://192.168.1.1@192.168.1.66/root.xml"), GATEWAY),
        (answer_to_search("https://192.168.1.1/root.xml"), GATEWAY),
        (answer_to_search("http://gateway.example/root.xml"), GATEWAY),
        (answer_to_search("file:///etc/passwd"), GATEWAY),
        (answer_to_search("http://192.168.1.1:99999/"), GATEWAY),
        (answer_to_search("http://[::ffff:192.168.1.66]/"), GATEWAY),
        (answer_to_search().replace(b"200 OK", b"404 No"), GATEWAY),
        (answer_to_search().replace(b"InternetGatewayDevice", b"MediaServer"), GATEWAY),
        (b"", GATEWAY),
        (b"A" * 60000, GATEWAY),
    ],
)
def test_nobody_else_can_pretend_to_be_the_gateway(data: bytes, source: str) -> None:
    device = Device()
    device.mapper.map(1, WISH, device.now)
    device.mapper.transmits()
    path = PATH._replace(remote=Address(source, 1900))
    device.mapper.receive(data, path, device.now)
    assert device.mapper.next_event() is None


@pytest.mark.parametrize(
    "control",
    ["http://192.168.1.66/ctl", "//192.168.1.66/ctl", "https://192.168.1.1/ctl", "", "http://[bad"],
)
def test_a_description_cannot_lead_elsewhere(control: str) -> None:
    assert read_description(description(control=control), LOCATION, GATEWAY) == ()


BOMB: Final = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;">]><root xmlns="urn:schemas-upnp-org:device-1-0">&c;</root>"""
EXTERNAL_ENTITY: Final = b"""<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<root xmlns="urn:schemas-upnp-org:device-1-0">&x;</root>"""


@pytest.mark.parametrize(
    "data",
    [
        BOMB,
        EXTERNAL_ENTITY,
        b"",
        b"<root",
        b"<a>" * 10_000,
        b"<r>" + b"<a/>" * 6000 + b"</r>",
        b"x" * (1 << 19),
        b"<?xml version='1.0' encoding='nonsense'?><r/>",
        b"\xff\xfe\x00",
    ],
    ids=["bomb", "entity", "empty", "cut", "deep", "many", "long", "encoding", "bytes"],
)
def test_documents_that_harm_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_description(data, LOCATION, GATEWAY)
    device = Device()
    device.mapper.map(1, WISH, device.now)
    device.find()
    exchange = device.mapper.next_event()
    assert isinstance(exchange, Exchange)
    device.mapper.answer(exchange.request_id, HttpResponse(200, data), device.now)
    (failed,) = device.serve()
    assert isinstance(failed, MappingFailed)
    assert len(failed.reason.splitlines()) == 1


@given(st.binary(max_size=300))
def test_no_bytes_of_a_device_raise_anything_but_malformed_message(data: bytes) -> None:
    for read in (
        lambda: read_response(data, Address(GATEWAY, 1900)),
        lambda: read_description(data, LOCATION, GATEWAY),
    ):
        try:
            read()
        except MalformedMessage:
            pass
    device = Device()
    device.mapper.map(1, WISH, device.now)
    device.find()
    while isinstance(exchange := device.mapper.next_event(), Exchange):
        device.mapper.answer(exchange.request_id, HttpResponse(200, data), device.now)


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
def test_an_external_address_that_is_none_is_a_failure(text: str) -> None:
    device = Device()
    device.mapper.map(1, WISH, device.now)
    device.find()
    first = device.mapper.next_event()
    assert isinstance(first, Exchange)
    device.mapper.answer(first.request_id, HttpResponse(200, description()), device.now)
    second = device.mapper.next_event()
    assert isinstance(second, Exchange)
    kind = "urn:schemas-upnp-org:service:WANIPConnection:1"
    values = f"<NewExternalIPAddress>{escape(text)}</NewExternalIPAddress>"
    body = envelope(
        f'<u:GetExternalIPAddressResponse xmlns:u="{kind}">{values}'
        "</u:GetExternalIPAddressResponse>"
    )
    device.mapper.answer(second.request_id, HttpResponse(200, body), device.now)
    assert isinstance(device.mapper.next_event(), MappingFailed | Exchange)
