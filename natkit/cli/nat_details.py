"""How ``natkit nat`` shows what stands beside mapping and filtering: for people, and as JSON."""

from collections.abc import Iterator

from natkit.behaviour import (
    Fact,
    FragmentFinding,
    Mapping,
    MappingFinding,
    PathMtuFinding,
    Report,
)
from natkit.cli.findings import Row, as_object
from natkit.cli.nat_survey import FamilySurvey, Nat64Survey

__all__ = ["detail_objects", "detail_rows", "fact_object", "nat64_object", "nat64_rows", "style_of"]


# ── for people ──────────────────────────────────────────────────────────────────────────────────


def detail_rows(survey: FamilySurvey) -> Iterator[Row]:
    """Lines of what is worth saying: what is as it should be and was not asked for is left out."""
    report = survey.report
    yield from _pool_rows(report)
    yield from _rewriting_rows(report)
    if report.fragments is not None:
        yield from _fragment_rows(report.fragments)
    if survey.path_mtu is not None:
        yield from _path_mtu_rows(survey.path_mtu)


def _pool_rows(report: Report) -> Iterator[Row]:
    if report.ports.pooling_is_paired is False:
        hosts = ", ".join(report.ports.hosts)
        yield Row("pool", f"this host has several addresses outside: {hosts}", "red")
    if report.mapping.kind is Mapping.NONE:
        return
    contiguity, overloading = report.contiguity, report.overloading
    if contiguity is not None and contiguity.holds is not None:
        words = {True: "stay neighbours outside", False: "do not stay neighbours"}
        yield Row("port pairs", words[contiguity.holds])
    if overloading is not None and overloading.holds:
        yield Row("collision", "two hosts share one port outside (overloading)", "yellow")


def _rewriting_rows(report: Report) -> Iterator[Row]:
    if report.rewritten.holds:
        yield Row("packets", "addresses in packets are rewritten (generic ALG)", "red")
        yield from (Row("", line) for line in report.rewritten.evidence)
    for sip in report.sip:
        words = {
            True: "rewritten on the way (SIP ALG)",
            False: "passes unchanged",
            None: "unknown",
        }[sip.rewrites.holds]
        style = {True: "red", False: "green", None: "yellow"}[sip.rewrites.holds]
        yield Row("SIP", f"{sip.server} {words}", style)
        if sip.rewrites.holds is not False:
            yield from (Row("", line) for line in sip.rewrites.evidence)


def _fragment_rows(found: FragmentFinding) -> Iterator[Row]:
    if found.passes:
        words = "pass both ways"
    elif found.passes is None:
        words = "pass on the way out; the way back is unknown" if found.out else "unknown"
    else:
        words = "pass on the way out, not on the way back" if found.out else "do not get out"
    yield Row("fragments", words, style_of(found.passes))
    if found.passes is None:
        yield from (Row("", line) for line in found.evidence)


def _path_mtu_rows(found: PathMtuFinding) -> Iterator[Row]:
    if found.passed is None:
        yield Row("path MTU", "unknown", "yellow")
        yield from (Row("", line) for line in found.evidence)
        return
    words = f"{found.passed} bytes"
    if found.lost is None:
        words += " pass in one piece, all that this link takes"
    elif found.is_black_hole:
        words += "; larger packets vanish without a word"
    elif found.told:
        words += ", as routers say"
    yield Row("path MTU", words, "red" if found.is_black_hole else "")


def nat64_rows(survey: Nat64Survey) -> Iterator[Row]:
    """Lines of the section on NAT64."""
    if survey.prefixes:
        yield Row("prefix", ", ".join(map(str, survey.prefixes)))
    words = {True: "reached through it", False: "not reached through it", None: "not known"}
    yield Row("IPv4", words[survey.works.holds], style_of(survey.works.holds))
    yield from (Row("", line) for line in survey.works.evidence)


def style_of(good: bool | None) -> str:
    """The colour of what is good, bad, or not known."""
    return {True: "green", False: "red", None: "yellow"}[good]


# ── as JSON ─────────────────────────────────────────────────────────────────────────────────────


def detail_objects(survey: FamilySurvey) -> dict[str, object]:
    """Members of a family, as natkit.cli.nat documents them."""
    report = survey.report
    fragments = report.fragments
    return {
        "tcp_mapping": _kind(report.tcp_mapping),
        "contiguity": fact_object(report.contiguity),
        "overloading": fact_object(report.overloading),
        "rewrites_addresses": fact_object(report.rewritten),
        "sip": [
            {"server": as_object(each.server), "rewrites": fact_object(each.rewrites)}
            for each in report.sip
        ],
        "fragments": None
        if fragments is None
        else {
            "passes": fragments.passes,
            "out": fragments.out,
            "back": fragments.back,
            "padding": fragments.padding,
            "evidence": list(fragments.evidence),
        },
        "path_mtu": _path_mtu_object(survey.path_mtu),
    }


def _path_mtu_object(found: PathMtuFinding | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {
        "passed": found.passed,
        "lost": found.lost,
        "told": None if found.told is None else list(found.told),
        "black_hole": found.is_black_hole,
        "evidence": list(found.evidence),
    }


def nat64_object(survey: Nat64Survey | None) -> dict[str, object] | None:
    """The member ``nat64``."""
    if survey is None:
        return None
    return {
        "prefixes": [str(prefix) for prefix in survey.prefixes],
        "mapped_address": as_object(survey.mapped),
        "works": fact_object(survey.works),
    }


def fact_object(fact: Fact | None) -> dict[str, object] | None:
    """A fact; null where nobody looked."""
    if fact is None:
        return None
    return {
        "holds": fact.holds,
        "confidence": fact.confidence,
        "evidence": list(fact.evidence),
    }


def _kind(finding: MappingFinding | None) -> dict[str, object] | None:
    if finding is None:
        return None
    return {
        "kind": finding.kind.value,
        "confidence": finding.confidence,
        "evidence": list(finding.evidence),
    }
