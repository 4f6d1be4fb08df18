"""What a session description says of ICE, to and from text (RFC 8839 §5, RFC 8840 §4.4, §9).

::

    theirs = parse_description(sdp)              # an offer, an answer, or a fragment of Trickle ICE
    for media in theirs.media:
        agent.set_remote_parameters(…, media.parameters, now)
    lines = write_media(ours)                    # for the media description in our own SDP

Only the lines that concern ICE are read; all others are passed over, and are nobody's here.
"""

import re
from dataclasses import dataclass
from typing import Final

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError
from natkit.ice.candidate import LAST_COMPONENT, Candidate
from natkit.ice.candidate_attribute import parse_candidate, write_candidate
from natkit.ice.parameters import DEFAULT_PACING, Parameters

__all__ = [
    "FRAGMENT_TYPE",
    "Description",
    "Ignored",
    "MediaDescription",
    "RemoteCandidate",
    "parse_description",
    "write_fragment",
    "write_media",
    "write_session",
]

FRAGMENT_TYPE: Final = "application/trickle-ice-sdpfrag"
"""The media type of a fragment (RFC 8840 §9)."""

LONGEST_DESCRIPTION: Final = 256 * 1024
"""Characters of a description: one of a large conference has a tenth of it."""

MOST_MEDIA: Final = 128
MOST_CANDIDATES: Final = 256
"""Of one media description; an agent keeps fewer."""

_MOST_IGNORED: Final = 32
"""Ignored lines that are named; there may be more."""

_TAG = re.compile(r"[A-Za-z0-9+/-]{1,64}\Z")
_MID = re.compile(r"[!#$%&'*+\-.^_`{|}~0-9A-Za-z]{1,256}\Z")


@dataclass(frozen=True, slots=True)
class RemoteCandidate:
    """What a controlling agent selected of the receiver's candidates (RFC 8839 §5.2)."""

    component: int
    address: Address


@dataclass(frozen=True, slots=True)
class Ignored:
    """A candidate that was passed over, and why."""

    line: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaDescription:
    """One media description: a stream of ICE.

    ``media``: the ``m=`` line's value.  ``parameters`` is None where the text has no username
    fragment and password for it.  ``default`` is the address for those who do not know ICE, of the
    ``m=`` and ``c=`` lines; None without them.  ``mismatch``: the peer found that the default is
    none of the candidates, and does not use ICE here (RFC 8839 §5.3).
    """

    media: str = "audio 9 RTP/AVP 0"
    mid: str | None = None
    parameters: Parameters | None = None
    candidates: tuple[Candidate, ...] = ()
    end_of_candidates: bool = False
    remote_candidates: tuple[RemoteCandidate, ...] = ()
    mismatch: bool = False
    default: Address | None = None

    @property
    def is_mismatched(self) -> bool:
        """Whether somebody on the way changed the addresses, so that ICE can't be used (§4.2.5).

        Told only where there are candidates and a default that is neither zero nor port 9.
        """
        default = self.default
        if default is None or not self.candidates or default.port in (0, 9):
            return False
        return default not in {each.address for each in self.candidates if each.component == 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a description or a fragment says of ICE.

    ``bundles``: the mids that share one transport, tag first (RFC 9143).  ``options`` are the tags
    of ``ice-options`` at the session's level.  ``end_of_candidates`` there is for all media (RFC
    8840 §4.4).
    """

    media: tuple[MediaDescription, ...] = ()
    lite: bool = False
    options: frozenset[str] = frozenset()
    pacing: float | None = None
    end_of_candidates: bool = False
    bundles: tuple[tuple[str, ...], ...] = ()
    ignored: tuple[Ignored, ...] = ()


class _Level:
    """The lines of one level, the session's or a media description's."""

    def __init__(self, media: str | None) -> None:
        self.media = media
        self.single: dict[str, str] = {}
        self.options: frozenset[str] = frozenset()
        self.candidates: list[Candidate] = []
        self.flags: set[str] = set()
        self.remote_candidates: tuple[RemoteCandidate, ...] = ()
        self.connection: str | None = None
        self.bundles: list[tuple[str, ...]] = []


_SINGLE: Final = frozenset({"ice-ufrag", "ice-pwd", "ice-pacing", "mid"})
_FLAGS: Final = frozenset({"ice-lite", "ice-mismatch", "end-of-candidates"})


def parse_description(text: str) -> Description:
    """Read the ICE of a session description, or of a fragment for Trickle ICE.

    What the session's level says holds for each media description that does not say otherwise
    (RFC 8839 §5.4, §5.6).  Candidates that cannot be used are passed over, and listed.  Raises
    MalformedMessage for lines that break the grammar, attributes given twice, and too much of it.
    """
    if len(text) > LONGEST_DESCRIPTION:
        raise MalformedMessage(f"a description of {len(text)} characters")
    session = _Level(None)
    levels: list[_Level] = []
    ignored: list[Ignored] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        level = levels[-1] if levels else session
        kind, equals, value = line.partition("=")
        if not equals:
            if line.strip():
                raise MalformedMessage(f"{line[:40]!r} is no line of SDP")
            continue
        if kind == "m":
            if len(levels) == MOST_MEDIA:
                raise MalformedMessage(f"more than {MOST_MEDIA} media descriptions")
            levels.append(_Level(value.strip()))
        elif kind == "c":
            level.connection = value
        elif kind == "a":
            _attribute(level, value.strip(), ignored)
    return Description(
        media=tuple(_media(level, session) for level in levels),
        lite="ice-lite" in session.flags,
        options=session.options,
        pacing=_pacing(session.single.get("ice-pacing")),
        end_of_candidates="end-of-candidates" in session.flags,
        bundles=tuple(session.bundles),
        ignored=tuple(ignored),
    )


def write_session(parameters: Parameters) -> list[str]:
    """The lines of the session's level: ``a=ice-lite``, ``a=ice-options``, ``a=ice-pacing``."""
    lines = ["a=ice-lite"] if parameters.lite else []
    options = [
        tag
        for tag, is_set in (
            ("trickle", parameters.trickle),
            ("ice2", parameters.ice2),
            ("renomination", parameters.renomination),
        )
        if is_set
    ]
    if options:
        lines.append(f"a=ice-options:{' '.join(options)}")
    # RFC 8839 §5.7: the default need not be told.
    if parameters.pacing != DEFAULT_PACING:
        lines.append(f"a=ice-pacing:{max(1, round(parameters.pacing * 1000))}")
    return lines


def write_media(media: MediaDescription) -> list[str]:
    """The lines that belong into a media description, without its ``m=`` and ``c=`` lines."""
    lines: list[str] = []
    if media.mid is not None:
        lines.append(f"a=mid:{media.mid}")
    if media.mismatch:
        lines.append("a=ice-mismatch")
    if media.parameters is not None:
        lines.append(f"a=ice-ufrag:{media.parameters.username_fragment}")
        lines.append(f"a=ice-pwd:{media.parameters.password}")
    lines += [f"a={write_candidate(each)}" for each in media.candidates]
    if media.remote_candidates:
        triples = (
            f"{each.component} {each.address.host} {each.address.port}"
            for each in media.remote_candidates
        )
        lines.append(f"a=remote-candidates:{' '.join(triples)}")
    if media.end_of_candidates:
        lines.append("a=end-of-candidates")
    return lines


def write_fragment(description: Description) -> str:
    """A body of :data:`FRAGMENT_TYPE`, lines ending in CR LF (RFC 8840 §9.2).

    Each media description has its ``m=`` line and needs a ``mid``; MisuseError without one.
    """
    first = next((each.parameters for each in description.media if each.parameters), None)
    lines = write_session(first) if first is not None else []
    lines += [f"a=group:BUNDLE {' '.join(mids)}" for mids in description.bundles]
    if description.end_of_candidates:
        lines.append("a=end-of-candidates")
    for media in description.media:
        if media.mid is None:
            raise MisuseError("a media description of a fragment has a mid (RFC 8840 §9.2)")
        lines.append(f"m={media.media}")
        lines += write_media(media)
    return "".join(f"{line}\r\n" for line in lines)


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


def _attribute(level: _Level, text: str, ignored: list[Ignored]) -> None:
    name, _, value = text.partition(":")
    name = name.lower()
    if name == "candidate":
        _candidate(level, text, value, ignored)
    elif name in _SINGLE:
        if name in level.single:
            raise MalformedMessage(f"a={name} twice")
        level.single[name] = value.strip()
    elif name in _FLAGS:
        level.flags.add(name)
    elif name == "ice-options":
        tags = value.split()
        if len(tags) > 64 or not all(_TAG.match(tag) for tag in tags):
            raise MalformedMessage(f"a=ice-options:{value[:60]}")
        level.options |= frozenset(tags)
    elif name == "remote-candidates":
        level.remote_candidates = _remote_candidates(value)
    elif name == "group" and level.media is None:
        semantics, *mids = value.split() or [""]
        if semantics.upper() == "BUNDLE" and len(mids) <= MOST_MEDIA:
            level.bundles.append(tuple(mids))


def _candidate(level: _Level, text: str, value: str, ignored: list[Ignored]) -> None:
    try:
        # RFC 8839 §5.1: it is an attribute of media descriptions.
        if level.media is None:
            raise MalformedMessage("a candidate before the first m= line")
        if len(level.candidates) == MOST_CANDIDATES:
            raise MalformedMessage(f"more than {MOST_CANDIDATES} candidates")
        level.candidates.append(parse_candidate(value))
    except MalformedMessage as error:
        if len(ignored) < _MOST_IGNORED:
            ignored.append(Ignored(text[:200], str(error)))


def _remote_candidates(value: str) -> tuple[RemoteCandidate, ...]:
    words = value.split()
    if not words or len(words) % 3 or len(words) > 3 * LAST_COMPONENT:
        raise MalformedMessage(f"a=remote-candidates:{value[:60]}")
    found: list[RemoteCandidate] = []
    for component, host, port in zip(words[::3], words[1::3], words[2::3], strict=True):
        if not (component.isascii() and component.isdigit() and len(component) <= 3):
            raise MalformedMessage(f"component {component[:20]!r} of a=remote-candidates")
        if not 1 <= int(component) <= LAST_COMPONENT:
            raise MalformedMessage(f"component {component} of a=remote-candidates")
        found.append(RemoteCandidate(int(component), _transport_address(host, port)))
    return tuple(found)


def _transport_address(host: str, port: str) -> Address:
    if not (port.isascii() and port.isdigit() and len(port) <= 5) or "%" in host:
        raise MalformedMessage(f"{host[:60]!r} and {port[:20]!r} are no transport address")
    try:
        return Address.of(host, int(port))
    except MisuseError as error:
        raise MalformedMessage(str(error)) from error


def _media(level: _Level, session: _Level) -> MediaDescription:
    mid = level.single.get("mid")
    if mid is not None and not _MID.match(mid):
        raise MalformedMessage(f"a=mid:{mid[:60]}")
    return MediaDescription(
        media=level.media or "",
        mid=mid,
        parameters=_parameters(level, session),
        candidates=tuple(level.candidates),
        end_of_candidates="end-of-candidates" in level.flags | session.flags,
        remote_candidates=level.remote_candidates,
        mismatch="ice-mismatch" in level.flags,
        default=_default(level, session),
    )


def _parameters(level: _Level, session: _Level) -> Parameters | None:
    # RFC 8839 §5.4: both come from the same level.
    source = level if {"ice-ufrag", "ice-pwd"} & level.single.keys() else session
    fragment, password = source.single.get("ice-ufrag"), source.single.get("ice-pwd")
    if fragment is None and password is None:
        return None
    if fragment is None or password is None:
        raise MalformedMessage("a=ice-ufrag and a=ice-pwd go together")
    options = level.options | session.options
    pacing = _pacing(session.single.get("ice-pacing"))
    try:
        return Parameters(
            username_fragment=fragment,
            password=password,
            lite="ice-lite" in session.flags,
            ice2="ice2" in options,
            pacing=DEFAULT_PACING if pacing is None else pacing,
            trickle="trickle" in options,
            renomination="renomination" in options,
        )
    except MisuseError as error:
        raise MalformedMessage(str(error)) from error


def _pacing(text: str | None) -> float | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10) or not 1 <= int(text) <= 60_000:
        raise MalformedMessage(f"a=ice-pacing:{text[:20]} is not 1 to 60000 milliseconds")
    return int(text) / 1000


def _default(level: _Level, session: _Level) -> Address | None:
    connection = (level.connection or session.connection or "").split()
    words = (level.media or "").split()
    if len(connection) != 3 or len(words) < 2:
        return None
    try:
        return _transport_address(connection[2].partition("/")[0], words[1].partition("/")[0])
    except MalformedMessage:
        # A name, or an m= line that is somebody else's to read.
        return None
