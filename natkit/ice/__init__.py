"""ICE without I/O."""

from natkit.ice.framing import PacketFraming, frame

__all__ = ["PacketFraming", "frame"]
