"""What is left of a call when it is over."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["BranchRecord", "CallRecord", "Release"]


class Release(StrEnum):
    """Who ended a call."""

    CALLER = "caller"
    """By BYE, or by CANCEL before there was an answer."""
    CALLEE = "callee"
    """By BYE, or by refusing it."""
    PROXY = "proxy"
    """It found nobody, or gave the call up."""
    NOBODY = "nobody"
    """It was answered, and then nothing was heard of it for as long as it may last."""


@dataclass(frozen=True, slots=True)
class BranchRecord:
    """One place where a call was sent to: ``destination`` is ``TRANSPORT:ADDRESS:PORT``.

    ``status`` is that of its last response, of ours where it gave none, 0 where it was left alone.
    """

    uri: str
    destination: str
    status: int


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call, from its INVITE to its end; times are Unix seconds, None for what did not happen.

    ``sender`` and ``receiver`` are the URIs of From and To, ``user`` is who proved to be the
    caller, like ``alice@example.org``, empty where nobody had to.  ``source`` is where the INVITE
    came from and ``answered_by`` where the answer did, as ``TRANSPORT:ADDRESS:PORT``; ``target`` is
    the URI that was answered at.
    ``status`` and ``reason`` are of the final response that the caller got.
    """

    call_id: str
    sender: str
    receiver: str
    request_uri: str
    user: str
    source: str
    started: float
    ringing: float | None
    answered: float | None
    ended: float
    status: int
    reason: str
    released_by: Release
    target: str
    answered_by: str
    branches: tuple[BranchRecord, ...]

    @property
    def duration(self) -> float:
        """Seconds from the answer to the end; 0 for a call that was not answered."""
        return 0.0 if self.answered is None else max(0.0, self.ended - self.answered)

    def described(self) -> Mapping[str, object]:
        """The same in JSON's terms: times in milliseconds' accuracy, From and To by their names."""
        return {
            "schema": 1,
            "call_id": self.call_id,
            "from": self.sender,
            "to": self.receiver,
            "request_uri": self.request_uri,
            "user": self.user,
            "source": self.source,
            "started": round(self.started, 3),
            "ringing": None if self.ringing is None else round(self.ringing, 3),
            "answered": None if self.answered is None else round(self.answered, 3),
            "ended": round(self.ended, 3),
            "duration": round(self.duration, 3),
            "status": self.status,
            "reason": self.reason,
            "released_by": self.released_by.value,
            "target": self.target,
            "answered_by": self.answered_by,
            "branches": [
                {"uri": each.uri, "destination": each.destination, "status": each.status}
                for each in self.branches
            ],
        }
