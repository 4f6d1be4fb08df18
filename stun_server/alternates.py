"""ALTERNATE-SERVER: which clients are sent to another server (RFC 8489 §10)."""

import hmac
from collections.abc import Sequence

from natkit.machine import Path
from natkit.stun.attributes import AlternateDomain, AlternateServer, Attribute
from natkit.stun.registry import Integrity, StunError
from stun_server.authentication import Proof
from stun_server.outcome import Refusal
from stun_server.settings import Alternate, AlternateWhen, Settings

__all__ = ["Alternates"]

HUNDRED = 100


class Alternates:
    """Decides by the rules of Settings, the first that suits."""

    def __init__(self, settings: Settings) -> None:
        self._rules = settings.alternates
        self._key = settings.nonce_key

    def refusal(
        self, path: Path, proof: Proof, allocations: int, *, draining: bool
    ) -> Refusal | None:
        """The 300 for an Allocate of a client that is to go elsewhere, if it is.

        ``allocations`` is how many live here.  Only users are told, and the answer has integrity,
        so that nobody else can send them anywhere.
        """
        for rule in self._rules:
            if self._suits(rule, path, allocations, draining=draining):
                servers = _in_order(rule, path)
                if servers:
                    return Refusal(
                        StunError.TRY_ALTERNATE,
                        f"sent to {servers[0].address}",
                        (*servers, *_domain(rule, path, proof)),
                    )
        return None

    def _suits(self, rule: Alternate, path: Path, allocations: int, *, draining: bool) -> bool:
        if rule.when is AlternateWhen.DRAINING and not draining:
            return False
        if rule.listeners and (path.transport, path.local) not in rule.listeners:
            return False
        if rule.clients and not any(path.remote.ip in network for network in rule.clients):
            return False
        if allocations < rule.above:
            return False
        # While it drains, a server keeps no share for itself.
        return draining or rule.share == HUNDRED or self._lot(path.remote.host) < rule.share

    def _lot(self, host: str) -> int:
        """0 to 99, the same for a client however often it asks and from whichever port."""
        drawn = hmac.digest(self._key, b"share " + host.encode(), "sha256")[:4]
        return int.from_bytes(drawn, "big") % HUNDRED


def _in_order(rule: Alternate, path: Path) -> Sequence[AlternateServer]:
    """The server's address of the client's family, then that of the other; none without the first.

    RFC 8489 §10
    """
    family = path.remote.family
    own = [each for each in rule.servers if each.family is family]
    others = [each for each in rule.servers if each.family is not family]
    return [AlternateServer(each) for each in own + others] if own else []


def _domain(rule: Alternate, path: Path, proof: Proof) -> tuple[Attribute, ...]:
    # RFC 8489 §10: on TLS and DTLS, and under MESSAGE-INTEGRITY-SHA256 alone.
    if (
        rule.domain is None
        or not path.transport.is_secure
        or proof.integrity.integrity is not Integrity.SHA256
    ):
        return ()
    return (AlternateDomain(rule.domain),)
