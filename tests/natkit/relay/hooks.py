"""Whether programs of BPF run on an interface, whoever has attached them."""

import ctypes
import os
import platform
import socket
from typing import ClassVar

from tests.natkit.relay.cabled import inside
from tests.netlab.namespaces import Host

_SYSTEM_CALL = {"x86_64": 321, "aarch64": 280}
# <linux/bpf.h>
_PROG_QUERY, _TCX_INGRESS = 16, 46


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


def programs_at_tc(host: Host, interface: str) -> int:
    """How many run at tc, where packets come in by an interface."""
    with inside(host):
        query = _Query(interface=socket.if_nametoindex(interface), hook=_TCX_INGRESS)
        size, number = ctypes.sizeof(query), _SYSTEM_CALL[platform.machine()]
        library = ctypes.CDLL(None, use_errno=True)
        if library.syscall(number, _PROG_QUERY, ctypes.byref(query), size):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    count: int = query.count
    return count


def runs_program(host: Host, interface: str) -> bool:
    """Whether one does, of XDP or of tc."""
    return "xdp" in host.configure("link", "show", interface) or bool(
        programs_at_tc(host, interface)
    )
