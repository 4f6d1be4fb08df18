"""One agent alone, with the test as its peer: messages made and read by hand."""

from collections.abc import Sequence
from random import Random
from typing import Final

from natkit.address import Address
from natkit.ice.agent import Agent
from natkit.ice.candidate import Candidate, CandidateType, LocalCandidate
from natkit.ice.events import IceEvent
from natkit.ice.pacing import Pacer
from natkit.ice.parameters import Parameters
from natkit.ice.settings import IceSettings
from natkit.machine import Path, Transmit, Transport
from natkit.stun.attributes import (
    Attribute,
    IceControlled,
    IceControlling,
    Priority,
    UseCandidate,
    Username,
    XorMappedAddress,
)
from natkit.stun.credentials import short_term_key, verify
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method

HOST: Final = Address.of("192.0.2.1", 5000)
PEER: Final = Address.of("192.0.2.2", 6000)
PATH: Final = Path(Transport.UDP, HOST, PEER)
PEER_PRIORITY: Final = 2130706431
REMOTE: Final = Parameters(
    username_fragment="them", password="their password of 22 chars".replace(" ", "+")
)
REMOTE_KEY: Final = short_term_key(REMOTE.password)


def host_candidate(address: Address = HOST, component: int = 1) -> LocalCandidate:
    return LocalCandidate(
        component=component, type=CandidateType.HOST, address=address, base=address
    )


def remote_candidate(
    address: Address = PEER,
    *,
    component: int = 1,
    priority: int = PEER_PRIORITY,
    foundation: str = "f",
) -> Candidate:
    return Candidate(
        foundation=foundation,
        component=component,
        transport=Transport.UDP,
        priority=priority,
        address=address,
        type=CandidateType.HOST,
    )


class Bench:
    """An agent with one stream and the time in the test's hand."""

    def __init__(
        self,
        settings: IceSettings | None = None,
        *,
        components: int = 1,
        remote: Parameters | None = REMOTE,
        bases: Sequence[Address] = (HOST,),
        candidates: Sequence[Candidate] = (),
        seed: int = 1,
        pacer: Pacer | None = None,
    ) -> None:
        self.now = 1000.0
        self.random = Random(seed)
        self.agent = Agent(settings, random=self.random.randbytes, pacer=pacer)
        self.stream = self.agent.add_stream(components)
        for base in bases:
            self.agent.add_local_candidate(self.stream, host_candidate(base), self.now)
        if remote is not None:
            self.agent.set_remote_parameters(self.stream, remote, self.now)
        for candidate in candidates:
            self.agent.add_remote_candidate(self.stream, candidate, self.now)
        self.key = short_term_key(self.agent.local_parameters.password)
        self._numbers = 0

    # ── time ────────────────────────────────────────────────────────────────────────────────────

    def run(self, seconds: float) -> list[Transmit]:
        """Let time pass; everything that was sent meanwhile."""
        end = self.now + seconds
        sent = list(self.agent.transmits())
        while (deadline := self.agent.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.agent.handle_timer(self.now)
            sent += self.agent.transmits()
        self.now = end
        return sent

    def requests(self, seconds: float = 0.0) -> list[tuple[Message, Path]]:
        """The checks that were sent meanwhile."""
        found = []
        for transmit in self.run(seconds):
            message = Message.parse(transmit.data)
            if message.message_class is MessageClass.REQUEST:
                found.append((message, transmit.path))
        return found

    def events(self) -> list[IceEvent]:
        taken = []
        while (event := self.agent.next_event()) is not None:
            taken.append(event)
        return taken

    # ── the peer ────────────────────────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path = PATH) -> list[Transmit]:
        self.agent.receive(data, path, self.now)
        return list(self.agent.transmits())

    def check(
        self,
        *,
        path: Path = PATH,
        controlling: bool = False,
        nominates: bool = False,
        tie_breaker: int = 1,
        username: str | None = None,
        key: bytes | None = None,
        priority: int | None = PEER_PRIORITY,
        more: Sequence[Attribute] = (),
        transaction_id: bytes | None = None,
    ) -> list[Transmit]:
        """The peer checks; what the agent sends at once."""
        self._numbers += 1
        fragment = self.agent.local_parameters.username_fragment
        role = IceControlling if controlling else IceControlled
        attributes: list[Attribute] = [
            Username(username or f"{fragment}:{REMOTE.username_fragment}"),
            role(tie_breaker),
            *more,
        ]
        if priority is not None:
            attributes.append(Priority(priority))
        if nominates:
            attributes.append(UseCandidate())
        identity = transaction_id or b"peer" + self._numbers.to_bytes(8, "big")
        message = Message.request(Method.BINDING, identity, *attributes)
        data = message.encode(integrity=IntegrityKey(key or self.key), fingerprint=True)
        return self.receive(data, path)

    def respond(
        self,
        request: Message,
        path: Path = PATH,
        *,
        mapped: Address | None = None,
        key: bytes = REMOTE_KEY,
        by: Path | None = None,
    ) -> list[Transmit]:
        """The peer answers a check with success."""
        response = request.success(XorMappedAddress(mapped or path.local))
        return self.receive(
            response.encode(integrity=IntegrityKey(key), fingerprint=True), by or path
        )

    def refuse(self, request: Message, code: int, path: Path = PATH) -> list[Transmit]:
        response = request.error(code)
        return self.receive(
            response.encode(integrity=IntegrityKey(REMOTE_KEY), fingerprint=True), path
        )

    def connect(self) -> None:
        """Check, be answered, nominate, be answered."""
        for _ in range(2):
            for request, path in self.requests(0.1):
                assert verify(request, REMOTE_KEY) is not None
                self.respond(request, path)
