"""A STUN and TURN server: RFC 8489 and RFC 8656.

:class:`stun_server.service.Server` is the whole protocol as a machine without I/O; what opens its
sockets and reads its configuration stands around it.
"""

__all__: list[str] = []
