"""Loops, told from spirals (RFC 5393 §4.2): where a request would be treated as it was before."""

from hashlib import blake2b
from typing import Final

from natkit.errors import MalformedMessage
from natkit.sip import Request
from natkit.sip.kinds import CALL_ID, CSEQ, FROM, PROXY_REQUIRE, ROUTE, TO, VIA
from natkit.sip.parties import tag_of
from natkit.sip.registry import BRANCH_COOKIE
from sip_proxy.identity import Identity

__all__ = ["branch_for", "fingerprint", "is_loop"]

_MARK: Final = "."
_ROUTING_FIELDS: Final = (ROUTE, PROXY_REQUIRE)


def fingerprint(request: Request) -> str:
    """A hash of all that decides where a request goes, as it was received."""
    headers = request.headers
    cseq = headers.get(CSEQ)
    parts = [request.uri_text, headers.get(CALL_ID) or "", str(cseq.number if cseq else 0)]
    parts.extend([tag_of(headers, kind) or "" for kind in (FROM, TO)])
    parts.extend([field.text for kind in _ROUTING_FIELDS for field in headers.fields(kind)])
    parts.extend([field.text for field in headers.fields("Proxy-Authorization")])
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return blake2b(text, digest_size=8).hexdigest()


def branch_for(unique: bytes, received: str) -> str:
    """The branch of a request that we forward: ``unique``, and the fingerprint of its original."""
    return f"{BRANCH_COOKIE}{unique.hex()}{_MARK}{received}"


def is_loop(request: Request, received: str, identity: Identity) -> bool:
    """Whether we forwarded this very request before, with nothing changed since."""
    if len(request.headers.fields(VIA)) < 2 and "," not in request.headers.fields(VIA)[0].text:
        return False
    try:
        vias = request.headers.get_all(VIA)
    except MalformedMessage:
        # A Via below the topmost is for others to read.
        return False
    return any(
        (via.branch or "").endswith(_MARK + received) and identity.wrote(via) for via in vias[1:]
    )
