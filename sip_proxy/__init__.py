"""A SIP proxy, registrar and redirect server (RFC 3261) on top of natkit and sipdns."""

__all__: list[str] = []
