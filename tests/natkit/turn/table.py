"""A client's allocation, and a server that the test plays, answer by answer."""

from collections.abc import Callable
from random import Random
from typing import TypeVar

from natkit.address import Address
from natkit.machine import (
    OpenSocket,
    Path,
    Transport,
)
from natkit.stun.attributes import (
    Attribute,
    Lifetime,
    Nonce,
    Realm,
    Username,
    XorMappedAddress,
    XorRelayedAddress,
)
from natkit.stun.credentials import long_term_key
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.turn import Allocation, TurnEvent
from natkit.turn.dual import Wish
from natkit.turn.events import (
    Allocated,
    PermissionInstalled,
)

SEED = 3478
SERVER = Address("203.0.113.1", 3478)
RELAYED = Address("203.0.113.1", 50000)
MAPPED = Address("198.51.100.7", 40000)
PEER = Address("192.0.2.9", 5000)
PEER6 = Address("2001:db8::9", 5000)
REALM = "example.org"
KEY = IntegrityKey(long_term_key("ann", REALM, "secret"))
GRANT = (XorRelayedAddress(RELAYED), XorMappedAddress(MAPPED), Lifetime(600))

E = TypeVar("E")


class Table:
    """The client on one side, and what the test says for server and shell on the other."""

    def __init__(
        self,
        transport: Transport = Transport.UDP,
        *,
        local: Address | None = None,
        lifetime: int | None = None,
        family: Wish = None,
    ) -> None:
        print(f"seed {SEED}")
        self.now = 1000.0
        self.port = 40000
        self.events: list[TurnEvent] = []
        self.sent: list[bytes] = []
        self.allocation = Allocation(
            SERVER,
            transport,
            username="ann",
            password="secret",
            random=Random(SEED).randbytes,
            local=local,
            lifetime=lifetime,
            family=family,
        )

    def drain(self) -> None:
        self.sent += [transmit.data for transmit in self.allocation.transmits()]
        while (event := self.allocation.next_event()) is not None:
            self.events.append(event)

    def take(self, kind: type[E]) -> E:
        """The only event there is, of this kind."""
        self.drain()
        (event,) = self.events
        self.events.clear()
        assert isinstance(event, kind), event
        return event

    def request(self) -> Message:
        """The only message that was sent."""
        self.drain()
        (data,) = self.sent
        self.sent.clear()
        return Message.parse(data)

    def pass_time(self, seconds: float) -> None:
        """Fire the timer whenever it is due; once more at the end."""
        end = self.now + seconds
        while (due := self.allocation.next_deadline()) is not None and due <= end:
            assert due >= self.now
            self.now = due
            self.allocation.handle_timer(self.now)
            self.drain()
        self.now = end

    def open(self) -> None:
        """Give the socket that was asked for."""
        request = self.take(OpenSocket)
        assert request.local == Address("0.0.0.0", 0)
        self.port += 1
        self.allocation.answer(request.request_id, Address("192.168.1.2", self.port), self.now)

    @property
    def path(self) -> Path:
        assert self.allocation.path is not None
        return self.allocation.path

    def receive(self, data: bytes) -> None:
        self.allocation.receive(data, self.path, self.now)
        self.drain()

    def succeed(self, request: Message, *attributes: Attribute) -> None:
        self.receive(request.success(*attributes).encode(integrity=KEY))

    def refuse(self, request: Message, code: int, *attributes: Attribute) -> None:
        self.receive(request.error(code, *attributes).encode(integrity=KEY))

    def challenge(self, nonce: bytes = b"nonce") -> Message:
        """Answer the first request with 401; gives the second one."""
        first = self.request()
        assert first.get(Username) is None
        self.receive(first.error(401, Realm(REALM), Nonce(nonce)).encode())
        return self.request()

    def allocate(self, *grant: Attribute) -> Message:
        """Go all the way; gives the authenticated request."""
        self.allocation.allocate(self.now)
        self.open()
        request = self.challenge()
        self.succeed(request, *(grant or GRANT))
        return request

    def allocated(self) -> "Table":
        self.allocate()
        self.take(Allocated)
        return self

    def wishes(self, peer: Address) -> list[Callable[[], None]]:
        """All that may be asked for about a peer."""
        allocation, now = self.allocation, self.now
        return [
            lambda: allocation.permit([peer], now),
            lambda: allocation.bind_channel(peer, now),
            lambda: allocation.send(b"", peer, now),
        ]

    def permitted(self, peer: Address = PEER) -> "Table":
        self.allocation.permit([peer], self.now)
        self.succeed(self.request())
        self.take(PermissionInstalled)
        return self
