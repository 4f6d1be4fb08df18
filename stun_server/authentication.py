"""The long-term credential mechanism on the server's side (RFC 8489 §9.2.4), without any state.

A nonce proves that its bearer receives at the address it was sent to: it is a MAC over that
address, the time, the realm and what was offered.  Until one is shown nothing is looked up.
"""

from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass, replace
from hashlib import blake2s
from hashlib import sha256 as digest_of
from typing import NamedTuple

from natkit.address import Address
from natkit.machine import Path
from natkit.stun.attributes import (
    AccessToken,
    MessageIntegrity,
    MessageIntegritySha256,
    Nonce,
    PasswordAlgorithm,
    PasswordAlgorithms,
    Realm,
    UserHash,
    Username,
)
from natkit.stun.credentials import (
    NONCE_COOKIE_LENGTH,
    nonce_cookie,
    secrets_equal,
    user_hash,
    verify,
)
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import Integrity, PasswordAlgorithmNumber, SecurityFeature, StunError
from natkit.stun.tokens import COTURN_KEY_LENGTH, SHA1_KEY_LENGTH
from stun_server import connectivity_test
from stun_server.access_tokens import TOLERANCE, AccessTokens
from stun_server.outcome import Refusal
from stun_server.plain_allocate import PlainAllocate
from stun_server.settings import Settings

TIME_LENGTH = 4
"""Bytes of the Unix time in a nonce, in seconds."""

# With the time and the cookie these make a nonce of 28 bytes, and so a challenge of 76 to 79 bytes
# besides its realm: little more than the request that it answers.  Forging one takes 2**55 tries
# against the running server, and wins nothing but a lookup.
MAC_LENGTH = 7


class Account(NamedTuple):
    """Whose quota counts: a user, and the realm in which it is unlike those of other realms."""

    username: str
    realm: str

    @property
    def name(self) -> str:
        """Both as one text, which no other account has: NUL stands in no username."""
        return f"{self.username}\0{self.realm}"


@dataclass(frozen=True, slots=True)
class Credential:
    """A user and the long-term keys that the store has of it (RFC 8489 §18.5.1).

    ``username`` is whose quota counts and whom the log names; ``sent_as`` is what USERNAME says
    where that is more, as with a time-limited credential.  ``expires`` is in Unix seconds.
    ``alternatives`` are the same user's keys by other secrets, while one secret replaces another.
    ``realm`` is the user's, empty for the only or the default one.  ``mac_key`` is the session key
    of an access token, which takes the place of all others (RFC 7635 §4.1.1).
    """

    username: str
    md5: bytes | None
    sha256: bytes | None
    sent_as: str | None = None
    expires: float | None = None
    alternatives: tuple["Credential", ...] = ()
    realm: str = ""
    mac_key: bytes | None = None

    @property
    def account(self) -> Account:
        """Whose quota counts."""
        return Account(self.username, self.realm)

    def owns_what_was_opened_by(self, owner: "Credential") -> bool:
        """Whether who proved this may act on an allocation that ``owner`` opened.

        Keys that seal tokens replace each other, so any good token goes on for another one of the
        same realm.
        """
        if self.mac_key is not None and owner.mac_key is not None:
            return self.realm == owner.realm
        return self.account == owner.account

    def succeeding(self, former: "Credential") -> "Credential":
        """This token in place of a former one, whose quota it goes on to burden."""
        return replace(self, username=former.username)

    def key(self, algorithm: int) -> bytes | None:
        """The key by this password algorithm, if there is one."""
        if self.mac_key is not None:
            return self.mac_key
        return self.sha256 if algorithm == PasswordAlgorithmNumber.SHA_256 else self.md5


class Claim(NamedTuple):
    """Who a request says it is from; ``username`` or, if that is None, ``userhash``.

    ``token`` is what its access token makes of it, for which nobody needs to be asked.
    """

    username: str | None
    userhash: bytes | None
    algorithm: int
    integrity: Integrity
    token: Credential | None = None


class Proof(NamedTuple):
    """Who a request is from, what protects the answer, and what holds in the user's realm."""

    credential: Credential
    integrity: IntegrityKey
    realm: Settings


class Authentication:
    """Challenges, and judges what comes back.

    ``unix_offset``: what to add to ``now`` for Unix time, so that nonces outlive a restart.
    """

    def __init__(self, settings: Settings, unix_offset: float) -> None:
        features = SecurityFeature(0)
        if settings.password_algorithms:
            features |= SecurityFeature.PASSWORD_ALGORITHMS
        if settings.username_anonymity:
            features |= SecurityFeature.USERNAME_ANONYMITY
        self._settings = settings
        self._cookie = nonce_cookie(features)
        self._realm = settings.realm
        self._realm_attribute = Realm(settings.realm)
        self._offered = tuple(map(PasswordAlgorithm, settings.password_algorithms))
        self._tokens = AccessTokens(settings)
        offer = (PasswordAlgorithms(self._offered),) if self._offered else ()
        self._offer = (*offer, *self._tokens.offer)
        self._anonymity = settings.username_anonymity
        self._lifetime = settings.nonce_lifetime
        self._strict_expiry = settings.strict_expiry
        self._unix_offset = unix_offset
        numbers = bytes(settings.password_algorithms)
        # Keyed BLAKE2 (RFC 7693 §2.9) is a MAC, and a third of an HMAC's work: whoever floods a
        # server has it make a nonce for each packet.
        self._mac = blake2s(
            self._cookie + numbers + settings.realm.encode(),
            digest_size=MAC_LENGTH,
            key=digest_of(settings.nonce_key).digest(),
            person=b"nonce",
        )
        self._plain = PlainAllocate(self._realm_attribute, self._offer, self._nonce)

    def claim(self, message: Message, path: Path, now: float) -> Claim | Refusal:
        """Take a request's steps of RFC 8489 §9.2.4 up to the lookup of its user.

        The nonce is judged first where the RFC has it last, so that a packet whose source is not
        proven costs no lookup, and a nonce of other settings gives 438, which a client can act on.
        """
        # RFC 8489 §9.2.4 step 1: a challenge.
        sha256 = message.get(MessageIntegritySha256)
        if sha256 is None and message.get(MessageIntegrity) is None:
            return self.challenge(StunError.UNAUTHENTICATED, "", path, now)
        # Step 2.
        username, userhash = message.get(Username), message.get(UserHash)
        realm, nonce = message.get(Realm), message.get(Nonce)
        if not self._anonymity:
            userhash = None
        if (username is None and userhash is None) or realm is None or nonce is None:
            return Refusal(
                StunError.BAD_REQUEST, "message integrity without username, realm or nonce"
            )
        # Step 6.
        if not self._is_valid(nonce.value, path.remote, now):
            return self.challenge(StunError.STALE_NONCE, "stale nonce", path, now)
        token = message.get(AccessToken)
        if token is not None and self._tokens.offer and realm.value == self._realm:
            return self._claim_by_token(username, token, path, now)
        # Step 3.
        algorithms, algorithm = message.get(PasswordAlgorithms), message.get(PasswordAlgorithm)
        if not self._offered or (algorithms is None and algorithm is None):
            number: int = PasswordAlgorithmNumber.MD5
            integrity = Integrity.SHA1
        elif (
            algorithms is None
            or algorithm is None
            or algorithms.algorithms != self._offered
            or algorithm not in self._offered
        ):
            return Refusal(StunError.BAD_REQUEST, "password algorithms are not those offered")
        else:
            number, integrity = algorithm.number, Integrity.SHA256
        # Step 4: no username is valid in another realm.
        if realm.value != self._realm:
            return self.challenge(StunError.UNAUTHENTICATED, "another realm", path, now)
        return Claim(
            username.value if username is not None else None,
            userhash.digest if userhash is not None else None,
            number,
            integrity,
        )

    def _claim_by_token(
        self, username: Username | None, sealed: AccessToken, path: Path, now: float
    ) -> Claim | Refusal:
        """Take RFC 7635 §4.2's steps instead: no password, and so no algorithm, is in it."""
        kid = username.value if username is not None else None
        token = self._tokens.read(kid, sealed, now + self._unix_offset)
        if isinstance(token, str):
            return self.challenge(StunError.UNAUTHENTICATED, token, path, now)
        credential = Credential(
            # Never to be mistaken for a user of the realm.
            f"oauth:{kid}",
            None,
            None,
            sent_as=kid,
            expires=token.timestamp + token.lifetime,
            realm=self._realm,
            mac_key=token.mac_key,
        )
        if len(token.mac_key) == SHA1_KEY_LENGTH:
            # coturn's client signs with a part of it.
            short = replace(credential, mac_key=token.mac_key[:COTURN_KEY_LENGTH])
            credential = replace(credential, alternatives=(short,))
        return Claim(kid, None, PasswordAlgorithmNumber.MD5, Integrity.BOTH, credential)

    def prove(
        self, message: Message, claim: Claim, credential: Credential | None, path: Path, now: float
    ) -> Proof | Refusal:
        """Take the steps of RFC 8489 §9.2.4 from the user's credential on."""
        # Step 4.
        if credential is None:
            return self.challenge(StunError.UNAUTHENTICATED, "unknown user", path, now)
        # Step 5.
        for candidate in (credential, *credential.alternatives):
            key = candidate.key(claim.algorithm)
            proven = verify(message, key) if key is not None else None
            if key is not None and proven is not None:
                break
        else:
            why = "wrong password"
            if credential.key(claim.algorithm) is None:
                why = "the user has no key of this password algorithm"
            return self.challenge(StunError.UNAUTHENTICATED, why, path, now)
        if candidate.mac_key is not None:
            return self._prove_by_token(candidate, IntegrityKey(key, proven), path, now)
        if candidate.expires is not None:
            if candidate.expires <= now + self._unix_offset:
                return self.challenge(
                    StunError.UNAUTHENTICATED, "the credential has expired", path, now
                )
            if not self._strict_expiry and candidate.username != connectivity_test.NAME:
                # What it opens outlives it: an allocation keeps the credential of its Allocate.
                candidate = replace(candidate, expires=None)
        return Proof(candidate, IntegrityKey(key, claim.integrity), self._settings)

    def _prove_by_token(
        self, credential: Credential, integrity: IntegrityKey, path: Path, now: float
    ) -> Proof | Refusal:
        """Let nothing live longer than the token that it rests on (RFC 7635 §9)."""
        left = (credential.expires or 0.0) - (now + self._unix_offset)
        if left <= -TOLERANCE:
            return self.challenge(
                StunError.UNAUTHENTICATED, "the access token has expired", path, now
            )
        most = max(1, int(left))
        realm = self._settings
        if most < realm.maximum_lifetime:
            realm = replace(
                realm,
                default_lifetime=min(realm.default_lifetime, most),
                maximum_lifetime=most,
            )
        return Proof(credential, integrity, realm)

    def names(self, claim: Claim, credential: Credential) -> bool:
        """Whether a claim is about the user of this credential."""
        if claim.username is not None:
            return claim.username == (credential.sent_as or credential.username)
        return claim.userhash == user_hash(credential.username, self._realm)

    def challenge(self, code: StunError, reason: str, path: Path, now: float) -> Refusal:
        """A 401 or 438 with what a client needs to try again."""
        nonce = Nonce(self._nonce(_bytes_of(path.remote), int(now + self._unix_offset)))
        return Refusal(code, reason, (self._realm_attribute, nonce, *self._offer))

    def plain_challenge(self, data: bytes, path: Path, now: float) -> bytes:
        """The bytes of the challenge that a request gets which ``is_plain``."""
        return self.greet(data, _bytes_of(path.remote), now)

    def greet(self, data: bytes, client: bytes, now: float) -> bytes:
        """The same for a client that is given as its port and IP address in network order."""
        return self._plain.answer(data, client, int(now + self._unix_offset))

    def _nonce(self, client: bytes, time: int) -> bytes:
        stamp = time.to_bytes(TIME_LENGTH, "big")
        mac = self._mac.copy()
        mac.update(stamp + client)
        return self._cookie + b2a_base64(stamp + mac.digest(), newline=False)[:-1]

    def _is_valid(self, nonce: bytes, client: Address, now: float) -> bool:
        try:
            time = int.from_bytes(
                a2b_base64(nonce[NONCE_COOKIE_LENGTH:] + b"=")[:TIME_LENGTH], "big"
            )
        except ValueError:
            return False
        age = now + self._unix_offset - time
        return 0 <= age < self._lifetime and secrets_equal(
            self._nonce(_bytes_of(client), time), nonce
        )


def _bytes_of(client: Address) -> bytes:
    return client.port.to_bytes(2, "big") + client.packed
