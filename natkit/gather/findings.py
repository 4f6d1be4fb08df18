"""Candidates of what was found, and which of them are new (RFC 8445 §5.1.1.2, §5.1.3)."""

from collections.abc import Iterator, Sequence

from natkit.address import Address, Family
from natkit.gather.events import Method, Slot
from natkit.gather.settings import Rewrite, RewriteMode, StunServer, TurnServer
from natkit.gather.sockets import Base
from natkit.ice.candidate import ACTIVE_PORT, CandidateType, LocalCandidate, NamedAddress, TcpType
from natkit.ice.priority import tcp_local_preference
from natkit.locate import Target
from natkit.machine import Transport

__all__ = ["Findings", "can_be_told"]

_UNRANKED = 0x8000


class Findings:
    """Makes candidates; ``preferences`` ranks the host's addresses."""

    def __init__(self) -> None:
        self.preferences: dict[str, int] = {}
        self._known: set[tuple[Slot, Transport, TcpType | None, Address, Address]] = set()

    def is_new(self, slot: Slot, candidate: LocalCandidate) -> bool:
        """Whether it is not redundant: no other has its address and its base (§5.1.3).

        Host candidates come first and win, as the better priority has it.
        """
        place = (
            slot,
            candidate.transport,
            candidate.tcp_type,
            candidate.address,
            candidate.base,
        )
        if place in self._known:
            return False
        self._known.add(place)
        return True

    def host_candidates(self, base: Base, rewrite: Rewrite | None) -> Iterator[LocalCandidate]:
        """What a bound socket gives: itself, and its place outside a 1:1 NAT."""
        if base.transport is Transport.TCP:
            yield self._tcp(base, TcpType.PASSIVE, base.local, base.local)
            host = base.local.host
            yield self._tcp(base, TcpType.ACTIVE, Address(host, ACTIVE_PORT), Address(host, 0))
            return
        outside = None if rewrite is None else Address.of(rewrite.external, base.local.port)
        replaced = rewrite is not None and rewrite.mode is RewriteMode.REPLACE
        yield LocalCandidate(
            component=base.slot.component,
            type=CandidateType.HOST,
            address=outside if outside is not None and replaced else base.local,
            base=base.local,
            local_preference=self._preference(base),
            published=_published(base, base.local.port),
            network=base.host.interface,
        )
        if outside is not None and not replaced:
            yield self.reflexive(base, outside, None)

    def reflexive(self, base: Base, mapped: Address, server: Address | None) -> LocalCandidate:
        """A NAT shows ``base`` as ``mapped``, as ``server`` saw."""
        return LocalCandidate(
            component=base.slot.component,
            type=CandidateType.SERVER_REFLEXIVE,
            address=mapped,
            base=base.local,
            local_preference=self._preference(base),
            server=server,
            via=Transport.UDP,
            related=_withheld(base),
            network=base.host.interface,
        )

    def mapped(self, base: Base, external: Address, gateway: Address) -> LocalCandidate:
        """A port of the gateway leads to ``base``."""
        return LocalCandidate(
            component=base.slot.component,
            type=CandidateType.SERVER_REFLEXIVE,
            address=external,
            base=base.local,
            transport=base.transport,
            tcp_type=TcpType.PASSIVE if base.transport is Transport.TCP else None,
            local_preference=self._preference(base),
            server=gateway,
            via=Transport.UDP,
            related=_withheld(base),
            network=base.host.interface,
        )

    def relayed(
        self,
        slot: Slot,
        relayed: Address,
        mapped: Address | None,
        target: Target,
        place: int,
        *,
        hide: bool,
    ) -> LocalCandidate:
        """A server relays; those that were named first are preferred.

        Its base is itself (RFC 8445 §5.1.1.2).  ``hide``: keep the mapped address from the peer.
        """
        related = None if hide or mapped is None or mapped.family is not relayed.family else mapped
        return LocalCandidate(
            component=slot.component,
            type=CandidateType.RELAYED,
            address=relayed,
            base=relayed,
            local_preference=0xFFFF - place,
            server=target.address,
            via=target.transport,
            related=related,
        )

    def method_of(self, server: str, servers: Sequence[StunServer | TurnServer]) -> Method:
        """How the server of a URI was asked for."""
        is_turn = any(isinstance(each, TurnServer) and each.uri == server for each in servers)
        return Method.TURN if is_turn else Method.STUN

    def _tcp(self, base: Base, kind: TcpType, address: Address, local: Address) -> LocalCandidate:
        return LocalCandidate(
            component=base.slot.component,
            type=CandidateType.HOST,
            address=address,
            base=local,
            transport=Transport.TCP,
            tcp_type=kind,
            local_preference=tcp_local_preference(
                CandidateType.HOST, kind, self._preference(base) >> 3
            ),
            published=_published(base, address.port),
            network=base.host.interface,
        )

    def _preference(self, base: Base) -> int:
        return self.preferences.get(base.host.host, _UNRANKED)


def can_be_told(address: Address, base: Address) -> bool:
    """Whether a peer could send to ``address`` and reach ``base``: servers may say anything."""
    ip = address.ip
    unusable = ip.is_unspecified or ip.is_multicast or address.port == 0
    return address.family is base.family and not unusable


def _published(base: Base, port: int) -> NamedAddress | None:
    """The name that hides the address of ``base``, if it has one."""
    name = base.host.published
    return None if name is None else NamedAddress(name, port)


def _withheld(base: Base) -> Address | None:
    """What peers are told in place of a base that is hidden (RFC 8839 §5.1); None: the base."""
    if base.host.published is None:
        return None
    return Address("::" if base.local.family is Family.IPV6 else "0.0.0.0", 9)  # noqa: S104
