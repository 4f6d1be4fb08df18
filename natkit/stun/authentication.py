"""The client's side of the credential mechanisms (RFC 8489 §9.1, §9.2)."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from natkit.errors import MisuseError
from natkit.stun.attributes import (
    AccessToken,
    Attribute,
    ErrorCode,
    MessageIntegrity,
    MessageIntegritySha256,
    Nonce,
    PasswordAlgorithm,
    PasswordAlgorithms,
    Realm,
    ThirdPartyAuthorization,
    UserHash,
    Username,
)
from natkit.stun.attributes.base import SHA256_LENGTH
from natkit.stun.credentials import (
    SUPPORTED_ALGORITHMS,
    long_term_key,
    nonce_features,
    opaque_string,
    short_term_key,
    user_hash,
    verify,
)
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import Integrity, MessageClass, SecurityFeature, StunError


class Verdict(Enum):
    """What to do with a response."""

    ACCEPT = auto()
    """It is authentic, or there was nothing to prove, or it ends the request: act on it."""
    RETRY = auto()
    """It was a challenge, which the next proof answers: send a new request."""
    DISCARD = auto()
    """Go on as if it had never come."""
    VIOLATION = auto()
    """Its integrity is not what it should be: discard it, and remember that."""
    BID_DOWN = auto()
    """Someone took a security feature out of it: end the request, never retry (§9.2.1)."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What one request carries to prove who sends it; ``realm`` is the one it was made for."""

    attributes: tuple[Attribute, ...] = ()
    key: IntegrityKey | None = None
    realm: str | None = None


class Authentication(Protocol):
    """A credential mechanism, with what it has learned of one server."""

    def prove(self) -> Proof:
        """What to add to the next request."""
        ...

    def judge(self, response: Message, proof: Proof) -> Verdict:
        """What to do with a response to the request that carried ``proof``."""
        ...


class ShortTerm:
    """The short-term mechanism: username and password agreed elsewhere (RFC 8489 §9.1).

    Requests carry both integrity attributes until a response shows which one the server uses,
    unless ``integrity`` says what is known from elsewhere.  MisuseError for a password or username
    that OpaqueString forbids.
    """

    def __init__(self, username: str, password: str, integrity: Integrity = Integrity.BOTH) -> None:
        self._username = Username(opaque_string(username))
        self._key = short_term_key(password)
        self._integrity = integrity

    def prove(self) -> Proof:
        """USERNAME and the key (RFC 8489 §9.1.2)."""
        return Proof((self._username,), IntegrityKey(self._key, self._integrity))

    def judge(self, response: Message, proof: Proof) -> Verdict:
        """Check the integrity of a response (RFC 8489 §9.1.4)."""
        sent = Integrity.BOTH if proof.key is None else proof.key.integrity
        received = _integrity_of(response)
        if received is not None and sent not in (Integrity.BOTH, received):
            return Verdict.DISCARD
        proven = verify(response, self._key)
        if proven is None:
            return Verdict.VIOLATION
        self._integrity = proven
        return Verdict.ACCEPT


@dataclass(frozen=True, slots=True)
class _Challenge:
    """What a 401 or 438 told, and the key that follows from it."""

    realm: str
    nonce: bytes
    anonymous: bool
    offered: PasswordAlgorithms | None
    algorithm: PasswordAlgorithm | None
    key: IntegrityKey


class LongTerm:
    """The long-term mechanism: challenge and response (RFC 8489 §9.2).

    Remembers realm, nonce and what the server supports, for all requests to one server.
    MisuseError for a password or username that OpaqueString forbids.
    """

    def __init__(self, username: str, password: str) -> None:
        self._username = opaque_string(username)
        self._password = opaque_string(password)
        self._challenge: _Challenge | None = None

    def prove(self) -> Proof:
        """Nothing before the first challenge, the credential after it (RFC 8489 §9.2.3)."""
        challenge = self._challenge
        if challenge is None:
            return Proof()
        name: Attribute
        if challenge.anonymous:
            name = UserHash(user_hash(self._username, challenge.realm))
        else:
            name = Username(self._username)
        attributes: list[Attribute] = [name, Realm(challenge.realm), Nonce(challenge.nonce)]
        if challenge.offered is not None and challenge.algorithm is not None:
            attributes += [challenge.offered, challenge.algorithm]
        return Proof(tuple(attributes), challenge.key, challenge.realm)

    def judge(self, response: Message, proof: Proof) -> Verdict:
        """Take up a challenge, or check the integrity of a response (RFC 8489 §9.2.5)."""
        code = _error_code(response)
        bid_down = _is_bid_down(response)
        if code in (StunError.UNAUTHENTICATED, StunError.STALE_NONCE):
            return Verdict.BID_DOWN if bid_down else self._take_up(response, code, proof)
        if bid_down:
            return Verdict.DISCARD
        if proof.key is None:
            return Verdict.ACCEPT
        if code == StunError.BAD_REQUEST and _integrity_of(response) is None:
            # §9.2.4: also what a server says whose list of algorithms was changed on the way.
            known = self._challenge
            return Verdict.VIOLATION if known and known.offered else Verdict.DISCARD
        if verify(response, proof.key.key) is proof.key.integrity:
            return Verdict.ACCEPT
        return Verdict.VIOLATION

    def _take_up(self, response: Message, code: int, proof: Proof) -> Verdict:
        realm = response.get(Realm)
        nonce = response.get(Nonce)
        known = self._challenge
        if realm is not None:
            realm_text = realm.value
        elif code == StunError.STALE_NONCE and known is not None:
            # Servers of RFC 5389 may send a 438 without REALM.
            realm_text = known.realm
        else:
            return Verdict.ACCEPT
        if nonce is None:
            return Verdict.ACCEPT
        if code == StunError.UNAUTHENTICATED and realm_text == proof.realm:
            # The credential was refused; sending it once more would change nothing.
            return Verdict.ACCEPT
        offered = response.get(PasswordAlgorithms)
        if known is not None and known.offered is not None and offered is None:
            # The server has offered algorithms before: a challenge without is not its own.
            return Verdict.DISCARD
        algorithm = None if offered is None else _first_supported(offered)
        if offered is not None and algorithm is None:
            return Verdict.ACCEPT
        key = self._key(realm_text, algorithm)
        if key is None:
            return Verdict.ACCEPT
        features = nonce_features(nonce.value) or SecurityFeature(0)
        self._challenge = _Challenge(
            realm_text,
            nonce.value,
            SecurityFeature.USERNAME_ANONYMITY in features,
            offered,
            algorithm,
            key,
        )
        return Verdict.RETRY

    def _key(self, realm: str, algorithm: PasswordAlgorithm | None) -> IntegrityKey | None:
        try:
            if algorithm is None:
                key = long_term_key(self._username, realm, self._password)
                return IntegrityKey(key, Integrity.SHA1)
            key = long_term_key(self._username, realm, self._password, algorithm.number)
            return IntegrityKey(key, Integrity.SHA256)
        except MisuseError:
            # The realm is none that OpaqueString allows: no key follows from it.
            return None


@dataclass(frozen=True, slots=True)
class TokenCredential:
    """What an authorization server gave to a client (RFC 7635 §4.1.1).

    ``access_token`` is the value of ACCESS-TOKEN, which the client does not understand; ``kid``
    names the key that it is sealed with, ``mac_key`` is the session key that goes with it: one of
    32 bytes and more signs by SHA-256, a shorter one by SHA-1.
    """

    kid: str
    access_token: bytes = field(repr=False)
    mac_key: bytes = field(repr=False)


class ThirdParty:
    """Third-party authorization: an access token in place of a password (RFC 7635 §4.1.1).

    A server that does not say that it takes tokens is shown none.  MisuseError for a name of a key
    that OpaqueString forbids, MalformedMessage for what is no access token.
    """

    def __init__(self, credential: TokenCredential) -> None:
        self._challenge: tuple[str, bytes] | None = None
        self.renew(credential)

    def renew(self, credential: TokenCredential) -> None:
        """Show another token from the next request on."""
        strong = len(credential.mac_key) >= SHA256_LENGTH
        self._key = IntegrityKey(credential.mac_key, Integrity.SHA256 if strong else Integrity.SHA1)
        self._username = Username(opaque_string(credential.kid))
        self._token = AccessToken.decode(credential.access_token)

    def prove(self) -> Proof:
        """Nothing before the first challenge, the token after it."""
        if self._challenge is None:
            return Proof()
        realm, nonce = self._challenge
        attributes = (self._username, Realm(realm), Nonce(nonce), self._token)
        return Proof(attributes, self._key, realm)

    def judge(self, response: Message, proof: Proof) -> Verdict:
        """Take up a challenge, or check the integrity of a response."""
        code = _error_code(response)
        realm, nonce = response.get(Realm), response.get(Nonce)
        if code == StunError.UNAUTHENTICATED:
            # A server that refused the token would refuse it again.
            is_new = proof.realm is None and response.get(ThirdPartyAuthorization) is not None
            if not is_new or realm is None or nonce is None:
                return Verdict.ACCEPT
            self._challenge = realm.value, nonce.value
            return Verdict.RETRY
        if code == StunError.STALE_NONCE and self._challenge is not None and nonce is not None:
            self._challenge = self._challenge[0], nonce.value
            return Verdict.RETRY
        if proof.key is None:
            return Verdict.ACCEPT
        if code == StunError.BAD_REQUEST and _integrity_of(response) is None:
            return Verdict.DISCARD
        if verify(response, proof.key.key) is proof.key.integrity:
            return Verdict.ACCEPT
        return Verdict.VIOLATION


def _is_bid_down(response: Message) -> bool:
    """Whether the nonce tells of password algorithms that the response does not list (§9.2.1)."""
    nonce = response.get(Nonce)
    if nonce is None or response.get(PasswordAlgorithms) is not None:
        return False
    features = nonce_features(nonce.value)
    return features is not None and SecurityFeature.PASSWORD_ALGORITHMS in features


def _first_supported(offered: PasswordAlgorithms) -> PasswordAlgorithm | None:
    for algorithm in offered.algorithms:
        if algorithm in SUPPORTED_ALGORITHMS:
            return algorithm
    return None


def _integrity_of(response: Message) -> Integrity | None:
    if response.get(MessageIntegritySha256) is not None:
        return Integrity.SHA256
    return Integrity.SHA1 if response.get(MessageIntegrity) is not None else None


def _error_code(response: Message) -> int | None:
    if response.message_class is not MessageClass.ERROR_RESPONSE:
        return None
    error = response.get(ErrorCode)
    return None if error is None else error.code
