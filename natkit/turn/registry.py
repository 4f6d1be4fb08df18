"""Sizes and lifetimes of TURN; its other numbers stand in :mod:`natkit.stun.registry`."""

from typing import Final

CHANNEL_DATA_MAX: Final = 0xFFFF
"""Bytes that the length field of a ChannelData message can tell (RFC 8656 §12.4)."""

PERMISSION_LIFETIME: Final = 300.0
"""Seconds that a permission lasts at the server after it was installed (RFC 8656 §9)."""

CHANNEL_LIFETIME: Final = 600.0
"""Seconds that a channel binding lasts unless it is refreshed (RFC 8656 §12)."""

CHANNEL_QUARANTINE: Final = 300.0
"""Seconds after a binding's end before its number or its peer may be bound otherwise (§12)."""

DEFAULT_LIFETIME: Final = 600.0
"""Seconds that an allocation lasts when nobody asks for more (RFC 8656 §3.2)."""
