"""The C functions that Python's standard library lacks: datagrams in batches, and ``io_uring(7)``.

The only module of natkit.net that knows ctypes.  The structures are laid out by ctypes from the
platform's own sizes, so 32-bit and big-endian machines need nothing special.
"""

import ctypes
import mmap
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

__all__ = [
    "HAVE_MMSG",
    "UDP_SEGMENT",
    "Headers",
    "MessageVector",
    "RingPlaces",
    "RunVector",
    "address_of",
    "enter_ring",
    "last_error",
    "recvmmsg",
    "sendmmsg",
    "set_up_ring",
]


class _IoVec(ctypes.Structure):
    """``struct iovec``."""

    _fields_: ClassVar = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _MsgHdr(ctypes.Structure):
    """``struct msghdr``, as the Linux kernel reads it."""

    _fields_: ClassVar = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _MMsgHdr(ctypes.Structure):
    """``struct mmsghdr``: a message and how many of its bytes went through."""

    _fields_: ClassVar = [("header", _MsgHdr), ("length", ctypes.c_uint)]


UDP_SEGMENT = 103
"""<linux/udp.h>; the socket module does not have it."""

Headers = ctypes.c_void_p
"""Where an array of ``struct mmsghdr`` lies, as the calls below take it."""

ReceiveMany = Callable[[int, Headers, int, int, None], int]
SendMany = Callable[[int, Headers, int, int], int]


class SystemCall(Protocol):
    """``syscall(2)``."""

    def __call__(self, number: ctypes.c_long, /, *arguments: int | Headers | None) -> int:
        """What the call of this number gives, or -1."""
        ...


def _missing(*_: int | Headers | ctypes.c_long | None) -> int:
    raise OSError("these calls are used on Linux only")


def _load() -> tuple[ReceiveMany, SendMany, SystemCall] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        # PyDLL keeps the interpreter lock: the calls never block (MSG_DONTWAIT), and handing the
        # lock over for microseconds would cost more than they do.
        library = ctypes.PyDLL(None, use_errno=True)
        receive, send, call = library.recvmmsg, library.sendmmsg, library.syscall
    except (OSError, AttributeError):
        return None
    # Without argtypes an int is passed as the C int that it is here and a c_void_p as a pointer; to
    # convert each by its type would take as long as the rest of the call.
    receive.restype = send.restype = ctypes.c_int
    call.restype = ctypes.c_long
    return receive, send, call


_functions = _load()

HAVE_MMSG = _functions is not None
"""Whether this platform reads and writes datagrams in batches."""

recvmmsg: ReceiveMany
sendmmsg: SendMany
_system_call: SystemCall
recvmmsg, sendmmsg, _system_call = _functions or (_missing, _missing, _missing)


def last_error() -> int:
    """The error number of the last call that returned -1."""
    return ctypes.get_errno()


def address_of(buffer: mmap.mmap) -> int:
    """Where ``buffer`` lies in memory; valid until it is closed."""
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))


class MessageVector:
    """``struct mmsghdr`` for each slot of a batch: one buffer and one socket address a message.

    ``names`` says for each size of socket address (that of IPv4, that of IPv6) where in memory that
    many bytes for each slot lie.  ``bases`` and ``sizes`` are where each message's bytes begin and
    how many they are.  By size of address, ``headers`` has the memory address of each structure, as
    the calls want it, and ``lengths`` what the kernel reported of each; with MSG_TRUNC that is the
    length that a datagram had, not what fitted.  ``iovs`` is where the kernel finds ``bases`` and
    ``sizes`` of each message.  The caller keeps the memory alive.
    """

    __slots__ = ("_arrays", "_iovs", "bases", "headers", "iovs", "lengths", "sizes")

    def __init__(self, capacity: int, names: Mapping[int, int]) -> None:
        self._iovs = (_IoVec * capacity)()
        start = ctypes.addressof(self._iovs)
        self.iovs = [start + index * ctypes.sizeof(_IoVec) for index in range(capacity)]
        pointers = memoryview(self._iovs).cast("B").cast("L")
        self.bases = pointers[::2]
        self.sizes = pointers[1::2]
        # The kernel writes back each address's size: one array for each keeps it right.
        self._arrays = {size: (_MMsgHdr * capacity)() for size in names}
        self.headers: dict[int, list[Headers]] = {}
        self.lengths: dict[int, memoryview] = {}
        header_size = ctypes.sizeof(_MMsgHdr)
        for size, array in self._arrays.items():
            for index in range(capacity):
                header = array[index].header
                header.name = names[size] + index * size
                header.name_length = size
                header.iov = self.iovs[index]
                header.iov_length = 1
            start = ctypes.addressof(array)
            self.headers[size] = [Headers(start + index * header_size) for index in range(capacity)]
            integers = memoryview(array).cast("B").cast("I")
            self.lengths[size] = integers[_MMsgHdr.length.offset // 4 :: header_size // 4]


class _SegmentSize(ctypes.Structure):
    """``struct cmsghdr`` with what ``UDP_SEGMENT`` takes, a 16-bit number of bytes."""

    _fields_: ClassVar = [
        ("length", ctypes.c_size_t),
        ("level", ctypes.c_int),
        ("kind", ctypes.c_int),
        ("datagram", ctypes.c_uint16),
        ("_", ctypes.c_uint16 * 3),
    ]


_SEGMENT_SIZE_LENGTH = _SegmentSize.datagram.offset + ctypes.sizeof(ctypes.c_uint16)


class RunVector:
    """``struct mmsghdr`` for runs of datagrams of one size to one address, sent by ``UDP_SEGMENT``.

    The datagrams lie where the ``iovs`` of a :class:`MessageVector` say.  Names and ``headers`` are
    as there, a run being a message.  Of each run by size of address, ``firsts`` is where its first
    entry of the iovs lies and ``counts`` how many it has; ``datagrams`` is the size to cut, zero
    for what is one datagram.
    """

    __slots__ = ("_arrays", "_controls", "counts", "datagrams", "firsts", "headers")

    def __init__(self, capacity: int, names: Mapping[int, int]) -> None:
        self._controls = (_SegmentSize * capacity)()
        for control in self._controls:
            control.length = _SEGMENT_SIZE_LENGTH
            control.level, control.kind = socket.IPPROTO_UDP, UDP_SEGMENT
        stride = ctypes.sizeof(_SegmentSize) // 2
        first = _SegmentSize.datagram.offset // 2
        self.datagrams = memoryview(self._controls).cast("B").cast("H")[first::stride]
        self._arrays = {size: (_MMsgHdr * capacity)() for size in names}
        self.headers: dict[int, list[Headers]] = {}
        self.firsts: dict[int, memoryview] = {}
        self.counts: dict[int, memoryview] = {}
        header_size, control_size = ctypes.sizeof(_MMsgHdr), ctypes.sizeof(_SegmentSize)
        for size, array in self._arrays.items():
            for index in range(capacity):
                header = array[index].header
                header.name = names[size] + index * size
                header.name_length = size
                header.control = ctypes.addressof(self._controls) + index * control_size
                header.control_length = _SEGMENT_SIZE_LENGTH
            start = ctypes.addressof(array)
            self.headers[size] = [Headers(start + index * header_size) for index in range(capacity)]
            words = memoryview(array).cast("B").cast("L")
            self.firsts[size] = _column(words, _MsgHdr.iov.offset)
            self.counts[size] = _column(words, _MsgHdr.iov_length.offset)


def _column(words: memoryview, offset: int) -> memoryview:
    """One field of all structures of an array of ``struct mmsghdr``."""
    size = ctypes.sizeof(ctypes.c_size_t)
    return words[offset // size :: ctypes.sizeof(_MMsgHdr) // size]


# <asm/unistd.h>, alike on all architectures but Alpha.
_IO_URING_SETUP, _IO_URING_ENTER = ctypes.c_long(425), ctypes.c_long(426)


class _SubmissionOffsets(ctypes.Structure):
    """``struct io_sqring_offsets``."""

    _fields_: ClassVar = [
        ("head", ctypes.c_uint32),
        ("tail", ctypes.c_uint32),
        ("ring_mask", ctypes.c_uint32),
        ("ring_entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("dropped", ctypes.c_uint32),
        ("array", ctypes.c_uint32),
        ("_", ctypes.c_uint32 * 3),
    ]


class _CompletionOffsets(ctypes.Structure):
    """``struct io_cqring_offsets``."""

    _fields_: ClassVar = [
        ("head", ctypes.c_uint32),
        ("tail", ctypes.c_uint32),
        ("ring_mask", ctypes.c_uint32),
        ("ring_entries", ctypes.c_uint32),
        ("overflow", ctypes.c_uint32),
        ("cqes", ctypes.c_uint32),
        ("_", ctypes.c_uint32 * 4),
    ]


class _RingParameters(ctypes.Structure):
    """``struct io_uring_params``."""

    _fields_: ClassVar = [
        ("sq_entries", ctypes.c_uint32),
        ("cq_entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("sq_thread_cpu", ctypes.c_uint32),
        ("sq_thread_idle", ctypes.c_uint32),
        ("features", ctypes.c_uint32),
        ("wq_fd", ctypes.c_uint32),
        ("_", ctypes.c_uint32 * 3),
        ("submission", _SubmissionOffsets),
        ("completion", _CompletionOffsets),
    ]


@dataclass(frozen=True, slots=True)
class RingPlaces:
    """A ring of the kernel's, and at which bytes of its memory what lies."""

    descriptor: int
    features: int
    submissions: int
    """Room for so many, a power of two; then for so many completions."""
    completions: int
    submission_tail: int
    submission_order: int
    completion_head: int
    completion_tail: int
    first_completion: int


def set_up_ring(entries: int) -> RingPlaces | None:
    """A ring for so many submissions, or None where the system gives none."""
    if not HAVE_MMSG:
        return None
    parameters = _RingParameters()
    address = Headers(ctypes.addressof(parameters))
    descriptor = _system_call(_IO_URING_SETUP, entries, address)
    if descriptor < 0:
        return None
    submission, completion = parameters.submission, parameters.completion
    return RingPlaces(
        descriptor,
        parameters.features,
        parameters.sq_entries,
        parameters.cq_entries,
        submission.tail,
        submission.array,
        completion.head,
        completion.tail,
        completion.cqes,
    )


def enter_ring(descriptor: int, count: int) -> int:
    """Have the kernel take so many submissions; how many it took, or -1."""
    return _system_call(_IO_URING_ENTER, descriptor, count, 0, 0, None, 0)
