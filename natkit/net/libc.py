"""The C functions that Python's standard library lacks: ``recvmmsg(2)`` and ``sendmmsg(2)``.

The only module of natkit.net that knows ctypes.  The structures are laid out by ctypes from the
platform's own sizes, so 32-bit and big-endian machines need nothing special.
"""

import ctypes
import mmap
import sys
from collections.abc import Callable, Mapping
from typing import ClassVar

__all__ = [
    "HAVE_MMSG",
    "Headers",
    "MessageVector",
    "address_of",
    "last_error",
    "recvmmsg",
    "sendmmsg",
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


Headers = ctypes.c_void_p
"""Where an array of ``struct mmsghdr`` lies, as the calls below take it."""

ReceiveMany = Callable[[int, Headers, int, int, None], int]
SendMany = Callable[[int, Headers, int, int], int]


def _missing(*_: int | Headers | None) -> int:
    raise NotImplementedError("recvmmsg and sendmmsg are used on Linux only")


def _load() -> tuple[ReceiveMany, SendMany] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        # PyDLL keeps the interpreter lock: the calls never block (MSG_DONTWAIT), and handing the
        # lock over for microseconds would cost more than they do.
        library = ctypes.PyDLL(None, use_errno=True)
        receive, send = library.recvmmsg, library.sendmmsg
    except (OSError, AttributeError):
        return None
    # Without argtypes an int is passed as the C int that it is here and a c_void_p as a pointer; to
    # convert each by its type would take as long as the rest of the call.
    receive.restype = send.restype = ctypes.c_int
    return receive, send


_functions = _load()

HAVE_MMSG = _functions is not None
"""Whether this platform reads and writes datagrams in batches."""

recvmmsg: ReceiveMany
sendmmsg: SendMany
recvmmsg, sendmmsg = _functions or (_missing, _missing)


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
    length that a datagram had, not what fitted.  The caller keeps the memory alive.
    """

    __slots__ = ("_arrays", "_iovs", "bases", "headers", "lengths", "sizes")

    def __init__(self, capacity: int, names: Mapping[int, int]) -> None:
        self._iovs = (_IoVec * capacity)()
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
                header.iov = ctypes.addressof(self._iovs) + index * ctypes.sizeof(_IoVec)
                header.iov_length = 1
            start = ctypes.addressof(array)
            self.headers[size] = [Headers(start + index * header_size) for index in range(capacity)]
            integers = memoryview(array).cast("B").cast("I")
            self.lengths[size] = integers[_MMsgHdr.length.offset // 4 :: header_size // 4]
