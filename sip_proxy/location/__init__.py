"""The location service: which contacts an address of record is reached by (RFC 3261 §10)."""

from sip_proxy.location.binding import Binding
from sip_proxy.location.memory import MemoryLocation
from sip_proxy.location.registration import (
    Accepted,
    ContactChange,
    Outcome,
    Refused,
    Registration,
    RegistrationLimits,
)

__all__ = [
    "Accepted",
    "Binding",
    "ContactChange",
    "MemoryLocation",
    "Outcome",
    "Refused",
    "Registration",
    "RegistrationLimits",
]
