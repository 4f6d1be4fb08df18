"""What single options are written like: each text is read into what the server works with.

MisuseError, which pydantic makes part of its own, for what is wrong; never with a secret in it.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator

from natkit.address import Address, Family
from natkit.errors import MisuseError
from natkit.machine import Transport
from natkit.server.config.values import read_network, read_secret, read_text
from natkit.stun.credentials import opaque_string
from natkit.stun.registry import PasswordAlgorithmNumber
from natkit.stun.tokens import KEY_LENGTH, SHORT_KEY_LENGTH
from natkit.stun.uri import ServerUri
from stun_server.settings import ALL_PORTS, PeerRange, PortRange
from stun_server.shell.listening import ListenAddress

_ALGORITHMS = {
    "sha-256": PasswordAlgorithmNumber.SHA_256,
    "md5": PasswordAlgorithmNumber.MD5,
}


_KEY_LENGTHS = {"md5": 16, "sha256": 32}


@dataclass(frozen=True, slots=True)
class ReadyKeys:
    """A user's long-term keys in place of the password; at least one is there."""

    md5: bytes | None
    sha256: bytes | None


@dataclass(frozen=True, slots=True)
class OauthKey:
    """A key that seals access tokens, and the Unix times between which it does."""

    key: bytes = dataclass_field(repr=False)
    not_before: float | None = None
    until: float | None = None


_OAUTH_KEY = (
    "a key of access tokens is a secret, or {key = SECRET, not_before = TIME, until = TIME}"
)


def _listen_address(value: object) -> ListenAddress:
    return ListenAddress.parse(read_text(value, "[udp:|tcp:|tls:|dtls:]ADDRESS:PORT"))


def _alternate_address(value: object) -> Address:
    return Address.parse(read_text(value, "ADDRESS:PORT"))


def check_alternate(listener: ListenAddress, other: Address) -> None:
    """MisuseError unless the two differ as NAT behaviour discovery wants it (RFC 5780 §6)."""
    own = listener.address
    if own.ip.is_unspecified or other.ip.is_unspecified:
        raise MisuseError(f"alternate names {listener} and {other}: each must be one address")
    if own.family is not other.family:
        raise MisuseError(f"alternate names {listener} and {other}, of different families")
    if own.host == other.host or (own.port == other.port and own.port):
        raise MisuseError(
            f"alternate names {listener} and {other}: the address and the port must both differ"
        )


def _peer_range(value: object) -> PeerRange:
    text = read_text(value, "a network like 192.0.2.0/24")
    network, space, ports = text.partition(" port ")
    if not space:
        return PeerRange(read_network(text))
    first, dash, last = ports.partition("-")
    last = last if dash else first
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) <= ALL_PORTS.last):
        raise MisuseError(f"{text!r} ends in no ports like 5060 or 5000-6000")
    return PeerRange(read_network(network), PortRange(int(first), int(last)))


def _port_range(value: object) -> PortRange:
    text = read_text(value, "a range of ports like 49152-65535")
    first, dash, last = text.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal()):
        raise MisuseError(f"{text!r} is no range of ports like 49152-65535")
    if not 1 <= int(first) <= int(last) <= 65535:
        raise MisuseError(f"{text!r} is no range within 1 to 65535")
    return PortRange(int(first), int(last))


def _algorithm(value: object) -> PasswordAlgorithmNumber:
    number = _ALGORITHMS.get(read_text(value, "an algorithm").lower())
    if number is None:
        raise MisuseError(f"{value!r} is no password algorithm; known are {', '.join(_ALGORITHMS)}")
    return number


def _realm(value: object) -> str:
    text = read_text(value, "a realm")
    # RFC 8489 §14.9
    if not 1 <= len(text) <= 127:
        raise MisuseError(f"a realm has 1 to 127 characters, not {len(text)}")
    prepared = opaque_string(text)
    if prepared != text:
        raise MisuseError(f"{text!r} is not as RFC 8265 prepares it, which is {prepared!r}")
    return text


def _origin(value: object) -> str:
    text = read_text(value, "a web origin like https://shop.example")
    # RFC 6454 §6.2: what browsers send is in lower case and has no path.
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s?#A-Z]+", text):
        raise MisuseError(f"{text!r} is no web origin like https://shop.example, in lower case")
    return text


def _server_address(value: object) -> Address:
    address = Address.parse(read_text(value, "ADDRESS:PORT"))
    if not address.port or address.ip.is_unspecified:
        raise MisuseError(f"{address} is nowhere that a client could go")
    return address


def _host(family: Family, value: object) -> str:
    host = Address.of(read_text(value, "an IP address"), 0)
    if host.family is not family or host.ip.is_unspecified:
        name = "IPv4" if family is Family.IPV4 else "IPv6"
        raise MisuseError(f"{value!r} is no {name} address to relay from")
    return host.host


def _any_host(value: object) -> str:
    host = Address.of(read_text(value, "an IP address"), 0)
    if host.ip.is_unspecified:
        raise MisuseError(f"{value!r} is no address of a host")
    return host.host


def _ipv4_host(value: object) -> str:
    return _host(Family.IPV4, value)


def _ipv6_host(value: object) -> str:
    return _host(Family.IPV6, value)


def _password(value: object) -> str | ReadyKeys:
    match value:
        case {"md5": md5, "sha256": sha256, **rest} if not rest:
            return ReadyKeys(_key("md5", md5), _key("sha256", sha256))
        case {"md5": md5, **rest} if not rest:
            return ReadyKeys(_key("md5", md5), None)
        case {"sha256": sha256, **rest} if not rest:
            return ReadyKeys(None, _key("sha256", sha256))
        case str() | {"env": _} | {"file": _}:
            return read_secret(value)
        case _:
            raise MisuseError(
                'a password is a text, {env = "NAME"}, {file = "PATH"}, '
                'or its keys {md5 = "HEX", sha256 = "HEX"}'
            )


def _oauth_key(value: object) -> OauthKey:
    until: object = None
    not_before: object = None
    match value:
        case {"key": secret, **rest}:
            not_before, until = rest.pop("not_before", None), rest.pop("until", None)
            if rest:
                raise MisuseError(_OAUTH_KEY)
        case str() | {"env": _} | {"file": _}:
            secret = value
        case _:
            raise MisuseError(_OAUTH_KEY)
    try:
        key = b64decode(read_secret(secret), validate=True)
    except ValueError:
        key = b""
    if len(key) not in (KEY_LENGTH, SHORT_KEY_LENGTH):
        # What is wrong is said without the key.
        raise MisuseError("a key of access tokens is the base64 of 32 bytes, or of 16")
    return OauthKey(key, _unix_time(not_before), _unix_time(until))


def _unix_time(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.timestamp()
    raise MisuseError("not_before and until are times like 2027-01-31T00:00:00Z")


def _key(name: str, value: object) -> bytes:
    # What is wrong is said without the key.
    text = read_secret(value)
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != _KEY_LENGTHS[name]:
        raise MisuseError(f"{name} is not written with {2 * _KEY_LENGTHS[name]} hexadecimal digits")
    return key


def _server_uri(value: object) -> str:
    return str(ServerUri.parse(read_text(value, "a URI")))


Listen = Annotated[ListenAddress, BeforeValidator(_listen_address)]
AlternateAddress = Annotated[Address, BeforeValidator(_alternate_address)]
Peers = Annotated[PeerRange, BeforeValidator(_peer_range)]
Ports = Annotated[PortRange, BeforeValidator(_port_range)]
Algorithm = Annotated[PasswordAlgorithmNumber, BeforeValidator(_algorithm)]
IPv4Host = Annotated[str, BeforeValidator(_ipv4_host)]
IPv6Host = Annotated[str, BeforeValidator(_ipv6_host)]
Host = Annotated[str, BeforeValidator(_any_host)]
Uri = Annotated[str, BeforeValidator(_server_uri)]
Password = Annotated[str | ReadyKeys, BeforeValidator(_password)]
TokenSecret = Annotated[OauthKey, BeforeValidator(_oauth_key)]
RealmName = Annotated[str, BeforeValidator(_realm)]
Origin = Annotated[str, BeforeValidator(_origin)]
ServerAddress = Annotated[Address, BeforeValidator(_server_address)]
Bound = Callable[[Sequence[ListenAddress]], frozenset[tuple[Transport, Address]]]
"""Gives what was bound for some of listeners.listen."""
