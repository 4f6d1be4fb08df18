"""What single options of both servers are written like, read into what the servers work with.

MisuseError, which pydantic makes part of its own, for what is wrong; never with a secret in it.
"""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from natkit.address import Address, IPNetwork
from natkit.errors import MisuseError
from natkit.server.admin.rules import SHORTEST_TOKEN
from natkit.server.stores.opening import KINDS, STORES

__all__ = [
    "AdminAddress",
    "Count",
    "HostName",
    "HttpUrl",
    "Network",
    "Seconds",
    "Secret",
    "StoreUrl",
    "Switch",
    "Token",
    "read_host_name",
    "read_network",
    "read_secret",
    "read_text",
]

_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)


def read_text(value: object, what: str) -> str:
    """A value that is to be a text: ``what`` says of what kind."""
    if not isinstance(value, str):
        raise MisuseError(f"{value!r} is no text; {what} is expected")
    return value


def read_secret(value: object) -> str:
    """Resolve a secret; what is wrong with it is said without it."""
    match value:
        case str() if value:
            return value
        case {"env": str(name), **rest} if not rest:
            found = os.environ.get(name)
            if not found:
                raise MisuseError(f"the environment variable {name} is not set")
            return found
        case {"file": str(name), **rest} if not rest:
            try:
                found = Path(name).read_text().rstrip("\n")
            except (OSError, UnicodeDecodeError) as error:
                raise MisuseError(f"cannot read the secret in {name}: {_why(error)}") from None
            if not found:
                raise MisuseError(f"the secret in {name} is empty")
            return found
        case _:
            raise MisuseError('a secret is a text, {env = "NAME"} or {file = "PATH"}')


def read_network(value: object) -> IPNetwork:
    """A network by its prefix."""
    written = read_text(value, "a network like 192.0.2.0/24")
    try:
        return ipaddress.ip_network(written)
    except ValueError as error:
        raise MisuseError(f"{error}; a network is written like 192.0.2.0/24") from None


def _store(value: object) -> str:
    url = read_secret(value)
    if url.partition(":")[0] not in STORES:
        # The text may hold a password, so it is not repeated.
        raise MisuseError(f"a store is {KINDS}")
    return url


def _admin_address(value: object) -> Address:
    address = Address.parse(read_text(value, "ADDRESS:PORT"))
    if not address.port:
        # Clients have to be kept from it, also by a configuration that is read again.
        raise MisuseError(f"{address} names no port; choose one")
    return address


def read_host_name(value: object) -> str:
    """A host name as a Host header has it: in lower case, without a port."""
    written = read_text(value, "a host name")
    name = written.lower().removesuffix(".")
    if not _NAME.fullmatch(name):
        raise MisuseError(
            f"{written!r} is no host name like host.example.org, without scheme or port"
        )
    return name


def _token(value: object) -> str:
    token = read_secret(value)
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise MisuseError(
            f"a token has {SHORTEST_TOKEN} printable ASCII characters or more; "
            "`openssl rand -hex 16` makes one"
        )
    return token


def _http_url(value: object) -> str:
    url = read_text(value, "a URL like https://example.org/events")
    try:
        parts = urlsplit(url)
        found = parts.hostname is not None and parts.port != 0
    except ValueError:
        found = False
    if not found or parts.scheme not in {"http", "https"} or not url.isprintable():
        raise MisuseError("a URL like https://example.org/events is expected")
    if parts.username is not None or parts.fragment:
        raise MisuseError("the URL has a user or a fragment; what is secret goes into token")
    return url


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


AdminAddress = Annotated[Address, BeforeValidator(_admin_address)]
HostName = Annotated[str, BeforeValidator(read_host_name)]
HttpUrl = Annotated[str, BeforeValidator(_http_url)]
Network = Annotated[IPNetwork, BeforeValidator(read_network)]
Secret = Annotated[str, BeforeValidator(read_secret)]
StoreUrl = Annotated[str, BeforeValidator(_store)]
Token = Annotated[str, BeforeValidator(_token)]
Count = Annotated[int, Field(ge=1, strict=True)]
Seconds = Annotated[int, Field(ge=1, strict=True)]
Switch = Annotated[bool, Field(strict=True)]
