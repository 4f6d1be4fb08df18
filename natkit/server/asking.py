"""Secrets that commands ask for: never in the list of processes, nor in an error."""

import sys

import typer

from natkit.errors import ConfigError

__all__ = ["read_hidden", "read_key"]


def read_hidden(what: str, instead: str) -> str:
    """Ask at a terminal, twice, else read a line of the standard input.

    ConfigError when there is none; ``instead`` names the options that do without.
    """
    if sys.stdin.isatty():
        text: str = typer.prompt(what, hide_input=True, confirmation_prompt=True)
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise ConfigError(f"{what.lower()}: the standard input has none; or give {instead}")
    return text


def read_key(flag: str, text: str | None, length: int) -> bytes | None:
    """A key of so many bytes that was given in hexadecimal digits, if it was; else ConfigError."""
    if text is None:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != length:
        # What was given may be a key with a slip, so it is not repeated.
        raise ConfigError(f"{flag}: a key has {2 * length} hexadecimal digits")
    return key
