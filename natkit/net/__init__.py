"""The machine's network as natkit sees it: interfaces, and datagrams in batches.

A shell: it does I/O.  ctypes stays in :mod:`natkit.net.libc`, netifaces in
:mod:`natkit.net.interfaces` and :mod:`natkit.net.gateways`, pyroute2 in
:mod:`natkit.net.rtnetlink`.
"""

__all__: list[str] = []
