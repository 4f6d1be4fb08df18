"""Credentials for those who ask over HTTP, and the URIs to use them with."""

from collections.abc import Callable
from dataclasses import dataclass

from natkit.address import Address
from natkit.machine import Transport
from natkit.stun.uri import Scheme, ServerUri
from natkit.turn.credentials import TimeLimitedCredential, time_limited
from stun_server.administration import Status
from stun_server.shell.users import Signing

__all__ = ["Issuer", "uris_of"]

_URIS = {
    Transport.UDP: ((Scheme.STUN, None), (Scheme.TURN, Transport.UDP)),
    Transport.TCP: ((Scheme.TURN, Transport.TCP),),
    Transport.TLS: ((Scheme.TURNS, Transport.TCP),),
    Transport.DTLS: ((Scheme.TURNS, Transport.UDP),),
}


@dataclass(frozen=True, slots=True)
class Issuer:
    """Makes credentials by the newest secret, of those that count at that moment."""

    signing: Callable[[], Signing]
    unix_time: Callable[[], float]

    @property
    def is_able(self) -> bool:
        """Whether there is a secret."""
        return bool(self.signing().secrets)

    def issue(self, name: str, lifetime: int) -> TimeLimitedCredential | None:
        """A credential of ``name`` for ``lifetime`` seconds; None without a secret.

        MisuseError for a name that no client can send.
        """
        secrets, digest = self.signing()
        if not secrets:
            return None
        return time_limited(
            secrets[0], now=self.unix_time(), lifetime=lifetime, name=name, digest=digest
        )


def uris_of(status: Status) -> tuple[str, ...]:
    """The URIs of a server's own listeners (RFC 7064, RFC 7065), the cheapest transport first.

    Loopback and link-local listeners are left out unless there are no others.  Where a certificate
    names a host, secure URIs do, since no client could check an address against it.
    """
    listeners = [(each.transport, Address.parse(each.address)) for each in status.listeners]
    far = [each for each in listeners if not _is_near(each[1])]
    name = next(filter(_is_host, (n for c in status.certificates for n in c.names)), None)
    found: dict[str, None] = {}
    for transport in Transport:
        for own, (host, port) in far or listeners:
            for scheme, carried in _URIS[transport] if own is transport else ():
                named = name if scheme.is_secure and name is not None else host
                found[str(ServerUri(scheme, named, port, carried))] = None
    return tuple(found)


def _is_near(address: Address) -> bool:
    return address.ip.is_loopback or address.ip.is_link_local


def _is_host(name: str) -> bool:
    """Whether a certificate's name is that of one host, which a wildcard or an address is not."""
    return "*" not in name and ":" not in name and not name.replace(".", "").isdecimal()
