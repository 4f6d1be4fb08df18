"""The best response of a fork (RFC 3261 §16.7 step 6), and what is made of it."""

from collections.abc import Sequence
from typing import Final

from natkit.sip import Response
from natkit.sip.headers import HeaderField

__all__ = ["best_of", "with_all_challenges"]

# Within 4xx those that say how to try again (§16.7 step 6).
_HELPFUL: Final = frozenset({401, 407, 415, 420, 484})
# Those that say least of whom was called: timeouts, cancellations, flows that failed.
_EMPTY: Final = frozenset({408, 430, 487})
_CHALLENGES: Final = frozenset({"www-authenticate", "proxy-authenticate"})


def best_of(responses: Sequence[Response]) -> Response | None:
    """The final response to pass on, a 6xx before all; None where there is none."""
    if not responses:
        return None
    return min(responses, key=_rank)


def with_all_challenges(best: Response, responses: Sequence[Response]) -> Response:
    """A 401 or 407 with the challenges of all (§16.7 step 7)."""
    if best.status not in (401, 407):
        return best
    others: list[HeaderField] = []
    for response in responses:
        if response is not best and response.status in (401, 407):
            others.extend([field for field in response.headers if field.key in _CHALLENGES])
    if not others:
        return best
    headers = type(best.headers)([*best.headers, *others])
    return Response(best.status, best.reason, headers, best.body, best.version)


def _rank(response: Response) -> tuple[int, int, int]:
    status = response.status
    group = status // 100
    # 6xx first; then the lowest class; a 503 only where there is nothing else.
    first = 0 if group == 6 else group
    if status == 503:
        return (9, 0, status)
    return (first, 0 if status in _HELPFUL else 2 if status in _EMPTY else 1, status)
