"""The tables of the relay plane in the kernel: loaded with its program, and reached by descriptors.

Of the two that are arrays, what belongs to an allocation has a number, which is given out here, the
one that has been free for longest first: a packet that was under way when an allocation ended may
still count where it did.
"""

import struct
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from importlib.resources import files

from natkit.relay import kernel_layout as layout
from natkit.relay.kernel_networks import KernelNetworks
from natkit.relay.libbpf import BpfError, Program, Table, load, load_all
from natkit.relay.plane import Counters
from natkit.relay.source_memory import SLOTS, SourceMemory

__all__ = [
    "FLAGS_AT",
    "HEADER_AT",
    "LIMITS_AT",
    "UNMIRRORED_AT",
    "KernelTables",
    "Numbers",
    "Slot",
    "TableSizes",
]

_PROGRAM = "natkit_relay"
_AT_TC = "natkit_relay_tc"
_PASSING = "natkit_pass"

_CLOCK = struct.Struct("=Q")
# Where in struct half, and in struct settings.
FLAGS_AT = 8
LIMITS_AT = 24
_CLOCK_AT = 0
HEADER_AT = 8
UNMIRRORED_AT = 16
_HEADER = struct.Struct("=BB")

_MOST_DEVICES = 4096
_LISTENERS = 4096
_MOST_EXTERNAL = 4096


@dataclass(frozen=True, slots=True)
class TableSizes:
    """How much the tables hold; memory for halves, 256 bytes each, is taken at once."""

    halves: int = 65_536
    """Relayed addresses, of all workers together."""
    permissions: int = 262_144
    channels: int = 262_144
    buckets: int = 4_096
    """Of bandwidths: two for each user whom one limits, and two for all."""
    networks: int = 65_536
    """Of clients, that are served or not."""

    def by_name(self) -> dict[str, int]:
        """Entries of each table."""
        return {
            "settings": 1,
            "halves": self.halves,
            "counters": self.halves,
            # None has number 0.
            "buckets": 1 + self.buckets,
            "low_devices": layout.LOW_DEVICES,
            "devices": _MOST_DEVICES,
            "locals": self.halves + _LISTENERS,
            # A client may be about to move, and then has two.
            "flows_ipv4": 2 * self.halves + self.channels,
            "flows_ipv6": 2 * self.halves + self.channels,
            "permissions": self.permissions,
            "channels": self.channels,
            "external": _MOST_EXTERNAL,
            "networks": self.networks,
            "sources": SLOTS,
            "sources_state": 1,
        }


class Numbers:
    """Gives out the numbers from ``first`` to below ``end``, each to one holder at a time."""

    def __init__(self, first: int, end: int) -> None:
        self._next, self._end = first, end
        self._free: deque[int] = deque()

    def take(self) -> int | None:
        """One that was never used, or else has been free for longest; None when all are in use."""
        if self._next < self._end:
            self._next += 1
            return self._next - 1
        return self._free.popleft() if self._free else None

    def give_back(self, number: int) -> None:
        """It is in use no more."""
        self._free.append(number)


class Slot:
    """Where an allocation counts in the kernel: what it counted is the difference to ``base``."""

    __slots__ = ("base", "number")

    def __init__(self, number: int, base: Counters) -> None:
        self.number = number
        self.base = base


@dataclass(frozen=True, slots=True)
class Share:
    """Which worker of how many has which numbers: the first for itself, then for allocations."""

    worker: int = 0
    workers: int = 1

    def numbers(self, capacity: int) -> range:
        """Its own, of so many in all."""
        return range(
            self.worker * capacity // self.workers, (self.worker + 1) * capacity // self.workers
        )


ALONE = Share()
"""A process that has them all."""


class KernelTables:
    """The tables as a worker has them, with memory to write some of them directly."""

    def __init__(self, tables: Mapping[str, Table], share: Share = ALONE) -> None:
        for name, sizes in layout.SIZES.items():
            if (tables[name].key_size, tables[name].value_size) != sizes:
                raise BpfError(f"table {name!r} of relay.bpf.o has another layout")
        self.share = share
        self.locals = tables["locals"]
        self.flows = (tables["flows_ipv4"], tables["flows_ipv6"])
        self.permissions = tables["permissions"]
        self.channels = tables["channels"]
        self.external = tables["external"]
        self._tables = dict(tables)
        self._settings = tables["settings"].memory()
        self._halves = tables["halves"].memory()
        # To write a word in one go: pack_into() has zeros there first, which the program may see.
        self._long_words = memoryview(self._halves).cast("Q")
        self._words = memoryview(self._halves).cast("I")
        self._counters = tables["counters"].memory()
        state = tables["sources_state"].memory()
        places = memoryview(tables["sources"].memory()).cast("Q")
        self.networks = tables["networks"]
        self.sources = SourceMemory(
            memoryview(state).cast("Q"), places[::2], places[1::2], KernelNetworks(self.networks)
        )
        """What the program counts of those whose Binding requests it answers."""
        self.buckets = memoryview(tables["buckets"].memory()).cast("Q")
        """What limits bandwidths, :data:`~natkit.relay.rates.BUCKET_WORDS` words for each."""
        self.bucket_places = (tables["buckets"].capacity - 1) // 2
        """How many names can have their two buckets there."""
        numbers = share.numbers(tables["halves"].capacity)
        self.own = numbers.start
        """Where this worker counts what belongs to no allocation."""
        self.numbers = Numbers(numbers.start + 1, numbers.stop)
        self._slots = Numbers(numbers.start + 1, numbers.stop)
        self._low_devices: set[bytes] = set()
        self._closed = Counters()
        self._last: dict[int, Counters] = {}
        self._unmirrored = 0
        self._before = self._read(self.own)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What another process needs for :meth:`inherit`."""
        return tuple(self._tables[name].descriptor for name in layout.SIZES)

    @classmethod
    def inherit(cls, descriptors: Sequence[int], share: Share) -> "KernelTables":
        """The tables of the process that loaded them, as one of its workers has them."""
        names = zip(layout.SIZES, descriptors, strict=True)
        return cls({name: Table(descriptor) for name, descriptor in names}, share)

    def set_header(self, *, dscp: int, ttl: int) -> None:
        """The code point of all that is sent, and the time to live over IPv4."""
        _HEADER.pack_into(self._settings, HEADER_AT, dscp << 2, ttl)

    def stand_still(self, now: float) -> None:
        """Let the program's clock stand at ``now``, or go again at 0: for tests."""
        _CLOCK.pack_into(self._settings, _CLOCK_AT, round(now * 1e9))

    @property
    def unmirrored(self) -> int:
        """Allocations that the tables lack; while there are any, strangers' data is passed on."""
        return self._unmirrored

    @unmirrored.setter
    def unmirrored(self, count: int) -> None:
        self._unmirrored = count
        self._settings[UNMIRRORED_AT + self.share.worker] = min(count, 1)

    def flows_like(self, key: bytes) -> Table:
        """Which of :attr:`flows` has such a key."""
        return next(table for table in self.flows if table.key_size == len(key))

    def devices(self) -> list[bytes]:
        """The interfaces that are known, each by its value."""
        low, others = self._tables["low_devices"], self._tables["devices"]
        found = [low.get(layout.low_device_key(number)) for number in range(layout.LOW_DEVICES)]
        found += [others.get(key) for key in others.list_keys()]
        return [value for value in found if value not in (None, layout.NO_DEVICE)]

    def set_devices(self, wanted: Mapping[tuple[int, int], bytes]) -> None:
        """Have these interfaces known, by number and tag, each by its value; and no others."""
        low = {
            layout.low_device_key(number): value
            for (number, tag), value in wanted.items()
            if not tag and number < layout.LOW_DEVICES
        }
        others = {
            layout.device_key(number, tag): value
            for (number, tag), value in wanted.items()
            if tag or number >= layout.LOW_DEVICES
        }
        table = self._tables["low_devices"]
        for key in self._low_devices - low.keys():
            table.put(key, layout.NO_DEVICE)
        self._low_devices = set(low)
        for key, value in low.items():
            # It is written in place: what stays as it is must not be touched.
            if table.get(key) != value:
                table.put(key, value)
        table = self._tables["devices"]
        for key in table.list_keys():
            if key not in others:
                table.remove(key)
        for key, value in others.items():
            table.put(key, value)

    def forget(self, share: Share) -> None:
        """Remove what a worker had that is dead."""
        mine = share.numbers(self._tables["halves"].capacity)
        for key in self.locals.list_keys():
            value = self.locals.get(key)
            # Half 0 is nobody's: listeners have it, which are everybody's.
            half = layout.half_of_local(value) if value is not None else 0
            if half and half in mine:
                self.locals.remove(key)
        for flows in self.flows:
            for key in flows.list_keys():
                value = flows.get(key)
                if value is not None and layout.half_of_flow(value) in mine:
                    flows.remove(key)
        for table in (self.permissions, self.channels):
            for key in table.list_keys():
                if layout.half_of_key(key) in mine:
                    table.remove(key)
        self._settings[UNMIRRORED_AT + share.worker] = 0

    def write_half(self, number: int, fields: layout.HalfFields) -> None:
        """Set what half ``number`` is; nothing may lead to it meanwhile."""
        start = number * layout.HALF_SIZE
        self._halves[start : start + layout.HALF_SIZE] = layout.half_value(fields)

    def extend_half(self, number: int, until: int) -> None:
        """Let it live until then, in nanoseconds; it may be in use."""
        self._long_words[number * layout.HALF_SIZE // self._long_words.itemsize] = until

    def mark_half(self, number: int, flags: layout.Mark) -> None:
        """Set its flags; it may be in use."""
        self._words[(number * layout.HALF_SIZE + FLAGS_AT) // self._words.itemsize] = flags

    def limit_half(self, number: int, to_peers: Sequence[int], to_clients: Sequence[int]) -> None:
        """Let its data pass through these buckets; it may be in use."""
        start = number * layout.HALF_SIZE + LIMITS_AT
        value = layout.limits_value(to_peers, to_clients)
        self._halves[start : start + len(value)] = value

    def open_slot(self) -> Slot | None:
        """Where a new allocation counts; None when there is no place."""
        number = self._slots.take()
        if number is None:
            return None
        base = self._read(number)
        last = self._last.pop(number, None)
        if last is not None:
            self._closed.add(_difference(base, last))
        return Slot(number, base)

    def counted(self, slot: Slot) -> Counters:
        """What the allocation counted there."""
        return _difference(self._read(slot.number), slot.base)

    def close_slot(self, slot: Slot) -> None:
        """It counts no more."""
        now = self._read(slot.number)
        self._closed.add(_difference(now, slot.base))
        self._last[slot.number] = now
        self._slots.give_back(slot.number)

    def counted_besides(self) -> Counters:
        """What belongs to no allocation, or to one that is closed."""
        counters = _difference(self._read(self.own), self._before)
        counters.add(self._closed)
        return counters

    def refused_bindings(self) -> tuple[int, int, int]:
        """Binding requests that were dropped.

        Those over the limit of their source, those whose answers are too large for theirs, and
        those of clients in networks that are not served.
        """
        start = self.own * layout.COUNTERS_STRIDE + layout.REFUSED_AT
        packets, answers, denied = layout.REFUSED.unpack_from(self._counters, start)
        return packets, answers, denied

    def close(self) -> None:
        """Let go of them."""
        for view in (self._long_words, self._words):
            view.release()
        for memory in (self._settings, self._halves, self._counters):
            memory.close()
        for table in self._tables.values():
            table.close()

    def _read(self, number: int) -> Counters:
        start = number * layout.COUNTERS_STRIDE
        return layout.read_counters(self._counters[start : start + layout.COUNTERS_STRIDE])


class KernelRelay:
    """The loaded program with its tables, as the process has them that attaches it."""

    def __init__(self, tables: KernelTables, programs: Mapping[str, Program]) -> None:
        self.tables = tables
        self.program = programs[_PROGRAM]
        """For XDP."""
        self.at_tc = programs.get(_AT_TC)
        """For tc; None where the kernel does not take it."""
        self.passing = programs[_PASSING]
        """For XDP: lets everything pass."""
        self._programs = tuple(programs.values())

    @classmethod
    def load(
        cls, sizes: TableSizes | None = None, share: Share = ALONE, *, at_tc: bool = True
    ) -> "KernelRelay":
        """Load it; BpfError when the library is missing or the kernel refuses.

        To be looked at by the kernel takes each hook's program some tenths of a second; that for tc
        can be left out.
        """
        image = files("natkit.relay").joinpath("relay.bpf.o").read_bytes()
        entries, names = (sizes or TableSizes()).by_name(), (_PROGRAM, _PASSING)
        if at_tc:
            tables, programs = load(image, entries, names, _AT_TC)
        else:
            tables, programs = load_all(image, entries, names, _AT_TC)
        return cls(KernelTables(tables, share), programs)

    def close(self) -> None:
        """Let go of it all; what is attached stays so for as long as its links are held."""
        self.tables.close()
        for program in self._programs:
            program.close()


def _difference(now: Counters, before: Counters) -> Counters:
    return Counters(
        *(one - other for one, other in zip(astuple(now), astuple(before), strict=True))
    )
