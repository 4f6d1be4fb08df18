"""Where who sent a request stands with us."""

from enum import StrEnum

__all__ = ["Standing"]


class Standing(StrEnum):
    """Whom a request comes from, as far as we could tell."""

    TRUSTED = "trusted"
    """Of a trusted network, or anybody where no credentials are asked for."""
    USER = "user"
    """One of our users, who proved it."""
    GATEWAY = "gateway"
    """A gateway of ours, told by its address."""
    VISITOR = "visitor"
    """A user of a domain whose proxy is elsewhere, and asks for the credentials."""
    STRANGER = "stranger"
    ROUTED = "routed"
    """Somebody within a dialog that was let in when it began."""
