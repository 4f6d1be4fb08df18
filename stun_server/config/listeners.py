"""``[listeners]``: where clients come in, and where their relayed addresses are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from natkit.address import Address
from natkit.aio.stun import server_uri as stun_uri
from natkit.errors import MisuseError
from natkit.net.marking import LARGEST_CODE_POINT
from natkit.server.config.tables import Table
from natkit.server.config.values import Network
from natkit.server.shared_addresses import MOST_WORKERS
from stun_server.config.tables import DEFAULT
from stun_server.config.values import (
    AlternateAddress,
    Host,
    IPv4Host,
    IPv6Host,
    Listen,
    Ports,
    check_alternate,
)

__all__ = ["Listeners", "RelayPlaneName"]

RelayPlaneName = Literal["auto", "userspace", "kernel"]


class Listeners(Table):
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
    relay_ports: Ports = DEFAULT.relay_ports
    """The ports that relayed addresses are taken from, both ends included."""
    relay_ipv4: IPv4Host | None = None
    """The IPv4 address to relay from; none: the one that the client came to, or for a client that
    came by the other family, the listener's that reaches as far."""
    relay_ipv6: IPv6Host | None = None
    """The IPv6 address to relay from; none: the one that the client came to, or for a client that
    came by the other family, the listener's that reaches as far."""
    dscp: Annotated[int, Field(ge=0, le=LARGEST_CODE_POINT)] = 0
    """The Differentiated Services Code Point of all that is sent over UDP, to clients and to peers:
    0 is Best Effort, 46 Expedited Forwarding."""
    external: Mapping[Host, Host] = Field(default_factory=dict)
    """Behind a one-to-one NAT: the local addresses that relay, and those that clients are told."""
    external_from: str | None = None
    """A STUN server outside of the NAT, as a stun: URI, that is asked at the start and at a reload
    for the addresses that stand for those that relay; ``external`` counts first."""
    relay_plane: RelayPlaneName = "userspace"
    """What moves packets: "userspace", "kernel", or "auto" for the kernel where it may; the kernel
    does by a program on the host's interfaces, and by settings of the host, and on loopback where
    it is asked for by name."""

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
            check_alternate(listener, other)
        return self
