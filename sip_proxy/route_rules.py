"""Static routes: which requests go elsewhere than their Request-URI says, by rules in order.

The first rule that applies decides, so the least costly way stands first.  Requests within a
dialog, and those that a Route leads elsewhere, have their way already and meet no rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import re2  # type: ignore[import-untyped]

from natkit.address import IPNetwork
from natkit.errors import MisuseError
from natkit.machine import Path
from natkit.sip import SipUri
from sip_proxy.dialled import Dialled
from sip_proxy.standing import Standing

__all__ = [
    "GATEWAY_FAILED",
    "AskNumber",
    "Refuse",
    "RouteRule",
    "Rules",
    "ToDomain",
    "ToGateways",
    "ToNextHops",
    "ToUsers",
    "checked_pattern",
]

GATEWAY_FAILED: Final = frozenset({408, 430, 500, 502, 503, 504})
"""Statuses by which a gateway says that it could not place a call, so that another may."""

MOST_MEMORY: Final = 1 << 20
"""Bytes that RE2 may take for one pattern."""


@dataclass(frozen=True, slots=True)
class ToUsers:
    """To where the user is registered, as without any rule."""


@dataclass(frozen=True, slots=True)
class ToDomain:
    """To the user of that name in ``domain``, one of ours."""

    domain: str


@dataclass(frozen=True, slots=True)
class ToNextHops:
    """To the first of these servers that answers; the Request-URI stays."""

    hops: tuple[SipUri, ...]


@dataclass(frozen=True, slots=True)
class ToGateways:
    """To the gateways of these groups, one group after the other."""

    groups: tuple[str, ...]
    failover_on: frozenset[int] = GATEWAY_FAILED


@dataclass(frozen=True, slots=True)
class AskNumber:
    """To the URIs that ENUM has for the number (RFC 6116); without any, the next rule."""

    suffixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nowhere."""

    status: int = 403
    reason: str | None = None


Action = ToUsers | ToDomain | ToNextHops | ToGateways | AskNumber | Refuse


@dataclass(frozen=True, slots=True)
class RouteRule:
    """It applies where each of its conditions holds; one that is empty holds always.

    ``domains``: of the Request-URI, or the phone-context of a ``tel:`` URI.  ``prefixes``: what the
    number or user begins with.  ``pattern``: an RE2 expression that the whole of it matches.
    ``sources``: where the request comes from.  ``standings``: who sent it.  ``strip`` and
    ``prefix`` change the number for gateways, ToDomain and AskNumber.
    """

    name: str
    action: Action
    domains: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    pattern: str | None = None
    methods: frozenset[str] = frozenset()
    sources: tuple[IPNetwork, ...] = ()
    standings: frozenset[Standing] = frozenset({Standing.TRUSTED, Standing.USER})
    strip: int = 0
    prefix: str = ""
    stateless: bool = False


class _Pattern(Protocol):
    def fullmatch(self, text: str) -> object: ...


def checked_pattern(text: str) -> _Pattern:
    """Compile an RE2 expression; MisuseError for what is none."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MOST_MEMORY
    try:
        compiled: _Pattern = re2.compile(text, options)
    except re2.error as error:
        (reason,) = error.args
        said = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise MisuseError(f"{text!r} is no regular expression: {said}") from None
    return compiled


class Rules:
    """The rules of a proxy, in their order."""

    def __init__(self, rules: Sequence[RouteRule]) -> None:
        self._rules = [
            (rule, None if rule.pattern is None else checked_pattern(rule.pattern))
            for rule in rules
        ]

    def __len__(self) -> int:
        return len(self._rules)

    def after(
        self, position: int, method: str, number: Dialled, path: Path, standing: Standing
    ) -> tuple[int, RouteRule] | None:
        """The first rule that applies from ``position`` on, with the position after it."""
        for index in range(position, len(self._rules)):
            rule, pattern = self._rules[index]
            if _applies(rule, pattern, method, number, path, standing):
                return index + 1, rule
        return None


def _applies(
    rule: RouteRule,
    pattern: _Pattern | None,
    method: str,
    number: Dialled,
    path: Path,
    standing: Standing,
) -> bool:
    if standing not in rule.standings:
        return False
    if rule.methods and method not in rule.methods:
        return False
    if rule.domains and number.domain not in rule.domains:
        return False
    if rule.prefixes and not number.user.startswith(rule.prefixes):
        return False
    if rule.sources and not any(path.remote.ip in network for network in rule.sources):
        return False
    return pattern is None or pattern.fullmatch(number.user) is not None
