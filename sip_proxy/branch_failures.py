"""What a hook makes of a branch that failed."""

from collections.abc import Callable
from functools import partial

from natkit.sip import Response
from sip_proxy.desk import Desk
from sip_proxy.forking import Branch, BranchState
from sip_proxy.hooks import Answer, Decision, FailedBranch, ForkTo, Point, fields_of
from sip_proxy.policies import Policies
from sip_proxy.rejection import Rejection
from sip_proxy.targets import Contact

__all__ = ["BranchFailures"]

Groups = list[list[Contact]]
Then = Callable[[Branch, Response | None, Groups, float], None]


class BranchFailures:
    """Asks about failures; ``then`` gets the response that stands, and targets to go on with."""

    def __init__(self, desk: Desk, policies: Policies, then: Then) -> None:
        self._desk = desk
        self._policies = policies
        self._then = then

    def decide(self, branch: Branch, response: Response | None, now: float) -> None:
        """A branch has ended with this failure, or without an answer."""
        is_asked = self._policies.wants(Point.BRANCH_FAILURE)
        if response is None or not is_asked or branch.is_cancelled:
            self._then(branch, response, [], now)
            return
        branch.state = BranchState.DECIDING
        incoming = branch.fork.incoming
        subject = FailedBranch(incoming.request, branch.contact_text, response)
        then = partial(self._decided, branch, response)
        self._policies.ask(Point.BRANCH_FAILURE, subject, incoming, then, now)

    def _decided(
        self, branch: Branch, response: Response, decision: Decision | Rejection, now: float
    ) -> None:
        fork = branch.fork
        if branch.is_over:
            return
        match decision:
            case Rejection(status, reason, fields):
                fork.verdict = self._desk.response(fork.incoming, status, reason, fields)
                self._then(branch, response, [], now)
            case Answer(status, reason, fields):
                answer = self._desk.response(fork.incoming, status, reason, fields_of(fields))
                self._then(branch, answer, [], now)
            case ForkTo(groups) if not (branch.is_cancelled or fork.is_answered):

                def gathered(found: Groups, at: float) -> None:
                    self._then(branch, response, found, at)

                fork.gather(groups, gathered, now)
            case _:
                self._then(branch, response, [], now)
