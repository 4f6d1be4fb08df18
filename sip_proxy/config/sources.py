"""``[sources]`` and ``[guesses]``: what is heard from where, before anybody proved who they are."""

from typing import Annotated

from pydantic import AfterValidator, Field

from natkit.errors import MisuseError
from natkit.server.config.tables import Table
from natkit.server.config.values import Network, Seconds
from sip_proxy.config.tables import DEFAULT
from sip_proxy.guesses import GuessSettings
from sip_proxy.sources import SourceSettings

__all__ = ["Guesses", "Sources"]

_SOURCES = DEFAULT.sources
_GUESSES = DEFAULT.guesses

Number = Annotated[int, Field(ge=0, le=1_000_000, strict=True)]
"""0 stands for any number."""


def _scanner(name: str) -> str:
    if not name.strip() or not name.isprintable():
        raise MisuseError("the name of a scanner is some printable text of its User-Agent")
    return name


class Sources(Table):
    """What a source, an IPv4 /24 or an IPv6 /56, may send: its addresses can be forged together."""

    messages: Number = _SOURCES.messages
    """Messages of one source in a second; those beyond are not heard. 0 stands for any number."""
    strangers: Number = _SOURCES.strangers
    """Messages in a second of all sources together that have proven nothing in the last hour,
    beyond half of ``messages``: a flood from many sources leaves time for phones that register."""
    unlimited: tuple[Network, ...] = _SOURCES.unlimited
    """Networks whose messages are not counted: gateways and proxies that send many."""
    challenge_burst: Annotated[int, Field(ge=0, le=1 << 30, strict=True)] = _SOURCES.challenge_burst
    """Bytes a minute that challenges to one source over UDP may be longer than twice what asked for
    them, so that they amplify no flood."""
    scanners: tuple[Annotated[str, AfterValidator(_scanner)], ...] = _SOURCES.scanners
    """Programs that search for open servers: a message whose User-Agent has one of these texts in
    it, in any case of letters, gets no answer."""

    def settings(self) -> SourceSettings:
        """What the machine is told."""
        return SourceSettings(
            self.messages, self.strangers, self.unlimited, self.challenge_burst, self.scanners
        )


class Guesses(Table):
    """How often an address may be wrong about passwords; trusted networks need none."""

    per_user: Number = _GUESSES.per_user
    """Wrong passwords of one address for one user, after which it is not heard about that user for
    a while. 0 stands for any number."""
    per_source: Number = _GUESSES.per_source
    """Wrong passwords of one address for all users, after which it is not heard about any; not
    where it was right about somebody in the last hour. 0 stands for any number."""
    window: Seconds = int(_GUESSES.window)
    """Seconds in which that many are forgiven, one after the other."""
    blocked_for: Seconds = int(_GUESSES.blocked_for)
    """Seconds for which it is not heard."""

    def settings(self) -> GuessSettings:
        """What the machine is told."""
        return GuessSettings(
            self.per_user, self.per_source, float(self.window), float(self.blocked_for)
        )
