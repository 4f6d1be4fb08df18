"""What an outcome is on the wire, and what the log is told of a refusal."""

from natkit.machine import Path
from natkit.stun.attributes import Attribute, ErrorCode, Username
from natkit.stun.message import Message
from stun_server.authentication import Proof
from stun_server.events import RequestRefused
from stun_server.outcome import Outcome, Refusal, Success

__all__ = ["refused", "response"]


def response(
    request: Message, outcome: Outcome, attributes: tuple[Attribute, ...], proof: Proof | None
) -> bytes:
    """The answer to a request, with integrity for a user who has proven itself."""
    if isinstance(outcome, Success):
        message = request.success(*attributes)
    else:
        # Strangers get no phrase: their answer is to be small.
        error = ErrorCode(outcome.code) if proof is None else ErrorCode.of(outcome.code)
        message = request.error(error, *attributes)
    return message.encode(integrity=proof.integrity if proof is not None else None)


def refused(
    request: Message, path: Path, outcome: Outcome, proof: Proof | None
) -> RequestRefused | None:
    """What there is to tell of a refusal; None where there is nothing."""
    if not isinstance(outcome, Refusal) or not outcome.reason:
        return None
    if proof is not None:
        username = proof.credential.username
    else:
        claimed = request.get(Username)
        username = claimed.value if claimed is not None else ""
    return RequestRefused(path, request.method, outcome.code, outcome.reason, username)
