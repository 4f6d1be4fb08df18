"""``[listeners]``: where SIP is spoken."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.machine import Transport
from natkit.server.certificates import CertificateFiles
from natkit.server.config.tables import Table
from natkit.server.config.values import HostName
from sip_proxy.config.values import Listen

__all__ = ["Listeners"]


class Listeners(Table):
    """Where phones and other proxies come in."""

    listen: Annotated[tuple[Listen, ...], Field(min_length=1)] | None = None
    """The listening addresses, as ``[udp:|tcp:|tls:|ws:|wss:]ADDRESS:PORT``; none: port
    5060 of every local address, over UDP and TCP."""
    certificate: Path | None = None
    """PEM: the certificate for TLS and secure WebSockets, and those above it."""
    key: Path | None = None
    """The private key of ``certificate``, in PEM and without a password."""
    name: HostName | None = None
    """The host name that stands for the addresses in Via and Record-Route, and that DNS leads here;
    none: the addresses themselves."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise MisuseError("certificate and key go together (--certificate, --key)")
        named: set[tuple[Transport, Address]] = set()
        for address, transport in (
            (each.address, transport) for each in self.listen or () for transport in each.transports
        ):
            if address.port and (transport, address) in named:
                raise MisuseError(f"listen has {transport}:{address} twice")
            named.add((transport, address))
        return self

    def files(self) -> CertificateFiles | None:
        """The certificate, if there is one."""
        if self.certificate is None or self.key is None:
            return None
        return CertificateFiles(self.certificate, self.key)
