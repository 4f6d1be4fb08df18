"""All rules, in the order of the report."""

from typing import Final

from sipdns.diagnosis import (
    address_rules,
    answer_rules,
    delegation_rules,
    dnssec_rules,
    naptr_rules,
    security_rules,
    srv_rules,
)
from sipdns.diagnosis.finding import Area, Rule

__all__ = ["RULES"]

_ALL: Final[tuple[Rule, ...]] = (
    *security_rules.RULES,
    *naptr_rules.RULES,
    *srv_rules.RULES,
    *address_rules.RULES,
    *answer_rules.RULES,
    *delegation_rules.RULES,
    *dnssec_rules.RULES,
)

RULES: Final = tuple(sorted(_ALL, key=lambda one: list(Area).index(one.area)))
"""Each rule once; the ids are stable."""
