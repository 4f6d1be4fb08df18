"""GRUUs: URIs of one user agent, under the domain of its user (RFC 5627).

A public one is the address of record with the instance beside it.  A temporary one is made anew
for each answer, tells nobody whose it is, and is kept nowhere: what it stands for is sealed in its
user part.  It is good as long as the user agent goes on to register with the same Call-ID (§4.2).
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from natkit.machine import RandomBytes
from natkit.sip import Parameter, Scheme, SipUri, UriForm
from natkit.sip.grammar import PARAMETER_CHARACTERS, escape, unescape
from sip_proxy.location import Binding

__all__ = ["Gruus", "Sought", "canonical"]

TEMPORARY: Final = "tgruu."
_NONCE_SIZE: Final = 12
_TAG_SIZE: Final = 16
_MARK_SIZE: Final = 8


def canonical(uri: SipUri) -> str:
    """The address of record that a URI is about, as bindings are kept by it."""
    return kept_by(uri.address_of_record())


def kept_by(address_of_record: SipUri) -> str:
    """What its bindings are kept by: sip and sips name one user (RFC 3261 §19.1, RFC 5630 §3.3)."""
    if address_of_record.is_secure:
        address_of_record = replace(address_of_record, scheme=Scheme.SIP)
    return str(address_of_record)


@dataclass(frozen=True, slots=True)
class Sought:
    """The user agent that a GRUU stands for; ``series`` None in a public one."""

    address_of_record: str
    instance: bytes
    series: bytes | None

    def among(self, bindings: Sequence[Binding]) -> list[Binding]:
        """The bindings of the user agent: all its flows, or else the latest (§5.1, §6.1)."""
        own = [one for one in bindings if self._is_of_instance(one)]
        if self.series is not None and all(_series_of(one) != self.series for one in own):
            return []
        flows = [one for one in own if one.is_outbound]
        return flows or sorted(own, key=lambda one: -one.updated_at)[:1]

    def is_invalid(self, bindings: Sequence[Binding]) -> bool:
        """Whether it was good once, for a registration that another one has replaced (§4.2)."""
        return self.series is not None and any(self._is_of_instance(one) for one in bindings)

    def _is_of_instance(self, binding: Binding) -> bool:
        return binding.instance is not None and _mark(binding.instance.lower()) == self.instance


class Gruus:
    """Writes and reads GRUUs with one ``key``."""

    def __init__(self, key: bytes, random: RandomBytes) -> None:
        self._sealing = AESGCM(hmac.digest(key, b"temporary GRUUs", "sha256"))
        self._random = random

    def public(self, to: SipUri, binding: Binding) -> SipUri | None:
        """The GRUU of a binding; None where it names no instance (§4.1)."""
        instance = binding.instance or ""
        if not instance.lower().startswith("<urn:"):
            return None
        value = escape(instance[1:-1], PARAMETER_CHARACTERS)
        found = to.address_of_record()
        return SipUri(
            to.scheme, found.host, found.user, None, found.port, (Parameter("gr", value),)
        )

    def temporary(self, to: SipUri, binding: Binding) -> SipUri:
        """A GRUU that was never seen before, for a binding that has a public one."""
        found = to.address_of_record()
        text = _mark((binding.instance or "").lower()) + _series_of(binding)
        text += (found.user or "").encode("utf-8", "surrogateescape")
        nonce = self._random(_NONCE_SIZE)
        sealed = nonce + self._sealing.encrypt(nonce, text, found.host.encode())
        user = TEMPORARY + urlsafe_b64encode(sealed).decode("ascii").rstrip("=")
        return SipUri(to.scheme, found.host, user, None, found.port, (Parameter("gr", None),))

    def read(self, uri: SipUri) -> Sought | None:
        """What a GRUU of a domain of ours stands for; None for one that we cannot have written."""
        if uri.form is UriForm.TEMPORARY_GRUU:
            return self._unseal(uri)
        instance = f"<{unescape(uri.parameter('gr') or '')}>".lower()
        if not instance.startswith("<urn:"):
            return None
        return Sought(canonical(uri), _mark(instance), None)

    def _unseal(self, uri: SipUri) -> Sought | None:
        found = uri.address_of_record()
        prefix, sealed = (found.user or "")[: len(TEMPORARY)], (found.user or "")[len(TEMPORARY) :]
        try:
            data = urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            if prefix != TEMPORARY or len(data) < _NONCE_SIZE + _TAG_SIZE + 2 * _MARK_SIZE:
                return None
            nonce, rest = data[:_NONCE_SIZE], data[_NONCE_SIZE:]
            text = self._sealing.decrypt(nonce, rest, found.host.encode())
        except (Error, ValueError, InvalidTag):
            return None
        user = text[2 * _MARK_SIZE :].decode("utf-8", "surrogateescape")
        address = str(SipUri(Scheme.SIP, found.host, user, None, found.port))
        return Sought(address, text[:_MARK_SIZE], text[_MARK_SIZE : 2 * _MARK_SIZE])


def _series_of(binding: Binding) -> bytes:
    """The registrations of one Call-ID, from the first until they lapse or are taken back."""
    return _mark(f"{binding.call_id}\0{binding.since!r}")


def _mark(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=_MARK_SIZE).digest()
