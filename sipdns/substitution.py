"""The substitution expressions of NAPTR records (RFC 3402 §3.2), in time linear in their input.

The pattern is a POSIX extended regular expression that anybody may publish, so it runs on RE2,
which knows no backtracking; of several matches the leftmost and longest counts, as POSIX has it.
Where the whole can be divided among groups in several ways, RE2's way counts.
"""

import re
from dataclasses import dataclass
from typing import Final, Protocol

import re2  # type: ignore[import-untyped]

from natkit.errors import MalformedMessage

__all__ = ["Substitution"]

LONGEST_RESULT: Final = 2048
"""Characters of a result: nine references to the whole input fit, and nobody needs as many."""

MOST_MEMORY: Final = 1 << 20
"""Bytes that RE2 may take for one pattern; what a NAPTR can hold (255 bytes) compiles to far less
unless it nests repetitions."""

_PATTERN_ESCAPES: Final = frozenset(r".[]()*+?{}|^$\/-")
"""What a backslash may stand before in POSIX, and the two that people escape for safety."""

_REFERENCE: Final = re.compile(r"\\(.)", re.DOTALL)


class _Match(Protocol):
    def group(self, index: int) -> str | None: ...
    def start(self) -> int: ...
    def end(self) -> int: ...


class _Pattern(Protocol):
    groups: int

    def search(self, text: str) -> _Match | None: ...


@dataclass(frozen=True, slots=True)
class Substitution:
    """``!pattern!replacement!i`` taken apart; the delimiter no longer escaped in either."""

    pattern: str
    replacement: str
    ignores_case: bool = False

    @classmethod
    def parse(cls, text: str) -> "Substitution":
        """MalformedMessage for what is none, or has a pattern that is not POSIX ERE."""
        if not text:
            raise MalformedMessage("the regexp is empty")
        delimiter = text[0]
        if delimiter in "\\i" or delimiter.isdigit():
            raise MalformedMessage(f"{delimiter!r} cannot be the regexp's delimiter")
        parts = _split(text[1:], delimiter)
        if len(parts) != 3:
            raise MalformedMessage(f"the regexp has {len(parts)} of the 3 delimiters {delimiter!r}")
        pattern, replacement, flags = parts
        if flags.strip("iI"):
            raise MalformedMessage(f"the regexp has unknown flags {flags!r}")
        found = cls(pattern, replacement, bool(flags))
        found._check()
        return found

    def apply(self, text: str) -> str | None:
        """``text`` with the part that matches replaced; None when none does.

        MalformedMessage when the result would be too long.
        """
        match = self._compiled().search(text)
        if match is None:
            return None

        def expand(reference: re.Match[str]) -> str:
            character = reference[1]
            return match.group(int(character)) or "" if character in "123456789" else character

        made = _REFERENCE.sub(expand, self.replacement)
        result = text[: match.start()] + made + text[match.end() :]
        if len(result) > LONGEST_RESULT:
            raise MalformedMessage("the regexp makes a result that is too long")
        return result

    def _check(self) -> None:
        for found in _REFERENCE.finditer(self.pattern):
            if found[1] not in _PATTERN_ESCAPES:
                raise MalformedMessage(f"the regexp has \\{found[1]}, which POSIX ERE has not")
        groups = self._compiled().groups
        for found in _REFERENCE.finditer(self.replacement):
            if found[1].isdigit() and not 1 <= int(found[1]) <= groups:
                raise MalformedMessage(f"the regexp refers to group {found[1]} of {groups}")

    def _compiled(self) -> _Pattern:
        options = re2.Options()
        options.posix_syntax = True
        options.longest_match = True
        options.never_nl = True
        options.case_sensitive = not self.ignores_case
        options.log_errors = False
        options.max_mem = MOST_MEMORY
        try:
            compiled: _Pattern = re2.compile(self.pattern, options)
        except re2.error as error:
            reason = error.args[0] if error.args else "?"
            text = reason.decode("ascii", "replace") if isinstance(reason, bytes) else str(reason)
            raise MalformedMessage(f"the regexp is no POSIX ERE: {text}") from error
        return compiled


def _split(text: str, delimiter: str) -> list[str]:
    """Cut at each delimiter that no backslash stands before, and unescape the others."""
    parts = [""]
    index = 0
    while index < len(text):
        character = text[index]
        if character == "\\" and index + 1 < len(text):
            following = text[index + 1]
            parts[-1] += following if following == delimiter else character + following
            index += 2
            continue
        if character == delimiter:
            parts.append("")
        else:
            parts[-1] += character
        index += 1
    return parts
