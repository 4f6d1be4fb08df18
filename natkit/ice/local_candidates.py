"""The local candidates of one stream: foundations, unique priorities, and whose base is whose."""

from collections.abc import Iterator
from itertools import chain

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.ice.candidate import ACTIVE_PORT, Candidate, CandidateType, LocalCandidate, TcpType
from natkit.ice.pair import Local
from natkit.ice.priority import candidate_priority, type_preference
from natkit.machine import Transport

MOST_LOCAL_CANDIDATES = 256
"""Of one stream: a gatherer that feeds more has gone wrong."""

FoundationKey = tuple[CandidateType, str, str | None, Transport, Transport | None]


class Foundations:
    """One text for candidates that fail for like reasons (RFC 8445 §5.1.1.3); agent-wide.

    They are numbers in the order of appearance: they tell the peer nothing about addresses that
    are hidden from it.
    """

    def __init__(self) -> None:
        self._known: dict[FoundationKey, str] = {}

    def of(self, candidate: LocalCandidate) -> str:
        """The foundation of a candidate: alike for the same type, base, server and protocol."""
        server = None if candidate.server is None else candidate.server.host
        key = (candidate.type, candidate.base.host, server, candidate.transport, candidate.via)
        return self._known.setdefault(key, str(len(self._known) + 1))


class LocalCandidates:
    """What was gathered for one stream, in the order that it came."""

    def __init__(self, components: int, foundations: Foundations) -> None:
        self.components = components
        self.ended = False
        self._foundations = foundations
        self._candidates: list[Local] = []
        self._by_address: dict[tuple[Transport, int, Address], Local] = {}
        self._bases: dict[tuple[Transport, Address], int] = {}
        self._taken: set[tuple[int, int, int]] = set()

    def __iter__(self) -> Iterator[Local]:
        return iter(self._candidates)

    def __len__(self) -> int:
        return len(self._candidates)

    def add(self, source: LocalCandidate, username_fragment: str) -> Local | None:
        """Take a candidate; None for one that is redundant (RFC 8445 §5.1.3).

        MisuseError for a component that the stream does not have, or a base of another one.
        """
        if not 1 <= source.component <= self.components:
            raise MisuseError(
                f"the stream has {self.components} components, not {source.component}"
            )
        if len(self._candidates) >= MOST_LOCAL_CANDIDATES:
            raise MisuseError(f"a stream has at most {MOST_LOCAL_CANDIDATES} local candidates")
        if self._is_redundant(source):
            return None
        if source.tcp_type is not TcpType.ACTIVE:
            owner = self._bases.setdefault((source.transport, source.base), source.component)
            if owner != source.component:
                raise MisuseError(f"{source.base} belongs to component {owner}")
        local = Local(source, self._describe(source, username_fragment))
        self._candidates.append(local)
        self._by_address[source.transport, source.component, source.address] = local
        return local

    def remove(self, base: Address) -> list[Local]:
        """Forget the candidates of a base; those that were."""
        removed = [each for each in self._candidates if each.source.base == base]
        for each in removed:
            source = each.source
            self._candidates.remove(each)
            self._bases.pop((source.transport, base), None)
            self._by_address.pop((source.transport, source.component, source.address), None)
        return removed

    def component_of(self, transport: Transport, base: Address) -> int | None:
        """The component that receives at a base, or None."""
        return self._bases.get((transport, base))

    def at(self, transport: Transport, component: int, address: Address) -> Local | None:
        """The candidate at which the peer sees us as ``address``, or None."""
        return self._by_address.get((transport, component, address))

    def sender(self, transport: Transport, component: int, base: Address) -> Local | None:
        """The candidate of the highest priority that has this base: checks are sent from it."""
        found = [
            each
            for each in self._candidates
            if each.source.base == base
            and each.source.component == component
            and each.source.transport is transport
        ]
        return max(found, key=lambda each: each.told.priority, default=None)

    @property
    def bases(self) -> set[Address]:
        """All bases."""
        return {each.source.base for each in self._candidates}

    def retold(self, username_fragment: str) -> None:
        """A new session began: the candidates are told with its username fragment."""
        kept = self._candidates
        self._candidates, self._taken = [], set()
        for each in kept:
            local = Local(each.source, self._describe(each.source, username_fragment))
            self._candidates.append(local)
            source = each.source
            self._by_address[source.transport, source.component, source.address] = local

    def _is_redundant(self, source: LocalCandidate) -> bool:
        return any(
            each.source.address == source.address
            and each.source.base == source.base
            and each.source.component == source.component
            and each.source.transport is source.transport
            and each.source.tcp_type is source.tcp_type
            for each in self._candidates
        )

    def _describe(self, source: LocalCandidate, username_fragment: str) -> Candidate:
        address = source.published or source.address
        if source.tcp_type is TcpType.ACTIVE:
            address = address._replace(port=ACTIVE_PORT)
        related = source.told_related
        if source.published is not None and related is not None:
            related = _unspecified(related)
        return Candidate(
            foundation=self._foundations.of(source),
            component=source.component,
            transport=source.transport,
            priority=self._priority(source),
            address=address,
            type=source.type,
            related=related,
            tcp_type=source.tcp_type,
            username_fragment=username_fragment,
            network_id=source.network_id,
            network_cost=source.network_cost,
        )

    def _priority(self, source: LocalCandidate) -> int:
        # RFC 8445 §5.1.2.1: no two candidates of a component and type share a local preference.
        preference = type_preference(source.type, source.transport)
        wanted = source.local_preference
        free = (
            each
            for each in chain(range(wanted, -1, -1), range(wanted + 1, 0x10000))
            if (source.component, preference, each) not in self._taken
        )
        local_preference = next(free)
        self._taken.add((source.component, preference, local_preference))
        # A priority is at least 1 (§5.1.2), also of the last component's least preferred relay.
        return max(
            1,
            candidate_priority(source.type, local_preference, source.component, source.transport),
        )


def _unspecified(address: Address) -> Address:
    # RFC 8839 §5.1: how a related address is withheld.
    return Address("::" if ":" in address.host else "0.0.0.0", 9)  # noqa: S104 - nothing is bound
