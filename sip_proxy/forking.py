"""The response context: one request, the branches it was forked to, what came back (§16.7)."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from natkit.locate import Target as Server
from natkit.machine import Path
from natkit.sip import AbsoluteUri, Request, Response, SipUri, TelUri
from natkit.sip.transactions import TransactionId
from sip_proxy.choosing import best_of, with_all_challenges
from sip_proxy.desk import Incoming
from sip_proxy.gateways import Seat
from sip_proxy.hooks import Target
from sip_proxy.targets import Contact
from sipdns.failover import Failover

__all__ = ["Branch", "BranchState", "Fork"]


class BranchState(Enum):
    """How far a branch is."""

    SEEKING = auto()
    """Its servers are looked up, or a connection is made."""
    CALLING = auto()
    PROCEEDING = auto()
    """A provisional response came: it can be cancelled (§9.1)."""
    DECIDING = auto()
    """It failed, and a hook says what becomes of it."""
    OVER = auto()


@dataclass(slots=True, eq=False)
class Branch:
    """One target of a fork, tried on one server after the other (RFC 3263 §4.3).

    ``failover`` has the servers of its next hop, None while it goes by a flow; ``fallback`` is the
    server to go on with by UDP when it refuses TCP.  ``others`` are tried when the contact fails.
    ``transaction`` is the last of those that it had: one before it, which took too long, may yet be
    answered.  ``seat`` is its place at a gateway.
    """

    fork: "Fork"
    contact: Contact
    request: Request
    next_hop: SipUri | TelUri | AbsoluteUri
    state: BranchState = BranchState.SEEKING
    failover: Failover[Server] | None = None
    fallback: Server | None = None
    others: deque[Contact] = field(default_factory=deque)
    path: Path | None = None
    transaction: TransactionId | None = None
    response: Response | None = None
    is_cancelled: bool = False
    seat: Seat | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be expected of it."""
        return self.state is BranchState.OVER

    @property
    def contact_text(self) -> str:
        """The URI of its target."""
        return str(self.contact.uri)

    @property
    def has_alternative(self) -> bool:
        """Whether another server or contact is left to try."""
        more_servers = self.failover is not None and self.failover.has_more
        return more_servers or bool(self.others)

    def finish(self, response: Response | None) -> None:
        """It ended with this final response, or without any."""
        self.state = BranchState.OVER
        self.response = response
        if self.failover is not None:
            self.failover.abandon()  # harmless where the server's part is known


Gather = Callable[
    [Sequence[Sequence[Target]], Callable[[list[list[Contact]], float], None], float], None
]


class Fork:
    """A request that is forwarded, its groups of targets still to try, and its branches."""

    def __init__(self, incoming: Incoming, request: Request, breadth: int, gather: Gather) -> None:
        self.incoming = incoming
        self.request = request
        self.breadth = breadth
        self.gather = gather
        """Finds the contacts of targets that a hook names."""
        self.groups: deque[list[Contact]] = deque()
        self.branches: list[Branch] = []
        self.tried: set[str] = set()
        self.is_answered = False
        """Its final response has been chosen; of an INVITE more 2xx may follow."""
        self.is_cancelled = False
        self.has_final = False
        """A final response has gone back."""
        self.returning: deque[Response] = deque()
        """Responses that wait for their hook."""
        self.verdict: Response | None = None
        """What is answered whatever the branches bring: a hook failed."""

    @property
    def is_invite(self) -> bool:
        """Whether its branches can be cancelled and have timer C."""
        return self.request.method == "INVITE"

    @property
    def pending(self) -> list[Branch]:
        """The branches that are not over."""
        return [branch for branch in self.branches if not branch.is_over]

    def add(
        self, contact: Contact, request: Request, next_hop: SipUri | TelUri | AbsoluteUri
    ) -> Branch:
        """A new branch: the request as it leaves, and the URI of whom to send it to."""
        branch = Branch(self, contact, request, next_hop)
        branch.others.extend(contact.others)
        self.branches.append(branch)
        return branch

    def best(self) -> Response | None:
        """The final response of all branches that is to be passed on (§16.7 steps 6 and 7)."""
        responses = [branch.response for branch in self.branches if branch.response is not None]
        chosen = best_of(responses)
        return None if chosen is None else with_all_challenges(chosen, responses)

    def has_global_failure(self) -> bool:
        """Whether a 6xx came: nobody else is to be asked (§16.7 step 5)."""
        return any(
            branch.response is not None and branch.response.status >= 600
            for branch in self.branches
        )
