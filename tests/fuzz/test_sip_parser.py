"""Hostile messages into the parser: whatever they hold is read, or it is MalformedMessage."""

from collections.abc import Callable
from itertools import islice
from typing import TypeVar

import pytest

from natkit.errors import MalformedMessage
from natkit.sip import Request, Response, SipUri, parse_message
from natkit.sip.digest import (
    AUTHORIZATION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    WWW_AUTHENTICATE,
)
from natkit.sip.headers import HeaderField, Plural, Repeated, Singular
from natkit.sip.kinds import (
    ALLOW,
    CALL_ID,
    CONTACT,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    CSEQ,
    EXPIRES,
    FROM,
    MAX_BREADTH,
    MAX_FORWARDS,
    MIN_EXPIRES,
    PATH,
    PROXY_REQUIRE,
    REASON,
    RECORD_ROUTE,
    REQUIRE,
    RETRY_AFTER,
    ROUTE,
    SERVICE_ROUTE,
    SUPPORTED,
    TO,
    UNSUPPORTED,
    VIA,
)
from natkit.sip.via import response_destination
from tests.conftest import Sized
from tests.fuzz.sip_messages import HostileSip
from tests.fuzz.sip_seeds import SEEDS

T = TypeVar("T")

Reader = tuple[str, Callable[[HeaderField], object]]


def reader(kind: Singular[T] | Plural[T] | Repeated[T]) -> Reader:
    return kind.name, lambda field: field.values(kind)


READERS: list[Reader] = [
    *map(reader, (ALLOW, SUPPORTED, UNSUPPORTED, REQUIRE, PROXY_REQUIRE, REASON)),
    *map(reader, (ROUTE, RECORD_ROUTE, PATH, SERVICE_ROUTE)),
    *map(reader, (FROM, TO)),
    *map(reader, (MAX_FORWARDS, MAX_BREADTH, EXPIRES, MIN_EXPIRES, CONTENT_LENGTH)),
    *map(reader, (CALL_ID, CONTENT_TYPE)),
    *map(reader, (AUTHORIZATION, PROXY_AUTHORIZATION)),
    *map(reader, (WWW_AUTHENTICATE, PROXY_AUTHENTICATE)),
    reader(VIA),
    reader(CONTACT),
    reader(CSEQ),
    reader(RETRY_AFTER),
]


def read_everything(data: bytes) -> bool:
    """Whether it is a message that passes ``check``; raises nothing."""
    try:
        found = parse_message(data)
    except MalformedMessage:
        return False
    assert parse_message(bytes(found)) == found
    for name, read in READERS:
        for field in found.headers.fields(name):
            try:
                read(field)
            except MalformedMessage:
                continue
    try:
        via = found.headers.first(VIA)
        if via is not None:
            response_destination(via)
    except MalformedMessage:
        pass
    try:
        found.check()
    except MalformedMessage:
        return False
    if isinstance(found, Request):
        assert isinstance(parse_message(bytes(Response.to(found, 400, tag="t"))), Response)
        if isinstance(found.uri, SipUri):
            assert SipUri.parse(str(found.uri)) == found.uri
    return True


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
def test_hostile_messages_are_read_or_malformed(seed: int, sized: Sized) -> None:
    print("seed", seed)
    count = sized(quick=1_500, full=250_000)
    good = sum(map(read_everything, islice(HostileSip(seed, SEEDS), count)))
    # Neither all of them nor none: most are wrong in one place.
    assert count // 10 < good < count
