"""What the kernel's program and Python both write down is the same."""

import re
from dataclasses import replace
from importlib.resources import files

import pytest

from natkit.relay import kernel_layout as layout
from natkit.relay import kernel_tables
from natkit.relay.kernel_layout import DeviceFlag, HalfFields, LocalKind, Mark
from natkit.relay.source_memory import Clients
from natkit.stun.registry import (
    CHANNEL_FIRST,
    CHANNEL_LAST_RFC5766,
    HEADER_LENGTH,
    MAGIC_COOKIE,
    AttributeType,
    MessageClass,
    Method,
    message_type,
)

SOURCE = files("natkit.relay").joinpath("relay_tables.h").read_text()


def defined(name: str) -> int:
    """The number that the program gives a name."""
    found = re.search(rf"^#define {name} \(?([0-9xA-Fa-f]+)u?( << (\d+))?", SOURCE, re.MULTILINE)
    assert found is not None
    return int(found[1], 0) << int(found[3] or 0)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("MAGIC_COOKIE", MAGIC_COOKIE),
        ("STUN_HEADER", HEADER_LENGTH),
        ("SEND_INDICATION", message_type(Method.SEND, MessageClass.INDICATION)),
        ("DATA_INDICATION", message_type(Method.DATA, MessageClass.INDICATION)),
        ("BINDING_REQUEST", message_type(Method.BINDING, MessageClass.REQUEST)),
        ("BINDING_SUCCESS", message_type(Method.BINDING, MessageClass.SUCCESS_RESPONSE)),
        ("XOR_PEER_ADDRESS", AttributeType.XOR_PEER_ADDRESS),
        ("XOR_MAPPED_ADDRESS", AttributeType.XOR_MAPPED_ADDRESS),
        ("DATA", AttributeType.DATA),
        ("HAND_UP", Mark.HAND_UP),
        ("ONLY_RELAYED", Mark.ONLY_RELAYED),
        ("RUNS_ON_SKB", DeviceFlag.RUNS_ON_SKB),
        ("FAR_END_ELSEWHERE", DeviceFlag.FAR_END_ELSEWHERE),
        ("IS_LISTENER", LocalKind.LISTENER),
        ("IS_RELAYED", LocalKind.RELAYED),
        ("ANSWERS_BINDING", layout.ANSWERS_BINDING),
        ("PORT_RANGES", layout.PORT_RANGES),
        ("BUCKETS", layout.BUCKETS),
        ("ASK_ABOVE", Clients.ASK_ABOVE),
        ("ALL_CLIENTS", Clients.ALL),
        ("OTHERS_TOO", Clients.OTHERS_TOO),
        ("LOW_DEVICES", layout.LOW_DEVICES),
        ("WORKERS", layout.WORKERS),
    ],
)
def test_the_program_has_the_same_number(name: str, number: int) -> None:
    assert defined(name) == number


def test_the_program_takes_just_the_channels_of_rfc_5766_for_channel_data() -> None:
    assert "#define IS_CHANNEL_DATA(head) (((head) >> 30) == 1)" in SOURCE
    assert {number for number in range(0x10000) if number << 16 >> 30 == 1} == set(
        range(CHANNEL_FIRST, CHANNEL_LAST_RFC5766 + 1)
    )


def test_what_is_written_in_place_is_written_where_it_belongs() -> None:
    plain = HalfFields(0, bytes(20), bytes(20), bytes(20), Mark(0), 0, 0, 0)
    marked = HalfFields(7, bytes(20), bytes(20), bytes(20), Mark.HAND_UP, 0, 0, 0)
    differing = [
        at
        for at, both in enumerate(
            zip(layout.half_value(plain), layout.half_value(marked), strict=True)
        )
        if both[0] != both[1]
    ]
    assert differing == [0, kernel_tables.FLAGS_AT]
    limited = layout.half_value(replace(plain, to_peers=(1, 2), to_clients=(3,)))
    limits = layout.limits_value((1, 2), (3,))
    assert limited[kernel_tables.LIMITS_AT :].startswith(limits)
    assert limited.replace(limits, bytes(len(limits))) == layout.half_value(plain)
    settings = layout.settings_value(1, 46, 63)
    assert len(settings) == kernel_tables.UNMIRRORED_AT + layout.WORKERS
    assert settings[kernel_tables.HEADER_AT :][:2] == bytes([46 << 2, 63])


def test_a_permission_with_more_ranges_of_ports_than_fit_is_handed_up() -> None:
    few, many = [(1, 2)] * layout.PORT_RANGES, [(1, 2)] * (layout.PORT_RANGES + 1)
    assert layout.permission_value(0, few, only_relayed=True)[8] == Mark.ONLY_RELAYED
    assert (
        layout.permission_value(0, many, only_relayed=True)[8] == Mark.ONLY_RELAYED | Mark.HAND_UP
    )
    assert layout.permission_value(0, many, only_relayed=False)[8] == 0
