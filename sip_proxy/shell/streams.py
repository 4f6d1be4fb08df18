"""The connections of a proxy: those that come, and those that it makes."""

import asyncio
from collections.abc import Sequence
from functools import partial

from natkit.address import Address
from natkit.aio.accepting import Admission, StreamListener
from natkit.aio.driver import Inputs
from natkit.aio.tcp import StreamConnections
from natkit.errors import UnreachableError
from natkit.machine import Path, Transmit, Transport
from natkit.sip.framing import Expect, SipFraming
from sip_proxy.shell.listening import Bound

__all__ = ["Streams"]


class Streams:
    """A :class:`~natkit.aio.driver.StreamCarrier`.

    The two kinds are kept apart because the keep-alives in them differ (RFC 5626 §3.5.1): who
    connected sends pings.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._come = StreamConnections(partial(SipFraming, Expect.PINGS))
        self._made = StreamConnections(partial(SipFraming, Expect.PONGS))
        self._ours: set[Path] = set()
        self._listeners: list[StreamListener] = []

    def listen(self, bound: Sequence[Bound]) -> None:
        """Accept on the sockets that listen."""
        for each in bound:
            if each.listener.transport is Transport.TCP:
                self._listeners.append(
                    StreamListener(each.socket, self._admission, plain=self._come)
                )

    def attach(self, inputs: Inputs) -> None:
        """From now on tell ``inputs``."""
        self._come.attach(inputs)
        self._made.attach(_Forgetting(inputs, self._ours))

    async def connect(self, transport: Transport, local: Address | None, remote: Address) -> Path:
        """Connect; raises UnreachableError."""
        if transport is not Transport.TCP:
            raise UnreachableError(f"cannot connect to {remote} over {transport.upper()}")
        path = await self._made.connect(transport, local, remote)
        self._ours.add(path)
        return path

    def start(self, path: Path) -> None:
        """Begin to deliver what arrives on a connection that :meth:`connect` made."""
        self._made.start(path)

    def send(self, transmit: Transmit) -> None:
        """Write a message; one for a connection that is gone is dropped."""
        self._carrier(transmit.path).send(transmit)

    def close_path(self, path: Path) -> None:
        """Close a connection after what was sent on it."""
        self._carrier(path).close_path(path)

    async def aclose(self) -> None:
        """Accept no more, close every connection, and wait until they are gone."""
        await asyncio.gather(*[each.aclose() for each in self._listeners])
        await asyncio.gather(self._come.aclose(), self._made.aclose())

    def _carrier(self, path: Path) -> StreamConnections:
        return self._made if path in self._ours else self._come


class _Forgetting:
    """Tells the driver, and forgets the paths that ended."""

    def __init__(self, inputs: Inputs, paths: set[Path]) -> None:
        self._inputs = inputs
        self._paths = paths
        self.receive = inputs.receive
        self.many = inputs.many

    def disconnected(self, path: Path) -> None:
        """A connection of ours ended."""
        self._paths.discard(path)
        self._inputs.disconnected(path)
