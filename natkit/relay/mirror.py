"""The tables of the plane in user space, as the kernel's program sees them.

User space is told of every change first; what is here then looks at what it has and makes the
kernel's tables the same.  Where something does not fit there, the program is told to hand up all
that concerns it, so that a table that is full costs speed and nothing else.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from natkit.net import sockaddr
from natkit.relay import kernel_layout as layout
from natkit.relay.kernel_buckets import KernelBucket
from natkit.relay.kernel_layout import HalfFields, LocalKind, Mark
from natkit.relay.kernel_tables import KernelTables, Slot
from natkit.relay.libbpf import Table
from natkit.relay.plane import AllocationId, Counters
from natkit.relay.rates import Bucket, Rates
from natkit.relay.tables import Allocation, Channel, Listener, Permission

__all__ = ["Mirror"]

_NANOSECONDS = 1_000_000_000
_NO_ENDPOINT = bytes(20)
_LATEST = (1 << 63) - 1


class _Half:
    """What the kernel has of one half of an allocation."""

    __slots__ = ("channels", "fields", "local", "number", "peers", "permissions")

    def __init__(self, number: int, local: bytes) -> None:
        self.number = number
        self.local = local
        self.fields: HalfFields | None = None
        self.permissions: dict[bytes, bytes] = {}
        self.channels: dict[bytes, bytes] = {}
        self.peers: dict[bytes, bytes] = {}


class _Mirrored:
    """What it has of an allocation; ``halves`` by relayed address, ``client`` is a key there."""

    __slots__ = ("client", "expected", "halves", "slot")

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.halves: dict[bytes, _Half] = {}
        self.client: bytes | None = None
        self.expected: bytes | None = None


class Mirror:
    """Keeps the kernel's tables in step.  ``on_full`` hears that one has no more room."""

    def __init__(self, tables: KernelTables, on_full: Callable[[], None]) -> None:
        self._tables = tables
        self._on_full = on_full
        self._mirrored: dict[AllocationId, _Mirrored] = {}
        self._unmirrored: set[AllocationId] = set()
        # Where the keys of clients lead, and those that do so to user space for a while.
        self._clients: dict[bytes, int] = {}
        self._expected: set[bytes] = set()

    def listen(
        self, listener: Listener, *, answers_binding: bool, is_counted: bool = False
    ) -> None:
        """Have the program serve the clients of a listener; its answers may be counted."""
        key = layout.endpoint(sockaddr.pack(listener.local))
        value = layout.local_value(
            LocalKind.LISTENER, answers_binding=answers_binding, is_counted=is_counted
        )
        if not self._tables.locals.put(key, value):
            self._on_full()

    def stop_listening(self, listener: Listener) -> None:
        """Have it serve them no more, unless other workers do."""
        if self._tables.share.workers > 1:
            return
        self._tables.locals.remove(layout.endpoint(sockaddr.pack(listener.local)))

    def show_as(self, external: Mapping[bytes, str]) -> None:
        """Leave to user space what tells clients of peers at these hosts by others."""
        table = self._tables.external
        wanted = {layout.endpoint_of_host(host) for host in external}
        for key in table.list_keys():
            if key not in wanted:
                table.remove(key)
        for key in wanted:
            if not table.put(key, bytes(4)):
                self._on_full()

    def follow(self, first: Allocation) -> None:
        """Have the tables show the allocation as it is now."""
        number = first.identifier
        mirrored = self._mirrored.get(number)
        if mirrored is None:
            slot = self._tables.open_slot()
            if slot is None:
                self._lack(number)
                return
            mirrored = self._mirrored[number] = _Mirrored(slot)
        halves = [first] if first.other is None else [first, first.other]
        names = {half.relayed_name for half in halves}
        for name in [name for name in mirrored.halves if name not in names]:
            self._drop_half(mirrored.halves.pop(name))
        if (
            self._number(mirrored, halves)
            and all([self._follow_half(mirrored, half) for half in halves])  # noqa: C419 - each of them
            and self._follow_client(mirrored, first)
        ):
            self._has_room(number)
        else:
            self._lack(number)

    def permit(self, first: Allocation, half: Allocation, host: bytes) -> None:
        """The permission of one host has changed, and dead ones may be gone; nothing else.

        There may be many others, which are not looked at: a request may have that many of these.
        """
        mirrored = self._mirrored.get(first.identifier)
        held = mirrored.halves.get(half.relayed_name) if mirrored is not None else None
        if held is None or held.fields is None or _is_link_local(host):
            self.follow(first)
            return
        permission = {host: half.permissions[host]}
        channels = [
            each for each in half.channels.values() if sockaddr.host_bytes(each.peer) == host
        ]
        fits = self._add_all(
            self._tables.permissions, held.permissions, _permissions(permission, held.number)
        )
        for key, value in _flows(half, channels, held.number, held.local).items():
            fits &= self._add_all(self._tables.flows_like(key), held.peers, {key: value})
        if not fits or len(held.permissions) != len(half.permissions):
            self.follow(first)

    def extend(self, first: Allocation) -> None:
        """How long its halves live has changed, and nothing else."""
        mirrored = self._mirrored.get(first.identifier)
        if mirrored is not None:
            for half in (first, first.other):
                held = mirrored.halves.get(half.relayed_name) if half is not None else None
                if held is not None and half is not None:
                    self._tables.extend_half(held.number, _nanoseconds(half.until))

    def expect(self, first: Allocation) -> None:
        """Whether it will come on another path has changed."""
        mirrored = self._mirrored.get(first.identifier)
        if mirrored is None:
            return
        key = None
        if first.expected is not None:
            listener, name = first.expected
            key = _client_key(name, listener)
        self._set_expected(mirrored, key)

    def forget(self, number: AllocationId) -> None:
        """The allocation is closed; what it counted is so from now on too."""
        self._has_room(number)
        mirrored = self._mirrored.pop(number, None)
        if mirrored is None:
            return
        self._set_expected(mirrored, None)
        self._drop_client(mirrored)
        for half in mirrored.halves.values():
            self._drop_half(half)
        self._tables.close_slot(mirrored.slot)

    def counters(self, number: AllocationId) -> Counters:
        """What the kernel counted for the allocation."""
        mirrored = self._mirrored.get(number)
        return self._tables.counted(mirrored.slot) if mirrored is not None else Counters()

    def totals(self) -> Counters:
        """What it counted in all."""
        totals = self._tables.counted_besides()
        for mirrored in self._mirrored.values():
            totals.add(self._tables.counted(mirrored.slot))
        return totals

    def _number(self, mirrored: _Mirrored, halves: Sequence[Allocation]) -> bool:
        """Have a number for each half; False when there are not as many, and nothing is kept."""
        for half in halves:
            if half.relayed_name not in mirrored.halves:
                number = self._tables.numbers.take()
                if number is None:
                    self._drop_client(mirrored)
                    while mirrored.halves:
                        self._drop_half(mirrored.halves.popitem()[1])
                    return False
                local = layout.endpoint(half.relayed_name)
                mirrored.halves[half.relayed_name] = _Half(number, local)
        return True

    def _follow_half(self, mirrored: _Mirrored, half: Allocation) -> bool:
        """Have the tables show one half; False when they do not know its relayed address."""
        held = mirrored.halves[half.relayed_name]
        tables = self._tables
        fits = self._put_all(
            tables.permissions, held.permissions, _permissions(half.permissions, held.number)
        )
        fits &= self._put_all(tables.channels, held.channels, _channels(half, held.number))
        other = half.other
        to_peers, to_clients = _buckets(half)
        fields = HalfFields(
            until=_nanoseconds(half.until),
            relayed=held.local,
            client=layout.endpoint(half.client_name) if half.listener else _NO_ENDPOINT,
            listener=_listener_endpoint(half.listener) if half.listener else _NO_ENDPOINT,
            flags=Mark.HAND_UP,
            other=mirrored.halves[other.relayed_name].number if other is not None else 0,
            counters=mirrored.slot.number,
            own=tables.own,
            to_peers=to_peers,
            to_clients=to_clients,
        )
        if held.fields is None or _ends(held.fields) != _ends(fields):
            # The program must not read what is half written.
            if held.fields is not None:
                tables.locals.remove(held.local)
                self._put_flows(held, {})
                self._drop_client(mirrored)
            tables.write_half(held.number, fields)
            value = layout.local_value(LocalKind.RELAYED, held.number)
            if not tables.locals.put(held.local, value):
                held.fields = None
                return False
            held.fields = fields
        fits &= self._put_flows(held, _flows(half, half.channels.values(), held.number, held.local))
        tables.extend_half(held.number, fields.until)
        tables.limit_half(held.number, to_peers, to_clients)
        is_for_user_space = not fits or _is_for_user_space(half)
        tables.mark_half(held.number, Mark.HAND_UP if is_for_user_space else Mark(0))
        return True

    def _follow_client(self, mirrored: _Mirrored, first: Allocation) -> bool:
        """Have the client's address lead to the allocation; False when it does not."""
        listener = first.listener
        wanted = None if listener is None else _client_key(first.client_name, listener)
        if mirrored.client != wanted:
            self._drop_client(mirrored)
        if wanted is None:
            return True
        if _has_scope(first.client_name):
            return False
        mirrored.client = wanted
        self._clients[wanted] = mirrored.halves[first.relayed_name].number
        return self._write_client(wanted)

    def _set_expected(self, mirrored: _Mirrored, key: bytes | None) -> None:
        """As user space does it: of two who expect the same client either may end that."""
        before, mirrored.expected = mirrored.expected, key
        if before is not None:
            self._expected.discard(before)
            self._write_client(before)
        if key is not None:
            self._expected.add(key)
            if not self._write_client(key):
                self._on_full()

    def _write_client(self, key: bytes) -> bool:
        """Have ``key`` lead where it does now, be it to nobody; False when the table is full."""
        first_half = self._clients.get(key)
        if first_half is None and key not in self._expected:
            self._tables.flows_like(key).remove(key)
            return True
        flags = Mark.HAND_UP if key in self._expected else Mark(0)
        return self._tables.flows_like(key).put(
            key, layout.flow_of_client(first_half or self._tables.own, flags)
        )

    def _drop_client(self, mirrored: _Mirrored) -> None:
        key, mirrored.client = mirrored.client, None
        if key is not None:
            del self._clients[key]
            self._write_client(key)

    def _drop_half(self, held: _Half) -> None:
        tables = self._tables
        tables.locals.remove(held.local)
        self._put_flows(held, {})
        tables.extend_half(held.number, 0)
        self._put_all(tables.permissions, held.permissions, {})
        self._put_all(tables.channels, held.channels, {})
        tables.numbers.give_back(held.number)

    def _put_all(
        self, table: Table, held: dict[bytes, bytes], wanted: Mapping[bytes, bytes]
    ) -> bool:
        """Have ``table`` hold what is wanted in place of what is held; False when it is full."""
        for key in [key for key in held if key not in wanted]:
            table.remove(key)
            del held[key]
        fits = self._add_all(table, held, wanted)
        if not fits:
            self._on_full()
        return fits

    @staticmethod
    def _add_all(table: Table, held: dict[bytes, bytes], wanted: Mapping[bytes, bytes]) -> bool:
        """Have it hold what is wanted besides what is held; False when it is full."""
        fits = True
        for key, value in wanted.items():
            if held.get(key) != value:
                if table.put(key, value):
                    held[key] = value
                else:
                    fits = False
        return fits

    def _put_flows(self, held: _Half, wanted: Mapping[bytes, bytes]) -> bool:
        """The same for the peers that have channels."""
        example = next(iter(wanted or held.peers), None)
        return example is None or self._put_all(
            self._tables.flows_like(example), held.peers, wanted
        )

    def _lack(self, number: AllocationId) -> None:
        """The tables do not have all of it: who seems a stranger may be its client."""
        if number not in self._unmirrored:
            self._unmirrored.add(number)
            self._tables.unmirrored += 1
            self._on_full()

    def _has_room(self, number: AllocationId) -> None:
        if number in self._unmirrored:
            self._unmirrored.remove(number)
            self._tables.unmirrored -= 1


def _nanoseconds(seconds: float) -> int:
    return max(0, min(int(seconds * _NANOSECONDS), _LATEST))


def _listener_endpoint(listener: Listener) -> bytes:
    return layout.endpoint(sockaddr.pack(listener.local))


def _client_key(name: bytes, listener: Listener) -> bytes:
    return layout.flow_key(layout.endpoint(name), _listener_endpoint(listener))


def _ends(fields: HalfFields) -> tuple[bytes, bytes, bytes, int]:
    return fields.relayed, fields.client, fields.listener, fields.other


def _has_scope(name: bytes) -> bool:
    """Whether it is a link-local address, which means nothing without its interface."""
    return len(name) == sockaddr.IPV6_SIZE and _is_link_local(sockaddr.host_bytes(name))


def _is_link_local(host: bytes) -> bool:
    return len(host) == 16 and host[0] == 0xFE and host[1] & 0xC0 == 0x80


def _is_for_user_space(half: Allocation) -> bool:
    """What the program can't do: streams, buckets that it lacks, and what needs an interface."""
    return (
        half.listener is None
        or not _is_limited_by_the_kernel(half.rates)
        or _has_scope(half.client_name)
        or any(_is_link_local(host) for host in half.permissions)
        or any(_has_scope(name) for name in half.channels_by_peer)
    )


def _is_limited_by_the_kernel(rates: Rates | None) -> bool:
    """Whether the program has all the buckets."""
    return rates is None or all(
        len(buckets) <= layout.BUCKETS and all(isinstance(each, KernelBucket) for each in buckets)
        for buckets in (rates.to_peers, rates.to_clients)
    )


def _buckets(half: Allocation) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The numbers of those that its data passes, to peers and to clients."""
    if half.rates is None:
        return (), ()
    return _numbers(half.rates.to_peers), _numbers(half.rates.to_clients)


def _numbers(buckets: Sequence[Bucket]) -> tuple[int, ...]:
    return tuple(each.number for each in buckets if isinstance(each, KernelBucket))


def _permissions(permissions: Mapping[bytes, Permission], number: int) -> dict[bytes, bytes]:
    return {
        layout.permission_key(number, host): layout.permission_value(
            _nanoseconds(held.until), held.ports, only_relayed=held.only_relayed
        )
        for host, held in permissions.items()
    }


def _channels(half: Allocation, number: int) -> dict[bytes, bytes]:
    return {
        layout.channel_key(number, held.number): layout.channel_value(
            _nanoseconds(held.until), layout.endpoint(held.peer), only_relayed=held.only_relayed
        )
        for held in half.channels.values()
    }


def _flows(
    half: Allocation, channels: Iterable[Channel], number: int, local: bytes
) -> dict[bytes, bytes]:
    """Of the peers of these channels."""
    flows: dict[bytes, bytes] = {}
    for held in channels:
        permission = half.permissions.get(sockaddr.host_bytes(held.peer))
        permitted = 0
        if permission is not None and not permission.only_relayed:
            permitted = _nanoseconds(permission.until)
        flows[layout.flow_key(layout.endpoint(held.peer), local)] = layout.flow_of_peer(
            number, held.number, _nanoseconds(held.until), permitted
        )
    return flows
