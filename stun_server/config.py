"""The configuration: a TOML file, what flags put over it, and every option with its bounds.

Unknown keys are refused.  Times are in seconds.  A flag beats the file: it replaces the file's
value, but for users, of whom a flag adds one or replaces the one of that name.  A secret is a
string, ``{env = "NAME"}`` or ``{file = "PATH"}``.
"""

import ipaddress
import os
import re
import tomllib
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from datetime import datetime
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from natkit.address import Address, Family, IPNetwork
from natkit.aio.stun import server_uri as stun_uri
from natkit.errors import ConfigError, MisuseError
from natkit.machine import Transport
from natkit.net.interfaces import expand_wildcard
from natkit.net.marking import LARGEST_CODE_POINT
from natkit.server.admin.rules import is_loopback
from natkit.server.shared_addresses import MOST_WORKERS
from natkit.server.stores.opening import KINDS, STORES
from natkit.stun.credentials import opaque_string
from natkit.stun.registry import PasswordAlgorithmNumber
from natkit.stun.tokens import KEY_LENGTH, SHORT_KEY_LENGTH, TokenKey
from natkit.turn.credentials import Digest
from stun_server.admin.values import check_token, host_name, server_uri
from stun_server.settings import (
    ALL_PORTS,
    Alternate,
    AlternateWhen,
    PeerRange,
    PortRange,
    Settings,
)
from stun_server.shell.connections import ConnectionLimits
from stun_server.shell.listening import ListenAddress

__all__ = [
    "Config",
    "Flag",
    "LogLevel",
    "ReadyKeys",
    "RelayPlaneName",
    "Users",
    "contents",
    "data_dir_of",
    "load",
    "validated",
]

_HAS_AFFINITY = hasattr(os, "sched_getaffinity")

RelayPlaneName = Literal["auto", "userspace", "kernel"]
LogLevel = Literal["debug", "info", "warning", "error"]

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
    return ListenAddress.parse(_text(value, "[udp:|tcp:|tls:|dtls:]ADDRESS:PORT"))


def _alternate_address(value: object) -> Address:
    return Address.parse(_text(value, "ADDRESS:PORT"))


def _check_alternate(listener: ListenAddress, other: Address) -> None:
    own = listener.address
    if own.ip.is_unspecified or other.ip.is_unspecified:
        raise MisuseError(f"alternate names {listener} and {other}: each must be one address")
    if own.family is not other.family:
        raise MisuseError(f"alternate names {listener} and {other}, of different families")
    if own.host == other.host or (own.port == other.port and own.port):
        raise MisuseError(
            f"alternate names {listener} and {other}: the address and the port must both differ"
        )


def _network(value: object) -> IPNetwork:
    text = _text(value, "a network like 192.0.2.0/24")
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise MisuseError(f"{error}; a network is written like 192.0.2.0/24") from None


def _peer_range(value: object) -> PeerRange:
    text = _text(value, "a network like 192.0.2.0/24")
    network, space, ports = text.partition(" port ")
    if not space:
        return PeerRange(_network(text))
    first, dash, last = ports.partition("-")
    last = last if dash else first
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) <= ALL_PORTS.last):
        raise MisuseError(f"{text!r} ends in no ports like 5060 or 5000-6000")
    return PeerRange(_network(network), PortRange(int(first), int(last)))


def _port_range(value: object) -> PortRange:
    text = _text(value, "a range of ports like 49152-65535")
    first, dash, last = text.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal()):
        raise MisuseError(f"{text!r} is no range of ports like 49152-65535")
    if not 1 <= int(first) <= int(last) <= 65535:
        raise MisuseError(f"{text!r} is no range within 1 to 65535")
    return PortRange(int(first), int(last))


def _algorithm(value: object) -> PasswordAlgorithmNumber:
    number = _ALGORITHMS.get(_text(value, "an algorithm").lower())
    if number is None:
        raise MisuseError(f"{value!r} is no password algorithm; known are {', '.join(_ALGORITHMS)}")
    return number


def _realm(value: object) -> str:
    text = _text(value, "a realm")
    # RFC 8489 §14.9
    if not 1 <= len(text) <= 127:
        raise MisuseError(f"a realm has 1 to 127 characters, not {len(text)}")
    prepared = opaque_string(text)
    if prepared != text:
        raise MisuseError(f"{text!r} is not as RFC 8265 prepares it, which is {prepared!r}")
    return text


def _origin(value: object) -> str:
    text = _text(value, "a web origin like https://shop.example")
    # RFC 6454 §6.2: what browsers send is in lower case and has no path.
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s?#A-Z]+", text):
        raise MisuseError(f"{text!r} is no web origin like https://shop.example, in lower case")
    return text


def _server_address(value: object) -> Address:
    address = Address.parse(_text(value, "ADDRESS:PORT"))
    if not address.port or address.ip.is_unspecified:
        raise MisuseError(f"{address} is nowhere that a client could go")
    return address


def _host(family: Family, value: object) -> str:
    host = Address.of(_text(value, "an IP address"), 0)
    if host.family is not family or host.ip.is_unspecified:
        name = "IPv4" if family is Family.IPV4 else "IPv6"
        raise MisuseError(f"{value!r} is no {name} address to relay from")
    return host.host


def _any_host(value: object) -> str:
    host = Address.of(_text(value, "an IP address"), 0)
    if host.ip.is_unspecified:
        raise MisuseError(f"{value!r} is no address of a host")
    return host.host


def _ipv4_host(value: object) -> str:
    return _host(Family.IPV4, value)


def _ipv6_host(value: object) -> str:
    return _host(Family.IPV6, value)


def _secret(value: object) -> str:
    """Resolve a secret; what is wrong with it is said without it."""
    match value:
        case str() if value:
            return value
        case {"env": str(name), **rest} if not rest:
            secret = os.environ.get(name)
            if not secret:
                raise MisuseError(f"the environment variable {name} is not set")
            return secret
        case {"file": str(name), **rest} if not rest:
            try:
                secret = Path(name).read_text().rstrip("\n")
            except (OSError, UnicodeDecodeError) as error:
                raise MisuseError(f"cannot read the secret in {name}: {_why(error)}") from None
            if not secret:
                raise MisuseError(f"the secret in {name} is empty")
            return secret
        case _:
            raise MisuseError('a secret is a text, {env = "NAME"} or {file = "PATH"}')


def _password(value: object) -> str | ReadyKeys:
    match value:
        case {"md5": md5, "sha256": sha256, **rest} if not rest:
            return ReadyKeys(_key("md5", md5), _key("sha256", sha256))
        case {"md5": md5, **rest} if not rest:
            return ReadyKeys(_key("md5", md5), None)
        case {"sha256": sha256, **rest} if not rest:
            return ReadyKeys(None, _key("sha256", sha256))
        case str() | {"env": _} | {"file": _}:
            return _secret(value)
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
        key = b64decode(_secret(secret), validate=True)
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
    text = _secret(value)
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != _KEY_LENGTHS[name]:
        raise MisuseError(f"{name} is not written with {2 * _KEY_LENGTHS[name]} hexadecimal digits")
    return key


def _store(value: object) -> str:
    url = _secret(value)
    if url.partition(":")[0] not in STORES:
        # The text may hold a password, so it is not repeated.
        raise MisuseError(f"a store is {KINDS}")
    return url


def _admin_address(value: object) -> Address:
    address = Address.parse(_text(value, "ADDRESS:PORT"))
    if not address.port:
        # Clients have to be kept from it, also by a configuration that is read again.
        raise MisuseError(f"{address} names no port; choose one")
    return address


def _host_name(value: object) -> str:
    return host_name(_text(value, "a host name"))


def _token(value: object) -> str:
    return check_token(_secret(value))


def _server_uri(value: object) -> str:
    return server_uri(_text(value, "a URI"))


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise MisuseError(f"{value!r} is no text; {what} is expected")
    return value


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


Listen = Annotated[ListenAddress, BeforeValidator(_listen_address)]
AlternateAddress = Annotated[Address, BeforeValidator(_alternate_address)]
Network = Annotated[IPNetwork, BeforeValidator(_network)]
Peers = Annotated[PeerRange, BeforeValidator(_peer_range)]
Ports = Annotated[PortRange, BeforeValidator(_port_range)]
Algorithm = Annotated[PasswordAlgorithmNumber, BeforeValidator(_algorithm)]
IPv4Host = Annotated[str, BeforeValidator(_ipv4_host)]
IPv6Host = Annotated[str, BeforeValidator(_ipv6_host)]
Host = Annotated[str, BeforeValidator(_any_host)]
Secret = Annotated[str, BeforeValidator(_secret)]
AdminAddress = Annotated[Address, BeforeValidator(_admin_address)]
HostName = Annotated[str, BeforeValidator(_host_name)]
Token = Annotated[str, BeforeValidator(_token)]
Uri = Annotated[str, BeforeValidator(_server_uri)]
Password = Annotated[str | ReadyKeys, BeforeValidator(_password)]
TokenSecret = Annotated[OauthKey, BeforeValidator(_oauth_key)]
StoreUrl = Annotated[str, BeforeValidator(_store)]
RealmName = Annotated[str, BeforeValidator(_realm)]
Origin = Annotated[str, BeforeValidator(_origin)]
ServerAddress = Annotated[Address, BeforeValidator(_server_address)]
Bound = Callable[[Sequence[ListenAddress]], frozenset[tuple[Transport, Address]]]
"""Gives what was bound for some of listeners.listen."""
Count = Annotated[int, Field(ge=1, strict=True)]
Seconds = Annotated[int, Field(ge=1, strict=True)]
Switch = Annotated[bool, Field(strict=True)]

# The machine's own defaults, which are stated once, in Settings.
_DEFAULT = Settings(realm="natkit", nonce_key=bytes(32), listeners=())


class _Table(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
    )


class Listeners(_Table):
    """Where clients come in, and where their relayed addresses are."""

    listen: Annotated[tuple[Listen, ...], Field(min_length=1)] | None = None
    """None: port 3478 of every local address."""
    certificate: Path | None = None
    """PEM: the certificate for TLS and DTLS, and those above it."""
    key: Path | None = None
    """The private key of ``certificate``, in PEM and without a password."""
    proxy_protocol: Mapping[Listen, Annotated[tuple[Network, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    """Which of ``listen`` take connections by the PROXY protocol, and from which networks."""
    alternate: Mapping[Listen, AlternateAddress] = Field(default_factory=dict)
    """NAT behaviour discovery (RFC 5780, RFC 3489): an address of this server, and another one that
    differs in host and port. Clients are served on both hosts with both ports."""
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS, strict=True)] | Literal["auto"] = 1
    """How many processes serve clients, on the same ports; ``auto`` for one a processor."""
    relay_ports: Ports = _DEFAULT.relay_ports
    """The ports that relayed addresses are taken from, both ends included."""
    relay_ipv4: IPv4Host | None = None
    """The IPv4 address to relay from; none: the one that the client came to."""
    relay_ipv6: IPv6Host | None = None
    """The IPv6 address to relay from; none: the one that the client came to."""
    dscp: Annotated[int, Field(ge=0, le=LARGEST_CODE_POINT)] = 0
    """The Differentiated Services Code Point of all that is sent over UDP, to clients and to peers:
    0 is Best Effort, 46 Expedited Forwarding."""
    external: Mapping[Host, Host] = Field(default_factory=dict)
    """Behind a one-to-one NAT: the local addresses that relay, and those that clients are told."""
    external_from: str | None = None
    """A STUN server outside of the NAT, as a stun: URI, that is asked at the start and at a reload
    for the addresses that stand for those that relay; ``external`` counts first."""
    relay_plane: RelayPlaneName = "auto"
    """What moves packets: "userspace", or "auto" for the best that there is."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for local, outside in self.external.items():
            if Address(local, 0).family is not Address(outside, 0).family:
                raise MisuseError(f"external: {local} and {outside} are of different families")
        if len(set(self.external.values())) < len(self.external):
            raise MisuseError("external: each local address has an outside address of its own")
        if self.external_from is not None:
            uri = stun_uri(self.external_from)
            if uri.scheme.is_secure:
                raise MisuseError(f"external_from: '{uri}' is not asked over UDP; stun: is")
        if (self.certificate is None) != (self.key is None):
            raise MisuseError("certificate and key go together (--certificate, --key)")
        listen = self.listen or ()
        every = (*listen, *self.alternate)
        secure = next((each for each in every if each.is_secure), None)
        if secure is not None and self.certificate is None:
            raise MisuseError(f"{secure} needs a certificate and its key (--certificate, --key)")
        for proxied in self.proxy_protocol:
            if proxied not in listen:
                raise MisuseError(f"proxy_protocol names {proxied}, which listen does not")
            if not proxied.has_connections:
                raise MisuseError(f"proxy_protocol names {proxied}, which has no connections")
        for listener, other in self.alternate.items():
            _check_alternate(listener, other)
        return self


class UserOptions(_Table):
    """Who may allocate in a realm."""

    passwords: Mapping[str, Password] = Field(default_factory=dict)
    """Users by their names, each with a password or with keys."""
    store: StoreUrl = "sqlite"
    """Where more users and secrets are; ``sqlite`` alone is a file in the data directory."""
    cache_fresh: Seconds = 10
    """Seconds for which a user of the store is not looked up again."""
    cache_lifetime: Seconds = 3_600
    """Seconds for which such a user is known while the store is down."""
    secrets: tuple[Secret, ...] = ()
    """Secrets that make time-limited credentials, the newest first."""
    secret_digest: Digest = Digest.SHA1
    """The digest of time-limited credentials: "sha1" or "sha256"."""
    oauth_keys: Mapping[str, TokenSecret] = Field(default_factory=dict)
    """By name, the keys with which authorization servers seal access tokens (RFC 7635): the base64
    of 32 bytes each for AES-256-GCM, or of 16 for AES-128-GCM, and the times between which tokens
    are taken where that is to end."""
    oauth_server_name: Annotated[str, Field(max_length=127)] = _DEFAULT.token_server_name
    """For whom tokens are made, as THIRD-PARTY-AUTHORIZATION says; the realm if it is empty."""
    strict_expiry: Switch = _DEFAULT.strict_expiry
    """Whether an allocation ends with the credential that opened it."""
    password_algorithms: tuple[Algorithm, ...] = _DEFAULT.password_algorithms
    """What clients are offered, in this order; none: only what RFC 5389
    clients know."""
    username_anonymity: Switch = _DEFAULT.username_anonymity
    """Whether clients may send USERHASH in place of USERNAME."""
    nonce_lifetime: Seconds = int(_DEFAULT.nonce_lifetime)
    """Seconds after which a client must take a new nonce."""

    @property
    def token_keys(self) -> tuple[TokenKey, ...]:
        """The keys of access tokens, as the machine takes them."""
        return tuple(
            TokenKey(kid, each.key, each.not_before, each.until)
            for kid, each in self.oauth_keys.items()
        )


class Users(UserOptions):
    """Who may allocate."""

    realm: RealmName = _DEFAULT.realm
    """The realm of these users; in it are all clients that no further realm takes."""


class Policy(_Table):
    """What an allocation may do."""

    allow_client: tuple[Network, ...] = ()
    """Networks that clients may come from; when any is named, others are not served."""
    deny_client: tuple[Network, ...] = ()
    """Networks whose clients are not served; the narrowest network that is named decides."""
    allow_peer: tuple[Peers, ...] = ()
    """Networks whose peers may be reached though they are of special purpose, or this server's
    hosts; ``192.0.2.0/24 port 5000-6000`` means some ports alone."""
    deny_peer: tuple[Peers, ...] = ()
    """Networks whose peers may not be reached; the narrowest network that is named decides, of one
    network the narrowest range of ports, of these ``deny_peer``."""
    default_lifetime: Seconds = _DEFAULT.default_lifetime
    """Seconds of an allocation whose client asks for no lifetime, or for less."""
    maximum_lifetime: Seconds = _DEFAULT.maximum_lifetime
    """Seconds of an allocation at most, from one Refresh to the next."""
    strict_channels: Switch = _DEFAULT.strict_channels
    """Whether only the channels of RFC 8656 are bound, 0x4000 to 0x4FFF."""
    strict_permissions: Switch = _DEFAULT.strict_permissions
    """Whether a permission ends after 300 seconds though its channel lives."""
    mobility: Switch = _DEFAULT.mobility
    """Whether clients take their allocations along to other addresses (RFC 8016)."""
    tcp_relaying: Switch = _DEFAULT.tcp_relaying
    """Whether clients on TCP and TLS may have TCP allocations (RFC 6062)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.default_lifetime > self.maximum_lifetime:
            raise MisuseError("default_lifetime is above maximum_lifetime")
        return self


class RealmLimits(_Table):
    """How many of everything a realm's users may have."""

    allocations: Count = _DEFAULT.allocations
    """Allocations at once, of all users."""
    allocations_per_user: Count = _DEFAULT.allocations_per_user
    """Allocations at once, of one user."""
    permissions_per_allocation: Count = _DEFAULT.permissions_per_allocation
    """Permissions at once, of one allocation."""
    channels_per_allocation: Count = _DEFAULT.channels_per_allocation
    """Channels at once, of one allocation."""
    peer_connections_per_user: Count = _DEFAULT.peer_connections_per_user
    """TCP connections between relayed addresses and peers (RFC 6062) of one user."""
    peer_connections_per_allocation: Count = _DEFAULT.peer_connections_per_allocation
    """Such connections of one allocation."""
    unbound_connections_per_allocation: Count = _DEFAULT.unbound_connections_per_allocation
    """Such connections of one allocation that the client has not bound yet."""
    permissions_per_user: Count = _DEFAULT.permissions_per_user
    """Permissions of one user's allocations together."""
    channels_per_user: Count = _DEFAULT.channels_per_user
    """Channels of one user's allocations together."""
    bandwidth_per_user: Count | None = None
    """Bytes of data a second that are relayed each way, for one user; none: no limit."""


class Limits(RealmLimits):
    """How many of everything."""

    packets_per_source: Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)] = (
        _DEFAULT.packets_per_source
    )
    """UDP packets a second from clients without an allocation, by source: an IPv4 /24, an IPv6 /56.
    The rest is dropped."""
    answer_burst: Annotated[int, Field(ge=1_000, le=1_000_000_000, strict=True)] = (
        _DEFAULT.answer_burst
    )
    """Bytes that such a source is sent within a minute, beyond twice the bytes that came from it,
    before it has proven its address."""
    permissions: Count = _DEFAULT.permissions
    """Permissions of all clients together."""
    channels: Count = _DEFAULT.channels
    """Channels of all clients together."""
    bandwidth: Count | None = None
    """Bytes of data a second that are relayed each way, for all users together; none: no limit."""
    connections: Count = 5_000
    """Connections at once over TCP, TLS and DTLS."""
    connections_per_source: Count = 256
    """Connections at once from one IPv4 address or one IPv6 /64."""
    connection_idle: Seconds = 30
    """Seconds after which a silent connection without an allocation is closed."""
    peer_connections: Count = _DEFAULT.peer_connections
    """TCP connections between relayed addresses and peers (RFC 6062), in all."""
    peer_connection_idle: Seconds = 3_600
    """Seconds after which a TCP connection of a peer is cut if nothing passed on it."""
    drain: Annotated[int, Field(ge=0, strict=True)] = 60
    """Seconds that allocations are given to end by themselves when the server is to stop."""


class RealmPolicy(Policy):
    """What an allocation of a realm may do; what is not said here is as in [policy]."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        # The values that count are those of both tables, so they are checked together.
        return self


class Realm(_Table):
    """A realm besides that of [users], whose clients come to its listeners or from its origins."""

    listeners: tuple[Listen, ...] = ()
    """Which of listeners.listen lead to this realm; none: all do."""
    origins: tuple[Origin, ...] = ()
    """The web origins whose pages lead to this realm, like "https://shop.example"; none: all do,
    and clients that send no ORIGIN too."""
    users: UserOptions = UserOptions()
    policy: RealmPolicy = RealmPolicy()
    limits: RealmLimits = RealmLimits()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.listeners or self.origins):
            raise MisuseError("no client would come to this realm: give it listeners or origins")
        return self


class Redirect(_Table):
    """Clients that are sent to another server by ALTERNATE-SERVER (RFC 8489 §10)."""

    servers: Annotated[tuple[ServerAddress, ...], Field(min_length=1, max_length=2)]
    """The other server's ADDRESS:PORT, one of each family at most; it is reached by the transport
    that the client used here."""
    domain: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,253}$")] | None = None
    """The name on the other server's certificate, where that is not the name of this server."""
    clients: tuple[Network, ...] = ()
    """The networks of the clients that are meant; none: all clients."""
    listeners: tuple[Listen, ...] = ()
    """Which of listeners.listen the rule is for; none: all of them."""
    when: AlternateWhen = AlternateWhen.ALWAYS
    """Whether the rule holds "always", or only while this server is "draining"."""
    above: Annotated[int, Field(ge=0, strict=True)] = 0
    """How many allocations must live here for the rule to hold."""
    share: Annotated[int, Field(ge=1, le=100, strict=True)] = 100
    """The percentage of the clients that are sent away, chosen by their addresses; while this
    server drains it is all of them."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({each.family for each in self.servers}) < len(self.servers):
            raise MisuseError("servers are the addresses of one server, one of each family")
        return self

    def rule(self, bound: Bound) -> Alternate:
        """What the machine is told."""
        return Alternate(
            self.servers,
            self.domain,
            self.clients,
            bound(self.listeners),
            self.when,
            self.above,
            self.share,
        )


class Admin(_Table):
    """The server over HTTP: status page, metrics, health, connectivity test."""

    listen: AdminAddress | None = None
    """Where operators come in, as ``ADDRESS:PORT``; nowhere without it."""
    token: Token | None = None
    """What operators have to show, at least 16 characters; needed off loopback."""
    hosts: tuple[HostName, ...] = ()
    """The host names by which browsers reach the listener, besides addresses and localhost."""
    tls: Switch = False
    """Whether both listeners speak HTTPS, with the certificate of ``[listeners]``."""
    public: AdminAddress | None = None
    """Where everybody finds the connectivity test, and programs the credentials; no more."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.listen is not None and self.token is None and not is_loopback(self.listen):
            raise MisuseError(
                f"{self.listen} is not on loopback, so it needs a token "
                '(admin.token = {file = "PATH"}); or listen on 127.0.0.1'
            )
        return self


class CredentialService(_Table):
    """Time-limited credentials over HTTP, for the programs of a service."""

    token: Token | None = None
    """What programs have to show for credentials, at least 16 characters; nobody gets any
    without it."""
    lifetime: Annotated[int, Field(ge=60, le=30 * 86_400, strict=True)] = 86_400
    """Seconds for which they are good."""
    uris: tuple[Uri, ...] = ()
    """The URIs that clients are told, also by the connectivity test; without it, those of the
    listeners."""
    origins: tuple[Origin, ...] = ()
    """Other sites whose pages may fetch credentials by themselves (CORS)."""


class Log(_Table):
    """What is logged, and how; to the standard error."""

    level: LogLevel = "info"
    """What is logged: "debug", "info", "warning" or "error", and what is above."""
    as_json: Annotated[bool, Field(alias="json", strict=True)] = False
    """Whether each line is a JSON object."""


class Config(_Table):
    """The whole configuration, checked."""

    data_dir: Path | None = None
    """Where keys, users and the socket of commands are kept; none: $STATE_DIRECTORY,
    else natkit/stun-server below $XDG_STATE_HOME."""
    listeners: Listeners = Listeners()
    users: Users = Users()
    policy: Policy = Policy()
    limits: Limits = Limits()
    admin: Admin = Admin()
    credentials: CredentialService = CredentialService()
    log: Log = Log()
    realms: Mapping[RealmName, Realm] = Field(default_factory=dict)
    """Further realms by their names, in the order in which they are tried."""
    redirects: tuple[Redirect, ...] = ()
    """Rules about other servers, of which the first that suits a client decides."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        listen = self.listeners.listen or ()
        for name, realm in self.realms.items():
            if name == self.users.realm:
                raise MisuseError(f"realms.{name}: this is the realm of [users]")
            for each in realm.listeners:
                if each not in listen:
                    raise MisuseError(f"realms.{name}: {each} is not in listeners.listen")
            policy = self.policy_of(name)
            if policy.default_lifetime > policy.maximum_lifetime:
                raise MisuseError(f"realms.{name}: default_lifetime is above maximum_lifetime")
        for number, redirect in enumerate(self.redirects):
            for each in redirect.listeners:
                if each not in listen:
                    raise MisuseError(f"redirects.{number}: {each} is not in listeners.listen")
            for server in redirect.servers:
                if any(server == each.address for each in listen):
                    raise MisuseError(f"redirects.{number}: {server} is this server's own")
        return self

    def users_of(self, realm: str) -> Users:
        """The users of a realm; what a further one does not say is as in [users], but for who."""
        if realm == self.users.realm:
            return self.users
        own = self.realms[realm].users
        said = {name: getattr(own, name) for name in own.model_fields_set}
        return self.users.model_copy(
            update={
                "realm": realm,
                "passwords": {},
                "secrets": (),
                "oauth_keys": {},
                "oauth_server_name": "",
                **said,
            }
        )

    def policy_of(self, realm: str) -> Policy:
        """The policy of a realm; what a further one does not say is as in [policy]."""
        if realm == self.users.realm:
            return self.policy
        own = self.realms[realm].policy
        return self.policy.model_copy(
            update={name: getattr(own, name) for name in own.model_fields_set}
        )

    def limits_of(self, realm: str) -> RealmLimits:
        """The limits of a realm; what a further one does not say is as in [limits]."""
        if realm == self.users.realm:
            return self.limits
        own = self.realms[realm].limits
        return self.limits.model_copy(
            update={name: getattr(own, name) for name in own.model_fields_set}
        )

    @model_validator(mode="after")
    def _check_admin(self) -> Self:
        if self.admin.tls and self.listeners.certificate is None:
            raise MisuseError("admin.tls needs a certificate and its key (--certificate, --key)")
        return self

    def own_addresses(self) -> tuple[Address, ...]:
        """Where this server listens for others than clients, whom no client may reach."""
        listen = filter(None, (self.admin.listen, self.admin.public))
        return tuple(own for each in listen for own in expand_wildcard(each))

    def settings(
        self, listeners: tuple[Address, ...], nonce_key: bytes, *, dont_fragment: bool
    ) -> Settings:
        """What the machine is told, once the listeners are bound, of the realm of [users]."""
        settings = Settings(
            realm=self.users.realm,
            nonce_key=nonce_key,
            own_addresses=self.own_addresses(),
            listeners=listeners,
            relay_ipv4=self.listeners.relay_ipv4,
            relay_ipv6=self.listeners.relay_ipv6,
            relay_ports=self.listeners.relay_ports,
            dont_fragment=dont_fragment,
            allowed_clients=self.policy.allow_client,
            denied_clients=self.policy.deny_client,
            packets_per_source=self.limits.packets_per_source,
            answer_burst=self.limits.answer_burst,
            permissions=self.limits.permissions,
            channels=self.limits.channels,
            bandwidth=self.limits.bandwidth,
        )
        return self.settings_of(self.users.realm, settings)

    def settings_of(self, realm: str, server: Settings) -> Settings:
        """What the machine is told of a realm; ``server`` has what holds for all realms."""
        users, policy, limits = self.users_of(realm), self.policy_of(realm), self.limits_of(realm)
        return replace(
            server,
            realm=realm,
            allowed_peers=policy.allow_peer,
            denied_peers=policy.deny_peer,
            password_algorithms=users.password_algorithms,
            username_anonymity=users.username_anonymity,
            nonce_lifetime=float(users.nonce_lifetime),
            strict_expiry=users.strict_expiry,
            token_keys=users.token_keys,
            token_server_name=users.oauth_server_name,
            default_lifetime=policy.default_lifetime,
            maximum_lifetime=policy.maximum_lifetime,
            strict_channels=policy.strict_channels,
            strict_permissions=policy.strict_permissions,
            mobility=policy.mobility,
            tcp_relaying=policy.tcp_relaying,
            peer_connections=self.limits.peer_connections,
            peer_connections_per_user=limits.peer_connections_per_user,
            peer_connections_per_allocation=limits.peer_connections_per_allocation,
            unbound_connections_per_allocation=limits.unbound_connections_per_allocation,
            allocations=limits.allocations,
            allocations_per_user=limits.allocations_per_user,
            permissions_per_allocation=limits.permissions_per_allocation,
            permissions_per_user=limits.permissions_per_user,
            channels_per_user=limits.channels_per_user,
            bandwidth_per_user=limits.bandwidth_per_user,
            channels_per_allocation=limits.channels_per_allocation,
        )

    def workers(self) -> int:
        """How many processes serve clients."""
        wanted = self.listeners.workers
        if wanted != "auto":
            return wanted
        return min(MOST_WORKERS, len(os.sched_getaffinity(0)) if _HAS_AFFINITY else 1)

    def connection_limits(self) -> ConnectionLimits:
        """The bounds on TCP connections."""
        limits = self.limits
        return ConnectionLimits(
            limits.connections, limits.connections_per_source, float(limits.connection_idle)
        )


class Flag(NamedTuple):
    """A command-line flag, the key of the configuration that it stands for, and its value."""

    name: str
    key: tuple[str, ...]
    value: object


def load(file: Path | None, flags: Sequence[Flag] = ()) -> Config:
    """Read and check the configuration; ConfigError says in one line what is wrong and where."""
    return validated(contents(file, flags), file, flags)


def contents(file: Path | None, flags: Sequence[Flag] = ()) -> dict[str, object]:
    """What file and flags say together, not checked yet; ConfigError when it cannot be read."""
    content = _read(file) if file is not None else {}
    for _, key, value in flags:
        _put(content, key, value)
    return content


def validated(
    content: Mapping[str, object], file: Path | None = None, flags: Sequence[Flag] = ()
) -> Config:
    """Check what :func:`contents` gave; ConfigError says what is wrong, and where in which file."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_line(error, file, flags)) from None


def data_dir_of(file: Path) -> Path | None:
    """The data directory that a configuration names; no secret of it is read for that."""
    value = _read(file).get("data_dir")
    return Path(value) if isinstance(value, str) else None


def _read(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is no TOML: {error}") from error


def _put(content: dict[str, object], key: tuple[str, ...], value: object) -> None:
    table = content
    for part in key[:-1]:
        below = table.setdefault(part, {})
        if not isinstance(below, dict):
            # Not a table: the check of the whole names it.
            return
        table = below
    table[key[-1]] = value


def _line(error: ValidationError, file: Path | None, flags: Sequence[Flag]) -> str:
    """The first mistake; pydantic's text never holds the value, which may be a secret."""
    first = error.errors(include_url=False, include_input=False)[0]
    location = tuple(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        what = f"there is no such key; known are {', '.join(_known_keys(location[:-1]))}"
    else:
        text = first["msg"].removeprefix("Value error, ")
        what = text[:1].lower() + text[1:]
    where = f"{file}: " if file is not None else ""
    where += ".".join(location)
    for name, key, _ in flags:
        if location[: len(key)] == key:
            where = name
    return f"{where}: {what}"


def _known_keys(table: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for name in table:
        kind = model.model_fields[name].annotation if name in model.model_fields else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return [field.alias or name for name, field in model.model_fields.items()]
