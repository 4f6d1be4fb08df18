"""Programs and tables of the Linux kernel's BPF, by ``libbpf.so.1`` of the system.

The only module besides :mod:`natkit.net.libc` that knows ctypes.  Everything it makes is a
descriptor: what holds it alive is that some process has it, and what attaches a program to an
interface ends with the last process that has the link.
"""

import ctypes
import mmap
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from natkit.errors import UnreachableError

__all__ = [
    "LIBRARY",
    "BpfError",
    "Link",
    "Program",
    "Table",
    "library_version",
    "load",
    "load_all",
    "why_not_called",
]

LIBRARY = "libbpf.so.1"
"""What it is called; Debian has it in libbpf1, Fedora in libbpf, Alpine in libbpf."""

_LOG_SIZE = 1 << 18
# <linux/bpf.h>
_BPF_XDP, _BPF_TCX_INGRESS = 37, 46
_BEFORE_OTHERS = 1 << 3  # BPF_F_BEFORE
_MMAPABLE = 1 << 10  # BPF_F_MMAPABLE
_E2BIG, _ENOENT, _ENOMEM, _ENOSPC = 7, 2, 12, 28
_EPERM, _ENOSYS = 1, 38


class BpfError(UnreachableError):
    """The library is missing, or the kernel refuses: ``number`` is its errno, or 0."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.number = number


class _OpenOptions(ctypes.Structure):
    """``struct bpf_object_open_opts`` of libbpf 1.0."""

    _fields_: ClassVar = [
        ("size", ctypes.c_size_t),
        ("object_name", ctypes.c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", ctypes.c_char_p),
        ("_", ctypes.c_uint32),
        ("kconfig", ctypes.c_char_p),
        ("btf_custom_path", ctypes.c_char_p),
        ("log", ctypes.c_void_p),
        ("log_size", ctypes.c_size_t),
        ("log_level", ctypes.c_uint32),
    ]


class _TestRunOptions(ctypes.Structure):
    """``struct bpf_test_run_opts``."""

    _fields_: ClassVar = [
        ("size", ctypes.c_size_t),
        ("data_in", ctypes.c_char_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("context_in", ctypes.c_void_p),
        ("context_out", ctypes.c_void_p),
        ("context_size_in", ctypes.c_uint32),
        ("context_size_out", ctypes.c_uint32),
        ("verdict", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    ]


class _XdpContext(ctypes.Structure):
    """``struct xdp_md``."""

    _fields_: ClassVar = [
        ("data", ctypes.c_uint32),
        ("data_end", ctypes.c_uint32),
        ("data_meta", ctypes.c_uint32),
        ("ingress_ifindex", ctypes.c_uint32),
        ("rx_queue_index", ctypes.c_uint32),
        ("egress_ifindex", ctypes.c_uint32),
    ]


class _LinkOptions(ctypes.Structure):
    """The beginning of ``struct bpf_link_create_opts``, of which the library needs no more."""

    _fields_: ClassVar = [
        ("size", ctypes.c_size_t),
        ("flags", ctypes.c_uint32),
        ("iter_info", ctypes.c_void_p),
        ("iter_info_len", ctypes.c_uint32),
        ("target_btf_id", ctypes.c_uint32),
    ]


class _MapInfo(ctypes.Structure):
    """The beginning of ``struct bpf_map_info``."""

    _fields_: ClassVar = [
        ("kind", ctypes.c_uint32),
        ("number", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("capacity", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    ]


class _LinkInfo(ctypes.Structure):
    """The beginning of ``struct bpf_link_info``, as links of XDP and of tc have it."""

    _fields_: ClassVar = [
        ("kind", ctypes.c_uint32),
        ("number", ctypes.c_uint32),
        ("program", ctypes.c_uint32),
        ("_", ctypes.c_uint32),
        ("interface", ctypes.c_uint32),
    ]


class _ProgramInfo(ctypes.Structure):
    """``struct bpf_prog_info`` as far as ``run_cnt``; what lies between is of no interest here."""

    _fields_: ClassVar = [
        ("kind", ctypes.c_uint32),
        ("number", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("_", ctypes.c_uint8 * 176),
        ("run_time_ns", ctypes.c_uint64),
        ("run_count", ctypes.c_uint64),
    ]


_Int, _Pointer, _Bytes = ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p
_U32, _U64, _Size = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_size_t
_Result = type[ctypes.c_int] | type[ctypes.c_void_p] | None
_Argument = (
    type[ctypes.c_int]
    | type[ctypes.c_bool]
    | type[ctypes.c_void_p]
    | type[ctypes.c_char_p]
    | type[ctypes.c_uint32]
    | type[ctypes.c_uint64]
    | type[ctypes.c_size_t]
)

_FUNCTIONS: dict[str, tuple[_Result, tuple[_Argument, ...]]] = {
    "libbpf_major_version": (_Int, ()),
    "libbpf_minor_version": (_Int, ()),
    "libbpf_set_print": (_Pointer, (_Pointer,)),
    "bpf_object__open_mem": (_Pointer, (_Bytes, _Size, _Pointer)),
    "bpf_object__load": (_Int, (_Pointer,)),
    "bpf_object__close": (None, (_Pointer,)),
    "bpf_object__find_map_by_name": (_Pointer, (_Pointer, _Bytes)),
    "bpf_object__find_program_by_name": (_Pointer, (_Pointer, _Bytes)),
    "bpf_map__set_max_entries": (_Int, (_Pointer, _U32)),
    "bpf_map__fd": (_Int, (_Pointer,)),
    "bpf_program__fd": (_Int, (_Pointer,)),
    "bpf_program__set_autoload": (_Int, (_Pointer, ctypes.c_bool)),
    "bpf_map_update_elem": (_Int, (_Int, _Bytes, _Bytes, _U64)),
    "bpf_map_lookup_elem": (_Int, (_Int, _Bytes, _Pointer)),
    "bpf_map_delete_elem": (_Int, (_Int, _Bytes)),
    "bpf_map_get_next_key": (_Int, (_Int, _Bytes, _Pointer)),
    "bpf_prog_test_run_opts": (_Int, (_Int, _Pointer)),
    "bpf_link_create": (_Int, (_Int, _Int, _Int, _Pointer)),
    "bpf_obj_get_info_by_fd": (_Int, (_Int, _Pointer, _Pointer)),
}


_Value = int | bytes | None


class _Function(Protocol):
    def __call__(self, *arguments: _Value) -> int | None: ...


class _Library:
    """The functions of libbpf that are used, each with its types."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._functions: dict[str, _Function] = {}
        for name, (result, arguments) in _FUNCTIONS.items():
            function = library[name]
            function.restype, function.argtypes = result, arguments
            self._functions[name] = function
        # It writes what goes wrong on stderr otherwise; errors say it here.
        self._functions["libbpf_set_print"](None)

    def call(self, name: str, *arguments: _Value) -> int:
        """What the function returns, a pointer's null as 0; errno stays to be asked for."""
        ctypes.set_errno(0)
        return self._functions[name](*arguments) or 0

    def must(self, what: str, name: str, *arguments: _Value) -> int:
        """The same, BpfError where it is negative."""
        result = self.call(name, *arguments)
        if result < 0:
            raise _error(what, -result)
        return result


_loaded: list[_Library] = []


def _library() -> _Library:
    if not _loaded:
        try:
            found = ctypes.CDLL(LIBRARY, use_errno=True)
        except OSError:
            raise BpfError(
                f"{LIBRARY} is missing; Debian and Ubuntu have it in the package libbpf1, "
                "Fedora and Alpine in libbpf"
            ) from None
        _loaded.append(_Library(found))
    return _loaded[0]


def library_version() -> tuple[int, int]:
    """Which version of the library is there; BpfError when none is."""
    if not sys.platform.startswith("linux"):
        raise BpfError(f"{sys.platform} has no BPF")
    library = _library()
    return library.call("libbpf_major_version"), library.call("libbpf_minor_version")


def why_not_called() -> str | None:
    """What the system says to the call ``bpf`` itself, where it does not let this process have it.

    Asked by one that has the capabilities: a filter of system calls (seccomp) may still forbid it.
    """
    info = _MapInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    # About no descriptor: the kernel, if it is reached, says that there is none.
    result = _library().call(
        "bpf_obj_get_info_by_fd", -1, ctypes.addressof(info), ctypes.addressof(size)
    )
    return os.strerror(-result) if -result in (_EPERM, _ENOSYS) else None


def _error(what: str, number: int, more: str = "") -> BpfError:
    reason = os.strerror(number) if number < 4000 else f"libbpf error {number}"
    return BpfError(f"{what}: {reason}{more}", number)


class Table:
    """A table of the kernel's ("map"): keys and values are bytes of fixed sizes.

    It owns its descriptor, which another process may be given.
    """

    __slots__ = ("_found", "_library", "capacity", "descriptor", "flags", "key_size", "value_size")

    def __init__(self, descriptor: int) -> None:
        self._library = _library()
        self.descriptor = descriptor
        info = _MapInfo()
        size = ctypes.c_uint32(ctypes.sizeof(info))
        self._library.must(
            "BPF table",
            "bpf_obj_get_info_by_fd",
            descriptor,
            ctypes.addressof(info),
            ctypes.addressof(size),
        )
        self.key_size: int = info.key_size
        self.value_size: int = info.value_size
        self.capacity: int = info.capacity
        self.flags: int = info.flags
        self._found = ctypes.create_string_buffer(self.value_size)

    def put(self, key: bytes, value: bytes) -> bool:
        """Set the value of ``key``; False when the table is full, or memory is short."""
        self._check(key, value)
        result = self._library.call("bpf_map_update_elem", self.descriptor, key, value, 0)
        if result in (-_E2BIG, -_ENOMEM, -_ENOSPC):
            return False
        if result:
            raise _error("BPF table", -result)
        return True

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key``, if it has one."""
        self._check(key)
        address = ctypes.addressof(self._found)
        result = self._library.call("bpf_map_lookup_elem", self.descriptor, key, address)
        return self._found.raw if result == 0 else None

    def remove(self, key: bytes) -> bool:
        """Forget ``key``; False when it was not there."""
        self._check(key)
        return self._library.call("bpf_map_delete_elem", self.descriptor, key) == 0

    def list_keys(self) -> list[bytes]:
        """All keys, as far as nobody changes the table meanwhile."""
        found: list[bytes] = []
        key: bytes | None = None
        after = ctypes.create_string_buffer(self.key_size)
        address = ctypes.addressof(after)
        while self._library.call("bpf_map_get_next_key", self.descriptor, key, address) == 0:
            key = after.raw
            found.append(key)
        return found

    def memory(self) -> mmap.mmap:
        """An array's values in memory, one after the other: what is written there counts at once.

        Each takes a multiple of eight bytes.
        """
        if not self.flags & _MMAPABLE:
            raise BpfError("that table cannot be mapped into memory")
        size = (self.value_size + 7) // 8 * 8 * self.capacity
        pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        return mmap.mmap(self.descriptor, pages, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self.descriptor)

    def _check(self, key: bytes, value: bytes | None = None) -> None:
        # The kernel reads as many bytes as it says, whatever there is.
        if len(key) != self.key_size or (value is not None and len(value) != self.value_size):
            raise BpfError(f"keys here have {self.key_size} bytes and values {self.value_size}")


class Link:
    """A program that is attached: for as long as any process has the descriptor."""

    __slots__ = ("_library", "descriptor")

    def __init__(self, descriptor: int) -> None:
        self._library = _library()
        self.descriptor = descriptor

    @property
    def interface(self) -> int:
        """Where it is attached, by number; 0 once that interface has been removed."""
        info = _LinkInfo()
        size = ctypes.c_uint32(ctypes.sizeof(info))
        self._library.must(
            "BPF link",
            "bpf_obj_get_info_by_fd",
            self.descriptor,
            ctypes.addressof(info),
            ctypes.addressof(size),
        )
        number: int = info.interface
        return number

    def close(self) -> None:
        """Detach, if nobody else has it."""
        os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program made of a packet: its verdict, the packet, and nanoseconds on average."""

    verdict: int
    packet: bytes
    duration: int


class Program:
    """A program that the kernel has accepted.  It owns its descriptor."""

    __slots__ = ("_library", "descriptor")

    def __init__(self, descriptor: int) -> None:
        self._library = _library()
        self.descriptor = descriptor

    def attach(self, interface: int, flags: int) -> Link:
        """Attach it for XDP to an interface, by number; BpfError where that is not possible."""
        return self._attach("XDP", _BPF_XDP, interface, flags)

    def attach_to_tc(self, interface: int) -> Link:
        """Attach it for tc to where packets come in by an interface, before the programs of others.

        BpfError where that is not possible; its number is EINVAL before Linux 6.6.
        """
        return self._attach("tc", _BPF_TCX_INGRESS, interface, _BEFORE_OTHERS)

    def _attach(self, hook: str, kind: int, interface: int, flags: int) -> Link:
        options = _LinkOptions(size=ctypes.sizeof(_LinkOptions), flags=flags)
        program, address = self.descriptor, ctypes.addressof(options)
        created = self._library.must(hook, "bpf_link_create", program, interface, kind, address)
        return Link(created)

    def run(self, packet: bytes, interface: int, *, repeat: int = 1) -> Ran:
        """Have it treat a packet as if it had come in by ``interface``; it goes nowhere."""
        out = ctypes.create_string_buffer(len(packet) + 256)
        context = _XdpContext(data_end=len(packet), ingress_ifindex=interface)
        options = _TestRunOptions(
            size=ctypes.sizeof(_TestRunOptions),
            data_in=packet,
            data_out=ctypes.addressof(out),
            data_size_in=len(packet),
            data_size_out=len(out),
            context_in=ctypes.addressof(context),
            context_size_in=ctypes.sizeof(context),
            repeat=repeat,
        )
        self._library.must(
            "BPF test run", "bpf_prog_test_run_opts", self.descriptor, ctypes.addressof(options)
        )
        return Ran(options.verdict, out.raw[: options.data_size_out], options.duration)

    def statistics(self) -> tuple[int, int]:
        """Nanoseconds that it ran, and how often, while ``kernel.bpf_stats_enabled`` is set."""
        info = _ProgramInfo()
        size = ctypes.c_uint32(ctypes.sizeof(info))
        self._library.must(
            "BPF program",
            "bpf_obj_get_info_by_fd",
            self.descriptor,
            ctypes.addressof(info),
            ctypes.addressof(size),
        )
        return info.run_time_ns, info.run_count

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self.descriptor)


def load(
    image: bytes, sizes: Mapping[str, int], programs: tuple[str, ...], optional: str = ""
) -> tuple[dict[str, Table], dict[str, Program]]:
    """Load an object file: its tables, each for so many entries, and its programs, by name.

    BpfError says why the kernel does not want it; of what its verifier says, the end.  Without the
    program that is ``optional``, where the kernel does not want that one.
    """
    if optional:
        try:
            return load_all(image, sizes, (*programs, optional), "")
        except BpfError:
            # Whatever it is: if it is none of that program's, it comes again.
            pass
    return load_all(image, sizes, programs, optional)


def load_all(
    image: bytes, sizes: Mapping[str, int], programs: tuple[str, ...], without: str
) -> tuple[dict[str, Table], dict[str, Program]]:
    """The same, of all its programs but one; none is left out where ``without`` is empty."""
    library = _library()
    log = ctypes.create_string_buffer(_LOG_SIZE)
    options = _OpenOptions(
        size=ctypes.sizeof(_OpenOptions), log=ctypes.addressof(log), log_size=_LOG_SIZE
    )
    opened = library.call("bpf_object__open_mem", image, len(image), ctypes.addressof(options))
    if not opened:
        raise _error("BPF object file", ctypes.get_errno())
    descriptors: list[int] = []
    try:
        found = {name: _find(opened, "table", name) for name in sizes}
        for name, size in sizes.items():
            library.must("BPF table", "bpf_map__set_max_entries", found[name], size)
        if without:
            pointer = _find(opened, "program", without)
            library.must("BPF program", "bpf_program__set_autoload", pointer, 0)
        result = library.call("bpf_object__load", opened)
        if result:
            raise _error("the kernel refuses the BPF program", -result, _end_of(log.value))
        tables: dict[str, Table] = {}
        for name, pointer in found.items():
            descriptors.append(os.dup(library.must(name, "bpf_map__fd", pointer)))
            tables[name] = Table(descriptors[-1])
        loaded: dict[str, Program] = {}
        for name in programs:
            pointer = _find(opened, "program", name)
            descriptors.append(os.dup(library.must(name, "bpf_program__fd", pointer)))
            loaded[name] = Program(descriptors[-1])
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    finally:
        library.call("bpf_object__close", opened)
    return tables, loaded


def _find(opened: int, what: str, name: str) -> int:
    """The pointer to a table or a program of an object file; BpfError where it has none such."""
    function = "bpf_object__find_map_by_name"
    if what == "program":
        function = "bpf_object__find_program_by_name"
    pointer = _library().call(function, opened, name.encode())
    if not pointer:
        raise BpfError(f"the object file has no {what} {name!r}")
    return pointer


def _end_of(log: bytes) -> str:
    lines = log.decode("utf-8", "replace").strip().splitlines()
    # The last lines are figures of the verifier; what it stumbled over stands before.
    return "".join(f"; {line.strip()}" for line in lines[-4:])
