"""The C functions that Python's standard library lacks: ``recvmmsg(2)`` and ``sendmmsg(2)``.

The only module of natkit.net that knows ctypes.  The structures are laid out by ctypes from the
platform's own sizes, so 32-bit and big-endian machines need nothing special.
"""

import ctypes
import mmap
import socket
import sys
from collections.abc import Callable, Mapping
from typing import ClassVar

__all__ = ["HAVE_MMSG", "MessageVector", "address_of"]


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


_ReceiveMany = Callable[[int, int, int, int, None], int]
_SendMany = Callable[[int, int, int, int], int]


def _load() -> tuple[_ReceiveMany, _SendMany] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        # PyDLL keeps the interpreter lock: the calls never block (MSG_DONTWAIT), and handing the
        # lock over for microseconds would cost more than they do.
        library = ctypes.PyDLL(None, use_errno=True)
        receive, send = library.recvmmsg, library.sendmmsg
    except (OSError, AttributeError):
        return None
    send.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
    receive.argtypes = [*send.argtypes, ctypes.c_void_p]
    receive.restype = send.restype = ctypes.c_int
    return receive, send


_FUNCTIONS = _load()
_HEADER_SIZE = ctypes.sizeof(_MMsgHdr)

HAVE_MMSG = _FUNCTIONS is not None
"""Whether this platform reads and writes datagrams in batches."""


def address_of(buffer: mmap.mmap) -> int:
    """Where ``buffer`` lies in memory; valid until it is closed."""
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))


class MessageVector:
    """``struct mmsghdr`` for each slot of a batch: one buffer and one socket address a message.

    ``names`` says for each size of socket address (that of IPv4, that of IPv6) where in memory that
    many bytes for each slot lie.  ``bases`` and ``sizes`` are where each message's bytes begin and
    how many they are; ``lengths``, by size of address, what the kernel reported of each.  The
    caller keeps that memory alive.
    """

    __slots__ = (
        "_addresses",
        "_headers",
        "_iovs",
        "_receive",
        "_send",
        "bases",
        "lengths",
        "sizes",
    )

    def __init__(self, capacity: int, names: Mapping[int, int]) -> None:
        if _FUNCTIONS is None:
            raise NotImplementedError("recvmmsg and sendmmsg are used on Linux only")
        self._receive, self._send = _FUNCTIONS
        self._iovs = (_IoVec * capacity)()
        pointers = memoryview(self._iovs).cast("B").cast("L")
        self.bases = pointers[::2]
        self.sizes = pointers[1::2]
        # The kernel writes back each address's size: one array for each keeps it right.
        self._headers = {size: (_MMsgHdr * capacity)() for size in names}
        self._addresses = {size: ctypes.addressof(array) for size, array in self._headers.items()}
        self.lengths: dict[int, memoryview] = {}
        for size, headers in self._headers.items():
            for index in range(capacity):
                header = headers[index].header
                header.name = names[size] + index * size
                header.name_length = size
                header.iov = ctypes.addressof(self._iovs) + index * ctypes.sizeof(_IoVec)
                header.iov_length = 1
            integers = memoryview(headers).cast("B").cast("I")
            self.lengths[size] = integers[_MMsgHdr.length.offset // 4 :: _HEADER_SIZE // 4]

    def receive(self, descriptor: int, name_size: int, first: int, count: int) -> int:
        """Fill up to ``count`` messages from number ``first`` on, without waiting.

        Returns how many, or an error number negated.  A datagram that did not fit has the length
        in ``lengths`` that it would have needed.
        """
        done = self._receive(
            descriptor,
            self._addresses[name_size] + first * _HEADER_SIZE,
            count,
            socket.MSG_DONTWAIT | socket.MSG_TRUNC,
            None,
        )
        return done if done >= 0 else -ctypes.get_errno()

    def send(self, descriptor: int, name_size: int, first: int, count: int) -> int:
        """Send up to ``count`` messages from number ``first`` on, without waiting.

        Returns how many went, or an error number negated.  The kernel stops at the first message
        that fails, and says why only when none went before it.
        """
        done = self._send(
            descriptor,
            self._addresses[name_size] + first * _HEADER_SIZE,
            count,
            socket.MSG_DONTWAIT,
        )
        return done if done >= 0 else -ctypes.get_errno()
