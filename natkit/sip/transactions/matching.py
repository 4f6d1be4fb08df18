"""Which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3).

A branch with the magic cookie names it; without one, as RFC 2543 had it, a comparison of fields.
"""

from natkit.errors import MalformedMessage
from natkit.sip.kinds import CALL_ID, CSEQ, FROM, TO, VIA
from natkit.sip.message import Request, Response
from natkit.sip.parties import tag_of
from natkit.sip.registry import DEFAULT_PORTS
from natkit.sip.via import Via

__all__ = [
    "ClientKey",
    "ServerKey",
    "branch_of",
    "client_key",
    "client_key_of_request",
    "server_key",
]

ClientKey = tuple[str, str]
"""Branch and method of CSeq."""

ServerKey = tuple[str | int, ...]
"""Method, then branch and sent-by, or what RFC 2543 compares."""

_NAMED_BY_BRANCH = 4


def client_key(response: Response) -> ClientKey:
    """The transaction that a response answers; MalformedMessage."""
    via = response.headers.first(VIA)
    cseq = response.headers.get(CSEQ)
    if via is None or cseq is None or via.branch is None:
        raise MalformedMessage("no branch, or no CSeq, tells what this answers")
    return via.branch, cseq.method


def client_key_of_request(request: Request) -> ClientKey:
    """The same of the request itself; MalformedMessage without a branch."""
    via = request.headers.first(VIA)
    if via is None or via.branch is None:
        raise MalformedMessage("a request of ours has a Via with a branch")
    return via.branch, request.method


def server_key(request: Request, method: str | None = None) -> ServerKey:
    """The transaction of a request that passed ``check``.

    ``method`` in place of its own: an ACK and a CANCEL find the INVITE by it.
    """
    if method is None:
        method = "INVITE" if request.method == "ACK" else request.method
    via = request.headers.first(VIA)
    if via is None:
        raise MalformedMessage("there is no Via")
    if via.names_transaction:
        # Sent-by too: two senders may come to the same branch, by chance or malice (§17.2.3).
        return method, via.branch or "", via.host.lower(), _port(via)
    return (method, *_compared(request, via))


def branch_of(key: ServerKey) -> str:
    """The branch that names a server transaction; empty for one that a comparison finds."""
    return str(key[1]) if len(key) == _NAMED_BY_BRANCH else ""


def to_tag(message: Request | Response) -> str | None:
    """The tag of To."""
    return tag_of(message.headers, TO)


def _compared(request: Request, via: Via) -> ServerKey:
    # To's tag stays out of it: the ACK bears that of the response, the INVITE none.
    cseq = request.headers.get(CSEQ)
    return (
        request.uri_text,
        tag_of(request.headers, FROM) or "",
        request.headers.get(CALL_ID) or "",
        cseq.number if cseq else 0,
        str(via),
    )


def _port(via: Via) -> int:
    transport = via.transport
    return via.port or (0 if transport is None else DEFAULT_PORTS[transport])
