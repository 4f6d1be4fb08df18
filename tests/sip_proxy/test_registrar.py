"""What a REGISTER does to the bindings, and what is answered (RFC 3261 §10.3, RFC 5626 §6)."""

from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import pytest

from natkit.locate import Target
from natkit.machine import Transport
from natkit.sip import HeaderField, NameAddress, SipUri
from natkit.sip.kinds import (
    CONTACT,
    EXPIRES,
    MIN_EXPIRES,
    PATH,
    REQUIRE,
    RETRY_AFTER,
    ROUTE,
    SERVICE_ROUTE,
    SUPPORTED,
    TO,
    UNSUPPORTED,
    USER_AGENT,
    VIA,
)
from natkit.sip.via import Via
from sip_proxy.events import Overloaded
from sip_proxy.location import Binding
from sip_proxy.outbound import OutboundSettings
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, PROXY, UNIX, Call, Phone, ProxyHost, settings

AOR = f"sip:alice@{DOMAIN}"
INSTANCE = "<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"


class Office:
    """A proxy, and alice's phone, whose REGISTERs the tests write."""

    def __init__(self, network: Network, **changes: object) -> None:
        self.network = network
        self.proxy = ProxyHost(network, settings(**changes))
        self.phone = Phone(network, "alice", "192.0.2.10")

    def register(
        self,
        *contacts: str,
        fields: tuple[HeaderField, ...] = (),
        call_id: str = "1@alice",
        number: int | None = None,
        to: str = f"<{AOR}>",
    ) -> Call:
        """Register these contacts, and wait for the answer."""
        own = [HeaderField.of_text("Contact", contact) for contact in contacts]
        call = self.phone.send(
            "REGISTER", f"sip:{DOMAIN}", *own, *fields, to=to, call_id=call_id, number=number
        )
        self.network.run_for(1.0)
        return call

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """What the location service has of alice."""
        return self.proxy.location.find(AOR, self.network.now + UNIX)

    @property
    def contacts(self) -> list[str]:
        """Their contacts."""
        return [binding.contact for binding in self.bindings]


@pytest.fixture
def office() -> Iterator[Office]:
    with Network(11) as network:
        yield Office(network)


def lifetimes(call: Call) -> list[str | None]:
    named = call.responses[-1].headers.get_all(CONTACT)
    return [one.parameter("expires") for one in named if isinstance(one, NameAddress)]


def test_without_contacts_it_asks_for_the_bindings(office: Office) -> None:
    office.register("<sip:alice@192.0.2.10>")
    asked = office.register(number=9)
    assert asked.statuses == [200]
    assert lifetimes(asked) == ["3599"]
    assert office.contacts == ["sip:alice@192.0.2.10"]


def test_the_answer_has_a_tag_of_its_own_in_its_to(office: Office) -> None:
    answers = [office.register("<sip:alice@192.0.2.10>").responses[-1] for _ in range(2)]
    tags = {None if (to := one.headers.get(TO)) is None else to.tag for one in answers}
    assert len(tags - {None}) == 2


@pytest.mark.parametrize(
    ("contact", "field", "granted"),
    [
        ("<sip:a@192.0.2.10>", None, "3600"),
        ("<sip:a@192.0.2.10>;expires=120", None, "120"),
        ("<sip:a@192.0.2.10>", 90, "90"),
        ("<sip:a@192.0.2.10>;expires=120", 90, "120"),
        ("<sip:a@192.0.2.10>;expires=99999", None, "7200"),
        ("<sip:a@192.0.2.10>;expires=4294967296", None, "7200"),
        ("<sip:a@192.0.2.10>;expires=never", None, "3600"),
    ],
)
def test_the_lifetime_is_the_contact_s_or_the_field_s_or_ours(
    office: Office, contact: str, field: int | None, granted: str
) -> None:
    fields = () if field is None else (HeaderField.of(EXPIRES, field),)
    assert lifetimes(office.register(contact, fields=fields)) == [granted]


def test_too_brief_a_lifetime_is_refused_with_the_least_that_is_granted(office: Office) -> None:
    call = office.register("<sip:a@192.0.2.10>;expires=10")
    assert call.statuses == [423]
    assert call.responses[-1].headers.get(MIN_EXPIRES) == 60
    assert office.contacts == []


def test_a_binding_ends_at_its_time(office: Office) -> None:
    office.register("<sip:a@192.0.2.10>;expires=120")
    office.network.run_for(118.0)
    assert len(office.contacts) == 1
    office.network.run_for(2.0)
    assert office.contacts == []


def test_expires_0_takes_one_binding_away(office: Office) -> None:
    office.register("<sip:a@192.0.2.10>", "<sip:a@192.0.2.11>")
    call = office.register("<sip:a@192.0.2.10>;expires=0")
    assert call.statuses == [200]
    assert office.contacts == ["sip:a@192.0.2.11"]


def test_a_star_with_expires_0_takes_all_away(office: Office) -> None:
    office.register("<sip:a@192.0.2.10>", "<sip:a@192.0.2.11>")
    call = office.register("*", fields=(HeaderField.of(EXPIRES, 0),))
    assert call.statuses == [200]
    assert office.contacts == []


@pytest.mark.parametrize("expires", [None, 60])
def test_a_star_with_any_other_expires_is_wrong(office: Office, expires: int | None) -> None:
    office.register("<sip:a@192.0.2.10>")
    fields = () if expires is None else (HeaderField.of(EXPIRES, expires),)
    assert office.register("*", fields=fields).statuses == [400]
    assert len(office.contacts) == 1


def test_a_star_beside_a_contact_is_wrong(office: Office) -> None:
    call = office.register("*", "<sip:a@192.0.2.10>", fields=(HeaderField.of(EXPIRES, 0),))
    assert call.statuses == [400]


def test_equivalent_contacts_are_one_binding(office: Office) -> None:
    office.register("<sip:a@EXAMPLE.com;transport=tcp>")
    office.register("<sip:%61@example.com;Transport=TCP>")
    assert office.contacts == ["sip:%61@example.com;Transport=TCP"]


def test_within_one_call_id_only_a_higher_cseq_counts(office: Office) -> None:
    office.register("<sip:a@192.0.2.10>;expires=100", number=5)
    for number in (5, 4):
        assert office.register("<sip:a@192.0.2.10>;expires=0", number=number).statuses == [500]
    assert len(office.contacts) == 1
    assert office.register("<sip:a@192.0.2.10>;expires=0", number=6).statuses == [200]
    assert office.contacts == []


def test_another_call_id_begins_anew(office: Office) -> None:
    office.register("<sip:a@192.0.2.10>", number=5)
    call = office.register("<sip:a@192.0.2.10>;expires=0", call_id="2@alice", number=1)
    assert call.statuses == [200]
    assert office.contacts == []


def test_a_registration_is_applied_whole_or_not_at_all(office: Office) -> None:
    office.register("<sip:a@192.0.2.10>", number=5)
    call = office.register("<sip:a@192.0.2.11>", "<sip:a@192.0.2.10>", number=4)
    assert call.statuses == [500]
    assert office.contacts == ["sip:a@192.0.2.10"]


@pytest.mark.parametrize("q", ["0", "0.5", "0.123", "1", "1.000"])
def test_q_is_kept_as_it_was(office: Office, q: str) -> None:
    call = office.register(f"<sip:a@192.0.2.10>;q={q}")
    (contact,) = call.responses[-1].headers.get_all(CONTACT)
    assert isinstance(contact, NameAddress)
    assert float(contact.parameter("q") or "1") == float(q)


@pytest.mark.parametrize("q", ["2", "1.5", "0.1234", "x", "-1", "", "0.5.5"])
def test_a_q_that_is_none_is_wrong(office: Office, q: str) -> None:
    assert office.register(f'<sip:a@192.0.2.10>;q="{q}"').statuses == [400]
    assert office.contacts == []


@pytest.mark.parametrize("to", [f"<sip:{DOMAIN}>", "<sip:alice@example.net>", "<tel:+1234>"])
def test_who_is_not_of_the_domain_is_not_found(office: Office, to: str) -> None:
    assert office.register("<sip:a@192.0.2.10>", to=to).statuses == [404]


def test_sips_and_sip_and_escapes_name_one_user(office: Office) -> None:
    office.register("<sip:a@192.0.2.10>", to=f"<sips:%61lice@{DOMAIN.upper()}>")
    assert office.contacts == ["sip:a@192.0.2.10"]


def test_more_contacts_than_allowed_are_refused(office: Office) -> None:
    many = [f"<sip:a@192.0.2.10:{port}>" for port in range(6000, 6020)]
    assert office.register(*many).statuses == [200]
    assert office.register("<sip:a@192.0.2.11>").statuses == [403]
    assert len(office.contacts) == 20


def retry_after(call: Call) -> int:
    asked = call.responses[-1].headers.get(RETRY_AFTER)
    assert asked is not None
    return asked.seconds


def test_of_several_contacts_each_has_the_way_that_it_needs(office: Office) -> None:
    """One names the host that it comes from, by another port; the other stands behind a NAT."""
    office.register("<sip:alice@192.0.2.10:5070>", "<sip:alice@10.0.0.2>")
    direct, hidden = office.bindings
    assert (direct.flow, direct.path) == (None, ())
    assert hidden.flow is not None
    assert len(hidden.path) == 1


@pytest.mark.parametrize(
    ("contact", "fields"),
    [
        (f"<sip:{'a' * 2100}@192.0.2.10>", ()),
        (f'<sip:a@192.0.2.10>;+sip.instance="<urn:x:{"1" * 2100}>"', ()),
        (
            "<sip:a@192.0.2.10>",
            tuple(
                HeaderField.of_text("Path", f"<sip:edge{number}.{'x' * 50}.example;lr>")
                for number in range(40)
            ),
        ),
    ],
    ids=["contact", "instance", "path"],
)
def test_what_one_contact_makes_us_keep_is_bounded(
    office: Office, contact: str, fields: tuple[HeaderField, ...]
) -> None:
    assert office.register(contact, fields=fields).statuses == [403]
    assert office.bindings == ()


def test_of_a_long_user_agent_the_beginning_is_kept(office: Office) -> None:
    office.register("<sip:a@192.0.2.10>", fields=(HeaderField.of(USER_AGENT, "x" * 1000),))
    (binding,) = office.bindings
    assert binding.user_agent == "x" * 128


def test_while_the_location_service_is_down_phones_come_back_later_and_not_at_once(
    office: Office,
) -> None:
    office.proxy.location_is_down = True
    refused = [office.register("<sip:a@192.0.2.10>", number=number) for number in range(1, 9)]
    assert {status for call in refused for status in call.statuses} == {500}
    delays = {retry_after(call) for call in refused}
    assert min(delays) >= 5
    assert len(delays) > 1


def test_a_registrar_that_has_too_much_to_do_says_503(office: Office) -> None:
    office.proxy.location_is_down = Overloaded("too much waits")
    busy = office.register("<sip:a@192.0.2.10>")
    assert busy.statuses == [503]
    assert retry_after(busy) >= 5


def test_what_cannot_be_done_is_not_done_in_part(office: Office) -> None:
    """Step 2: Require names an extension that we do not have."""
    required = HeaderField.of(REQUIRE, "outbound", "x-magic")
    call = office.register("<sip:a@192.0.2.10>", fields=(required,))
    assert call.statuses == [420]
    assert call.responses[-1].headers.get_all(UNSUPPORTED) == ("x-magic",)
    assert office.contacts == []


def test_of_several_contacts_each_has_its_own_lifetime(office: Office) -> None:
    contacts = ("<sip:a@192.0.2.10>;expires=100", "<sip:a@192.0.2.11>")
    call = office.register(*contacts, fields=(HeaderField.of(EXPIRES, 200),))
    assert lifetimes(call) == ["100", "200"]
    office.network.run_for(150.0)
    assert office.contacts == ["sip:a@192.0.2.11"]


def test_one_contact_that_is_too_brief_refuses_them_all(office: Office) -> None:
    call = office.register("<sip:a@192.0.2.10>;expires=100", "<sip:a@192.0.2.11>;expires=1")
    assert call.statuses == [423]
    assert office.contacts == []


def test_taking_away_what_is_not_there_is_no_fault(office: Office) -> None:
    call = office.register("<sip:a@192.0.2.10>;expires=0")
    assert call.statuses == [200]
    assert lifetimes(call) == []


def test_a_renewal_begins_anew_and_keeps_one_binding(office: Office) -> None:
    office.register("<sip:a@192.0.2.10>;expires=100")
    office.network.run_for(60.0)
    office.register("<sip:a@192.0.2.10>;expires=100;q=0.5")
    office.network.run_for(60.0)
    (binding,) = office.bindings
    assert binding.q == 500


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sip:a@192.0.2.10", "sip:a@192.0.2.10:5060"),
        ("sip:a@192.0.2.10", "sips:a@192.0.2.10"),
        ("sip:a@192.0.2.10", "sip:A@192.0.2.10"),
        ("sip:a@192.0.2.10", "sip:a@192.0.2.10;transport=udp"),
        ("sip:a@192.0.2.10", "sip:192.0.2.10"),
    ],
)
def test_contacts_that_differ_by_19_1_4_are_two(office: Office, one: str, other: str) -> None:
    office.register(f"<{one}>", f"<{other}>")
    assert office.contacts == [one, other]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
        ("sip:a@host.example;x=1", "sip:a@host.example;y=2"),
        ("sip:a@host.example?Subject=a", "sip:a@HOST.example?Subject=a"),
        ("sip:a@host.example.", "sip:a@host.example"),
    ],
)
def test_contacts_that_are_equal_by_19_1_4_are_one(office: Office, one: str, other: str) -> None:
    office.register(f"<{one}>")
    office.register(f"<{other}>")
    assert office.contacts == [other]


def test_a_star_does_not_pass_a_later_registration(office: Office) -> None:
    office.register("<sip:a@192.0.2.10>", number=5)
    fields = (HeaderField.of(EXPIRES, 0),)
    assert office.register("*", fields=fields, number=5).statuses == [500]
    assert len(office.contacts) == 1
    assert office.register("*", fields=fields, number=6).statuses == [200]
    assert office.contacts == []


def test_a_registrar_tells_the_time(office: Office) -> None:
    call = office.register("<sip:a@192.0.2.10>")
    (date,) = call.responses[-1].headers.fields("Date")
    at = parsedate_to_datetime(date.text).timestamp()
    assert abs(at - (UNIX + office.network.now)) < 2
    assert date.text.endswith(" GMT")


def test_a_redirect_by_the_phone_itself_is_no_circle(office: Office) -> None:
    """A contact that is the address of record itself leads back here, and ends as a loop."""
    office.proxy.servers[DOMAIN] = (Target(Transport.UDP, PROXY, DOMAIN, ""),)
    office.register(f"<{AOR}>")
    call = office.phone.invite(AOR)
    office.network.run_for(2.0)
    assert call.statuses == [482]


class TestPath:
    """RFC 3327 §5.3."""

    def through(self, office: Office, *fields: HeaderField) -> Call:
        via = HeaderField.of(VIA, Via.parse("SIP/2.0/UDP a;branch=z9hG4bK1"))
        path = HeaderField.of_text("Path", "<sip:edge1.example;lr>, <sip:edge2.example;lr>")
        return office.register("<sip:alice@10.0.0.2>", fields=(via, path, *fields))

    def test_is_kept_and_told_who_understands_it(self, office: Office) -> None:
        call = self.through(office, HeaderField.of(SUPPORTED, "path"))
        told = [str(one.uri) for one in call.responses[-1].headers.get_all(PATH)]
        assert told == ["sip:edge1.example;lr", "sip:edge2.example;lr"]
        (binding,) = office.bindings
        assert binding.path == ("sip:edge1.example;lr", "sip:edge2.example;lr")

    def test_is_kept_and_not_told_who_does_not(self, office: Office) -> None:
        call = self.through(office)
        assert call.statuses == [200]
        assert not call.responses[-1].headers.has(PATH)
        assert len(office.bindings[0].path) == 2

    def test_is_refused_where_that_is_wished_for_who_does_not(self) -> None:
        with Network(12) as network:
            office = Office(network, outbound=OutboundSettings(path_needs_support=True))
            call = self.through(office)
            assert call.statuses == [420]
            assert call.responses[-1].headers.get_all(UNSUPPORTED) == ("path",)
            assert self.through(office, HeaderField.of(SUPPORTED, "path")).statuses == [200]

    def test_is_the_way_of_a_call(self, office: Office) -> None:
        edge = Phone(office.network, "edge", "192.0.2.20")
        target = Target(Transport.UDP, edge.local, "edge1.example", "")
        office.proxy.servers["edge1.example"] = (target,)
        self.through(office)
        office.phone.invite(AOR)
        office.network.run_for(1.0)
        (invite,) = edge.received
        assert invite.uri_text == "sip:alice@10.0.0.2"
        routes = [str(route.uri) for route in invite.headers.get_all(ROUTE)]
        assert routes == ["sip:edge1.example;lr", "sip:edge2.example;lr"]

    def test_that_cannot_be_read_is_wrong(self, office: Office) -> None:
        via = HeaderField.of(VIA, Via.parse("SIP/2.0/UDP a;branch=z9hG4bK1"))
        path = HeaderField.of_text("Path", "<sip:edge1.example;lr")
        call = office.register("<sip:alice@10.0.0.2>", fields=(via, path))
        assert call.statuses == [400]
        assert office.bindings == ()


def test_phones_are_told_the_way_out_where_there_is_one() -> None:
    """RFC 3608 §6.3."""
    routes = ("sip:out1.example.org;lr", "sip:out2.example.org;lr")
    outbound = OutboundSettings(service_route=tuple(map(SipUri.parse, routes)))
    with Network(12) as network:
        office = Office(network, outbound=outbound)
        call = office.register("<sip:a@192.0.2.10>")
        told = call.responses[-1].headers.get_all(SERVICE_ROUTE)
        assert tuple([str(one.uri) for one in told]) == routes
        gone = office.register("<sip:a@192.0.2.10>;expires=0")
        assert not gone.responses[-1].headers.has(SERVICE_ROUTE)


class TestOutbound:
    SUPPORTS = (HeaderField.of(SUPPORTED, "outbound", "path"),)

    def contact(self, reg_id: int, host: str = "192.0.2.10") -> str:
        return f'<sip:alice@{host}>;reg-id={reg_id};+sip.instance="{INSTANCE}"'

    def test_flows_of_one_instance_stand_side_by_side_by_their_reg_id(self, office: Office) -> None:
        for reg_id in (1, 2):
            call = office.register(self.contact(reg_id), fields=self.SUPPORTS)
            assert call.statuses == [200]
            assert call.responses[-1].headers.get_all(REQUIRE) == ("outbound",)
        assert [binding.reg_id for binding in office.bindings] == [1, 2]
        assert all(binding.flow is not None for binding in office.bindings)

    def test_a_new_registration_of_a_reg_id_replaces_the_old_whatever_its_contact(
        self, office: Office
    ) -> None:
        office.register(self.contact(1), fields=self.SUPPORTS)
        office.register(self.contact(1, "192.0.2.99"), fields=self.SUPPORTS)
        assert office.contacts == ["sip:alice@192.0.2.99"]

    def test_without_outbound_in_supported_reg_id_is_passed_over(self, office: Office) -> None:
        call = office.register(self.contact(1))
        assert [binding.reg_id for binding in office.bindings] == [None]
        assert call.responses[-1].headers.get_all(REQUIRE) == ()

    @pytest.mark.parametrize("reg_id", ["0", "x", "99999999999", "2147483648"])
    def test_a_reg_id_that_is_none_is_passed_over(self, office: Office, reg_id: str) -> None:
        contact = f'<sip:a@192.0.2.10>;reg-id={reg_id};+sip.instance="{INSTANCE}"'
        assert office.register(contact, fields=self.SUPPORTS).statuses == [200]
        assert [binding.reg_id for binding in office.bindings] == [None]

    def test_two_contacts_with_a_reg_id_in_one_request_are_wrong(self, office: Office) -> None:
        call = office.register(self.contact(1), self.contact(2), fields=self.SUPPORTS)
        assert call.statuses == [400]

    @pytest.mark.parametrize(("path", "status"), [(None, 439), ("<sip:edge.example.org;lr>", 439)])
    def test_an_edge_that_keeps_no_flows_is_told(
        self, office: Office, path: str | None, status: int
    ) -> None:
        assert self.through_an_edge(office, path).statuses == [status]

    def test_an_edge_with_ob_in_its_path_keeps_the_flow(self, office: Office) -> None:
        call = self.through_an_edge(office, "<sip:token@edge.example.org;lr;ob>")
        assert call.statuses == [200]
        (binding,) = office.bindings
        assert binding.path == ("sip:token@edge.example.org;lr;ob",)
        assert binding.flow is None
        assert call.responses[-1].headers.has(PATH)

    def through_an_edge(self, office: Office, path: str | None) -> Call:
        fields = [*self.SUPPORTS, HeaderField.of(VIA, Via.parse("SIP/2.0/UDP a;branch=z9hG4bK1"))]
        if path is not None:
            fields.append(HeaderField.of(PATH, NameAddress.parse(path)))
        return office.register(self.contact(1), fields=tuple(fields))
