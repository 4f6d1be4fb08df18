"""Other settings count from the moment that the machine is told, and nothing that goes on ends."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace

import pytest

from natkit.address import Address
from natkit.machine import Transport
from natkit.sip.uri import SipUri, parse_absolute_uri
from sip_proxy.gateways import Gateway, Gateways, GatewaySettings, GatewayState, Probing
from sip_proxy.homes import Home
from sip_proxy.proxy import Proxy
from sip_proxy.route_rules import RouteRule, ToUsers
from sip_proxy.settings import Listener, Settings
from tests.simnet.network import Network
from tests.sip_proxy.world import Phone, ProxyHost, Ringing, settings

LISTENER = Listener(Transport.UDP, Address("192.0.2.1", 5060))


def copied(value: object) -> object:
    """The same settings as other objects, so that those that are kept give themselves away."""
    if is_dataclass(value) and not isinstance(value, type):
        made = {each.name: copied(getattr(value, each.name)) for each in fields(value)}
        return type(value)(**made)
    return tuple(map(copied, value)) if type(value) is tuple else value


def parts(value: object, name: str) -> Iterator[tuple[str, object]]:
    """A settings object, and the settings in it, by their names."""
    yield name, value
    if is_dataclass(value):
        for each in fields(value):
            below: object = getattr(value, each.name)
            for one in below if isinstance(below, tuple) else (below,):
                if is_dataclass(one) and not isinstance(one, Listener | SipUri):
                    yield from parts(one, f"{name}.{each.name}")


def reachable(start: object) -> dict[int, object]:
    """Everything of ours that an object holds, however far away."""
    found: dict[int, object] = {}
    waiting = [start]
    while waiting:
        one = waiting.pop()
        if id(one) in found or isinstance(one, str | bytes | int | float | type):
            continue
        found[id(one)] = one
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += list(one)
        slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
        for name in {*getattr(one, "__dict__", {}), *slots}:
            held: object = getattr(one, name, None)
            waiting.append(held)
            # A method that somebody is to call back holds its object.
            waiting.append(getattr(held, "__self__", None))
    return found


def test_no_part_of_the_machine_goes_on_with_settings_that_were_replaced() -> None:
    before = copied(
        Settings(
            (LISTENER,),
            frozenset({"example.org"}),
            homes=(Home("example.net"),),
            routes=(RouteRule("first", ToUsers()),),
            gateways=GatewaySettings((gateway("one"),), Probing()),
        )
    )
    assert isinstance(before, Settings)
    machine = Proxy(before, key=bytes(16), random=bytes, unix_offset=0.0)
    held = reachable(machine)
    assert all(id(one) in held for _, one in parts(before, "settings"))
    after = copied(before)
    assert isinstance(after, Settings)
    machine.configure(after, 0.0)
    found = reachable(machine)
    assert id(after) in found
    kept = [name for name, one in parts(before, "settings") if id(one) in found]
    assert kept == [], "the proxy's configure() does not reach whoever holds these"


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(7) as made:
        yield made


def rings(phone: Phone, ringing: Ringing) -> None:
    phone.respond(ringing, 180)


def test_a_call_that_rings_is_put_through_though_its_domain_is_gone(network: Network) -> None:
    proxy = ProxyHost(network, settings())
    alice = Phone(network, "alice", "192.0.2.10")
    bob = Phone(network, "bob", "192.0.2.11", answers=rings)
    bob.register()
    network.run_for(1.0)
    call = alice.invite(bob.uri)
    network.run_for(1.0)
    other = replace(proxy.configured, domains=frozenset({"other.example"}))
    proxy.shell.call(lambda now: proxy.machine.configure(other, now))
    bob.respond(bob.ringing[-1], 200)
    network.run_for(1.0)
    assert call.statuses == [180, 200]
    refused = alice.invite(bob.uri)
    network.run_for(1.0)
    assert refused.statuses[-1] not in (180, 200)


def gateway(name: str, uri: str = "sip:192.0.2.9") -> Gateway:
    parsed = parse_absolute_uri(uri)
    assert isinstance(parsed, SipUri)
    return Gateway(name, "all", parsed)


def test_a_gateway_that_stays_stays_down_and_keeps_its_calls() -> None:
    told: list[GatewayState] = []
    probing = Probing(down_after=1)
    both = GatewaySettings((gateway("one"), gateway("two", "sip:192.0.2.8")), probing)
    gateways = Gateways(both, bytes, told.append)
    seat = gateways.seat("one", "call", 0.0)
    assert seat is not None
    gateways.failed("one")
    gateways.failed("two")
    gateways.configure(
        GatewaySettings(
            (replace(gateway("one"), weight=5), gateway("two", "sip:192.0.2.7")), probing
        )
    )
    one, two = gateways.states()
    assert (one.is_up, one.calls, one.gateway.weight) == (False, 1, 5)
    assert two.is_up, "it is another gateway that has this name now"


def test_a_gateway_that_is_gone_gets_no_calls_and_its_last_ones_end() -> None:
    gateways = Gateways(GatewaySettings((gateway("one"), gateway("two"))), bytes, lambda _: None)
    seat = gateways.seat("one", "call", 0.0)
    assert seat is not None
    gateways.configure(GatewaySettings((gateway("two"),)))
    assert [each.gateway.name for each in gateways.states()] == ["two"]
    assert [each.name for each in gateways.in_order(["all"])] == ["two"]
    gateways.failed("one")
    gateways.answered("one")
    gateways.leave(seat)
    assert len(gateways) == 1
