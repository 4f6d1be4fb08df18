"""One UDP port that many agents share, so that one hole in a firewall serves them all.

::

    port = IcePort([Address("192.0.2.1", 5000)])
    ann, bob = Agent(datagrams=port.share()), Agent(datagrams=port.share())

An incoming check names its agent by the username fragment (RFC 8445 §7.2.2); an answer goes to who
asked, by its transaction id; and all else to the agent that spoke with the sender first, or that
answered its latest check: a NAT may have given the port away.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, TypeVar

from natkit.address import Address
from natkit.aio.driver import Inputs
from natkit.aio.udp import DatagramSockets
from natkit.errors import MalformedMessage, UnreachableError
from natkit.machine import Path, Transmit
from natkit.stun.attributes import Username
from natkit.stun.demux import is_stun
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method, message_type

__all__ = ["IcePort", "SharedPort"]

_SUCCESS: Final = message_type(Method.BINDING, MessageClass.SUCCESS_RESPONSE).to_bytes(2, "big")

K = TypeVar("K", bound=Hashable)

MOST_TRANSACTIONS: Final = 16_384
"""Requests under way of all agents: a second of checks at the least Ta of each of 80, and more."""

MOST_REMOTES: Final = 65_536
"""Senders that are remembered; the one that was silent for longest is forgotten."""


class IcePort:
    """A UDP port on some of this host's addresses, one socket each, shared by many agents.

    Raises UnreachableError when one cannot be bound.  With port 0 all get the port of the first.
    """

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._datagrams = DatagramSockets()
        self._bound: dict[str, Address] = {}
        self._shares: set[SharedPort] = set()
        self._transactions: OrderedDict[bytes, SharedPort] = OrderedDict()
        self._remotes: OrderedDict[tuple[Address, Address], SharedPort] = OrderedDict()
        self._named_before: dict[str, SharedPort] = {}
        self._batch: ExitStack | None = None
        self._in_batch: set[SharedPort] = set()
        self.unclaimed = 0
        """Datagrams that belonged to no agent."""
        port = 0
        try:
            for address in addresses:
                bound = self._datagrams.open(address._replace(port=address.port or port))
                self._bound[bound.host] = bound
                port = bound.port
        except UnreachableError:
            self._datagrams.close()
            raise
        self._datagrams.attach(self)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """What is bound."""
        return tuple(self._bound.values())

    def share(self) -> "SharedPort":
        """One agent's part of the port, for its ``datagrams``."""
        shared = SharedPort(self, self._datagrams)
        self._shares.add(shared)
        return shared

    def close(self) -> None:
        """Close the sockets; the agents hear nothing more."""
        self._shares.clear()
        self._datagrams.close()

    # ── for the shares ──────────────────────────────────────────────────────────────────────────

    def bound_at(self, host: str) -> Address | None:
        """The shared socket of a host address."""
        return self._bound.get(host)

    def sending(self, share: "SharedPort", transmit: Transmit) -> None:
        """Remember who asks, and whom it speaks with."""
        data, place = transmit.data, (transmit.path.local, transmit.path.remote)
        is_answer = data[:2] == _SUCCESS
        if is_stun(data) and not is_answer:
            _remember(self._transactions, data[8:20], share, MOST_TRANSACTIONS)
        # Only who knows the password is answered so: the place is that peer's from now on.
        if is_answer or place not in self._remotes:
            _remember(self._remotes, place, share, MOST_REMOTES)

    def leave(self, share: "SharedPort") -> None:
        """An agent is over."""
        self._shares.discard(share)
        for transaction in [key for key, each in self._transactions.items() if each is share]:
            del self._transactions[transaction]
        for place in [key for key, each in self._remotes.items() if each is share]:
            del self._remotes[place]
        for fragment in [key for key, each in self._named_before.items() if each is share]:
            del self._named_before[fragment]

    # ── what arrives (natkit.aio.driver.Inputs) ─────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path) -> None:
        """A datagram for one of the agents."""
        share = self._owner(data, path)
        if share is None or share.inputs is None:
            self.unclaimed += 1
            return
        if self._batch is not None and share not in self._in_batch:
            self._in_batch.add(share)
            self._batch.enter_context(share.inputs.many())
        share.inputs.receive(data, path)

    def disconnected(self, path: Path) -> None:
        """Never: there are no streams."""

    @contextmanager
    def many(self) -> Iterator[None]:
        """Around the datagrams of one wake-up: each agent that gets some sends once at the end."""
        with ExitStack() as stack:
            self._batch, self._in_batch = stack, set()
            try:
                yield
            finally:
                self._batch = None

    def _owner(self, data: bytes, path: Path) -> "SharedPort | None":
        place = path.local, path.remote
        if is_stun(data):
            asked = self._transactions.get(data[8:20])
            if asked is not None:
                return asked
            named = self._named(data)
            if named is not None:
                return named
        return self._remotes.get(place)

    def _named(self, data: bytes) -> "SharedPort | None":
        try:
            message = Message.parse(data)
        except MalformedMessage:
            return None
        username = message.get(Username)
        if message.message_class is not MessageClass.REQUEST or username is None:
            return None
        fragment = username.value.partition(":")[0]
        known = self._named_before.get(fragment)
        if known is not None and fragment in known.fragments():
            return known
        found = next((each for each in self._shares if fragment in each.fragments()), None)
        if found is not None:
            self._named_before[fragment] = found
        return found


class SharedPort:
    """One agent's part of an IcePort; a :class:`natkit.aio.driver.DatagramCarrier`.

    The first socket that the agent asks for on each address is the shared one.  What else it needs,
    for TURN servers or a second component, it has of its own.
    """

    def __init__(self, port: IcePort, datagrams: DatagramSockets) -> None:
        self.inputs: Inputs | None = None
        self.fragments: Callable[[], tuple[str, ...]] = tuple
        """The username fragments of the agent, of now."""
        self._port = port
        self._shared = datagrams
        self._own = DatagramSockets()
        self._taken: set[Address] = set()

    def attach(self, inputs: Inputs) -> None:
        """From now on tell ``inputs``."""
        self.inputs = inputs
        self._own.attach(inputs)

    def open(self, local: Address) -> Address:
        """The shared socket of that address, or one of its own.  Raises UnreachableError."""
        bound = self._port.bound_at(local.host)
        if bound is not None and bound not in self._taken and local.port in (0, bound.port):
            self._taken.add(bound)
            return bound
        return self._own.open(local)

    def close_socket(self, local: Address) -> None:
        """Close it; the shared one stays for the others."""
        if local in self._taken:
            self._taken.discard(local)
        else:
            self._own.close_socket(local)

    def send(self, transmit: Transmit) -> None:
        """Queue a datagram for :meth:`flush`."""
        if transmit.path.local in self._taken:
            self._port.sending(self, transmit)
            self._shared.send(transmit)
        else:
            self._own.send(transmit)

    def flush(self) -> None:
        """Send what was queued."""
        self._own.flush()
        self._shared.flush()

    def close(self) -> None:
        """Be done with the port, and close all others."""
        self.inputs = None
        self._port.leave(self)
        self._own.close()


def _remember(table: "OrderedDict[K, SharedPort]", key: K, share: SharedPort, most: int) -> None:
    table[key] = share
    table.move_to_end(key)
    if len(table) > most:
        table.popitem(last=False)
