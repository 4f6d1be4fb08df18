"""The location service: which contacts an address of record is reached by (RFC 3261 §10)."""

from sip_proxy.location.binding import Binding
from sip_proxy.location.registration import (
    Accepted,
    ContactChange,
    LostFlow,
    Outcome,
    Refused,
    Registration,
    RegistrationLimits,
)
from sip_proxy.location.table import BindingTable

__all__ = [
    "Accepted",
    "Binding",
    "BindingTable",
    "ContactChange",
    "LostFlow",
    "Outcome",
    "Refused",
    "Registration",
    "RegistrationLimits",
]
