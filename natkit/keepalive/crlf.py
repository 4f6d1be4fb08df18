"""The keep-alive of streams: a double CRLF between messages, answered by one (RFC 5626 §3.5.1)."""

from typing import Final

PING: Final = b"\r\n\r\n"
"""What a client sends to ask whether the flow is alive (RFC 5626 §4.4.1)."""

PONG: Final = b"\r\n"
"""What a server answers (RFC 5626 §4.4.1)."""

PONG_TIMEOUT: Final = 10.0
"""Seconds that a client waits for the answer before the flow counts as failed (RFC 5626 §4.4.1)."""
