"""Where requests go by rules: domains, numbers, ENUM, next hops, refusals."""

import ipaddress
from collections.abc import Iterator

import pytest

from natkit.errors import MisuseError
from natkit.sip import SipUri
from sip_proxy.gateways import Gateway, GatewaySettings
from sip_proxy.route_rules import (
    AskNumber,
    Refuse,
    RouteRule,
    Rules,
    ToDomain,
    ToGateways,
    ToNextHops,
    ToUsers,
)
from sip_proxy.standing import Standing
from sip_proxy.target_set import MOST_URIS
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, PROXY, Call, Phone, ProxyHost, Ringing, settings

EVERYBODY = frozenset(Standing)


def picks_up(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 200)


def hop(text: str) -> SipUri:
    return SipUri.parse(text)


def gateways(*addresses: str) -> GatewaySettings:
    return GatewaySettings(
        tuple(
            Gateway(f"gw{number}", "carrier", hop(f"sip:{address}"))
            for number, address in enumerate(addresses)
        )
    )


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(41) as made:
        yield made


def dial(network: Network, uri: str, *rules: RouteRule, **changes: object) -> tuple[Call, Phone]:
    """Alice calls ``uri`` through a proxy with these rules; the far end is at 192.0.2.20."""
    ProxyHost(network, settings(routes=rules, **changes))
    far = Phone(network, "far", "192.0.2.20", answers=picks_up)
    alice = Phone(network, "alice", "192.0.2.10")
    call = alice.invite(uri)
    network.run_for(1.0)
    return call, far


class TestRules:
    def test_a_domain_goes_to_its_next_hop_with_its_request_uri(self, network: Network) -> None:
        rule = RouteRule(
            "partner",
            ToNextHops((hop("sip:192.0.2.20"),)),
            domains=frozenset({"partner.example"}),
        )
        call, far = dial(network, "sip:bob@Partner.example", rule)
        assert call.statuses == [200]
        assert far.received[0].uri_text == "sip:bob@Partner.example"

    def test_next_hops_stand_in_for_one_another(self, network: Network) -> None:
        hops = (hop("sip:192.0.2.99"), hop("sip:192.0.2.20"))
        rule = RouteRule("partner", ToNextHops(hops))
        ProxyHost(network, settings(routes=(rule,)))
        far = Phone(network, "far", "192.0.2.20", answers=picks_up)
        alice = Phone(network, "alice", "192.0.2.10")
        call = alice.invite("sip:bob@partner.example")
        network.run_for(6.0)
        assert call.statuses == [200]
        assert len(far.received) == 1

    def test_the_first_rule_that_applies_decides(self, network: Network) -> None:
        rules = (
            RouteRule("no premium", Refuse(403, "Not from here"), prefixes=("+49900",)),
            RouteRule("out", ToGateways(("carrier",)), prefixes=("+",)),
        )
        ProxyHost(network, settings(routes=rules, gateways=gateways("192.0.2.20")))
        far = Phone(network, "far", "192.0.2.20", answers=picks_up)
        alice = Phone(network, "alice", "192.0.2.10")
        refused = alice.invite(f"sip:+49900123@{DOMAIN}")
        placed = alice.invite(f"sip:+4930123@{DOMAIN}")
        network.run_for(1.0)
        assert (refused.statuses, placed.statuses) == ([403], [200])
        assert refused.responses[-1].reason == "Not from here"
        assert [one.uri_text for one in far.received] == ["sip:+4930123@192.0.2.20;user=phone"]

    def test_a_pattern_matches_the_whole_number(self, network: Network) -> None:
        rule = RouteRule("short", Refuse(), pattern=r"1\d\d")
        call, _ = dial(network, f"sip:112@{DOMAIN}", rule)
        assert call.statuses == [403]

    @pytest.mark.parametrize(
        ("user", "status"), [("1122", 480), ("011", 480), ("199", 403), ("1a2", 480)]
    )
    def test_a_pattern_matches_nothing_else(self, network: Network, user: str, status: int) -> None:
        rule = RouteRule("short", Refuse(), pattern=r"1\d\d")
        call, _ = dial(network, f"sip:{user}@{DOMAIN}", rule)
        assert call.statuses == [status]

    def test_a_rule_may_be_for_some_methods_and_sources_only(self, network: Network) -> None:
        rules = (
            RouteRule("mute", Refuse(405), methods=frozenset({"MESSAGE"})),
            RouteRule("lab", Refuse(), sources=(ipaddress.ip_network("192.0.2.12/32"),)),
        )
        ProxyHost(network, settings(routes=rules))
        alice = Phone(network, "alice", "192.0.2.10")
        lab = Phone(network, "lab", "192.0.2.12")
        calls = [
            alice.send("MESSAGE", f"sip:bob@{DOMAIN}"),
            alice.invite(f"sip:bob@{DOMAIN}"),
            lab.invite(f"sip:bob@{DOMAIN}"),
        ]
        network.run_for(1.0)
        assert [call.statuses for call in calls] == [[405], [480], [403]]

    def test_digits_are_cut_off_and_put_on(self, network: Network) -> None:
        rule = RouteRule("out", ToGateways(("carrier",)), prefixes=("00",), strip=2, prefix="+")
        call, far = dial(network, f"sip:00441632@{DOMAIN}", rule, gateways=gateways("192.0.2.20"))
        assert call.statuses == [200]
        assert far.received[0].uri_text == "sip:+441632@192.0.2.20;user=phone"

    def test_a_rule_leads_to_a_user_of_another_domain_of_ours(self, network: Network) -> None:
        rule = RouteRule(
            "by address",
            ToDomain(DOMAIN),
            domains=frozenset({PROXY.host}),
            standings=EVERYBODY,
        )
        ProxyHost(network, settings(routes=(rule,)))
        bob = Phone(network, "bob", "192.0.2.11", answers=picks_up)
        bob.register()
        alice = Phone(network, "alice", "192.0.2.10")
        network.run_for(1.0)
        call = alice.invite(f"sip:bob@{PROXY}")
        network.run_for(1.0)
        assert call.statuses == [200]

    def test_users_come_first_where_a_rule_says_so(self, network: Network) -> None:
        rules = (
            RouteRule("extensions", ToUsers(), pattern=r"\d{3}"),
            RouteRule("out", ToGateways(("carrier",))),
        )
        call, far = dial(network, f"sip:100@{DOMAIN}", *rules, gateways=gateways("192.0.2.20"))
        assert call.statuses == [480]
        assert far.received == []

    def test_within_a_dialog_no_rule_is_met(self, network: Network) -> None:
        rule = RouteRule("no hanging up", Refuse(), methods=frozenset({"BYE"}))
        ProxyHost(network, settings(routes=(rule,)))
        far = Phone(network, "far", "192.0.2.20", answers=picks_up)
        alice = Phone(network, "alice", "192.0.2.10")
        dialog = alice.acknowledge_after(network, alice.invite("sip:far@192.0.2.20"))
        assert alice.within_after(network, dialog, "BYE").statuses == [200]
        assert far.received[-1].method == "BYE"

    def test_a_rule_that_names_what_is_not_there_is_a_mistake(self) -> None:
        with pytest.raises(MisuseError, match="no gateway is in the group 'moon'"):
            settings(routes=(RouteRule("out", ToGateways(("moon",))),))
        with pytest.raises(MisuseError, match=r"example\.net, which is not served"):
            settings(routes=(RouteRule("out", ToDomain("example.net")),))
        with pytest.raises(MisuseError, match="is no regular expression"):
            Rules((RouteRule("bad", Refuse(), pattern="("),))


class TestRelaying:
    def test_strangers_reach_no_gateway_by_a_number_of_our_domain(self, network: Network) -> None:
        rule = RouteRule("out", ToGateways(("carrier",)), prefixes=("+",))
        ProxyHost(
            network,
            settings(authenticate=True, routes=(rule,), gateways=gateways("192.0.2.20")),
        )
        far = Phone(network, "far", "192.0.2.20", answers=picks_up)
        eve = Phone(network, "eve", "192.0.2.66")
        sender = "<sip:eve@example.net>;tag=1"
        calls = [
            eve.send("INVITE", f"sip:+4930123@{DOMAIN}", sender=sender),
            eve.send("INVITE", "tel:+4930123", sender=sender),
            eve.send("INVITE", f"sip:+4930123@{PROXY}", sender=sender),
        ]
        network.run_for(1.0)
        assert [call.statuses for call in calls] == [[480], [403], [403]]
        assert far.received == []

    def test_a_gateway_reaches_users_without_credentials_and_no_other_gateway(
        self, network: Network
    ) -> None:
        rules = (
            RouteRule("out", ToGateways(("carrier",)), prefixes=("+",)),
            RouteRule(
                "in",
                ToDomain(DOMAIN),
                prefixes=("+4930",),
                standings=frozenset({Standing.GATEWAY}),
                strip=5,
            ),
        )
        inbound = Gateway(
            "in", "carrier", hop("sip:192.0.2.20"), networks=(ipaddress.ip_network("192.0.2.21"),)
        )
        proxy = ProxyHost(
            network,
            settings(authenticate=True, routes=rules, gateways=GatewaySettings((inbound,))),
        )
        proxy.users["123", DOMAIN] = "secret"
        bob = Phone(network, "123", "192.0.2.11", answers=picks_up)
        first = bob.register()
        network.run_for(1.0)
        bob.authorized(first)
        network.run_for(1.0)
        gateway = Phone(network, "gw", "192.0.2.21")
        far = Phone(network, "far", "192.0.2.20", answers=picks_up)
        sender = f"<sip:+1555@{DOMAIN}>;tag=1"
        inward = gateway.send("INVITE", f"sip:+4930123@{PROXY}", sender=sender)
        onward = gateway.send("INVITE", f"sip:+44123@{DOMAIN}", sender=sender)
        network.run_for(1.0)
        assert inward.statuses == [200]
        assert onward.statuses == [480]
        assert far.received == []

    def test_a_user_at_our_own_address_and_of_no_domain_is_not_found(
        self, network: Network
    ) -> None:
        call, _ = dial(network, f"sip:bob@{PROXY}")
        assert call.statuses == [404]


class TestNumbers:
    def test_a_tel_uri_goes_to_a_gateway_in_the_form_of_sip(self, network: Network) -> None:
        rule = RouteRule("out", ToGateways(("carrier",)), prefixes=("+",))
        call, far = dial(network, "tel:+49-30-123", rule, gateways=gateways("192.0.2.20"))
        assert call.statuses == [200]
        assert far.received[0].uri_text == "sip:+4930123@192.0.2.20;user=phone"

    def test_a_number_that_nothing_routes_is_not_found(self, network: Network) -> None:
        call, _ = dial(network, "tel:+49-30-123")
        assert call.statuses == [404]

    def test_a_local_number_is_a_user_where_its_context_says(self, network: Network) -> None:
        ProxyHost(network, settings())
        bob = Phone(network, "100", "192.0.2.11", answers=picks_up)
        bob.register()
        alice = Phone(network, "alice", "192.0.2.10")
        network.run_for(1.0)
        call = alice.invite(f"tel:1-00;phone-context={DOMAIN}")
        network.run_for(1.0)
        assert call.statuses == [200]

    def test_a_local_number_is_told_by_the_number_that_is_its_context(
        self, network: Network
    ) -> None:
        rule = RouteRule(
            "berlin",
            ToGateways(("carrier",)),
            domains=frozenset({"+4930"}),
            prefix="+4930",
        )
        ProxyHost(network, settings(routes=(rule,), gateways=gateways("192.0.2.20")))
        far = Phone(network, "far", "192.0.2.20", answers=picks_up)
        alice = Phone(network, "alice", "192.0.2.10")
        here = alice.invite("tel:123;phone-context=+4930")
        elsewhere = alice.invite("tel:123;phone-context=+4940")
        network.run_for(1.0)
        assert (here.statuses, elsewhere.statuses) == ([200], [404])
        assert far.received[0].uri_text == "sip:+4930123@192.0.2.20;user=phone"

    def test_enum_leads_to_the_uris_of_the_number_one_after_the_other(
        self, network: Network
    ) -> None:
        rule = RouteRule("enum", AskNumber(("e164.arpa",)), prefixes=("+",))
        proxy = ProxyHost(network, settings(routes=(rule,)))
        proxy.numbers["+4930123"] = (
            "mailto:bob@example.net",
            "sip:a@192.0.2.99",
            "sip:b@192.0.2.20",
        )
        far = Phone(network, "far", "192.0.2.20", answers=picks_up)
        alice = Phone(network, "alice", "192.0.2.10")
        call = alice.invite("tel:+49-30-123")
        network.run_for(6.0)
        assert call.statuses == [200]
        assert far.received[0].uri_text == "sip:b@192.0.2.20"

    def test_a_number_that_is_a_user_of_ours_rings_all_phones_of_that_user(
        self, network: Network
    ) -> None:
        rule = RouteRule("enum", AskNumber(("e164.arpa",)), prefixes=("+",))
        proxy = ProxyHost(network, settings(routes=(rule,)))
        proxy.numbers["+4930123"] = (f"sip:bob@{DOMAIN}",)
        phones = [Phone(network, "bob", f"192.0.2.{number}") for number in (21, 22)]
        for phone in phones:
            phone.register()
        alice = Phone(network, "alice", "192.0.2.10")
        network.run_for(1.0)
        alice.invite("tel:+49-30-123")
        network.run_for(1.0)
        assert [len(phone.ringing) for phone in phones] == [1, 1]

    def test_a_number_has_so_many_uris_at_the_most(self, network: Network) -> None:
        rules = (RouteRule("enum", AskNumber(("e164.arpa",))), RouteRule("none", Refuse(484)))
        proxy = ProxyHost(network, settings(routes=rules))
        nobody = tuple(f"sip:nobody{number}@{DOMAIN}" for number in range(MOST_URIS))
        proxy.numbers["+4930123"] = (*nobody, "sip:b@192.0.2.20")
        alice = Phone(network, "alice", "192.0.2.10")
        call = alice.invite("tel:+49-30-123")
        network.run_for(1.0)
        assert call.statuses == [484]

    def test_a_number_that_enum_does_not_know_meets_the_next_rule(self, network: Network) -> None:
        rules = (
            RouteRule("enum", AskNumber(("e164.arpa",))),
            RouteRule("out", ToGateways(("carrier",))),
        )
        call, far = dial(network, "tel:+4930123", *rules, gateways=gateways("192.0.2.20"))
        assert call.statuses == [200]
        assert len(far.received) == 1

    def test_what_is_no_global_number_is_not_asked_for(self, network: Network) -> None:
        rules = (RouteRule("enum", AskNumber(("e164.arpa",))), RouteRule("none", Refuse(484)))
        call, _ = dial(network, f"sip:bob@{DOMAIN}", *rules)
        assert call.statuses == [484]
