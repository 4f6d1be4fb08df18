"""Our numbers are IANA's, and each attribute has exactly one."""

import csv
import re
from enum import IntEnum
from itertools import chain
from pathlib import Path

import pytest

from natkit.stun.attributes import KNOWN_ATTRIBUTES
from natkit.stun.registry import (
    METHOD_MAXIMUM,
    REASON_PHRASES,
    AttributeType,
    DraftAttributeType,
    MessageClass,
    Method,
    StunError,
    message_type,
    split_message_type,
)

IANA = Path(__file__).parents[2] / "vectors" / "iana"

CLASSIC = {
    AttributeType.RESPONSE_ADDRESS: "Reserved; was RESPONSE-ADDRESS prior to [RFC5389]",
    AttributeType.CHANGE_REQUEST: "Reserved; was CHANGE-REQUEST prior to [RFC5389]",
    AttributeType.SOURCE_ADDRESS: "Reserved; was SOURCE-ADDRESS prior to [RFC5389]",
    AttributeType.CHANGED_ADDRESS: "Reserved; was CHANGED-ADDRESS prior to [RFC5389]",
    AttributeType.PASSWORD: "Reserved; was PASSWORD prior to [RFC5389]",
    AttributeType.REFLECTED_FROM: "Reserved; was REFLECTED-FROM prior to [RFC5389]",
}
"""Attributes of RFC 3489, which IANA keeps reserved under their old names."""

UNDERSTOOD_RFCS = ("RFC8489", "RFC8656", "RFC8445", "RFC5780", "RFC6062", "RFC8016", "RFC7635")


def rows(name: str) -> dict[int, tuple[str, str]]:
    """Name and reference of each single number in one of IANA's files."""
    with (IANA / name).open(encoding="utf-8") as file:
        lines = [line for line in file if not line.startswith("#")]
    table = {}
    for value, title, reference in list(csv.reader(lines))[1:]:
        if "-" not in value:
            table[int(value, 0)] = (re.sub(r"\s+", " ", title), reference)
    return table


def registry_name(member: IntEnum) -> str:
    return member.name.replace("_", "-")


def test_methods_have_ianas_numbers_and_names() -> None:
    table = rows("stun-parameters-2.csv")
    assigned = {
        number: name for number, (name, _) in table.items() if not name.startswith(("Res", "Una"))
    }
    assert {number: name.upper() for number, name in assigned.items()} == {
        method.value: method.name.replace("_", "") for method in Method
    }


@pytest.mark.parametrize("member", AttributeType, ids=lambda member: member.name)
def test_an_attribute_type_has_ianas_name(member: AttributeType) -> None:
    name, _ = rows("stun-parameters-4.csv")[member]
    assert name == CLASSIC.get(member, registry_name(member))


def test_every_attribute_of_the_rfcs_we_follow_is_understood() -> None:
    wanted = {
        number
        for number, (name, reference) in rows("stun-parameters-4.csv").items()
        if not name.startswith("Reserved") and any(rfc in reference for rfc in UNDERSTOOD_RFCS)
    }
    assert wanted <= set(AttributeType)


def test_drafts_use_no_number_that_iana_gave_to_what_we_understand() -> None:
    assert not set(DraftAttributeType) & set(AttributeType)


def test_only_the_nomination_of_drafts_has_since_been_given_away() -> None:
    assigned = rows("stun-parameters-4.csv")
    taken = {member: assigned[member][0] for member in DraftAttributeType if member in assigned}
    assert taken == {
        DraftAttributeType.ORIGIN: "Unassigned",
        DraftAttributeType.NOMINATION: "ENF-FLOW-DESCRIPTION",
    }


def test_error_codes_have_ianas_numbers_and_phrases() -> None:
    table = rows("stun-parameters-6.csv")
    phrases = {
        number: name for number, (name, _) in table.items() if not name.startswith("Unassigned")
    }
    # RFC 8489 §18.4 renames 401, which the file has not followed.
    assert phrases.pop(401) == "Unauthorized"
    ours = dict(REASON_PHRASES)
    assert ours.pop(401) == "Unauthenticated"
    assert ours == phrases


def test_every_error_code_has_a_phrase() -> None:
    assert set(REASON_PHRASES) == set(StunError)


def test_each_number_has_one_attribute_class_and_the_other_way_round() -> None:
    numbers = [attribute.type for attribute in KNOWN_ATTRIBUTES]
    assert sorted(numbers) == sorted(chain(AttributeType, DraftAttributeType))


@pytest.mark.parametrize("message_class", MessageClass)
def test_message_types_split_into_what_they_were_made_of(message_class: MessageClass) -> None:
    seen = set()
    for method in range(METHOD_MAXIMUM + 1):
        number = message_type(method, message_class)
        assert number < 0x4000
        assert split_message_type(number) == (method, message_class)
        seen.add(number)
    assert len(seen) == METHOD_MAXIMUM + 1


def test_message_types_are_those_of_the_rfc() -> None:
    # RFC 8489 §5 gives these two.
    assert message_type(Method.BINDING, MessageClass.REQUEST) == 0x0001
    assert message_type(Method.BINDING, MessageClass.SUCCESS_RESPONSE) == 0x0101
