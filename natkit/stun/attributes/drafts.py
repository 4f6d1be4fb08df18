"""Attributes that implementations send though no RFC defines them; each names its draft."""

from dataclasses import dataclass

from natkit.stun.attributes.shapes import TextAttribute, Unsigned32Attribute
from natkit.stun.attributes.turn import FamilyAttribute
from natkit.stun.registry import DraftAttributeType


@dataclass(frozen=True, slots=True)
class Origin(TextAttribute):
    """The web origin on whose behalf the client acts (draft-johnston-tram-stun-origin)."""

    type = DraftAttributeType.ORIGIN


@dataclass(frozen=True, slots=True)
class Nomination(Unsigned32Attribute):
    """A nomination that beats all lower ones (draft-thatcher-ice-renomination)."""

    type = DraftAttributeType.NOMINATION


@dataclass(frozen=True, slots=True)
class SsodaAdditionalAddressFamily(FamilyAttribute):
    """ADDITIONAL-ADDRESS-FAMILY by the number that it had before RFC 8656."""

    type = DraftAttributeType.SSODA_ADDITIONAL_ADDRESS_FAMILY
