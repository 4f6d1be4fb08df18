"""What two agents tell each other beside their candidates (RFC 8839 §5.3 to §5.7)."""

import base64
import re
from dataclasses import dataclass, field
from typing import Final

from natkit.errors import MisuseError
from natkit.machine import RandomBytes

DEFAULT_PACING: Final = 0.050
"""Ta in seconds, of agents that say nothing about it (RFC 8445 §14.2, RFC 8839 §5.7)."""

_FRAGMENT_BYTES: Final = 6
_PASSWORD_BYTES: Final = 18
_ICE_CHARS = re.compile(r"[A-Za-z0-9+/]+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """One agent's side of an ICE session.

    ``username_fragment`` has 4 to 256 ice-chars, ``password`` 22 to 256 (RFC 8839 §5.4), else
    MisuseError.  ``ice2``: the agent follows RFC 8445, so it nominates one pair alone.  ``pacing``
    is its Ta in seconds.  ``renomination``: it understands the NOMINATION attribute.  ``trickle``:
    its candidates may come after its description (RFC 8838 §4).
    """

    username_fragment: str
    password: str = field(repr=False)
    lite: bool = False
    ice2: bool = True
    pacing: float = DEFAULT_PACING
    trickle: bool = True
    renomination: bool = False

    def __post_init__(self) -> None:
        for name, text, least in (
            ("username fragment", self.username_fragment, 4),
            ("password", self.password, 22),
        ):
            if not least <= len(text) <= 256 or not _ICE_CHARS.match(text):
                raise MisuseError(f"an ICE {name} has {least} to 256 letters, digits, '+' and '/'")
        if not 0 < self.pacing <= 60:
            raise MisuseError(f"a pacing of {self.pacing:g} s")


def draw_credentials(random: RandomBytes) -> tuple[str, str]:
    """A fresh username fragment, of 48 bits, and password, of 144 (RFC 8445 §5.3 asks 24, 128)."""
    fragment = base64.b64encode(random(_FRAGMENT_BYTES)).decode()
    password = base64.b64encode(random(_PASSWORD_BYTES)).decode()
    return fragment, password
