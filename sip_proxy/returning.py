"""Responses on their way back, past the hook for them if there is one (RFC 3261 §16.7 step 8)."""

from functools import partial
from typing import Final

from natkit.sip import Response
from sip_proxy.desk import Desk
from sip_proxy.forking import Fork
from sip_proxy.hooks import (
    Answer,
    Decision,
    ForkTo,
    Point,
    Proceed,
    ReturningResponse,
    edited,
    fields_of,
)
from sip_proxy.policies import Policies
from sip_proxy.rejection import Rejection

__all__ = ["Returning"]

MOST_WAITING: Final = 16
"""Responses of one request that wait for their hook: a peer may send provisional ones without end,
of which those beyond are dropped."""


class Returning:
    """Passes responses back, those of one request in their order."""

    def __init__(self, desk: Desk, policies: Policies) -> None:
        self._desk = desk
        self._policies = policies

    def back(self, fork: Fork, response: Response, now: float) -> None:
        """Pass a response back; a 2xx to an INVITE after another final one too (step 5)."""
        if not self._policies.wants(Point.RESPONSE):
            self._deliver(fork, response, now)
            return
        if response.status < 200 and len(fork.returning) >= MOST_WAITING:
            return
        fork.returning.append(response)
        if len(fork.returning) == 1:
            self._ask(fork, now)

    def _ask(self, fork: Fork, now: float) -> None:
        response = fork.returning[0]
        subject = ReturningResponse(fork.incoming.request, response)
        then = partial(self._decided, fork, response)
        self._policies.ask(Point.RESPONSE, subject, fork.incoming, then, now)

    def _decided(
        self, fork: Fork, response: Response, decision: Decision | Rejection, now: float
    ) -> None:
        fork.returning.popleft()
        self._deliver(fork, self._changed(fork, response, decision), now)
        if fork.returning:
            self._ask(fork, now)

    def _changed(self, fork: Fork, response: Response, decision: Decision | Rejection) -> Response:
        is_failure = response.status >= 300
        match decision:
            case Proceed() | ForkTo():
                headers = edited(response.headers, decision)
                return Response(
                    response.status, response.reason, headers, response.body, response.version
                )
            case Answer(status, reason, fields):
                return self._desk.response(fork.incoming, status, reason, fields_of(fields))
            case Rejection(status, reason, fields) if is_failure:
                return self._desk.response(fork.incoming, status, reason, fields)
            case _:
                return response

    def _deliver(self, fork: Fork, response: Response, now: float) -> None:
        if response.status >= 200 and fork.has_final:
            self._desk.respond_late(fork.incoming, response, now)
            return
        fork.has_final = response.status >= 200
        self._desk.respond(fork.incoming, response, now)
