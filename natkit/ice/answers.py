"""The peer's checks: who may ask, whose role yields, and the answer (RFC 8445 §7.3)."""

from dataclasses import dataclass

from natkit.ice.agent_state import AgentState, Session, StreamSession
from natkit.machine import Path
from natkit.stun.attributes import (
    ErrorCode,
    IceControlled,
    IceControlling,
    Nomination,
    Priority,
    UnknownAttributes,
    UseCandidate,
    Username,
    XorMappedAddress,
)
from natkit.stun.credentials import verify
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import Integrity, StunError


@dataclass(frozen=True, slots=True)
class PeerCheck:
    """A check that the peer proved to have made, and that was answered with success.

    ``username_fragment`` is the peer's; ``is_ours``: it is that of the parameters that the stream
    has, and not of a session whose description has yet to come, or of one before.
    ``role_yielded``: our role changed for it.
    """

    session: Session
    stream: StreamSession
    component: int
    path: Path
    transaction_id: bytes
    priority: int
    nominates: bool
    nomination_value: int
    username_fragment: str
    is_ours: bool
    role_yielded: bool


def answer_check(
    state: AgentState, request: Message, path: Path, stream: int, component: int
) -> PeerCheck | None:
    """Answer a Binding request that came to a stream's base; None if nothing follows from it.

    What shows no credential at all is no check, and gets no answer.
    """
    username = request.get(Username)
    if username is None or (request.sha1_text() is None and request.sha256_text() is None):
        state.dropped.foreign += 1
        return None
    mine, _, theirs = username.value.partition(":")
    session = next((s for s in state.sessions if s.local.username_fragment == mine), None)
    proof = None if session is None else verify(request, session.key)
    if session is None or proof is None:
        # RFC 8489 §9.1.3.  Without a reason phrase, to be no longer than what it answers.
        state.dropped.foreign += 1
        refusal = request.error(ErrorCode(StunError.UNAUTHENTICATED, ""))
        state.send(refusal.encode(fingerprint=True), path)
        return None
    found = session.streams[stream]
    error = _fault_of(request) or _conflict(state, request)
    if error is not None:
        _respond(state, error, path, session, proof)
        return None
    yielded = _yield_role(state, request)
    _respond(state, request.success(XorMappedAddress(path.remote)), path, session, proof)
    priority = request.get(Priority)
    nomination = request.get(Nomination)
    return PeerCheck(
        session=session,
        stream=found,
        component=component,
        path=path,
        transaction_id=request.transaction_id,
        priority=1 if priority is None else min(max(priority.value, 1), 2**31 - 1),
        nominates=request.get(UseCandidate) is not None,
        nomination_value=0 if nomination is None else nomination.value,
        username_fragment=theirs,
        is_ours=found.remote is not None and found.remote.username_fragment == theirs,
        role_yielded=yielded,
    )


def _fault_of(request: Message) -> Message | None:
    """The error for a request that is no proper check, or None."""
    unknown = request.unknown_required()
    if unknown:
        # RFC 8489 §6.3.1
        return request.error(StunError.UNKNOWN_ATTRIBUTE, UnknownAttributes(unknown))
    if request.get(Priority) is None:
        # RFC 8445 §7.1.1: it must be there.
        return request.error(StunError.BAD_REQUEST)
    return None


def _conflict(state: AgentState, request: Message) -> Message | None:
    """The 487 for a peer that has our role and must yield (RFC 8445 §7.3.1.1)."""
    role = state.role
    if role.controlling:
        theirs = request.get(IceControlling)
        keeps = theirs is not None and role.tie_breaker >= theirs.value
    else:
        other = request.get(IceControlled)
        # A lite agent is controlled by a full one, whatever the numbers say (§6.1.1).
        keeps = other is not None and (state.settings.lite or role.tie_breaker < other.value)
    return request.error(StunError.ROLE_CONFLICT) if keeps else None


def _yield_role(state: AgentState, request: Message) -> bool:
    kind = IceControlling if state.role.controlling else IceControlled
    if request.get(kind) is None:
        return False
    state.set_role(controlling=not state.role.controlling)
    return True


def _respond(
    state: AgentState, response: Message, path: Path, session: Session, proof: Integrity
) -> None:
    state.send(response.encode(integrity=IntegrityKey(session.key, proof), fingerprint=True), path)
