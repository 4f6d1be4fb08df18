"""Which NAPTR records apply (RFC 3263 §4.1, RFC 3403 §4.1, RFC 3958 for STUN and TURN).

Judging a set of records asks nothing of the DNS; what a non-terminal record leads to is for the
resolution to ask.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sipdns.decisions import Decision, Step, Verdict
from sipdns.records import NaptrRecord
from sipdns.services import Service

__all__ = ["Rule", "judge"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A record that applies.

    ``flag`` is ``s`` when SRV records follow, ``a`` addresses, ``""`` further NAPTR records.
    """

    record: NaptrRecord
    flag: str
    services: tuple[Service, ...]

    @property
    def text(self) -> str:
        """The record as people write it."""
        return describe(self.record)


def describe(record: NaptrRecord) -> str:
    """The parts of a record that decide."""
    expression = f' "{record.regexp}"' if record.regexp else ""
    return (
        f'{record.order} {record.preference} "{record.flags}" "{record.service}"'
        f"{expression} {record.replacement}"
    )


def judge(
    records: Sequence[NaptrRecord], services: Sequence[Service]
) -> tuple[list[list[Rule]], list[Decision]]:
    """The rules that apply, by order and within one order by preference, and why others do not."""
    orders = []
    decisions = []
    known = {
        (service.naptr[0].lower(), service.naptr[1].lower()): service
        for service in services
        if service.naptr
    }
    wanted = ", ".join(service.naptr_text for service in known.values())
    # Of one order and preference, the services that the caller prefers come first.
    ranked = sorted(
        ((record, _spoken(record, known)) for record in records),
        key=lambda pair: (
            pair[0].order,
            pair[0].preference,
            services.index(pair[1][0]) if pair[1] else len(services),
            describe(pair[0]),
        ),
    )
    for _, group in groupby(ranked, key=lambda pair: pair[0].order):
        rules = []
        for record, spoken in group:
            fault = _fault(record, spoken, wanted)
            if fault:
                decisions.append(
                    Decision(Step.NAPTR, describe(record), Verdict.PASSED_OVER, *fault)
                )
            else:
                rules.append(Rule(record, record.flags.lower(), spoken))
        if rules:
            orders.append(rules)
    return orders, decisions


def _spoken(record: NaptrRecord, known: Mapping[tuple[str, str], Service]) -> tuple[Service, ...]:
    """The services of the record that we may use, most preferred first."""
    offered = record.service.lower()
    application = next((name for name, _ in known if _begins(offered, name)), None)
    if application is None:
        return ()
    rest = offered.removeprefix(application)
    if not rest:
        # RFC 3958 §6.5: a non-terminal record may name the application alone.
        return tuple(known.values()) if not record.flags else ()
    # RFC 3958 §6.5: several protocols may follow one application.
    protocols = [f":{one}" for one in rest[1:].split(":")] if rest.startswith(":") else [rest]
    return tuple(
        service
        for (of_application, protocol), service in known.items()
        if of_application == application and protocol in protocols
    )


def _begins(offered: str, application: str) -> bool:
    return offered.startswith(application) and offered[len(application) :][:1] in ("", ":", "+")


def _fault(record: NaptrRecord, spoken: tuple[Service, ...], wanted: str) -> tuple[str, str] | None:
    """Why a record does not apply, and by which text; None when it does."""
    terminal = record.flags != ""
    if not spoken and (terminal or record.service):
        return f"the services that can be used are {wanted}", "RFC 3263 §4.1"
    if record.flags.lower() not in ("", "s", "a"):
        return f'the flag "{record.flags}" leads to neither SRV nor address', "RFC 3263 §4.1"
    if record.regexp:
        return "a regular expression where RFC 3263 wants a replacement", "RFC 3263 §4.1"
    if record.replacement == ".":
        return "it has no replacement", "RFC 3403 §4.1"
    return None
