"""What single options of SIP are written like: each text is read into what the proxy works with.

MisuseError, which pydantic makes part of its own, for what is wrong; never with a secret in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BeforeValidator

from natkit.errors import MalformedMessage, MisuseError
from natkit.server.config.values import read_host_name, read_secret, read_text
from natkit.server.stores.store import UserKeys
from natkit.sip import SipUri
from natkit.sip.digest import Algorithm, Qop
from natkit.sip.grammar import numeric_host
from natkit.stun.credentials import opaque_string
from sip_proxy.shell.listening import ListenAddress
from sip_proxy.shell.stores.opening import KINDS, LOCATIONS

__all__ = [
    "DigestAlgorithm",
    "DigestQop",
    "Domain",
    "Listen",
    "LocationUrl",
    "Password",
    "ReadyKeys",
    "SipServer",
]

_ALGORITHMS = {each.value.lower(): each for each in Algorithm}


@dataclass(frozen=True, slots=True)
class ReadyKeys:
    """What a user's password comes to, in place of it: H(A1) by algorithm (RFC 7616 §3.4.2)."""

    by_algorithm: Mapping[Algorithm, bytes] = field(repr=False)

    def of(self, username: str) -> UserKeys:
        """The user with these keys."""
        md5, sha256 = (self.by_algorithm.get(each) for each in (Algorithm.MD5, Algorithm.SHA_256))
        return UserKeys(
            opaque_string(username), md5, sha256, self.by_algorithm.get(Algorithm.SHA_512_256)
        )


def _listen_address(value: object) -> ListenAddress:
    return ListenAddress.parse(read_text(value, "[udp:|tcp:|tls:|ws:|wss:]ADDRESS:PORT"))


def _domain(value: object) -> str:
    written = read_text(value, "a domain like example.org")
    address = numeric_host(written)
    return str(address) if address is not None and address.version == 4 else read_host_name(written)


def _sip_server(value: object) -> SipUri:
    written = read_text(value, "a URI like sip:gw.example.net;transport=tcp")
    try:
        uri = SipUri.parse(written)
    except MalformedMessage as error:
        raise MisuseError(str(error)) from None
    if uri.user is not None or uri.headers:
        raise MisuseError(f"{written!r} names more than a server: leave out its user and headers")
    return uri


def _algorithm(value: object) -> Algorithm:
    found = _ALGORITHMS.get(read_text(value, "an algorithm").lower())
    if found is None:
        known = ", ".join(_ALGORITHMS)
        raise MisuseError(f"{value!r} is no algorithm of digest authentication; known are {known}")
    return found


def _qop(value: object) -> Qop:
    written = read_text(value, "a qop")
    found = next((known for known in Qop if known == written.lower()), None)
    if found is None:
        raise MisuseError(f"{value!r} is no qop of digest authentication; known are auth, auth-int")
    return found


def _password(value: object) -> str | ReadyKeys:
    match value:
        case str() | {"env": _} | {"file": _}:
            return read_secret(value)
        case {**keys} if keys and all(str(name).lower() in _ALGORITHMS for name in keys):
            named = {_ALGORITHMS[str(name).lower()]: key for name, key in keys.items()}
            return ReadyKeys({each: _key(each, key) for each, key in named.items()})
        case _:
            raise MisuseError(
                'a password is a text, {env = "NAME"}, {file = "PATH"}, or what it comes to, '
                '{md5 = "HEX", sha-256 = "HEX", sha-512-256 = "HEX"}'
            )


def _location(value: object) -> str:
    url = read_secret(value)
    if url.partition(":")[0] not in LOCATIONS:
        # The text may hold a password, so it is not repeated.
        raise MisuseError(f"registrations are kept in {KINDS}")
    return url


def _key(algorithm: Algorithm, value: object) -> bytes:
    # What is wrong is said without the key.
    try:
        key = bytes.fromhex(read_secret(value))
    except ValueError:
        key = b""
    if 2 * len(key) != algorithm.digits:
        raise MisuseError(
            f"{algorithm.lower()} is not written with {algorithm.digits} hexadecimal digits"
        )
    return key


DigestAlgorithm = Annotated[Algorithm, BeforeValidator(_algorithm)]
DigestQop = Annotated[Qop, BeforeValidator(_qop)]
Domain = Annotated[str, BeforeValidator(_domain)]
Listen = Annotated[ListenAddress, BeforeValidator(_listen_address)]
SipServer = Annotated[SipUri, BeforeValidator(_sip_server)]
LocationUrl = Annotated[str, BeforeValidator(_location)]
Password = Annotated[str | ReadyKeys, BeforeValidator(_password)]
