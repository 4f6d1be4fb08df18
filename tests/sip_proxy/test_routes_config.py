"""Routes, gateways and failover in the configuration file."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.errors import ConfigError
from natkit.machine import Transport
from natkit.sip import SipUri
from sip_proxy.config import load
from sip_proxy.gateways import Gateway, GatewaySettings, Probing
from sip_proxy.route_rules import (
    AskNumber,
    Refuse,
    RouteRule,
    ToDomain,
    ToGateways,
    ToNextHops,
    ToUsers,
)
from sip_proxy.settings import Listener, Settings
from sip_proxy.standing import Standing
from sipdns.outliers import OutlierLimits

WHOLE = r"""
domains = ["example.org"]

[[routes]]
name = "no premium"
prefixes = ["+49900", "+1900"]
refuse = 403
reason = "Not from here"

[[routes]]
name = "extensions"
pattern = "[1-9]\\d\\d"
users = true

[[routes]]
name = "in"
sources = ["192.0.2.0/24"]
senders = ["gateway"]
domains = ["Example.ORG", "+4930"]
domain = "example.org"
strip = 3
prefix = "1"

[[routes]]
name = "enum"
methods = ["INVITE"]
enum = ["e164.arpa", "e164.example"]

[[routes]]
name = "out"
gateways = ["cheap", "dear"]
failover_on = [503]

[[routes]]
name = "partner"
next_hops = ["sip:a.example", "sips:b.example:5062"]
stateless = true

[[gateways]]
name = "gw1"
group = "cheap"
uri = "sip:gw1.example.net;transport=tcp"
priority = 1
weight = 3
networks = ["198.51.100.7"]
calls = 30
trusted = false

[[gateways]]
name = "gw2"
group = "dear"
uri = "sip:gw2.example.net"

[probing]
interval = 10
patience = 2
down_after = 4
up_after = 5
longest_call = 600

[failover]
after = 3
avoid = 10
avoid_at_most = 20
rest_at_most = 30
"""


def uri(text: str) -> SipUri:
    return SipUri.parse(text)


def settings(text: str, tmp_path: Path) -> Settings:
    file = tmp_path / "sip.toml"
    file.write_text(text)
    return load(file).settings([Listener(Transport.UDP, Address("192.0.2.1", 5060))])


def test_every_option_reaches_the_machine(tmp_path: Path) -> None:
    read = settings(WHOLE, tmp_path)
    assert read.routes == (
        RouteRule("no premium", Refuse(403, "Not from here"), prefixes=("+49900", "+1900")),
        RouteRule("extensions", ToUsers(), pattern=r"[1-9]\d\d"),
        RouteRule(
            "in",
            ToDomain("example.org"),
            frozenset({"example.org", "+4930"}),
            sources=(ip_network("192.0.2.0/24"),),
            standings=frozenset({Standing.GATEWAY}),
            strip=3,
            prefix="1",
        ),
        RouteRule("enum", AskNumber(("e164.arpa", "e164.example")), methods=frozenset({"INVITE"})),
        RouteRule("out", ToGateways(("cheap", "dear"), frozenset({503}))),
        RouteRule(
            "partner",
            ToNextHops((uri("sip:a.example"), uri("sips:b.example:5062"))),
            stateless=True,
        ),
    )
    assert read.gateways == GatewaySettings(
        (
            Gateway(
                "gw1",
                "cheap",
                uri("sip:gw1.example.net;transport=tcp"),
                1,
                3,
                (ip_network("198.51.100.7/32"),),
                30,
                is_trusted=False,
            ),
            Gateway("gw2", "dear", uri("sip:gw2.example.net")),
        ),
        Probing(10, 2, 4, 5),
        600,
    )
    assert read.failover_after == 3
    assert read.outliers == OutlierLimits(10, 20, 30)


def test_nobody_is_asked_after_where_that_is_not_wished(tmp_path: Path) -> None:
    read = settings(WHOLE.replace("[probing]", "[probing]\nenabled = false"), tmp_path)
    assert read.gateways.probing is None


def test_a_silent_server_may_be_waited_for_as_long_as_a_transaction(tmp_path: Path) -> None:
    assert settings("[failover]\nafter = 0", tmp_path).failover_after is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[routes]]\nname = "a"', "route 'a' names none of gateways"),
        ('[[routes]]\nname = "a"\nusers = true\nrefuse = 403', "names users and refuse of"),
        ('[[routes]]\nname = "a"\nusers = true\nreason = "b"', "reason belongs to refuse"),
        (
            '[[routes]]\nname = "a"\nusers = true\npattern = "("',
            "'(' is no regular expression: missing",
        ),
        ('[[routes]]\nname = "a"\nusers = true\ndomains = ["+4x"]', "no beginning of a telephone"),
        ('[[routes]]\nname = "a"\nusers = true\nsenders = ["routed"]', "meet no rule"),
        ('[[routes]]\nname = "a"\nusers = true\nsenders = ["visitor"]', "meet no rule"),
        ('[[routes]]\nname = "a"\ngateways = ["b"]', "no gateway is in the group 'b'"),
        ('[[routes]]\nname = "a"\ndomain = "b.example"', "b.example, which is not served"),
        ('[[routes]]\nname = "a"\nnext_hops = ["tel:1"]', "routes.0.next_hops.0: "),
        ('[[routes]]\nname = "a"\nnext_hops = ["sip:b@c.example"]', "leave out its user"),
        ('[[gateways]]\nname = "a"\ngroup = "b"', "gateways.0.uri: "),
        (
            '[[gateways]]\nname = "a"\ngroup = "b"\nuri = "sip:c.example"\n' * 2,
            "two gateways are called 'a'",
        ),
        ("[probing]\ninterval = 1", "patience is longer than the interval"),
        ("[failover]\navoid = 700", "avoid is above avoid_at_most"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(text, tmp_path)
    line = str(caught.value)
    assert said in line
    assert "\n" not in line
