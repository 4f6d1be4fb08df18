"""The names of candidates under ``.local`` (draft-ietf-mmusic-mdns-ice-candidates §3)."""

from itertools import pairwise
from typing import Final

__all__ = ["is_mdns_name", "mdns_name", "normalized"]

SUFFIX: Final = ".local"

LONGEST_LABEL: Final = 63
"""Characters of what stands before the suffix (RFC 1035 §2.3.4)."""


def is_mdns_name(name: str) -> bool:
    """Whether multicast DNS resolves it: one label, then ``.local`` (§3.2.1)."""
    label, dot, suffix = normalized(name).partition(".")
    return (
        dot + suffix == SUFFIX
        and 0 < len(label) <= LONGEST_LABEL
        and label.isascii()
        and label.replace("-", "").replace("_", "").isalnum()
    )


def normalized(name: str) -> str:
    """The form in which names are compared: small letters, no dot at the end."""
    return name.removesuffix(".").lower()


def mdns_name(random: bytes) -> str:
    """A name of 16 random bytes: a version 4 UUID, then ``.local`` (§3.1.1, RFC 9562 §5.4)."""
    octets = bytearray(random)
    octets[6] = octets[6] & 0x0F | 0x40
    octets[8] = octets[8] & 0x3F | 0x80
    digits = octets.hex()
    cuts = (0, 8, 12, 16, 20, 32)
    return "-".join(digits[a:b] for a, b in pairwise(cuts)) + SUFFIX
