"""Who sends a request: digest credentials, a user's certificate, or a trusted network or peer.

RFC 3261 §22, RFC 8760, RFC 5922.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from natkit.machine import Path
from natkit.sip import HeaderField, Request, SipUri
from natkit.sip.certificate import user_identity
from natkit.sip.digest import (
    AUTHORIZATION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    WWW_AUTHENTICATE,
    Algorithm,
    Challenge,
    Credentials,
    Qop,
)
from natkit.sip.digest_nonces import Nonces, Verdict
from natkit.sip.flows import Flows
from sip_proxy.rejection import Rejection
from sip_proxy.settings import Settings

__all__ = ["Authentication", "Role"]


class Role(Enum):
    """In which of its roles the element asks: that chooses status and header fields."""

    REGISTRAR = auto()
    PROXY = auto()


_STATUS: Final = {Role.REGISTRAR: 401, Role.PROXY: 407}
_ASKED_BY: Final = {Role.REGISTRAR: WWW_AUTHENTICATE, Role.PROXY: PROXY_AUTHENTICATE}
_ANSWERED_BY: Final = {Role.REGISTRAR: AUTHORIZATION, Role.PROXY: PROXY_AUTHORIZATION}


class Authentication:
    """Challenges requests, and judges what they bring."""

    def __init__(self, settings: Settings, nonces: Nonces, flows: Flows) -> None:
        self._settings = settings
        self._nonces = nonces
        self._flows = flows

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings

    def is_needed(self, path: Path) -> bool:
        """Whether who comes by this path must prove who they are."""
        if not self._settings.authenticate:
            return False
        trusted = self._settings.trusted_domains
        if trusted and not trusted.isdisjoint(self._flows.domains_of(path)):
            return False
        remote = path.remote.ip
        return not any(remote in network for network in self._settings.trusted)

    def is_proved(self, path: Path, claimed: SipUri) -> bool:
        """Whether who comes by this path proved by a certificate to be this user."""
        if not self._settings.user_certificates:
            return False
        return user_identity(claimed) in self._flows.users_of(path)

    def credentials_of(self, request: Request, realm: str, role: Role) -> Credentials | None:
        """The credentials for our realm, or None; MalformedMessage when they cannot be read."""
        for credentials in request.headers.get_all(_ANSWERED_BY[role]):
            if isinstance(credentials, Credentials) and credentials.realm == realm:
                return credentials
        return None

    def asked(self, credentials: Credentials, path: Path) -> bool:
        """Whether they answer a challenge that was sent to the address that they come from."""
        return self._nonces.knows(credentials.nonce, _place(credentials.realm, path))

    def protects_enough(self, credentials: Credentials) -> bool:
        """Whether they protect what challenges say.

        Credentials without a qop are those of RFC 2069, which protect what ``auth`` does (RFC 3261
        §22.4 step 8).
        """
        return (credentials.qop or Qop.AUTH) in self._settings.qop

    def challenge(
        self, realm: str, role: Role, path: Path, now: float, *, stale: bool = False
    ) -> Rejection:
        """Ask for credentials, by each of the algorithms in their order (RFC 8760 §2.4)."""
        nonce = self._nonces.issue(_place(realm, path), now)
        challenges = [
            Challenge(realm, nonce, algorithm, self._settings.qop, stale=stale)
            for algorithm in self._settings.algorithms
        ]
        kind = _ASKED_BY[role]
        fields = [HeaderField.of(kind, challenge) for challenge in challenges]
        return Rejection(_STATUS[role], None, fields)

    def proves(
        self, request: Request, credentials: Credentials, secrets: Mapping[Algorithm, str]
    ) -> bool:
        """Whether who sent the request knows one of the ``secrets``."""
        offered = credentials.algorithm in self._settings.algorithms
        secret = secrets.get(credentials.algorithm) if offered else None
        # Their uri is not compared with the Request-URI, which proxies before us may have changed
        # (§22.4 step 4): a nonce's count is good once, so a copy for another target is refused.
        return secret is not None and credentials.proves(secret, request.method, request.body)

    def is_fresh(self, credentials: Credentials, path: Path, now: float) -> bool:
        """Whether right credentials are no copy of others and not too old; asked once."""
        place = _place(credentials.realm, path)
        verdict = self._nonces.use(credentials.nonce, place, credentials.nonce_count, now)
        return verdict is Verdict.GOOD


def _place(realm: str, path: Path) -> str:
    """What a nonce is good for: one realm, asked from one address."""
    return f"{realm}\0{path.remote.host}"
