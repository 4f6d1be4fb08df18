"""Allocate: a relayed address for a client (RFC 8656 §7.2).

An Allocate that passes its checks becomes an :class:`Opening`, which asks for sockets until one is
bound, or two next to each other, or too many ports were in use.
"""

from dataclasses import dataclass, field

from natkit.address import Address, Family
from natkit.machine import CloseSocket, Failure, Path, RandomBytes
from natkit.stun.attributes import (
    Attribute,
    DontFragment,
    EvenPort,
    Lifetime,
    RequestedAddressFamily,
    RequestedTransport,
    ReservationToken,
    UnknownAttributes,
    XorMappedAddress,
    XorRelayedAddress,
)
from natkit.stun.attributes.turn import RESERVATION_TOKEN_LENGTH
from natkit.stun.message import Message
from natkit.stun.registry import UDP_PROTOCOL, AttributeType, StunError
from stun_server.allocations import Allocations
from stun_server.authentication import Proof
from stun_server.events import AllocationOpened
from stun_server.mobility import Mobility
from stun_server.outcome import Outcome, Refusal, Success
from stun_server.ports import PortChooser
from stun_server.refresh import desired_lifetime
from stun_server.settings import Settings

# Ports that others on this host may hold before the request is refused: each try is a system call.
MAX_TRIES = 16


@dataclass(slots=True, eq=False)
class Opening:
    """An Allocate that waits for its socket, the next one at ``wanted``.

    ``first``: the even port of a pair that is bound already.
    """

    request: Message
    path: Path
    proof: Proof
    host: str
    even: bool
    pair: bool
    wanted: Address = field(init=False)
    tries: int = 1
    first: Address | None = None
    tried: set[int] = field(default_factory=set)


class Allocate:
    """Handles Allocate requests; the port of a relayed address is drawn by ``random``."""

    def __init__(
        self,
        settings: Settings,
        allocations: Allocations,
        random: RandomBytes,
        mobility: Mobility,
    ) -> None:
        self._allocations = allocations
        self._random = random
        self._mobility = mobility
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings
        self._ports = PortChooser(settings.relay_ports, self._random)

    def begin(self, request: Message, path: Path, proof: Proof, now: float) -> Opening | Outcome:
        """Take the checks of RFC 8656 §7.2 for an authenticated request without allocation.

        Steps 1 and 2 are the dispatcher's: it knows users and 5-tuples.
        """
        account = proof.credential.account
        # RFC 8656 §7.2 step 3
        transport = request.get(RequestedTransport)
        if transport is None:
            return Refusal(StunError.BAD_REQUEST, "no REQUESTED-TRANSPORT")
        if transport.protocol != UDP_PROTOCOL:
            return Refusal(
                StunError.UNSUPPORTED_TRANSPORT_PROTOCOL, f"protocol {transport.protocol}"
            )
        # Step 4
        if request.get(DontFragment) is not None and not self._settings.dont_fragment:
            return Refusal(
                StunError.UNKNOWN_ATTRIBUTE,
                "DONT-FRAGMENT",
                (UnknownAttributes((AttributeType.DONT_FRAGMENT,)),),
            )
        immobile = self._mobility.allocate_refusal(request, proof.realm)
        if immobile is not None:
            return immobile
        # Step 5.  ADDITIONAL-ADDRESS-FAMILY is comprehension-optional and not understood, here as
        # in steps 6, 8 and 9: the client gets one address and sees that it is one.
        token = request.get(ReservationToken)
        even_port = request.get(EvenPort)
        wanted_family = request.get(RequestedAddressFamily)
        if token is not None:
            if even_port is not None or wanted_family is not None:
                return Refusal(
                    StunError.BAD_REQUEST, "RESERVATION-TOKEN with EVEN-PORT or an address family"
                )
            return self._use_reservation(token.value, request, path, proof, now)
        # Step 7
        family = wanted_family.family if wanted_family is not None else Family.IPV4
        host = self._settings.relay_host(family, path.local)
        if host is None:
            return Refusal(
                StunError.ADDRESS_FAMILY_NOT_SUPPORTED, f"no relayed address of family {family}"
            )
        # Step 10.  A second port that is kept for later counts as well.
        pair = even_port is not None and even_port.reserve_next
        count = 2 if pair else 1
        refusal = self._allocations.quota_refusal(account, count, in_all=count, limits=proof.realm)
        if refusal is not None:
            return refusal
        # Step 8
        opening = Opening(request, path, proof, host, even=even_port is not None, pair=pair)
        if not self._choose_port(opening):
            return Refusal(StunError.INSUFFICIENT_CAPACITY, "no free relay port")
        self._allocations.hold(account, count)
        return opening

    def opened(
        self, opening: Opening, result: Address | Failure, now: float
    ) -> tuple[CloseSocket | None, Opening | Outcome]:
        """Take the outcome of asking for ``opening.wanted``: what to close, and how it goes on."""
        if isinstance(result, Address):
            if opening.pair and opening.first is None:
                opening.first = result
                opening.wanted = Address(result.host, result.port + 1)
                return None, opening
            return None, self._grant(opening, result, now)
        spare = CloseSocket(opening.first) if opening.first is not None else None
        opening.first = None
        if result.address_in_use and opening.tries < MAX_TRIES and self._choose_port(opening):
            opening.tries += 1
            return spare, opening
        self._release(opening)
        return spare, Refusal(StunError.INSUFFICIENT_CAPACITY, result.reason)

    def abandon(self, opening: Opening) -> CloseSocket | None:
        """Give up an opening whose client is gone or whose socket never came."""
        self._release(opening)
        return CloseSocket(opening.first) if opening.first is not None else None

    def _release(self, opening: Opening) -> None:
        self._allocations.release(opening.proof.credential.account, 2 if opening.pair else 1)

    def _choose_port(self, opening: Opening) -> bool:
        port = self._ports.choose(
            lambda port: (
                port in opening.tried or self._allocations.is_taken(Address(opening.host, port))
            ),
            even=opening.even,
            pair=opening.pair,
        )
        if port is None:
            return False
        opening.tried.add(port)
        opening.wanted = Address(opening.host, port)
        return True

    def _use_reservation(
        self, token: bytes, request: Message, path: Path, proof: Proof, now: float
    ) -> Outcome:
        reservation = self._allocations.reservation(token)
        if reservation is None:
            return Refusal(StunError.INSUFFICIENT_CAPACITY, "no port is kept for the token")
        # RFC 8656 §7.2 step 10: whoever reserved the port has counted it already.
        account = proof.credential.account
        if reservation.account != account:
            refusal = self._allocations.quota_refusal(account, 1, in_all=0, limits=proof.realm)
            if refusal is not None:
                return refusal
        relayed = self._allocations.redeem(token)
        self._allocations.hold(account, 1)
        return self._create(request, path, proof, relayed, now)

    def _grant(self, opening: Opening, bound: Address, now: float) -> Success:
        if opening.first is None:
            return self._create(opening.request, opening.path, opening.proof, bound, now)
        # Its first byte tells who has the port (the rest cannot be guessed: 56 random bits).
        token = bytes((self._settings.worker,)) + self._random(RESERVATION_TOKEN_LENGTH - 1)
        self._allocations.reserve(token, bound, opening.proof.credential.account, now)
        return self._create(
            opening.request,
            opening.path,
            opening.proof,
            opening.first,
            now,
            ReservationToken(token),
        )

    def _create(
        self,
        request: Message,
        path: Path,
        proof: Proof,
        relayed: Address,
        now: float,
        *attributes: Attribute,
    ) -> Success:
        """Create the allocation once all checks passed (RFC 8656 §7.2, after step 11)."""
        # A lifetime of zero means nothing here: the default is used.
        lifetime = desired_lifetime(request, proof.realm) or proof.realm.default_lifetime
        until = now + lifetime
        allocation = self._allocations.open(path, relayed, proof.credential, until)
        allocation.since = now
        return Success(
            (
                XorRelayedAddress(relayed),
                Lifetime(lifetime),
                *attributes,
                *self._mobility.grant(request, allocation),
                XorMappedAddress(path.remote),
            ),
            (
                AllocationOpened(
                    allocation.allocation_id, path, relayed, proof.credential.username, until
                ),
            ),
        )
