"""Mobility: a client takes its allocation along to another address (RFC 8016).

Make before break: a Refresh with a ticket announces the new 5-tuple, and the old one goes on until
the client uses the new one, so that nothing is lost on the way.
"""

from dataclasses import dataclass
from typing import NamedTuple

from natkit.machine import CloseSocket, Failure, Path, RandomBytes
from natkit.stun.attributes import Attribute, Lifetime, MobilityTicket
from natkit.stun.message import Message
from natkit.stun.registry import Method, StunError
from stun_server.allocation import Allocation
from stun_server.allocations import Allocations
from stun_server.authentication import Account, Proof
from stun_server.events import (
    AllocationDetached,
    AllocationGivenAway,
    AllocationMoved,
    ClientExpected,
    ClientUnexpected,
    CloseReason,
    ServerEvent,
)
from stun_server.handover import Snapshot, adopt, all_of
from stun_server.outcome import Outcome, Refusal, Success
from stun_server.refresh import refresh
from stun_server.settings import Settings
from stun_server.tickets import Mobile, Ticket, Tickets

DETACHED_LIFETIME = 120.0
"""Seconds that an allocation waits, at most, for a client whose connection ended: long enough to
find another network; one on UDP would be kept as long as it was granted."""


_FORBIDDEN = Refusal(StunError.MOBILITY_FORBIDDEN, "policy.mobility is off")


@dataclass(slots=True, eq=False)
class Taking:
    """A Refresh whose allocation another worker has, while that worker is asked for it."""

    request: Message
    path: Path
    proof: Proof
    owner: int
    ticket: bytes


class Arrival(NamedTuple):
    """A ticket, what it says, and the allocation here that it is good for, if there is one."""

    value: bytes
    ticket: Ticket
    allocation: Allocation | None


class Mobility:
    """Gives tickets out, takes them back, and moves allocations."""

    def __init__(self, settings: Settings, allocations: Allocations, random: RandomBytes) -> None:
        self._worker = settings.worker
        self._allocations = allocations
        self._tickets = Tickets(settings.nonce_key, settings.worker, random)
        # By the tickets that they were given for, until the other worker has them.
        self._leaving: dict[bytes, Allocation] = {}

    # ── Allocate (RFC 8016 §3.1.2) ──────────────────────────────────────────────────────────────

    @staticmethod
    def allocate_refusal(request: Message, realm: Settings) -> Refusal | None:
        """Why an Allocate cannot be granted because of its MOBILITY-TICKET, if so."""
        asked = request.get(MobilityTicket)
        if asked is None:
            return None
        if asked.value:
            return Refusal(StunError.BAD_REQUEST, "a mobility ticket in Allocate")
        return None if realm.mobility else _FORBIDDEN

    def grant(self, request: Message, allocation: Allocation) -> tuple[Attribute, ...]:
        """The ticket of a new allocation, if its client asked for one."""
        if request.get(MobilityTicket) is None:
            return ()
        ticket = self._tickets.make(allocation.allocation_id)
        allocation.mobile = Mobile(ticket)
        return (MobilityTicket(ticket),)

    # ── Refresh (RFC 8016 §3.2.2) ───────────────────────────────────────────────────────────────

    def meant(self, request: Message) -> Allocation | None:
        """The allocation here that the ticket of a Refresh is good for."""
        if request.method != Method.REFRESH:
            return None
        given = request.get(MobilityTicket)
        arrival = self._arrival(given.value) if given is not None else None
        return arrival.allocation if arrival is not None else None

    def _arrival(self, value: bytes) -> Arrival | None:
        ticket = self._tickets.read(value)
        if ticket is None:
            return None
        if ticket.worker != self._worker:
            return Arrival(value, ticket, None)
        allocation = self._allocations.of_id(ticket.allocation_id)
        if allocation is None or allocation.mobile is None:
            return Arrival(value, ticket, None)
        # A ticket that another one superseded names nothing any more.
        good = value in (allocation.mobile.ticket, allocation.mobile.previous)
        return Arrival(value, ticket, allocation if good else None)

    def refresh(self, request: Message, path: Path, proof: Proof, now: float) -> Taking | Outcome:
        """Announce ``path`` as the allocation's next, and give the client its next ticket."""
        if not proof.realm.mobility:
            return _FORBIDDEN
        given = request.get(MobilityTicket)
        arrival = self._arrival(given.value) if given is not None else None
        if arrival is None:
            return Refusal(StunError.BAD_REQUEST, "no mobility ticket of this server")
        lifetime = request.get(Lifetime)
        if lifetime is not None and lifetime.seconds == 0:
            # RFC 8016 §3.2.1: a deletion carries none.
            return Refusal(StunError.BAD_REQUEST, "a deletion with a mobility ticket")
        at_path = self._allocations.of_client(path)
        value, ticket, allocation = arrival
        if at_path is not None and at_path is not allocation:
            return Refusal(StunError.ALLOCATION_MISMATCH, "the 5-tuple has an allocation")
        mobile = allocation.mobile if allocation is not None else None
        if allocation is None or mobile is None:
            if ticket.worker != self._worker:
                return Taking(request, path, proof, ticket.worker, value)
            return Refusal(StunError.ALLOCATION_MISMATCH, "the mobility ticket is of the past")
        if path == allocation.client and not mobile.detached:
            return Refusal(StunError.BAD_REQUEST, "a mobility ticket without a move")
        if not proof.credential.owns_what_was_opened_by(allocation.credential):
            return Refusal(StunError.WRONG_CREDENTIALS, "the allocation is of another user")
        if proof.credential.mac_key is not None:
            allocation.credential = proof.credential.succeeding(allocation.credential)
        outcome = refresh(request, allocation, self._allocations, proof.realm, now)
        if isinstance(outcome, Refusal):
            return outcome
        events = outcome.events + self._announce(allocation, mobile, path)
        mobile.previous = value
        mobile.ticket = self._tickets.make(allocation.allocation_id, instead_of=value)
        if mobile.detached:
            # Nothing is left that could go on meanwhile.
            events += self.confirm(allocation)
        return Success((*outcome.attributes, MobilityTicket(mobile.ticket)), events)

    def _announce(
        self, allocation: Allocation, mobile: Mobile, path: Path
    ) -> tuple[ServerEvent, ...]:
        events: tuple[ServerEvent, ...] = ()
        if mobile.arriving is not None and mobile.arriving != path:
            events += self._withdraw(allocation, mobile, mobile.arriving)
        if mobile.arriving is None:
            mobile.arriving = path
            self._allocations.reach(allocation, path)
            events += (ClientExpected(allocation.allocation_id, path),)
        return events

    def confirm(self, allocation: Allocation) -> tuple[ServerEvent, ...]:
        """The client is there: its old 5-tuple and its old ticket are done with."""
        mobile = allocation.mobile
        if mobile is None or mobile.arriving is None:
            return ()
        before, allocation.client = allocation.client, mobile.arriving
        if before != allocation.client:
            self._allocations.unreach(allocation, before)
        mobile.arriving = mobile.previous = None
        mobile.detached = False
        return (AllocationMoved(allocation.allocation_id, before, allocation.client),)

    def used(self, allocation: Allocation, path: Path) -> tuple[ServerEvent, ...]:
        """Data, or an ordinary Refresh, came from an allocation's client on ``path``.

        RFC 8016 §3.2.2 counts data alone.  A client that only listens has no other way to say that
        it is there than to refresh without a ticket.
        """
        mobile = allocation.mobile
        if mobile is None or mobile.arriving != path:
            return ()
        return self.confirm(allocation)

    # ── other workers ───────────────────────────────────────────────────────────────────────────

    def give_away(
        self, ticket: bytes, account: Account, now: float
    ) -> tuple[Snapshot, AllocationGivenAway] | None:
        """Let another worker go on with the allocation that ``ticket`` is good for.

        It may be had back until :meth:`concluded`.
        """
        arrival = self._arrival(ticket)
        allocation = arrival.allocation if arrival is not None else None
        if allocation is None or allocation.credential.account != account:
            return None
        self._allocations.forget(allocation, now)
        if allocation.mobile is not None:
            allocation.mobile.arriving = None
        self._leaving[ticket] = allocation
        return Snapshot.of(allocation), AllocationGivenAway(
            allocation.allocation_id, allocation.client, allocation.relayed_addresses
        )

    def concluded(self, ticket: bytes, *, taken: bool) -> tuple[ServerEvent, ...]:
        """The other worker has it, or has it not: then it goes on here as if nothing had been.

        Unless its client has made another one meanwhile: that is the end of it.
        """
        allocation = self._leaving.pop(ticket, None)
        if allocation is None or taken:
            return ()
        if self._allocations.of_client(allocation.client) is not None:
            return tuple(map(CloseSocket, allocation.relayed_addresses))
        self._allocations.restore(allocation)
        return tuple(all_of(allocation))

    def taken(self, taking: Taking, result: Snapshot | Failure, now: float) -> Outcome:
        """Take the outcome of asking for an allocation: go on with it, at its client's new path."""
        if isinstance(result, Failure):
            return Refusal(StunError.ALLOCATION_MISMATCH, result.reason)
        if self._allocations.of_client(taking.path) is not None:
            # Of a request on the same path that was quicker.
            closed = tuple(map(CloseSocket, result.relayed_addresses))
            return Refusal(
                StunError.ALLOCATION_MISMATCH, "the 5-tuple has an allocation", events=closed
            )
        allocation, events = adopt(result, taking.path, self._allocations)
        allocation.mobile = Mobile(self._tickets.make(allocation.allocation_id))
        outcome = refresh(taking.request, allocation, self._allocations, taking.proof.realm, now)
        if isinstance(outcome, Refusal):
            # Its family is another than the request's; what was moved stays.
            return outcome._replace(events=events)
        ticket = MobilityTicket(allocation.mobile.ticket)
        return Success((*outcome.attributes, ticket), events + outcome.events)

    # ── connections that end ────────────────────────────────────────────────────────────────────

    def disconnected(
        self, allocation: Allocation, path: Path, now: float
    ) -> tuple[ServerEvent, ...]:
        """A client's connection ended: its allocation stays for a client that can move."""
        mobile = allocation.mobile
        if mobile is None:
            return self._allocations.close(allocation, CloseReason.DISCONNECTED, now)
        if mobile.arriving == path:
            return self._withdraw(allocation, mobile, path)
        if mobile.arriving is not None:
            # RFC 8016 §3.2.2: the end of the old connection confirms the new one.
            return self.confirm(allocation)
        self._allocations.unreach(allocation, path)
        mobile.detached = True
        until = now + DETACHED_LIFETIME
        shortened = self._allocations.shorten(allocation, until)
        return AllocationDetached(allocation.allocation_id, path), *shortened

    def ended(self, path: Path) -> None:
        """A connection ended whose allocation may be on its way to another worker."""
        for allocation in self._leaving.values():
            if allocation.client == path and allocation.mobile is not None:
                allocation.mobile.detached = True

    def _withdraw(
        self, allocation: Allocation, mobile: Mobile, path: Path
    ) -> tuple[ServerEvent, ...]:
        """The client will not come on ``path``."""
        mobile.arriving = None
        self._allocations.unreach(allocation, path)
        return (ClientUnexpected(allocation.allocation_id, path),)
