"""Asks the hooks, where there are any, and goes on by what they say."""

from collections.abc import Callable

from natkit.machine import Failure
from natkit.sip.kinds import CALL_ID
from sip_proxy.desk import Desk, Incoming
from sip_proxy.events import HookFailed, ProxyResult, RunHook
from sip_proxy.hooks import (
    Answer,
    AskedRegistration,
    Decision,
    ForkTo,
    Point,
    Proceed,
    Subject,
    fields_of,
    unfit,
)
from sip_proxy.rejection import Rejection

__all__ = ["Policies"]

Then = Callable[[Decision | Rejection, float], None]


class Policies:
    """Knows at which points hooks are to be asked."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def wants(self, point: Point) -> bool:
        """Whether there is a hook for it."""
        return point in self._desk.settings.hooks

    def ask_registration(
        self,
        incoming: Incoming,
        address_of_record: str,
        then: Callable[[Rejection | None, float], None],
        now: float,
    ) -> None:
        """``then`` gets what the hook refuses a REGISTER for this address with, or None."""

        def decided(decision: Decision | Rejection, at: float) -> None:
            match decision:
                case Rejection():
                    then(decision, at)
                case Answer(status, reason, fields):
                    then(Rejection(status, reason, fields_of(fields)), at)
                case _:
                    then(None, at)

        subject = AskedRegistration(incoming.request, incoming.path, address_of_record)
        self.ask(Point.REGISTER, subject, incoming, decided, now)

    def ask(
        self, point: Point, subject: Subject, incoming: Incoming, then: Then, now: float
    ) -> None:
        """``then`` gets the decision, or what to answer where the hook failed."""

        def decided(result: ProxyResult | Failure, at: float) -> None:
            if isinstance(result, Proceed | Answer | ForkTo):
                reason = unfit(subject, result)
                if reason is None:
                    then(result, at)
                    return
            else:
                reason = result.reason if isinstance(result, Failure) else "it decided nothing"
            call_id = incoming.request.headers.get(CALL_ID) or ""
            self._desk.events.append(HookFailed(call_id, point, reason))
            then(Rejection(500, "A policy failed"), at)

        self._desk.ask(lambda number: RunHook(number, point, subject), decided, now)
