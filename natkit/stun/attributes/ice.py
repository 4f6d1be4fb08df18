"""The attributes of ICE: RFC 8445 §16.1."""

from dataclasses import dataclass

from natkit.stun.attributes.shapes import (
    FlagAttribute,
    Unsigned32Attribute,
    Unsigned64Attribute,
)
from natkit.stun.registry import AttributeType


@dataclass(frozen=True, slots=True)
class Priority(Unsigned32Attribute):
    """The priority of a candidate that the check may reveal (RFC 8445 §7.1.1)."""

    type = AttributeType.PRIORITY


@dataclass(frozen=True, slots=True)
class UseCandidate(FlagAttribute):
    """The controlling agent nominates the pair (RFC 8445 §7.1.2)."""

    type = AttributeType.USE_CANDIDATE


@dataclass(frozen=True, slots=True)
class IceControlled(Unsigned64Attribute):
    """The sender is controlled; ``value`` breaks ties (RFC 8445 §7.1.3)."""

    type = AttributeType.ICE_CONTROLLED


@dataclass(frozen=True, slots=True)
class IceControlling(Unsigned64Attribute):
    """The sender is controlling; ``value`` breaks ties (RFC 8445 §7.1.3)."""

    type = AttributeType.ICE_CONTROLLING
