"""Digest authentication (RFC 3261 §22, RFC 8760, RFC 7616): challenges, credentials, proofs.

::

    challenge = Challenge("example.org", nonce, Algorithm.SHA_256, qop=(Qop.AUTH,))
    credentials = challenge.answer("alice", "secret", "REGISTER", "sip:example.org", cnonce="…")
    credentials.proves(ha1("alice", "example.org", "secret", Algorithm.SHA_256), "REGISTER")

What a server remembers of nonces is in :mod:`natkit.sip.digest_nonces`.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hmac import compare_digest
from typing import Final, Self

from natkit.errors import MalformedMessage
from natkit.sip.grammar import excerpt
from natkit.sip.headers import Repeated
from natkit.sip.values import LWS, QUOTED_STRING, TOKEN, quote, unquote

__all__ = [
    "AUTHORIZATION",
    "PROXY_AUTHENTICATE",
    "PROXY_AUTHORIZATION",
    "WWW_AUTHENTICATE",
    "Algorithm",
    "Challenge",
    "Credentials",
    "OtherScheme",
    "Qop",
    "ha1",
]

LARGEST_NONCE_COUNT: Final = 0xFFFFFFFF
"""Eight hexadecimal digits (RFC 7616 §3.4)."""

_SCHEME: Final = re.compile(rf"{LWS}({TOKEN})(?:[ \t]++|$)")
_PAIR: Final = re.compile(
    rf"{LWS}({TOKEN}){LWS}={LWS}({TOKEN}|{QUOTED_STRING}){LWS}(?:,|$)", re.DOTALL
)
_NONCE_COUNT: Final = re.compile(r"[0-9A-Fa-f]{8}")


class Algorithm(StrEnum):
    """The hash functions, strongest first, by the names that go over the wire (RFC 8760 §2.1)."""

    SHA_512_256 = "SHA-512-256"
    SHA_256 = "SHA-256"
    MD5 = "MD5"

    def digest(self, text: bytes) -> str:
        """The hash in lower-case hexadecimal digits."""
        return hashlib.new(_HASHES[self], text, usedforsecurity=False).hexdigest()

    @property
    def digits(self) -> int:
        """How many hexadecimal digits a hash has."""
        return 32 if self is Algorithm.MD5 else 64


_HASHES: Final[Mapping[Algorithm, str]] = {
    Algorithm.SHA_512_256: "sha512_256",
    Algorithm.SHA_256: "sha256",
    Algorithm.MD5: "md5",
}


class Qop(StrEnum):
    """What is protected: the request's method and URI, or its body too."""

    AUTH = "auth"
    AUTH_INT = "auth-int"


def ha1(username: str, realm: str, password: str, algorithm: Algorithm) -> str:
    """What a server keeps in place of the password: the hash of all three (RFC 7616 §3.4.2)."""
    return algorithm.digest(f"{username}:{realm}:{password}".encode())


@dataclass(frozen=True, slots=True)
class OtherScheme:
    """A challenge or credentials of another scheme or algorithm, which is to be passed over."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a server asks for: one WWW-Authenticate or Proxy-Authenticate value."""

    realm: str
    nonce: str
    algorithm: Algorithm = Algorithm.MD5
    qop: tuple[Qop, ...] = (Qop.AUTH,)
    opaque: str | None = None
    stale: bool = False

    @classmethod
    def parse(cls, text: str) -> "Challenge | OtherScheme":
        """Read one field's value; MalformedMessage for a Digest that is none."""
        pairs = _digest_pairs(text)
        algorithm = None if pairs is None else _algorithm(pairs)
        if pairs is None or algorithm is None:
            return OtherScheme(text)
        offered = [word.strip(" \t").lower() for word in pairs.get("qop", "").split(",")]
        qop = tuple(known for known in Qop if known in offered)
        if pairs.get("qop") and not qop:
            # It wants a protection that we do not know.
            return OtherScheme(text)
        return cls(
            _required(pairs, "realm"),
            _required(pairs, "nonce"),
            algorithm,
            qop,
            pairs.get("opaque"),
            pairs.get("stale", "").lower() == "true",
        )

    def __str__(self) -> str:
        parts = [f"realm={quote(self.realm)}", f"nonce={quote(self.nonce)}"]
        if self.opaque is not None:
            parts.append(f"opaque={quote(self.opaque)}")
        if self.stale:
            parts.append("stale=true")
        parts.append(f"algorithm={self.algorithm}")
        if self.qop:
            parts.append(f"qop={quote(','.join(self.qop))}")
        return f"Digest {', '.join(parts)}"

    def answer(
        self,
        username: str,
        password: str,
        method: str,
        uri: str,
        *,
        cnonce: str,
        nonce_count: int = 1,
        body: bytes = b"",
    ) -> "Credentials":
        """The credentials for a request; ``uri`` is its Request-URI as written.

        ``nonce_count`` is one more at each use of the nonce.  auth is preferred to auth-int, which
        proxies that touch bodies break.
        """
        qop = self.qop[0] if self.qop else None
        credentials = Credentials(
            username,
            self.realm,
            self.nonce,
            uri,
            "",
            self.algorithm,
            qop,
            cnonce if qop else None,
            nonce_count if qop else None,
            self.opaque,
        )
        secret = ha1(username, self.realm, password, self.algorithm)
        return credentials.with_response(credentials.expected(secret, method, body))


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client answers: one Authorization or Proxy-Authorization value."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: Algorithm = Algorithm.MD5
    qop: Qop | None = None
    cnonce: str | None = None
    nonce_count: int | None = None
    opaque: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Credentials | OtherScheme":
        """Read one field's value; MalformedMessage for a Digest that is none."""
        pairs = _digest_pairs(text)
        algorithm = None if pairs is None else _algorithm(pairs)
        if pairs is None or algorithm is None:
            return OtherScheme(text)
        qop, count = pairs.get("qop"), pairs.get("nc")
        if qop is not None and qop.lower() not in list(Qop):
            return OtherScheme(text)
        if qop is not None and (not pairs.get("cnonce") or count is None):
            raise MalformedMessage("a qop without cnonce or nc")
        if count is not None and _NONCE_COUNT.fullmatch(count) is None:
            raise MalformedMessage(f"nc is {excerpt(count)}, not eight hexadecimal digits")
        return cls(
            _required(pairs, "username"),
            _required(pairs, "realm"),
            _required(pairs, "nonce"),
            _required(pairs, "uri"),
            _required(pairs, "response").lower(),
            algorithm,
            None if qop is None else Qop(qop.lower()),
            pairs.get("cnonce"),
            None if count is None else int(count, 16),
            pairs.get("opaque"),
        )

    def __str__(self) -> str:
        parts = [
            f"username={quote(self.username)}",
            f"realm={quote(self.realm)}",
            f"nonce={quote(self.nonce)}",
            f"uri={quote(self.uri)}",
            f'response="{self.response}"',
            f"algorithm={self.algorithm}",
        ]
        if self.cnonce is not None:
            parts.append(f"cnonce={quote(self.cnonce)}")
        if self.opaque is not None:
            parts.append(f"opaque={quote(self.opaque)}")
        if self.qop is not None and self.nonce_count is not None:
            parts.append(f"qop={self.qop}, nc={self.nonce_count:08x}")
        return f"Digest {', '.join(parts)}"

    def with_response(self, response: str) -> Self:
        """The same with this proof."""
        return type(self)(
            self.username,
            self.realm,
            self.nonce,
            self.uri,
            response,
            self.algorithm,
            self.qop,
            self.cnonce,
            self.nonce_count,
            self.opaque,
        )

    def expected(self, secret: str, method: str, body: bytes = b"") -> str:
        """The proof that one who knows ``secret``, an :func:`ha1`, gives (RFC 7616 §3.4.1)."""
        digest = self.algorithm.digest
        protected = f"{method}:{self.uri}"
        if self.qop is Qop.AUTH_INT:
            protected += f":{digest(body)}"
        ha2 = digest(protected.encode("utf-8", "surrogateescape"))
        if self.qop is None:
            # As RFC 2069 had it, which RFC 3261 §22.4 step 8 keeps.
            parts = [secret, self.nonce, ha2]
        else:
            count = f"{self.nonce_count or 0:08x}"
            parts = [secret, self.nonce, count, self.cnonce or "", self.qop, ha2]
        return digest(":".join(parts).encode("utf-8", "surrogateescape"))

    def proves(self, secret: str, method: str, body: bytes = b"") -> bool:
        """Whether the client knows the password of which ``secret`` is the :func:`ha1`.

        Nothing is said of the nonce, nor of whether ``uri`` is that of the request: that is the
        caller's to compare (RFC 3261 §22.4 step 4).
        """
        expected = self.expected(secret, method, body)
        return compare_digest(expected.encode(), self.response.encode("utf-8", "surrogateescape"))


def _digest_pairs(text: str) -> dict[str, str] | None:
    """The parameters by name in lower case, quotes undone; None for another scheme."""
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise MalformedMessage(f"{excerpt(text)} names no scheme")
    if scheme[1].lower() != "digest":
        return None
    pairs: dict[str, str] = {}
    position = scheme.end()
    while position < len(text):
        found = _PAIR.match(text, position)
        if found is None:
            raise MalformedMessage(f"{excerpt(text[position:])} is no parameter of Digest")
        name, value = found[1].lower(), found[2]
        if name in pairs:
            raise MalformedMessage(f"{name} stands twice")
        pairs[name] = unquote(value) if value.startswith('"') else value
        position = found.end()
    return pairs


def _algorithm(pairs: Mapping[str, str]) -> Algorithm | None:
    name = pairs.get("algorithm", Algorithm.MD5).upper()
    return next((known for known in Algorithm if known == name), None)


def _required(pairs: Mapping[str, str], name: str) -> str:
    value = pairs.get(name)
    if value is None:
        raise MalformedMessage(f"Digest has no {name}")
    return value


WWW_AUTHENTICATE: Final = Repeated("WWW-Authenticate", Challenge.parse)
PROXY_AUTHENTICATE: Final = Repeated("Proxy-Authenticate", Challenge.parse)
AUTHORIZATION: Final = Repeated("Authorization", Credentials.parse)
PROXY_AUTHORIZATION: Final = Repeated("Proxy-Authorization", Credentials.parse)
