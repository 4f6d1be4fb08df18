"""``[keys]``: what proxies that share a location store must agree on."""

from typing import Annotated

from pydantic import BeforeValidator

from natkit.errors import MisuseError
from natkit.server.config.tables import Table
from natkit.server.config.values import read_secret
from natkit.server.state import KEY_LENGTH

__all__ = ["Keys"]


def _key(value: object) -> bytes:
    # What is wrong is said without the key.
    try:
        key = bytes.fromhex(read_secret(value))
    except ValueError as error:
        if isinstance(error, MisuseError):
            raise
        key = b""
    if len(key) != KEY_LENGTH:
        raise MisuseError(
            f"a key has {2 * KEY_LENGTH} hexadecimal digits; `openssl rand -hex {KEY_LENGTH}` "
            "makes one"
        )
    return key


class Keys(Table):
    """What proxies that share a location store must agree on."""

    main: Annotated[bytes, BeforeValidator(_key)] | None = None
    """The secret, in hexadecimal digits, that signs nonces, flow tokens and temporary GRUUs: the
    same for all proxies that share registrations; none: one of the proxy's own, in keys.json."""
