"""Allocate: a relayed address for a client (RFC 8656 §7.2).

An Allocate that passes its checks becomes an :class:`Opening`, which asks for sockets until one is
bound, or two next to each other, or one of each family, or too many ports were in use.
"""

from dataclasses import dataclass, field
from functools import lru_cache

from natkit.address import Address, Family
from natkit.machine import CloseSocket, Failure, Path, RandomBytes, Transport
from natkit.stun.attributes import (
    AdditionalAddressFamily,
    AddressErrorCode,
    Attribute,
    DontFragment,
    ErrorCode,
    EvenPort,
    Lifetime,
    MobilityTicket,
    RequestedAddressFamily,
    RequestedTransport,
    ReservationToken,
    SsodaAdditionalAddressFamily,
    UnknownAttributes,
    XorMappedAddress,
    XorRelayedAddress,
)
from natkit.stun.attributes.turn import RESERVATION_TOKEN_LENGTH
from natkit.stun.message import Message
from natkit.stun.registry import TCP_PROTOCOL, UDP_PROTOCOL, AttributeType, StunError
from stun_server.allocations import Allocations
from stun_server.authentication import Proof
from stun_server.connection_events import StopListening
from stun_server.events import AllocationOpened
from stun_server.mobility import Mobility
from stun_server.outcome import Outcome, Refusal, Success
from stun_server.ports import PortChooser
from stun_server.redeem import Redeeming
from stun_server.refresh import desired_lifetime
from stun_server.settings import Settings

# Ports that others on this host may hold before the request is refused: each try is a system call.
MAX_TRIES = 16

# Clients of coturn's make still send the draft's number.
_ADDITIONAL = (AdditionalAddressFamily, SsodaAdditionalAddressFamily)

_QUOTA_REACHED = StunError.ALLOCATION_QUOTA_REACHED

# By listener and family; clients may name any of 256 families.
_HOSTS_KEPT = 64


@dataclass(slots=True, eq=False)
class Opening:
    """An Allocate that waits for its socket, the next one at ``wanted``.

    ``additional`` is the host of the other family, of which a socket is asked for next.  ``first``
    is bound already: the even port of a pair, or the first address of a dual allocation.
    ``errors`` tell why a family is missing.  ``held`` sockets count in the user's quota.  ``peers``
    tells how peers are spoken to.
    """

    request: Message
    path: Path
    proof: Proof
    host: str
    even: bool
    pair: bool
    additional: str | None
    errors: tuple[AddressErrorCode, ...]
    held: int
    peers: Transport
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
        self._relay_host = lru_cache(_HOSTS_KEPT)(settings.relay_host)
        self._ports = PortChooser(settings.relay_ports, self._random)

    def begin(
        self, request: Message, path: Path, proof: Proof, now: float
    ) -> Opening | Redeeming | Outcome:
        """Take the checks of RFC 8656 §7.2 for an authenticated request without allocation.

        Steps 1 and 2 are the dispatcher's: it knows users and 5-tuples.
        """
        # RFC 8656 §7.2 step 3
        transport = request.get(RequestedTransport)
        if transport is None:
            return Refusal(StunError.BAD_REQUEST, "no REQUESTED-TRANSPORT")
        peers = Transport.UDP
        if transport.protocol == TCP_PROTOCOL and proof.realm.tcp_relaying:
            peers = Transport.TCP
            refusal = _tcp_refusal(request, path)
            if refusal is not None:
                return refusal
        elif transport.protocol != UDP_PROTOCOL:
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
        # Step 5
        token = request.get(ReservationToken)
        if token is not None:
            if any(
                request.get(kind) is not None
                for kind in (EvenPort, RequestedAddressFamily, *_ADDITIONAL)
            ):
                return Refusal(
                    StunError.BAD_REQUEST, "RESERVATION-TOKEN with EVEN-PORT or an address family"
                )
            return self._use_reservation(token.value, request, path, proof, now)
        wanted = _wanted_families(request)
        if isinstance(wanted, Refusal):
            return wanted
        return self._begin_opening(wanted, peers, request, path, proof, now)

    def _begin_opening(
        self,
        families: tuple[int, ...],
        peers: Transport,
        request: Message,
        path: Path,
        proof: Proof,
        now: float,
    ) -> Opening | Outcome:
        # Step 7, and the families of step 9: what one of two lacks is told beside the other.
        hosts = [self._relay_host(family, path.local) for family in families]
        found = [host for host in hosts if host is not None]
        if not found:
            return Refusal(
                StunError.ADDRESS_FAMILY_NOT_SUPPORTED,
                f"no relayed address of family {' or '.join(map(str, families))}",
            )
        errors: list[AddressErrorCode] = []
        if len(found) < len(families):
            missing = families[hosts.index(None)]
            errors.append(_address_error(missing, StunError.ADDRESS_FAMILY_NOT_SUPPORTED))
        # Step 10.  A second port that is kept for later counts as well, and so does each family.
        account = proof.credential.account
        even_port = request.get(EvenPort)
        pair = even_port is not None and even_port.reserve_next
        count = 2 if pair else len(found)
        refusal = self._allocations.quota_refusal(account, count, in_all=count, limits=proof.realm)
        if len(found) == 2 and refusal is not None and refusal.code != _QUOTA_REACHED:
            # The server has room for one: partially met is better than not at all.
            count = 1
            del found[1]
            errors.append(_address_error(families[1], StunError.INSUFFICIENT_CAPACITY))
            refusal = self._allocations.quota_refusal(
                account, count, in_all=count, limits=proof.realm
            )
        if refusal is not None:
            return refusal
        # Step 8
        self._allocations.hold(account, count)
        opening = Opening(
            request,
            path,
            proof,
            found[0],
            even=even_port is not None,
            pair=pair,
            additional=found[1] if len(found) == 2 else None,
            errors=tuple(errors),
            held=count,
            peers=peers,
        )
        if self._choose_port(opening):
            return opening
        return self._go_without(opening, "no free relay port", now)

    def opened(
        self, opening: Opening, result: Address | Failure, now: float
    ) -> tuple[CloseSocket | None, Opening | Outcome]:
        """Take the outcome of asking for ``opening.wanted``: what to close, and how it goes on."""
        if isinstance(result, Address):
            if opening.pair and opening.first is None:
                opening.first = result
                opening.wanted = Address(result.host, result.port + 1)
                return None, opening
            if opening.additional is not None:
                opening.first = result
                return None, self._try_additional(opening, opening.additional, now)
            return None, self._grant(opening, result, now)
        spare = None
        if opening.pair and opening.first is not None:
            spare = CloseSocket(opening.first)
            opening.first = None
        if result.address_in_use and opening.tries < MAX_TRIES and self._choose_port(opening):
            opening.tries += 1
            return spare, opening
        return spare, self._go_without(opening, result.reason, now)

    def _try_additional(self, opening: Opening, host: str, now: float) -> Opening | Outcome:
        """Go on to the address of the other family."""
        opening.host, opening.additional = host, None
        opening.tries = 1
        opening.tried.clear()
        if self._choose_port(opening):
            return opening
        return self._go_without(opening, "no free relay port", now)

    def _go_without(self, opening: Opening, reason: str, now: float) -> Opening | Outcome:
        """There is no address at ``opening.host``; of two families the other may do (step 9)."""
        if opening.first is None and opening.additional is None:
            self._release(opening)
            return Refusal(StunError.INSUFFICIENT_CAPACITY, reason)
        family = Address(opening.host, 0).family
        opening.errors += (_address_error(family, StunError.INSUFFICIENT_CAPACITY),)
        opening.held -= 1
        self._allocations.release(opening.proof.credential.account)
        if opening.additional is not None:
            return self._try_additional(opening, opening.additional, now)
        first, opening.first = opening.first, None
        if first is None:
            raise AssertionError("neither family is bound")
        return self._grant(opening, first, now)

    def abandon(self, opening: Opening) -> CloseSocket | StopListening | None:
        """Give up an opening whose client is gone or whose socket never came."""
        self._release(opening)
        if opening.first is None:
            return None
        if opening.peers is Transport.TCP:
            return StopListening(opening.first)
        return CloseSocket(opening.first)

    def _release(self, opening: Opening) -> None:
        self._allocations.release(opening.proof.credential.account, opening.held)

    def _choose_port(self, opening: Opening) -> bool:
        host, tried, is_taken = opening.host, opening.tried, self._allocations.is_taken
        port = self._ports.choose(
            lambda port: port in tried or is_taken(Address(host, port)),
            even=opening.even,
            pair=opening.pair,
        )
        if port is None:
            return False
        tried.add(port)
        opening.wanted = Address(host, port)
        return True

    def _use_reservation(
        self, token: bytes, request: Message, path: Path, proof: Proof, now: float
    ) -> Redeeming | Outcome:
        account = proof.credential.account
        reservation = self._allocations.reservation(token)
        if reservation is None:
            if token[0] == self._settings.worker:
                return Refusal(StunError.INSUFFICIENT_CAPACITY, "no port is kept for the token")
            refusal = self._allocations.quota_refusal(account, 1, in_all=0, limits=proof.realm)
            return Redeeming(request, path, proof, token[0], token, may_count=refusal is None)
        # RFC 8656 §7.2 step 10: whoever reserved the port has counted it already.
        if reservation.account != account:
            refusal = self._allocations.quota_refusal(account, 1, in_all=0, limits=proof.realm)
            if refusal is not None:
                return refusal
        relayed = self._allocations.redeem(token)
        self._allocations.hold(account, 1)
        return self._create(request, path, proof, relayed, now)

    def redeemed(self, redeeming: Redeeming, result: Address | Failure, now: float) -> Outcome:
        """Take the outcome of asking another worker for the port of a token."""
        request, path, proof = redeeming.request, redeeming.path, redeeming.proof
        if isinstance(result, Failure):
            return Refusal(StunError.INSUFFICIENT_CAPACITY, result.reason)
        self._allocations.hold(proof.credential.account, 1)
        return self._create(request, path, proof, result, now)

    def _grant(self, opening: Opening, bound: Address, now: float) -> Success:
        request, path, proof = opening.request, opening.path, opening.proof
        if opening.first is None:
            return self._create(
                request, path, proof, bound, now, *opening.errors, peers=opening.peers
            )
        if not opening.pair:
            return self._create(
                request, path, proof, opening.first, now, second=bound, peers=opening.peers
            )
        # Its first byte tells who has the port (the rest cannot be guessed: 56 random bits).
        token = bytes((self._settings.worker,)) + self._random(RESERVATION_TOKEN_LENGTH - 1)
        self._allocations.reserve(token, bound, proof.credential.account, now)
        return self._create(request, path, proof, opening.first, now, ReservationToken(token))

    def _create(
        self,
        request: Message,
        path: Path,
        proof: Proof,
        relayed: Address,
        now: float,
        *attributes: Attribute,
        second: Address | None = None,
        peers: Transport = Transport.UDP,
    ) -> Success:
        """Create the allocation once all checks passed (RFC 8656 §7.2, after step 11)."""
        # A lifetime of zero means nothing here: the default is used.
        lifetime = desired_lifetime(request, proof.realm) or proof.realm.default_lifetime
        until = now + lifetime
        allocation = self._allocations.open(path, relayed, proof.credential, until, second, peers)
        allocation.since = now
        return Success(
            (
                *map(XorRelayedAddress, allocation.relayed_addresses),
                Lifetime(lifetime),
                *attributes,
                *self._mobility.grant(request, allocation),
                XorMappedAddress(path.remote),
            ),
            (
                AllocationOpened(
                    allocation.allocation_id,
                    path,
                    relayed,
                    proof.credential.username,
                    until,
                    second,
                    peers,
                    proof.credential.realm,
                ),
            ),
        )


def _tcp_refusal(request: Message, path: Path) -> Refusal | None:
    """Why this request cannot have a relayed TCP address (RFC 6062 §5.1)."""
    if path.transport not in (Transport.TCP, Transport.TLS):
        return Refusal(StunError.BAD_REQUEST, f"TCP relaying over {path.transport.upper()}")
    if request.get(MobilityTicket) is not None:
        return Refusal(StunError.MOBILITY_FORBIDDEN, "a TCP allocation does not move")
    for unwanted in (DontFragment, EvenPort, ReservationToken):
        if request.get(unwanted) is not None:
            return Refusal(StunError.BAD_REQUEST, f"TCP relaying with {unwanted.__name__}")
    return None


def _wanted_families(request: Message) -> tuple[int, ...] | Refusal:
    """The families of the relayed addresses that a request without a token asks for."""
    requested = request.get(RequestedAddressFamily)
    additional = next(filter(None, map(request.get, _ADDITIONAL)), None)
    if additional is None:
        # RFC 8656 §7.2 step 7
        return (Family.IPV4 if requested is None else requested.family,)
    # Step 6
    if requested is not None:
        return Refusal(StunError.BAD_REQUEST, "two attributes that ask for an address family")
    # Step 8
    even_port = request.get(EvenPort)
    if even_port is not None and even_port.reserve_next:
        return Refusal(StunError.BAD_REQUEST, "a port to reserve, and two address families")
    # Step 9; §18.11: no other value is valid.
    if additional.family != Family.IPV6:
        return Refusal(
            StunError.BAD_REQUEST, f"ADDITIONAL-ADDRESS-FAMILY of family {additional.family}"
        )
    return Family.IPV4, Family.IPV6


def _address_error(family: int, code: StunError) -> AddressErrorCode:
    return AddressErrorCode(family, code, ErrorCode.of(code).reason)
