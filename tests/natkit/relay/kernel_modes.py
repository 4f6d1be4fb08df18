"""How the plane in the kernel can run here: before Linux 6.6 tc does not take its program.

Tests that need it there carry the marker ``tc``, and a kernel that has no such hook has none of
them; all others expect what such a kernel does instead.
"""

import ctypes
import errno
import os
import platform
import sys
from typing import ClassVar

from natkit.relay.attaching import Mode

_SYSTEM_CALL = {"x86_64": 321, "aarch64": 280}
# <linux/bpf.h>
_PROG_QUERY, _TCX_INGRESS = 16, 46
_LOOPBACK = 1


class _Query(ctypes.Structure):
    """The beginning of ``union bpf_attr``, as that command has it."""

    _fields_: ClassVar = [
        ("interface", ctypes.c_uint32),
        ("hook", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("numbers", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("_", ctypes.c_uint32),
        ("more", ctypes.c_uint64 * 4),
    ]


def count_at_tc(interface: int) -> int:
    """How many programs run at tc, where packets come in by an interface; OSError without tc."""
    query = _Query(interface=interface, hook=_TCX_INGRESS)
    size, number = ctypes.sizeof(query), _SYSTEM_CALL[platform.machine()]
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(number, _PROG_QUERY, ctypes.byref(query), size):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    count: int = query.count
    return count


def _has_tc() -> bool:
    if not sys.platform.startswith("linux") or platform.machine() not in _SYSTEM_CALL:
        return True
    try:
        count_at_tc(_LOOPBACK)
    except OSError as error:
        # Whatever else it says is of who asks: nobody is told who may not attach any.
        return error.errno != errno.EINVAL
    return True


HAS_TC = _has_tc()
"""Whether the kernel knows the hook."""

MODES = tuple(each for each in Mode if HAS_TC or each is not Mode.TC)
"""All ways to run."""

ON_CABLES = Mode.TC if HAS_TC else Mode.GENERIC
"""How a server runs it on virtual interfaces."""
