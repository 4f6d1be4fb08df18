"""How the two ends of ``natkit ice connect`` get each other's description: by lines, or by files.

On a terminal a description is one line to copy, ``ice1:`` and the compressed text.  A file may also
hold the text itself, of whichever program.
"""

import asyncio
import base64
import binascii
import os
import sys
import zlib
from pathlib import Path
from typing import Final

from natkit.errors import MisuseError, UnreachableError

__all__ = ["from_line", "read_file", "read_line", "to_line", "write_file"]

PREFIX: Final = "ice1:"

LONGEST_TEXT: Final = 256 * 1024
"""Bytes of a description; a line that unpacks to more is nobody's."""

_AT_ONCE: Final = 65536

LOOK_AGAIN: Final = 0.2
"""Seconds between two looks at a file that is not there yet."""


def to_line(description: str) -> str:
    """One line that a terminal does not break when it is copied."""
    packed = zlib.compress(description.encode(), 9)
    return PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")


def from_line(text: str) -> str:
    """The description in a line of :func:`to_line`, or in a text; MisuseError for neither."""
    stripped = "".join(text.split())
    if not stripped.startswith(PREFIX):
        if "ice-ufrag" in text:
            return text
        raise MisuseError(f"that is no description: it begins with {PREFIX}, or is SDP with ICE")
    encoded = stripped.removeprefix(PREFIX)
    try:
        packed = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        unpacker = zlib.decompressobj()
        unpacked: bytes = unpacker.decompress(packed, LONGEST_TEXT)
        if not unpacker.eof:
            raise MisuseError("the description was cut short, or is too long")
        return unpacked.decode()
    except (binascii.Error, zlib.error, UnicodeDecodeError):
        raise MisuseError("the description is damaged: copy all of its line") from None


async def read_line() -> str:
    """The first line of the input with something in it; MisuseError when it ends before."""
    pasted = b""
    while True:
        *lines, pasted = pasted.split(b"\n")
        line = next((each for each in lines if each.strip()), None)
        if line is not None:
            return line.decode(errors="replace")
        chunk = await _next_bytes()
        if len(pasted) > LONGEST_TEXT:
            raise MisuseError(f"a line of more than {LONGEST_TEXT} bytes is no description")
        if not chunk:
            # The last line may have no end.
            chunk = b"\n"
            if not pasted.strip():
                raise MisuseError(
                    "the input ended before the peer's description; --remote reads a file"
                )
        pasted += chunk


async def _next_bytes() -> bytes:
    """What is there of the input, as soon as there is something; nothing at its end.

    Not in a thread: one that waits for a terminal would keep Ctrl-C from ending the program.
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        file = sys.stdin.fileno()
        loop.add_reader(file, readable.set)
    except (OSError, ValueError, NotImplementedError):
        # A file is always readable, and where the loop cannot wait there is no better way.
        return sys.stdin.readline().encode()
    try:
        await readable.wait()
        return os.read(file, _AT_ONCE)
    finally:
        loop.remove_reader(file)


async def read_file(path: Path, limit: float) -> str:
    """What the peer wrote, once it is there; UnreachableError after ``limit`` seconds."""
    try:
        async with asyncio.timeout(limit):
            while True:
                text = await asyncio.to_thread(_content, path)
                if text.strip():
                    return text
                await asyncio.sleep(LOOK_AGAIN)
    except TimeoutError:
        raise UnreachableError(f"no description came in {path} within {limit:g} s") from None


def write_file(path: Path, line: str) -> None:
    """Write it in one step, so that nobody reads a half; raises OSError."""
    partial = path.with_name(f".{path.name}.part")
    # It holds a password.
    partial.touch(mode=0o600)
    partial.write_text(line + "\n", encoding="utf-8")
    partial.replace(path)


def _content(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(LONGEST_TEXT)
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise MisuseError(f"{path} is no text") from None
