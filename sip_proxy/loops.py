"""Loops, told from spirals (RFC 5393 §4.2): where a request would be treated as it was before."""

from hashlib import blake2b
from typing import Final

from natkit.errors import MalformedMessage
from natkit.sip import Request
from natkit.sip.digest import PROXY_AUTHORIZATION
from natkit.sip.kinds import CALL_ID, CSEQ, FROM, PROXY_REQUIRE, ROUTE, TO, VIA
from natkit.sip.parties import tag_of
from natkit.sip.registry import BRANCH_COOKIE
from sip_proxy.identity import Identity

__all__ = ["branch_for", "fingerprint", "is_loop", "passed_others"]

_MARK: Final = "."
_ROUTING_FIELDS: Final = (ROUTE, PROXY_REQUIRE, PROXY_AUTHORIZATION)


def fingerprint(request: Request) -> str:
    """A hash of all that decides where a request goes, as it was received."""
    headers = request.headers
    cseq = headers.get(CSEQ)
    parts = (
        request.uri_text,
        headers.get(CALL_ID) or "",
        str(cseq.number if cseq else 0),
        tag_of(headers, FROM) or "",
        tag_of(headers, TO) or "",
    )
    digest = blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=8)
    for kind in _ROUTING_FIELDS:
        for raw in headers.raw(kind):
            digest.update(raw)
    return digest.hexdigest()


def branch_for(unique: bytes, received: str) -> str:
    """The branch of a request that we forward: ``unique``, and the fingerprint of its original."""
    return f"{BRANCH_COOKIE}{unique.hex()}{_MARK}{received}"


def passed_others(request: Request) -> bool:
    """Whether it came by way of another element, or of ourselves: only then it may be a loop."""
    vias = request.headers.raw(VIA)
    return len(vias) > 1 or b"," in vias[0]


def is_loop(request: Request, received: str, identity: Identity) -> bool:
    """Whether we forwarded this very request before, with nothing changed since.

    ``received`` is its fingerprint.
    """
    try:
        vias = request.headers.get_all(VIA)
    except MalformedMessage:
        # A Via below the topmost is for others to read.
        return False
    return any(
        (via.branch or "").endswith(_MARK + received) and identity.wrote(via) for via in vias[1:]
    )
