"""What the options of the administrative listeners are written like."""

import re

from natkit.errors import MisuseError
from natkit.server.admin.rules import SHORTEST_TOKEN
from natkit.stun.uri import ServerUri

__all__ = ["check_token", "host_name", "server_uri"]

_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)


def host_name(text: str) -> str:
    """A host name as a Host header has it, in lower case; MisuseError for anything else."""
    name = text.lower().removesuffix(".")
    if not _NAME.fullmatch(name):
        raise MisuseError(f"{text!r} is no host name like turn.example.org, without scheme or port")
    return name


def server_uri(text: str) -> str:
    """A STUN or TURN URI; MisuseError for anything else."""
    return str(ServerUri.parse(text))


def check_token(token: str) -> str:
    """A token that can't be guessed; MisuseError, without it, for another."""
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise MisuseError(
            f"a token has {SHORTEST_TOKEN} printable ASCII characters or more; "
            "`openssl rand -hex 16` makes one"
        )
    return token
