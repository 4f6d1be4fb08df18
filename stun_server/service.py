"""The STUN and TURN server as one machine: it answers, keeps allocations, and relays.

In production a relay plane treats the packets of open allocations and passes up the rest; the
events of :mod:`stun_server.events` keep the plane in step.  Without a plane nothing is missing.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import assert_never

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import (
    CloseSocket,
    Failure,
    OpenSocket,
    Path,
    RandomBytes,
    RequestId,
    Transmit,
    Transport,
)
from natkit.relay.rates import Rates
from natkit.stun.attributes import (
    Icmp,
    MobilityTicket,
    Software,
    UnknownAttributes,
)
from natkit.stun.message import Message
from natkit.stun.registry import (
    HEADER_LENGTH,
    TRANSACTION_ID_LENGTH,
    MessageClass,
    Method,
    StunError,
)
from natkit.turn.channel_data import ChannelData, is_channel_data
from stun_server.allocate import Allocate, Opening
from stun_server.allocation import Allocation
from stun_server.allocations import Allocations
from stun_server.alternates import Alternates
from stun_server.answers import ANSWER_LIFETIME, Answer
from stun_server.authentication import Claim, Credential, Proof
from stun_server.binding import binding
from stun_server.channel_bind import channel_bind
from stun_server.connect import Connecting
from stun_server.connection_bind import Binding
from stun_server.connection_events import ListenForPeers, Listening, Taken
from stun_server.create_permission import create_permission
from stun_server.events import (
    CloseReason,
    FindCredential,
    ServerEvent,
    TakeAllocation,
    TakeReservation,
)
from stun_server.greeting import Greeting
from stun_server.handover import Snapshot
from stun_server.mobility import Mobility, Taking
from stun_server.outcome import Outcome, Refusal, Success
from stun_server.pending import MAX_PENDING, Lookup, Pending, Waiting
from stun_server.plain_allocate import is_plain
from stun_server.realms import Realm, Realms
from stun_server.redeem import Redeeming
from stun_server.refresh import refresh
from stun_server.relaying import Relaying
from stun_server.responding import refused, response
from stun_server.revoke import revoke, revoke_connections
from stun_server.settings import Settings
from stun_server.sharer import Sharer
from stun_server.sharing import Sharing
from stun_server.strangers import Strangers
from stun_server.tcp_allocations import Concluded, TcpAllocations
from stun_server.understood import (
    TURN_REQUESTS,
    UNDERSTOOD,
    UNDERSTOOD_WITH_TOKEN,
    has_malformed_attribute,
)

ServerResult = Address | Path | Listening | Taken | Credential | Snapshot | None

_UDP = Transport.UDP


def _nobody(_realm: str, _username: str) -> None:
    return None


_Unfinished = Opening | Taking | Redeeming | Connecting | Binding


class Server(Sharer):
    """The machine; see :mod:`natkit.machine` for the contract.

    ``sharing`` is what it knows of other workers of this server; without it there are none.
    ``at_hand`` gives the credentials of a realm's username that the shell knows without looking
    anywhere; for whom it gives None, FindCredential asks.

    Results: an Address for OpenSocket, a Credential or None for FindCredential, a Snapshot for
    TakeAllocation, and what :mod:`stun_server.connection_events` says.  ``malformed``
    counts the messages that did not parse, and those with a malformed attribute, ``bindings`` the
    Binding requests; ``strangers`` are those who have no allocation, ``greeting`` answers the first
    requests of theirs for whoever has no time to ask the machine.  While ``is_draining`` no
    allocation is granted, and those that live go on.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        random: RandomBytes,
        unix_offset: float,
        sharing: Sharing | None = None,
        at_hand: Callable[[str, str], Credential | None] = _nobody,
    ) -> None:
        self.allocations = Allocations(settings, sharing)
        self.malformed = 0
        self.bindings = 0
        self.strangers = Strangers(settings, random)
        self.is_draining = False
        self._relaying = Relaying(self.allocations, random)
        self._unix_offset = unix_offset
        self._mobility = Mobility(settings, self.allocations, random)
        self._tcp = TcpAllocations(settings, self.allocations, random)
        self._allocate = Allocate(settings, self.allocations, random, self._mobility)
        self._at_hand = at_hand
        self._pending = Pending()
        self._adopt(settings)
        self.greeting = Greeting(
            self._realms, self.strangers, self.allocations.answers, self._pending
        )
        self._transmits: list[Transmit] = []
        self._events: deque[ServerEvent] = deque()

    def configure(self, settings: Settings, now: float) -> None:
        """Go by other settings from now on; no allocation ends.

        Nonces that were given for what is offered no more are stale.  Permissions and channels to
        peers that are refused now are dropped.
        """
        self.handle_timer(now)
        self.strangers.configure(settings)
        self.allocations.configure(settings)
        self._allocate.configure(settings)
        self._tcp.configure(settings)
        self._adopt(settings)
        self.greeting.realms = self._realms
        relaying = self.allocations.relayed_hosts()
        for allocation in self.allocations:
            policy = self._realms.named(allocation.credential.realm).policy
            self._events += revoke(allocation, self.allocations, policy, relaying, now)
            self._events += revoke_connections(allocation, self.allocations, policy)

    def _adopt(self, settings: Settings) -> None:
        self._settings = settings
        self._listeners = frozenset(settings.listeners)
        self._others = settings.other_listeners()
        self._realms = Realms(settings, self._unix_offset)
        self._alternates = Alternates(settings)
        self._software = (Software(settings.software),) if settings.software else ()

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram on a listener or a relayed address, or a message of a client's stream."""
        self.handle_timer(now)
        if path.transport is _UDP and path.local not in self._listeners:
            self._relay(self._relaying.peer_data(data, path, now))
            return
        # Where there is a choice of realms, its ORIGIN must be read.
        if self._realms.is_one and is_plain(data):
            if self._hears(path, now):
                self._receive_plain_allocate(data, path, now)
            return
        try:
            if is_channel_data(data):
                allocation = self.allocations.of_client(path)
                if allocation is not None:
                    channel_data = ChannelData.parse(data)
                    self._events += self._mobility.used(allocation, path)
                    self._relay(self._relaying.channel_data(channel_data, allocation, now))
                return
            if not self._hears(path, now):
                return
            message = Message.parse(data, allow_classic=True, keep_malformed=True)
        except MalformedMessage:
            self.malformed += 1
            return
        self._dispatch(message, path, len(data), now)

    def _dispatch(self, message: Message, path: Path, size: int, now: float) -> None:
        message = self.allocations.external.meant(message)
        malformed = has_malformed_attribute(message)
        self.malformed += malformed
        match message.message_class:
            case MessageClass.REQUEST:
                self._receive_request(message, path, size, now, malformed=malformed)
            case MessageClass.INDICATION:
                if malformed:
                    return
                self._receive_indication(message, path, now)
            case MessageClass.SUCCESS_RESPONSE | MessageClass.ERROR_RESPONSE:
                # RFC 8489 §6.3: no transaction of ours is in progress.
                pass
            case _:
                assert_never(message.message_class)

    def icmp_received(self, icmp: Icmp, path: Path, now: float) -> None:
        """An ICMP error met what left a relayed address, ``path.local``, for ``path.remote``."""
        self.handle_timer(now)
        self._relay(self._relaying.icmp(icmp, path, now))

    def disconnected(self, path: Path, now: float) -> None:
        """A client's connection ended; so does its allocation, unless it can move."""
        self.handle_timer(now)
        self._forget_requests(path)
        self._events += self._tcp.ended(path)
        allocation = self.allocations.of_client(path)
        if allocation is not None:
            self._events += self._mobility.disconnected(allocation, path, now)
        else:
            self._mobility.ended(path)

    def accepted(self, path: Path, now: float) -> None:
        """A peer connected to a relayed address, where ListenForPeers was asked for."""
        self.handle_timer(now)
        allocation = self.allocations.of_tcp_relayed(path.local)
        realm = self._realms.named("" if allocation is None else allocation.credential.realm)
        indication, events = self._tcp.accepted(path, realm.settings, now)
        self._relay(indication)
        self._events += events

    def answer(self, request_id: RequestId, result: ServerResult | Failure, now: float) -> None:
        """The shell opened a socket or looked up a credential, or could not."""
        self.handle_timer(now)
        kept = self._pending.kept.get(request_id)
        pending = kept.waiting if kept is not None else None
        match pending:
            case None:
                self._answered_alone(request_id, result, now)
            case Lookup():
                if not isinstance(result, Credential | Failure | None):
                    raise MisuseError("FindCredential is answered by a Credential or None")
                self._pending.take(request_id)
                self._found(pending, result, now)
            case Opening():
                if isinstance(result, Listening):
                    result = result.local
                elif not isinstance(result, Address) and not isinstance(result, Failure):
                    raise MisuseError("OpenSocket is answered by an Address or a Failure")
                self._pending.take(request_id)
                self._opened(pending, result, now)
            case Taking():
                if not isinstance(result, Snapshot | Failure):
                    raise MisuseError("TakeAllocation is answered by a Snapshot or a Failure")
                self._pending.take(request_id)
                outcome = self._mobility.taken(pending, result, now)
                self._respond(pending.request, pending.path, pending.proof, outcome, now)
            case Redeeming():
                if not isinstance(result, Address | Failure):
                    raise MisuseError("TakeReservation is answered by an Address or a Failure")
                self._pending.take(request_id)
                outcome = self._allocate.redeemed(pending, result, now)
                self._respond(pending.request, pending.path, pending.proof, outcome, now)
            case _:
                assert_never(pending)

    def handle_timer(self, now: float) -> None:
        """End what has expired, and the waiting for a shell that does not answer."""
        if self._pending.kept:
            self._lose_patience(now)
        if self._tcp.may_be_overdue(now):
            for concluded in self._tcp.overdue(now):
                self._respond(*concluded, now)
        if self.allocations.may_expire(now):
            self._events += self.allocations.close_expired(now)

    def _lose_patience(self, now: float) -> None:
        while (pending := self._pending.take_overdue(now)) is not None:
            self._abandon(pending)
            refusal = Refusal(StunError.SERVER_ERROR, "no answer from the shell in time")
            proof = None if isinstance(pending, Lookup) else pending.proof
            self._respond(pending.request, pending.path, proof, refusal, now)

    def end(self, allocation_id: int, now: float) -> bool:
        """End an allocation because the operator says so; False when it is not there."""
        for allocation in self.allocations:
            if allocation.allocation_id == allocation_id:
                self._events += self.allocations.close(allocation, CloseReason.ENDED, now)
                return True
        return False

    def next_deadline(self) -> float | None:
        """When something expires next."""
        deadline = self.allocations.next_deadline()
        for other in (self._tcp.next_deadline(), self._pending.next_deadline()):
            if other is not None and (deadline is None or other < deadline):
                deadline = other
        return deadline

    def transmits(self) -> Sequence[Transmit]:
        """Take everything that is to be sent."""
        taken, self._transmits = self._transmits, []
        return taken

    def next_event(self) -> ServerEvent | None:
        """Take the next event."""
        return self._events.popleft() if self._events else None

    def rates(self, allocation_id: int) -> Rates | None:
        """The buckets that an allocation's data goes through, for the plane to share; or None."""
        allocation = self.allocations.of_id(allocation_id)
        return allocation.rates if allocation is not None else None

    def _hears(self, path: Path, now: float) -> bool:
        return self.allocations.of_client(path) is not None or self.strangers.hears(path, now)

    def _relay(self, transmit: Transmit | None) -> None:
        if transmit is not None:
            self._transmits.append(transmit)

    def _receive_indication(self, message: Message, path: Path, now: float) -> None:
        # RFC 8656 §5: without an allocation an indication is ignored; so is one with attributes
        # that must be understood and are not (RFC 8489 §6.3.2).
        allocation = self.allocations.of_client(path)
        if (
            message.method == Method.SEND
            and not message.is_classic
            and allocation is not None
            and not message.unknown_required(UNDERSTOOD)
        ):
            self._events += self._mobility.used(allocation, path)
            self._relay(self._relaying.send(message, allocation, self._settings, now))

    def _receive_request(
        self, request: Message, path: Path, size: int, now: float, *, malformed: bool
    ) -> None:
        if request.is_classic and path.transport is Transport.DTLS:
            # RFC 8489 §11: RFC 3489 and DTLS never go together.
            refusal = Refusal(StunError.SERVER_ERROR, "a request of RFC 3489 over DTLS")
            self._respond(request, path, None, refusal, now, unproven=size)
            return
        if request.method == Method.BINDING:
            if not malformed:
                self.bindings += 1
                outcome, back = binding(request, path, self._others)
                self._respond(request, back, None, outcome, now, unproven=size)
            return
        # RFC 8489 §6.3: other methods are not supported, RFC 3489 has none of TURN's.
        if request.method not in TURN_REQUESTS or request.is_classic:
            return
        allocation = self.allocations.of_client(path)
        if self._is_repeated(request.transaction_id, path, allocation, now):
            return
        # RFC 8656 §5, §7.2 step 1
        owner = self._mobility.meant(request) or allocation
        realm = self._realm_of(request, path, owner)
        claim = realm.authentication.claim(request, path, now)
        if isinstance(claim, Refusal):
            if not malformed:
                self._respond(request, path, None, claim, now, unproven=size)
            return
        if allocation is None:
            # Its nonce shows that it receives at its address.
            self.strangers.has_proven_itself(path, size, now)
        lookup = Lookup(request, path, claim, realm, malformed)
        credential = self._known(claim, realm, owner)
        if credential is not None:
            self._found(lookup, credential, now)
        elif len(self._pending.kept) < MAX_PENDING:
            request_id = self._pending.add(lookup, now)
            self._events.append(
                FindCredential(request_id, realm.name, claim.username, claim.userhash)
            )

    def _realm_of(self, request: Message, path: Path, allocation: Allocation | None) -> Realm:
        if allocation is not None:
            return self._realms.named(allocation.credential.realm)
        return self._realms.of_request(request, path)

    def _known(
        self, claim: Claim, realm: Realm, allocation: Allocation | None
    ) -> Credential | None:
        """The credential that a claim needs, if nobody has to be asked."""
        if claim.token is not None:
            return claim.token
        if allocation is not None and realm.authentication.names(claim, allocation.credential):
            return allocation.credential
        if claim.username is not None:
            return self._at_hand(realm.name, claim.username)
        return None

    def _receive_plain_allocate(self, data: bytes, path: Path, now: float) -> None:
        """What :meth:`_receive_request` does with an Allocate that has no credentials."""
        allocation = self.allocations.of_client(path)
        transaction_id = data[HEADER_LENGTH - TRANSACTION_ID_LENGTH : HEADER_LENGTH]
        if self._is_repeated(transaction_id, path, allocation, now):
            return
        challenge = self._realms.default.authentication.plain_challenge(data, path, now)
        if allocation is not None or self.strangers.may_be_answered(
            path, len(data), len(challenge), now
        ):
            self._transmits.append(Transmit(challenge, path))

    def _is_repeated(
        self, transaction_id: bytes, path: Path, allocation: Allocation | None, now: float
    ) -> bool:
        """Whether this is a retransmission, answered again or about to be (RFC 8489 §6.3.1)."""
        if self._pending.kept and self._pending.has(path, transaction_id):
            return True
        if path.transport.is_reliable:
            return False
        kept = allocation.answers if allocation is not None else None
        data = self.allocations.answers.find(path, transaction_id, kept, now)
        if data is None:
            return False
        self._transmits.append(Transmit(data, path))
        return True

    def _found(self, lookup: Lookup, result: Credential | Failure | None, now: float) -> None:
        request, path = lookup.request, lookup.path
        if isinstance(result, Failure):
            refusal = Refusal(StunError.SERVER_ERROR, result.reason)
            self._respond(request, path, None, refusal, now)
            return
        proof = lookup.realm.authentication.prove(request, lookup.claim, result, path, now)
        if isinstance(proof, Refusal):
            if not lookup.malformed:
                self._respond(request, path, None, proof, now)
            return
        # RFC 8489 §6.3.1
        unknown = request.unknown_required(
            UNDERSTOOD if lookup.claim.token is None else UNDERSTOOD_WITH_TOKEN
        )
        if lookup.malformed:
            # RFC 8656 §7.2 step 3, §10.2; only a user is told, strangers' garbage is dropped.
            outcome: _Unfinished | Outcome = Refusal(StunError.BAD_REQUEST, "a malformed attribute")
        elif unknown:
            outcome = Refusal(
                StunError.UNKNOWN_ATTRIBUTE, "unknown attributes", (UnknownAttributes(unknown),)
            )
        elif request.method == Method.ALLOCATE:
            outcome = self._begin_allocate(request, path, proof, now)
        else:
            outcome = self._handle(request, path, proof, now)
        self._conclude(outcome, request, path, proof, now)

    def _begin_allocate(
        self, request: Message, path: Path, proof: Proof, now: float
    ) -> Opening | Redeeming | Outcome:
        # RFC 8656 §7.2 step 2
        if self.allocations.of_client(path) is not None or path in self._pending.opening:
            return Refusal(StunError.ALLOCATION_MISMATCH, "the 5-tuple has an allocation")
        elsewhere = self._alternates.refusal(
            path, proof, len(self.allocations), draining=self.is_draining
        )
        if elsewhere is not None:
            return elsewhere
        if self.is_draining:
            return Refusal(StunError.INSUFFICIENT_CAPACITY, "the server grants no more allocations")
        if len(self._pending.kept) >= MAX_PENDING:
            return Refusal(StunError.INSUFFICIENT_CAPACITY, "too many sockets are being opened")
        return self._allocate.begin(request, path, proof, now)

    def _handle(
        self, request: Message, path: Path, proof: Proof, now: float
    ) -> _Unfinished | Outcome:
        if request.method == Method.CONNECTION_BIND:
            if path in self._pending.opening:
                return Refusal(StunError.BAD_REQUEST, "the connection waits for an allocation")
            return self._tcp.bind(request, path, proof)
        if request.method == Method.REFRESH and request.get(MobilityTicket) is not None:
            if path in self._pending.opening:
                return Refusal(StunError.ALLOCATION_MISMATCH, "the 5-tuple waits for an allocation")
            if len(self._pending.kept) >= MAX_PENDING:
                return Refusal(StunError.INSUFFICIENT_CAPACITY, "too much waits for the shell")
            return self._mobility.refresh(request, path, proof, now)
        # RFC 8656 §5
        allocations = self.allocations
        allocation = allocations.of_client(path)
        if allocation is None:
            return Refusal(StunError.ALLOCATION_MISMATCH, "the 5-tuple has no allocation")
        if not proof.credential.owns_what_was_opened_by(allocation.credential):
            return Refusal(StunError.WRONG_CREDENTIALS, "the allocation is of another user")
        if proof.credential.mac_key is not None:
            # RFC 7635 §9: a newer token takes the place of the one before.
            allocation.credential = proof.credential.succeeding(allocation.credential)
        realm, policy = proof.realm, self._realms.named(allocation.credential.realm).policy
        if request.method == Method.REFRESH:
            self._events += self._mobility.used(allocation, path)
            return refresh(request, allocation, allocations, realm, now)
        if request.method == Method.CREATE_PERMISSION:
            return create_permission(request, allocation, allocations, policy, realm, now)
        if request.method == Method.CONNECT:
            return self._tcp.connect(request, proof, allocation, policy)
        return channel_bind(request, allocation, allocations, policy, realm, now)

    def _opened(self, opening: Opening, result: Address | Failure, now: float) -> None:
        spare, outcome = self._allocate.opened(opening, result, now)
        if spare is not None:
            self._events.append(spare)
        self._conclude(outcome, opening.request, opening.path, opening.proof, now)

    def _conclude(
        self,
        outcome: _Unfinished | Outcome,
        request: Message,
        path: Path,
        proof: Proof,
        now: float,
    ) -> None:
        match outcome:
            case Success() | Refusal():
                self._respond(request, path, proof, outcome, now)
            case Opening(wanted=wanted, peers=peers):
                asking = ListenForPeers if peers is Transport.TCP else OpenSocket
                self._events.append(asking(self._pending.add(outcome, now), wanted))
            case Taking(owner=owner, ticket=ticket):
                account = proof.credential.account
                self._events.append(
                    TakeAllocation(self._pending.add(outcome, now), owner, ticket, *account)
                )
            case Redeeming(owner=owner, token=token, may_count=may_count):
                account = proof.credential.account
                request_id = self._pending.add(outcome, now)
                self._events.append(TakeReservation(request_id, owner, token, *account, may_count))
            case Connecting() | Binding():
                self._events.append(self._tcp.wait(self._pending.next_id(), outcome, now))
            case _:
                assert_never(outcome)

    def _answered_alone(
        self, request_id: RequestId, result: ServerResult | Failure, now: float
    ) -> None:
        """The answer to what waits for a connection, or one that came too late."""
        match result:
            case Address():
                self._events.append(CloseSocket(result))
            case Snapshot():
                self._events += map(CloseSocket, result.relayed_addresses)
            case Path() | Listening() | Taken() | Failure():
                concluded = self._tcp.answered(request_id, result, now)
                if isinstance(concluded, Concluded):
                    self._respond(*concluded, now)
                else:
                    self._events += concluded

    def _respond(
        self,
        request: Message,
        path: Path,
        proof: Proof | None,
        outcome: Outcome,
        now: float,
        *,
        unproven: int | None = None,
    ) -> None:
        """Send the answer, and remember it if the request was authenticated.

        ``unproven`` is the size of a request of which nobody knows whether its source is forged.
        """
        if request.method == Method.CONNECTION_BIND and isinstance(outcome, Success):
            # What else was asked for there is answered no more: it would be data.
            self._forget_requests(path)
        allocation = self.allocations.of_client(path)
        attributes = self.allocations.external.shown(outcome.attributes)
        if proof is not None and request.method in (Method.ALLOCATE, Method.REFRESH):
            attributes += self._software
        data = response(request, outcome, attributes, proof)
        if (
            unproven is not None
            and allocation is None
            and not self.strangers.may_be_answered(path, unproven, len(data), now)
        ):
            return
        refusal = refused(request, path, outcome, proof)
        if refusal is not None:
            self._events.append(refusal)
        self._transmits.append(Transmit(data, path))
        self._events += outcome.events
        if proof is not None and not path.transport.is_reliable:
            answer = Answer(request.transaction_id, data, now + ANSWER_LIFETIME)
            kept = allocation.answers if allocation is not None else None
            self.allocations.answers.remember(path, answer, kept)

    def _forget_requests(self, path: Path) -> None:
        """Forget the requests of ``path`` that wait."""
        for pending in self._pending.take_all_of(path):
            self._abandon(pending)
        self._tcp.forget(path)

    def _abandon(self, pending: Waiting) -> None:
        """Give back what a request that waited holds."""
        if isinstance(pending, Opening):
            spare = self._allocate.abandon(pending)
            if spare is not None:
                self._events.append(spare)
