"""Third-party authorization: whom an access token lets in, and for how long (RFC 7635)."""

from natkit.errors import MalformedMessage
from natkit.stun.attributes import AccessToken, Attribute, ThirdPartyAuthorization
from natkit.stun.tokens import Token, unseal
from stun_server.settings import Settings

TOLERANCE = 5.0
"""Seconds by which the clock of an authorization server may be wrong, and a message late."""


class AccessTokens:
    """Reads the tokens of one realm; without keys there are none."""

    def __init__(self, settings: Settings) -> None:
        self._keys = {key.kid: key for key in settings.token_keys}
        self.server_name = settings.token_server_name or settings.realm

    @property
    def offer(self) -> tuple[Attribute, ...]:
        """What tells clients that tokens are taken (RFC 7635 §6.1)."""
        return (ThirdPartyAuthorization(self.server_name),) if self._keys else ()

    def read(self, kid: str | None, sealed: AccessToken, now: float) -> Token | str:
        """What a token holds that is good at the Unix time ``now``, or why it is not."""
        key = self._keys.get(kid or "")
        if key is None:
            return "an access token of a key that is not known"
        if not key.is_good(now):
            return "an access token of a key that is not valid now"
        try:
            token = unseal(sealed, key, self.server_name)
        except MalformedMessage as error:
            return str(error)
        if abs(now - token.timestamp) >= token.lifetime + TOLERANCE:
            return "the access token has expired"
        return token
