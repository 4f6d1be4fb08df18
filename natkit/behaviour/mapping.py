"""How a NAT maps one local port: RFC 5780 §4.3, and less by plain STUN servers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from natkit.address import Address
from natkit.behaviour.findings import Mapping, MappingFinding
from natkit.behaviour.steps import Answer, Ask, Dial, NoSocket, Open, Outcome, Script
from natkit.machine import Transport

__all__ = ["ANY", "is_alternate", "map_by_plain_servers", "mapping_behaviour"]

ANY: Final = 0
"""The port of a fresh socket."""


def mapping_behaviour(
    local_host: str, server: Address, transport: Transport = Transport.UDP
) -> Script[MappingFinding]:
    """The three questions of RFC 5780 §4.3 from one fresh port, to a server of two addresses.

    Over TCP each of them has a connection of its own from that port.
    """
    fresh = Address(local_host, ANY)
    local = yield Dial(fresh, server) if transport is Transport.TCP else Open(fresh)
    if not isinstance(local, Address):
        return replace(_unknown(_no_socket(local)), transport=transport)
    finding = yield from _three_questions(local, server, transport)
    return replace(finding, local=local, transport=transport)


def _three_questions(
    local: Address, server: Address, transport: Transport
) -> Script[MappingFinding]:
    first = yield Ask(local, server, transport=transport)
    if not isinstance(first, Answer) or first.mapped is None:
        return _unknown(f"{server} does not answer")
    other, mapped = first.other, first.mapped
    evidence = [f"{server} sees {local} as {mapped}"]
    if mapped == local:
        return MappingFinding(Mapping.NONE, 1.0, tuple(evidence), mapped=mapped)
    if other is None or not is_alternate(server, other):
        evidence.append(_useless(server, other))
        return MappingFinding(Mapping.UNKNOWN, 0.0, tuple(evidence), mapped=mapped)
    elsewhere = Address(other.host, server.port)
    second = yield from _ask(local, elsewhere, transport)
    if not isinstance(second, Answer) or second.mapped is None:
        evidence.append(f"{elsewhere} does not answer")
        return MappingFinding(Mapping.UNKNOWN, 0.0, tuple(evidence), mapped=mapped)
    evidence.append(f"{elsewhere} sees it as {second.mapped}")
    if second.mapped == mapped:
        kind = Mapping.ENDPOINT_INDEPENDENT
        return MappingFinding(kind, 1.0, tuple(evidence), mapped=mapped)
    third = yield from _ask(local, other, transport)
    if not isinstance(third, Answer) or third.mapped is None:
        evidence.append(f"{other} does not answer")
        return MappingFinding(Mapping.DEPENDENT, 1.0, tuple(evidence), mapped=mapped)
    evidence.append(f"{other} sees it as {third.mapped}")
    same = third.mapped == second.mapped
    kind = Mapping.ADDRESS_DEPENDENT if same else Mapping.ADDRESS_AND_PORT_DEPENDENT
    return MappingFinding(kind, 1.0, tuple(evidence), mapped=mapped)


def _ask(local: Address, server: Address, transport: Transport) -> Script[Outcome]:
    if transport is Transport.TCP:
        dialled = yield Dial(local, server)
        if not isinstance(dialled, Address):
            return dialled
    return (yield Ask(local, server, transport=transport))


def is_alternate(server: Address, other: Address) -> bool:
    """Whether a server can be tested with as RFC 5780 §3 wants it: both differ, the family not."""
    differs = other.host != server.host and other.port != server.port
    return differs and other.family is server.family


def map_by_plain_servers(local_host: str, servers: Sequence[Address]) -> Script[MappingFinding]:
    """What servers without RFC 5780 can tell, asked one after the other from one fresh socket.

    Servers on one host cannot show that a mapping depends on the address, and on several hosts not
    whether it depends on the port as well.
    """
    local = yield Open(Address(local_host, ANY))
    if not isinstance(local, Address):
        return _unknown(_no_socket(local))
    seen: dict[Address, Address] = {}
    evidence: list[str] = []
    for server in servers:
        answer = yield Ask(local, server)
        if isinstance(answer, Answer) and answer.mapped is not None:
            seen[server] = answer.mapped
            evidence.append(f"{server} sees {local} as {answer.mapped}")
        else:
            evidence.append(f"{server} does not answer")
    mapped = next(iter(seen.values()), None)
    if mapped is None:
        return _unknown("no server answers")
    kind = _judge(local, seen)
    sure = 0.0 if kind is Mapping.UNKNOWN else 1.0
    return MappingFinding(kind, sure, tuple(evidence), local, mapped)


def _judge(local: Address, seen: dict[Address, Address]) -> Mapping:
    if all(mapped == local for mapped in seen.values()):
        return Mapping.NONE
    if len(set(seen.values())) > 1:
        by_host: dict[str, set[Address]] = {}
        for server, mapped in seen.items():
            by_host.setdefault(server.host, set()).add(mapped)
        one_port_matters = any(len(mapped) > 1 for mapped in by_host.values())
        return Mapping.ADDRESS_AND_PORT_DEPENDENT if one_port_matters else Mapping.DEPENDENT
    hosts = {server.host for server in seen}
    return Mapping.ENDPOINT_INDEPENDENT if len(hosts) > 1 else Mapping.UNKNOWN


def _useless(server: Address, other: Address | None) -> str:
    if other is None:
        return f"{server} names no other address (RFC 5780 §7.4)"
    return f"{server} names {other} as its other address, which must differ in address and port"


def _unknown(why: str) -> MappingFinding:
    return MappingFinding(Mapping.UNKNOWN, 0.0, (why,))


def _no_socket(outcome: Outcome) -> str:
    return outcome.reason if isinstance(outcome, NoSocket) else "no socket"
