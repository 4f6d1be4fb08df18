"""URIs of one user agent, public and temporary (RFC 5627)."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.machine import Transport
from natkit.sip import HeaderField, NameAddress, SipUri, UriForm
from natkit.sip.kinds import CONTACT, ROUTE, SUPPORTED
from sip_proxy.gruu import Gruus
from sip_proxy.location import Binding
from tests.simnet.network import Network
from tests.sip_proxy.world import (
    DOMAIN,
    INSTANCE,
    KEY,
    Call,
    Phone,
    ProxyHost,
    Ringing,
    dialog_of_callee,
    settings,
)

BOB = f"sip:bob@{DOMAIN}"
OTHER = "<urn:uuid:00000000-0000-1000-8000-000a95a0e129>"
SUPPORTS = HeaderField.of(SUPPORTED, "gruu", "outbound", "path")


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 180)
    phone.respond(ringing, 200)


def granted(call: Call, name: str, number: int = 0) -> str | None:
    contacts = call.responses[-1].headers.get_all(CONTACT)
    one = contacts[number]
    assert isinstance(one, NameAddress)
    return one.parameter(name)


class Line:
    """A proxy, a caller, and two phones of bob with an instance each."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.proxy = ProxyHost(network, settings())
        self.alice = Phone(network, "alice", "192.0.2.10")
        self.desk = Phone(network, "bob", "192.0.2.11", answers=picks_up)
        self.mobile = Phone(network, "bob", "192.0.2.12", answers=picks_up)
        self.registrations = 0

    def register(
        self,
        phone: Phone,
        instance: str | None,
        *,
        reg_id: int | None = None,
        expires: int = 3600,
        call_id: str = "1",
        fields: tuple[HeaderField, ...] = (SUPPORTS,),
    ) -> Call:
        """Register a phone with its instance."""
        self.registrations += 1
        text = f"<{phone.contact}>;expires={expires}"
        text += "" if instance is None else f';+sip.instance="{instance}"'
        text += "" if reg_id is None else f";reg-id={reg_id}"
        contact = HeaderField.of_text("Contact", text)
        call = phone.send(
            "REGISTER",
            f"sip:{DOMAIN}",
            contact,
            *fields,
            to=f"<{BOB}>",
            call_id=call_id,
            number=self.registrations,
        )
        self.network.run_for(1.0)
        assert call.statuses == [200]
        return call

    def call(self, uri: str) -> list[int]:
        """Call a URI, and see how that ends."""
        call = self.alice.invite(uri)
        self.network.run_for(2.0)
        return call.statuses


@pytest.fixture
def line() -> Iterator[Line]:
    with Network(31) as network:
        yield Line(network)


class TestPublic:
    def test_is_the_address_of_record_with_the_instance(self, line: Line) -> None:
        call = line.register(line.desk, INSTANCE)
        gruu = granted(call, "pub-gruu")
        assert gruu == f"{BOB};gr={INSTANCE[1:-1]}"
        assert SipUri.parse(gruu or "").form is UriForm.PUBLIC_GRUU

    def test_reaches_this_phone_alone(self, line: Line) -> None:
        gruu = granted(line.register(line.desk, INSTANCE), "pub-gruu")
        line.register(line.mobile, OTHER)
        assert line.call(gruu or "") == [180, 200]
        assert line.mobile.received == []
        assert line.desk.received[-1].uri_text == line.desk.contact

    def test_is_the_same_after_every_registration(self, line: Line) -> None:
        first = granted(line.register(line.desk, INSTANCE), "pub-gruu")
        assert granted(line.register(line.desk, INSTANCE, call_id="2"), "pub-gruu") == first

    def test_of_a_phone_that_is_not_registered_is_480(self, line: Line) -> None:
        gruu = granted(line.register(line.desk, INSTANCE), "pub-gruu")
        line.register(line.desk, INSTANCE, expires=0)
        line.register(line.mobile, OTHER)
        assert line.call(gruu or "") == [480]

    @pytest.mark.parametrize("gr", ["x", "urn", ""])
    def test_that_is_none_of_ours_is_404(self, line: Line, gr: str) -> None:
        line.register(line.desk, INSTANCE)
        assert line.call(f"{BOB};gr={gr}" if gr else f"{BOB};gr") == [404]

    def test_is_compared_as_a_urn(self, line: Line) -> None:
        line.register(line.desk, INSTANCE)
        assert line.call(f"{BOB};gr={INSTANCE[1:-1].upper()}") == [180, 200]

    def test_each_phone_of_the_user_has_its_own(self, line: Line) -> None:
        line.register(line.desk, INSTANCE)
        call = line.register(line.mobile, OTHER)
        gruus = {granted(call, "pub-gruu", number) for number in (0, 1)}
        assert gruus == {f"{BOB};gr={one[1:-1]}" for one in (INSTANCE, OTHER)}

    @pytest.mark.parametrize("name", ["pub-gruu", "temp-gruu"])
    def test_is_told_only_who_supports_it_and_names_an_instance(
        self, line: Line, name: str
    ) -> None:
        assert granted(line.register(line.desk, None), name) is None
        assert granted(line.register(line.mobile, INSTANCE, fields=()), name) is None

    def test_an_instance_that_is_no_urn_gets_none(self, line: Line) -> None:
        assert granted(line.register(line.desk, "<phone-1>"), "pub-gruu") is None

    def test_without_flows_the_latest_contact_of_the_phone_counts(self, line: Line) -> None:
        line.register(line.mobile, INSTANCE)
        gruu = granted(line.register(line.desk, INSTANCE), "pub-gruu")
        assert line.call(gruu or "") == [180, 200]
        assert line.mobile.received == []

    def test_leads_to_all_flows_of_the_phone_in_turn(self, line: Line) -> None:
        line.register(line.mobile, INSTANCE, reg_id=1)
        line.network.run_for(1.0)
        second = Phone(line.network, "bob", "192.0.2.13", transport=Transport.TCP)
        line.register(second, INSTANCE, reg_id=2)
        gruu = f"{BOB};gr={INSTANCE[1:-1]}"
        bindings = line.proxy.location.get(BOB)
        second.shell.stop()
        line.network.run_for(1.0)
        line.proxy.location.put(BOB, bindings)
        assert line.call(gruu) == [180, 200]
        assert line.mobile.received[-1].method == "INVITE"


class TestTemporary:
    def test_hides_whose_it_is(self, line: Line) -> None:
        gruu = granted(line.register(line.desk, INSTANCE), "temp-gruu") or ""
        uri = SipUri.parse(gruu)
        assert uri.form is UriForm.TEMPORARY_GRUU
        assert "bob" not in gruu
        assert INSTANCE[1:-1] not in gruu
        assert uri.host == DOMAIN

    def test_reaches_this_phone_alone(self, line: Line) -> None:
        gruu = granted(line.register(line.desk, INSTANCE), "temp-gruu") or ""
        line.register(line.mobile, OTHER)
        assert line.call(gruu) == [180, 200]
        assert line.mobile.received == []

    def test_a_new_one_comes_with_each_registration_and_the_old_stay_good(self, line: Line) -> None:
        gruus = {granted(line.register(line.desk, INSTANCE), "temp-gruu") or "" for _ in range(3)}
        assert len(gruus) == 3
        for gruu in gruus:
            assert line.call(gruu) == [180, 200]

    def test_another_call_id_ends_those_before(self, line: Line) -> None:
        old = granted(line.register(line.desk, INSTANCE, call_id="1"), "temp-gruu") or ""
        new = granted(line.register(line.desk, INSTANCE, call_id="2"), "temp-gruu") or ""
        assert line.call(old) == [404]
        assert line.call(new) == [180, 200]

    def test_taking_the_registration_back_ends_those_before(self, line: Line) -> None:
        old = granted(line.register(line.desk, INSTANCE), "temp-gruu") or ""
        line.register(line.desk, INSTANCE, expires=0)
        assert line.call(old) == [480]
        line.register(line.desk, INSTANCE)
        assert line.call(old) == [404]

    def test_a_registration_that_lapsed_ends_those_before(self, line: Line) -> None:
        old = granted(line.register(line.desk, INSTANCE, expires=60), "temp-gruu") or ""
        line.network.run_for(61.0)
        line.register(line.desk, INSTANCE)
        assert line.call(old) == [404]

    def test_one_that_was_changed_is_404(self, line: Line) -> None:
        gruu = granted(line.register(line.desk, INSTANCE), "temp-gruu") or ""
        user, _, rest = gruu.partition("@")
        flipped = user[:-20] + ("A" if user[-20] != "A" else "B") + user[-19:]
        shorter = user[:-2]
        for forged in (flipped, shorter, f"sip:tgruu.{user[-10:]}", "sip:tgruu."):
            assert line.call(f"{forged}@{rest}") == [404]

    def test_one_of_another_domain_is_404(self) -> None:
        with Network(32) as network:
            line = Line(network)
            line.proxy.shell.stop()
            line.proxy.configured = settings(domains=frozenset({DOMAIN, "example.net"}))
            line.proxy.start()
            gruu = granted(line.register(line.desk, INSTANCE), "temp-gruu") or ""
            assert line.call(gruu.replace(DOMAIN, "example.net")) == [404]

    def test_survives_a_restart_with_the_same_key(self, line: Line) -> None:
        gruu = granted(line.register(line.desk, INSTANCE), "temp-gruu") or ""
        line.proxy.shell.stop()
        line.proxy.start()
        assert line.call(gruu) == [180, 200]


def test_a_dialog_between_gruus_goes_on_when_the_phone_has_moved(line: Line) -> None:
    """The Contact in the dialog is a GRUU: it is looked up anew for each request, ACK included."""
    nat = line.network.nat("nat", "198.51.100.1")
    first = Phone(line.network, "bob", "10.0.0.2", behind=nat, transport=Transport.TCP)
    gruu = granted(line.register(first, INSTANCE, reg_id=1), "pub-gruu") or ""
    call = line.alice.invite(BOB)
    line.network.run_for(1.0)
    first.respond(first.ringing[0], 200, HeaderField.of_text("Contact", f"<{gruu}>"))
    line.network.run_for(1.0)
    dialog = line.alice.acknowledge(call)
    assert dialog.target == gruu
    line.network.run_for(1.0)
    assert [ack.uri_text for ack in first.acks] == [first.contact]
    first.shell.stop()
    second = Phone(line.network, "bob", "10.0.0.3", behind=nat, transport=Transport.TCP)
    line.register(second, INSTANCE, reg_id=1, call_id="2")
    bye = line.alice.within_after(line.network, dialog, "BYE")
    assert bye.statuses == [200]
    assert second.received[-1].uri_text == second.contact
    assert not second.received[-1].headers.has(ROUTE)


def test_who_was_called_by_a_gruu_hangs_up_on_the_caller_s(line: Line) -> None:
    nat = line.network.nat("nat", "198.51.100.1")
    caller = Phone(line.network, "bob", "10.0.0.2", behind=nat)
    gruu = granted(line.register(caller, INSTANCE, reg_id=1), "temp-gruu") or ""
    line.alice.register()
    line.alice.answers = picks_up
    line.network.run_for(1.0)
    contact = HeaderField.of_text("Contact", f"<{gruu}>")
    sender = f"<{BOB}>;tag=1"
    call = caller.send("INVITE", f"sip:alice@{DOMAIN}", contact, sender=sender)
    line.network.run_for(1.0)
    caller.acknowledge(call)
    line.network.run_for(1.0)
    invite = line.alice.received[-1]
    bye = line.alice.within(dialog_of_callee(line.alice, invite), "BYE")
    line.network.run_for(1.0)
    assert bye.statuses == [200]
    assert caller.received[-1].uri_text == caller.contact


USERS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


@given(user=USERS, call_id=st.text(max_size=20), since=st.floats(0, 2e9))
def test_a_temporary_one_is_read_as_it_was_written(user: str, call_id: str, since: float) -> None:
    gruus = Gruus(KEY, bytes)
    to = SipUri.build("example.org", user=user)
    binding = Binding(
        "sip:a@192.0.2.1", since + 60, 1000, call_id, 1, since, instance=INSTANCE, since=since
    )
    written = SipUri.parse(str(gruus.temporary(to, binding)))
    sought = gruus.read(written)
    assert sought is not None
    assert SipUri.parse(sought.address_of_record) == to.address_of_record()
    assert sought.among([binding]) == [binding]


@given(st.binary(max_size=120))
def test_no_other_bytes_are_taken_for_one(data: bytes) -> None:
    gruus = Gruus(KEY, bytes)
    uri = SipUri.build("example.org", user="tgruu." + data.hex(), parameters={"gr": None})
    assert gruus.read(uri) is None
