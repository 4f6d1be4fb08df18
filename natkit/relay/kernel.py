"""The relay plane in the kernel: user space's, with an eBPF program before it.

The program (``relay.bpf.c``) treats packets where they arrive and leaves to the sockets what it
cannot do; behind them works :class:`~natkit.relay.userspace.UserspacePlane`, unchanged.  So this
plane is that one, and besides keeps the program's tables in step and adds up what both counted.
"""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple

from natkit.address import Address, Family, IPNetwork
from natkit.machine import Path
from natkit.relay.kernel_tables import KernelTables
from natkit.relay.mirror import Mirror
from natkit.relay.plane import (
    AllocationId,
    BindingPolicy,
    Counters,
    CountingGate,
    Ports,
    Unhandled,
)
from natkit.relay.rates import Rates
from natkit.relay.userspace import UserspacePlane

__all__ = ["KernelPlane"]


class KernelPlane:
    """Implements :class:`~natkit.relay.plane.RelayPlane` by a program that is attached elsewhere.

    ``behind`` has the sockets; its clock must be CLOCK_MONOTONIC's, as those of asyncio and uvloop
    are.  ``on_full`` hears each time that a table has no room; user space has what misses there.
    """

    def __init__(
        self,
        behind: UserspacePlane,
        tables: KernelTables,
        *,
        on_full: Callable[[], None] = lambda: None,
    ) -> None:
        self._behind = behind
        self._tables = tables
        self._mirror = Mirror(tables, on_full)

    @property
    def on_unhandled(self) -> Unhandled:
        """Takes what is not the plane's."""
        return self._behind.on_unhandled

    @on_unhandled.setter
    def on_unhandled(self, on_unhandled: Unhandled) -> None:
        self._behind.on_unhandled = on_unhandled

    def listen(self, sock: socket.socket, policy: BindingPolicy) -> None:
        """Serve clients on ``sock``; MisuseError when it is bound to a wildcard address."""
        self._behind.listen(sock, policy)
        listener = self._behind.listener(Address(*sock.getsockname()[:2]))
        gate = policy.gate
        is_counted = isinstance(gate, CountingGate)
        if isinstance(gate, CountingGate):
            gate.count_in(self._tables.sources)
        answers = policy.answer and (gate is None or is_counted)
        self._mirror.listen(listener, answers_binding=answers, is_counted=is_counted)

    def open(
        self,
        allocation: AllocationId,
        client: Path,
        relay_socket: socket.socket,
        until: float,
        write: Callable[[bytes], None] | None = None,
    ) -> None:
        """Relay for ``client``; MisuseError when it has an allocation or came to no listener."""
        self._behind.open(allocation, client, relay_socket, until, write)
        self._follow(allocation)

    def open_second(
        self, allocation: AllocationId, relay_socket: socket.socket, until: float
    ) -> None:
        """Relay from ``relay_socket`` too; MisuseError when the allocation has its family."""
        self._behind.open_second(allocation, relay_socket, until)
        self._follow(allocation)

    def extend(self, allocation: AllocationId, until: float, family: Family | None = None) -> None:
        """The allocation lives until ``until``, or its relayed address of ``family`` does."""
        self._behind.extend(allocation, until, family)
        self._mirror.extend(self._behind.allocation(allocation))

    def permit(
        self,
        allocation: AllocationId,
        peer_host: str,
        until: float,
        *,
        only_relayed: bool = False,
        ports: Ports = (),
    ) -> None:
        """Peers at ``peer_host`` may exchange data with the client."""
        half, host = self._behind.permit_host(
            allocation, peer_host, until, only_relayed=only_relayed, ports=ports
        )
        self._mirror.permit(self._behind.allocation(allocation), half, host)

    def bind_channel(
        self,
        allocation: AllocationId,
        channel: int,
        peer: Address,
        until: float,
        *,
        only_relayed: bool = False,
    ) -> None:
        """``channel`` stands for ``peer``."""
        self._behind.bind_channel(allocation, channel, peer, until, only_relayed=only_relayed)
        self._follow(allocation)

    def limit(self, allocation: AllocationId, rates: Rates | None) -> None:
        """Let the allocation's data pass only as ``rates`` have it."""
        self._behind.limit(allocation, rates)
        self._follow(allocation)

    def show_as(self, external: Mapping[str, str]) -> None:
        """Tell clients of peers that are relayed addresses here by their hosts outside."""
        self._behind.show_as(external)
        self._mirror.show_as({Address(local, 0).packed: shown for local, shown in external.items()})

    def refuse(self, networks: Sequence[IPNetwork]) -> None:
        """Drop the permissions and channels that lead into ``networks``."""
        self._behind.refuse(networks)
        for allocation in self._behind.allocations():
            self._mirror.follow(allocation)

    def close(self, allocation: AllocationId) -> None:
        """Forget the allocation and close its socket."""
        # First: the program must not send from an address that another may have in a moment.
        self._mirror.forget(allocation)
        self._behind.close(allocation)

    def expect(self, allocation: AllocationId, client: Path | None) -> None:
        """Hand up what comes on ``client``, until the allocation moves there."""
        self._behind.expect(allocation, client)
        self._mirror.expect(self._behind.allocation(allocation))

    def move(
        self,
        allocation: AllocationId,
        client: Path | None,
        write: Callable[[bytes], None] | None = None,
    ) -> None:
        """The client is at ``client``; MisuseError when another allocation is there."""
        self._behind.move(allocation, client, write)
        self._mirror.expect(self._behind.allocation(allocation))
        self._follow(allocation)

    def release(self, allocation: AllocationId) -> tuple[socket.socket, ...]:
        """Forget the allocation; its sockets, one for each relayed address, are the caller's."""
        self._behind.allocation(allocation)
        self._mirror.forget(allocation)
        return self._behind.release(allocation)

    def close_one(self, allocation: AllocationId, relayed: Address) -> None:
        """Of two relayed addresses close this one; MisuseError when there are not two."""
        self._behind.close_one(allocation, relayed)
        self._follow(allocation)

    def counters(self, allocation: AllocationId) -> Counters:
        """What became of the allocation's packets so far, in user space and in the kernel."""
        return _sum(self._behind.counters(allocation), self._mirror.counters(allocation))

    def totals(self) -> Counters:
        """What became of all packets since the start."""
        return _sum(self._behind.totals(), self._mirror.totals())

    def refused_bindings(self) -> tuple[int, int, int]:
        """Binding requests that were dropped.

        Those over the limit of their source, those whose answers are too large for theirs, and
        those of clients in networks that are not served.
        """
        return self._tables.refused_bindings()

    def stop(self) -> None:
        """Close every socket and forget everything."""
        for allocation in self._behind.allocations():
            self._mirror.forget(allocation.identifier)
        for listener in self._behind.listeners():
            self._mirror.stop_listening(listener)
        self._behind.stop()

    def send(self, data: bytes, path: Path, *, dont_fragment: bool = False) -> bool:
        """Send a datagram of the machine's; False when there is no socket or it refuses."""
        return self._behind.send(data, path, dont_fragment=dont_fragment)

    def relay_from(self, client: Path, data: bytes, now: float) -> bool:
        """Relay a message of a client with ``write``; False when it is for the machine."""
        return self._behind.relay_from(client, data, now)

    def relay_stream(self, client: Path, data: bytes, now: float) -> int:
        """Relay the ChannelData that bytes of a stream begin with; how many bytes that was."""
        return self._behind.relay_stream(client, data, now)

    def _follow(self, allocation: AllocationId) -> None:
        self._mirror.follow(self._behind.allocation(allocation))


def _sum(one: Counters, other: Counters) -> Counters:
    both = Counters(*astuple(one))
    both.add(other)
    return both
