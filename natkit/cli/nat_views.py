"""How ``natkit nat`` shows what it found: for people, and as JSON."""

from collections.abc import Iterator
from typing import Final, assert_never

from rich.text import Text

from natkit.address import Family
from natkit.behaviour import (
    Filtering,
    FilteringFinding,
    LifetimeFinding,
    Mapping,
    MappingFinding,
    PortFinding,
    PortRule,
    Report,
    Way,
)
from natkit.cli.entry import console
from natkit.cli.findings import Row, as_object, folded, milliseconds, show
from natkit.cli.nat_details import (
    detail_objects,
    detail_rows,
    nat64_object,
    nat64_rows,
    style_of,
)
from natkit.cli.nat_survey import FamilySurvey, GatewaySurvey, Survey, TurnSurvey
from natkit.net.gateways import Gateway
from natkit.net.local_addresses import LocalAddress

__all__ = ["advice", "nat_object", "show_survey"]

MAPPING: Final = {
    Mapping.NONE: "none: servers see this host's own address",
    Mapping.ENDPOINT_INDEPENDENT: "endpoint-independent: one port for all destinations",
    Mapping.ADDRESS_DEPENDENT: "address-dependent: another port for each host",
    Mapping.ADDRESS_AND_PORT_DEPENDENT: "address- and port-dependent (symmetric)",
    Mapping.DEPENDENT: "depends on the destination (symmetric)",
    Mapping.UNKNOWN: "unknown",
}
FILTERING: Final = {
    Filtering.ENDPOINT_INDEPENDENT: "endpoint-independent: everybody gets in",
    Filtering.ADDRESS_DEPENDENT: "address-dependent: known hosts get in",
    Filtering.ADDRESS_AND_PORT_DEPENDENT: "address- and port-dependent: only answers get in",
    Filtering.UNKNOWN: "unknown",
}
WAY: Final = {
    Way.DIRECT: ("direct", "green"),
    Way.HOLE_PUNCHING: ("hole punching (ICE)", "green"),
    Way.RELAY: ("relay only (TURN)", "red"),
    Way.UNKNOWN: ("cannot be told", "yellow"),
}
METHOD_NAMES: Final = {"pcp": "PCP", "nat-pmp": "NAT-PMP", "upnp": "UPnP"}
FAMILY: Final = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}
UDP: Final = {False: "passes", True: "blocked", None: "unknown"}


# ── for people ──────────────────────────────────────────────────────────────────────────────────


def show_survey(survey: Survey) -> None:
    """Print it in 80 columns."""
    rows = [
        Row(each.address.interface, _interface(each, survey.gateways))
        for each in survey.interfaces
        if not each.address.is_link_local
    ]
    if rows:
        show("interfaces", rows)
    for family in survey.families:
        _show_family(family)
    if survey.gateway is not None:
        _show_gateway(survey.gateway)
    if survey.turn is not None:
        _show_turn(survey.turn)
    if survey.nat64 is not None:
        show("NAT64", list(nat64_rows(survey.nat64)))
    out = console()
    out.print(Text("what to do", style="bold"))
    for line in advice(survey):
        first, *rest = folded(line, out, 2)
        out.print(Text(f"  {first}"))
        for more in rest:
            out.print(Text(f"    {more}"))


def _interface(local: LocalAddress, gateways: tuple[Gateway, ...]) -> str:
    words = [local.host]
    words += [
        f"gateway {each.host}"
        for each in gateways
        if each.interface == local.address.interface and each.family is local.address.family
    ]
    if local.mtu is not None:
        words.append(f"MTU {local.mtu}")
    words += ["temporary"] * (local.temporary is True) + ["deprecated"] * (local.deprecated is True)
    return ", ".join(words)


def _show_family(survey: FamilySurvey) -> None:
    report = survey.report
    rows = [*_reach_rows(survey)]
    if report.udp_passes:
        mapping, filtering = report.mapping, report.filtering
        good = mapping.kind in (Mapping.NONE, Mapping.ENDPOINT_INDEPENDENT)
        style = "yellow" if mapping.kind is Mapping.UNKNOWN else "green" if good else "red"
        rows.append(Row("mapping", MAPPING[mapping.kind] + _share(mapping.confidence), style))
        if mapping.kind is Mapping.UNKNOWN:
            rows += [Row("", line) for line in mapping.evidence]
        if report.tcp_mapping is not None:
            rows.append(Row("TCP mapping", MAPPING[report.tcp_mapping.kind]))
            if report.tcp_mapping.kind is Mapping.UNKNOWN:
                rows += [Row("", line) for line in report.tcp_mapping.evidence]
        style = "yellow" if filtering.kind is Filtering.UNKNOWN else ""
        rows.append(
            Row("filtering", FILTERING[filtering.kind] + _share(filtering.confidence), style)
        )
        if filtering.kind is Filtering.UNKNOWN:
            rows += [Row("", line) for line in filtering.evidence]
        if mapping.kind is not Mapping.NONE:
            rows.append(Row("ports", _ports(report.ports)))
            rows.append(Row("NATs", _layers(survey)))
        rows += detail_rows(survey)
        rows += _asked_for(report)
    show(f"from {report.local_host} ({FAMILY[survey.family]})", rows)
    show(
        "what will work with",
        [Row(peer.name, *WAY[way]) for peer, way in survey.verdict],
    )


def _reach_rows(survey: FamilySurvey) -> Iterator[Row]:
    report = survey.report
    style = {False: "green", True: "red", None: "yellow"}[survey.udp_blocked]
    yield Row("UDP", UDP[survey.udp_blocked], style)
    for server in report.servers:
        if server.round_trip is not None:
            words = f"{server.server} answers in {milliseconds(server.round_trip)}"
            if server.lost:
                words += f", {server.lost} of {server.sent} packets lost"
        elif survey.by_tcp and server.server in survey.by_tcp:
            words = f"{server.server} answers over TCP only"
        else:
            words = f"{server.server} does not answer"
        yield Row("", words)
    if report.mapped is not None:
        yield Row("outside", str(report.mapped))


def _share(confidence: float) -> str:
    return f" ({confidence:.0%} agree)" if 0 < confidence < 1 else ""


def _ports(finding: PortFinding) -> str:
    match finding.kind:
        case PortRule.PRESERVED:
            return "preserved: outside as inside, where they are free"
        case PortRule.SEQUENTIAL:
            return f"sequential, by {finding.step}: the next one can be foretold"
        case PortRule.ARBITRARY:
            parity = ", even ones stay even" if finding.keeps_parity else ""
            return f"arbitrary{parity}: none can be foretold"
        case PortRule.UNKNOWN:
            return "unknown"
        case _:
            assert_never(finding.kind)


def _layers(survey: FamilySurvey) -> str:
    found = survey.layers
    number = f"at least {found.at_least}"
    match found.carrier:
        case True:
            return f"{number}, one of them the carrier's"
        case False:
            return "one, the gateway's own"
        case _:
            return number if found.at_least > 1 else f"{number}; --port-mapping tells of more"


def _asked_for(report: Report) -> Iterator[Row]:
    hairpin, lifetime = report.hairpin, report.lifetime
    if hairpin is not None:
        works = {True: "works", False: "does not work", None: "unknown"}[hairpin.works]
        if hairpin.works and hairpin.external_source is False:
            works += ", but shows the sender's inside address"
        yield Row("hairpin", works, style_of(hairpin.works))
        if hairpin.works is None:
            yield from (Row("", line) for line in hairpin.evidence)
    if lifetime is not None:
        yield Row("lifetime", _lifetime(lifetime), "" if lifetime.works else "yellow")
        if not lifetime.works:
            yield from (Row("", line) for line in lifetime.evidence)


def _lifetime(finding: LifetimeFinding) -> str:
    if not finding.works:
        return "unknown"
    if finding.fatal is None:
        return f"more than {finding.survived:g} s"
    if not finding.survived:
        return f"less than {finding.fatal:g} s"
    return f"{finding.survived:g} to {finding.fatal:g} s of silence"


def _show_gateway(survey: GatewaySurvey) -> None:
    rows = [
        Row(METHOD_NAMES[method], said, "green" if said.startswith("yes") else "")
        for method, said in survey.methods.items()
    ]
    if survey.external is not None:
        rows.append(Row("external", str(survey.external)))
    words = {True: "works", False: "does not work", None: "not tested"}[survey.works]
    rows.append(Row("mapping", words, style_of(survey.works)))
    rows.append(Row("", survey.evidence))
    show(f"port mapping at {survey.gateway or 'the gateway'}", rows)


def _show_turn(survey: TurnSurvey) -> None:
    row = Row("relayed", str(survey.relayed), "green")
    if survey.error is not None:
        row = Row("error", str(survey.error), "red")
    show(f"TURN at {survey.uri}", [row])


def advice(survey: Survey) -> list[str]:
    """What to do about what was found, in sentences of one line."""
    lines: list[str] = []
    for family in survey.families:
        lines += _advice_for(family, survey)
    if survey.turn is not None and survey.turn.error is not None:
        lines.append("Without the TURN server, peers that need a relay are not reached.")
    return list(dict.fromkeys(lines))


def _advice_for(family: FamilySurvey, survey: Survey) -> Iterator[str]:
    report = family.report
    ways = [way for _, way in family.verdict]
    if family.udp_blocked is None:
        yield "No server answers: check their names, and whether this network lets UDP and TCP out."
        return
    if family.udp_blocked:
        yield "UDP does not pass: use a TURN server over TLS on port 443 (turns: URI)."
        return
    if report.mapping.kind is Mapping.UNKNOWN:
        yield "Name servers on two hosts, or one with two addresses (RFC 5780), to learn more."
        return
    if all(way is Way.DIRECT for way in ways):
        yield "Nothing: everybody reaches this host."
    elif Way.RELAY in ways:
        yield "Use ICE with STUN, and have a TURN server for the peers that need a relay."
        yield from _mapping_advice(family, survey.gateway)
    else:
        yield "Use ICE with STUN."
    if report.filtering.kind is Filtering.UNKNOWN:
        yield "Name a server with two addresses (RFC 5780) to learn what the filter is."
    yield from _payload_advice(report)
    keep_alive = report.lifetime.keep_alive if report.lifetime is not None else None
    if keep_alive is not None:
        yield f"Send a keep-alive at least every {keep_alive:.0f} s."


def _payload_advice(report: Report) -> Iterator[str]:
    spared = [each for each in report.sip if each.rewrites.holds is False]
    if any(each.rewrites.holds for each in report.sip):
        yield "Switch the router's SIP ALG off, or speak SIP over TLS, which it cannot read."
        if spared:
            yield f"Or use the port {spared[0].server.port}, where it leaves SIP alone."
    if report.rewritten.holds:
        yield "Something rewrites addresses in packets: encrypt what carries them."
    if report.fragments is not None and report.fragments.passes is False:
        yield "Keep packets small: fragments are lost. TCP carries what is larger."


def _mapping_advice(family: FamilySurvey, gateway: GatewaySurvey | None) -> Iterator[str]:
    if family.layers.at_least > 1 or family.layers.carrier:
        yield "Mapping a port at the gateway opens nothing: another NAT lies behind it."
    elif gateway is not None and gateway.works:
        yield "Or map a port at the gateway (natkit map): that works here, and needs no relay."
    elif gateway is None and family.report.mapping.kind is not Mapping.NONE:
        yield "Or map a port at the gateway, if it can: --port-mapping tries it."


# ── as JSON ─────────────────────────────────────────────────────────────────────────────────────


def nat_object(survey: Survey) -> dict[str, object]:
    """As natkit.cli.nat documents it."""
    gateway, turn = survey.gateway, survey.turn
    return {
        "interfaces": [
            {
                "interface": each.address.interface,
                "address": each.host,
                "mtu": each.mtu,
                "temporary": each.temporary,
                "deprecated": each.deprecated,
            }
            for each in survey.interfaces
        ],
        "gateways": [
            {"interface": each.interface, "address": each.host} for each in survey.gateways
        ],
        "families": [_family_object(family) for family in survey.families],
        "port_mapping": None
        if gateway is None
        else {
            "gateway": gateway.gateway,
            "methods": gateway.methods,
            "external": as_object(gateway.external),
            "works": gateway.works,
            "evidence": gateway.evidence,
        },
        "turn": None
        if turn is None
        else {
            "uri": turn.uri,
            "relayed_address": as_object(turn.relayed),
            "error": None if turn.error is None else str(turn.error),
        },
        "nat64": nat64_object(survey.nat64),
        "advice": advice(survey),
    }


def _family_object(survey: FamilySurvey) -> dict[str, object]:
    report = survey.report
    ports = report.ports
    return {
        "family": FAMILY[survey.family].lower(),
        "local_address": report.local_host,
        "mapped_address": as_object(report.mapped),
        "udp": UDP[survey.udp_blocked],
        "servers": [
            {
                "server": as_object(each.server),
                "answers": each.answers,
                "round_trip": each.round_trip,
                "sent": each.sent,
                "lost": each.lost,
                "other_address": as_object(each.other),
                "tcp": None if survey.by_tcp is None else each.server in survey.by_tcp,
            }
            for each in report.servers
        ],
        "mapping": _kind_object(report.mapping),
        "filtering": _kind_object(report.filtering),
        "ports": {
            **_kind_object(ports),
            "step": ports.step,
            "keeps_parity": ports.keeps_parity,
            "outside_addresses": list(ports.hosts),
            "paired": ports.pooling_is_paired,
        },
        **detail_objects(survey),
        **_asked_for_objects(report),
        "layers": {
            "at_least": survey.layers.at_least,
            "carrier": survey.layers.carrier,
            "evidence": list(survey.layers.evidence),
        },
        "verdict": [{"peer": peer.name, "way": way.value} for peer, way in survey.verdict],
    }


def _kind_object(finding: MappingFinding | FilteringFinding | PortFinding) -> dict[str, object]:
    return {
        "kind": finding.kind.value,
        "confidence": finding.confidence,
        "evidence": list(finding.evidence),
    }


def _asked_for_objects(report: Report) -> dict[str, object]:
    hairpin, lifetime = report.hairpin, report.lifetime
    return {
        "hairpin": None
        if hairpin is None
        else {
            "works": hairpin.works,
            "external_source": hairpin.external_source,
            "evidence": list(hairpin.evidence),
        },
        "lifetime": None
        if lifetime is None
        else {
            "measured": lifetime.works,
            "survived": lifetime.survived,
            "fatal": lifetime.fatal,
            "keep_alive": lifetime.keep_alive,
            "evidence": list(lifetime.evidence),
        },
    }
