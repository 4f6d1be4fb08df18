"""Plain Binding requests, answered where they lie: most often a whole batch in a few operations."""

import sys
from array import array
from collections.abc import Sequence

from natkit.net import sockaddr
from natkit.net.batch import DatagramBatch
from natkit.relay.packets import (
    BINDING_ANSWER_LENGTH,
    IPV4_ANSWER,
    IPV4_NAME_MASK,
    PLAIN_BINDING_REQUEST,
    answer_binding,
    two_words,
)
from natkit.relay.plane import Counters
from natkit.relay.tables import Listener
from natkit.stun.registry import HEADER_LENGTH

__all__ = ["Bindings"]


class Bindings:
    """Answers requests that were received into ``batch``; ``other`` counts."""

    def __init__(self, batch: DatagramBatch, other: Counters) -> None:
        self._batch = batch
        self._other = other
        self._first, self._second = batch.column("I", 0), batch.column("I", 4)
        self._attribute, self._value = batch.column("I", 20), batch.column("Q", 24)
        request, cookie = (word.to_bytes(4, "big") for word in PLAIN_BINDING_REQUEST)
        self._request, self._cookie = _native(request), _native(cookie)
        head, attribute = IPV4_ANSWER
        self._heads = array("I", [_native(head)]) * batch.capacity
        self._attributes = array("I", [_native(attribute)]) * batch.capacity
        self._masks = [_native(IPV4_NAME_MASK * count) for count in range(batch.capacity + 1)]

    def answer(self, listener: Listener, lengths: Sequence[int], now: float) -> Sequence[int]:
        """Answer what the gate lets pass (RFC 8489 §6.3.1); the places of all that is not plain."""
        batch, gate, endpoint = self._batch, listener.gate, listener.endpoint
        left: list[int] = []
        plain: Sequence[int] = range(len(lengths))
        if not self._are_plain(lengths):
            plain = []
            for place, length in enumerate(lengths):
                if length == HEADER_LENGTH and self._is_plain(place):
                    plain.append(place)
                else:
                    left.append(place)
        if not plain:
            return left
        count, size = len(plain), BINDING_ANSWER_LENGTH[endpoint.name_size]
        if gate is not None and not gate.pass_all(
            count, now, answers_fit=size <= 2 * HEADER_LENGTH
        ):
            host = sockaddr.HOST[endpoint.name_size]
            plain = [
                place
                for place in plain
                if gate.passes(batch.sender(endpoint, place)[host], HEADER_LENGTH, size, now)
            ]
        if len(plain) == len(lengths) and endpoint.name_size == sockaddr.IPV4_SIZE:
            self._answer_all(count)
            failed = batch.send_back(endpoint, count, size)
        else:
            answers = []
            for place in plain:
                start, name = batch.starts[place], batch.sender(endpoint, place)
                answers.append((start, answer_binding(batch.buffer, start, name), name))
            failed = batch.send(endpoint, answers)
        self._other.dropped_send_failed += len(failed)
        self._other.bindings_answered += len(plain) - len(failed)
        return left

    def _are_plain(self, lengths: Sequence[int]) -> bool:
        """Whether all that was received are plain requests."""
        count = len(lengths)
        return (
            lengths.count(HEADER_LENGTH) == count
            and self._first[:count].tolist().count(self._request) == count
            and self._second[:count].tolist().count(self._cookie) == count
        )

    def _is_plain(self, place: int) -> bool:
        batch = self._batch
        return two_words(batch.buffer, batch.starts[place]) == PLAIN_BINDING_REQUEST

    def _answer_all(self, count: int) -> None:
        """Turn the first so many, all from IPv4, into answers: :func:`answer_binding` for each."""
        size = sockaddr.IPV4_SIZE * count
        names = int.from_bytes(self._batch.names[sockaddr.IPV4_SIZE][:size], sys.byteorder)
        masked = (names ^ self._masks[count]).to_bytes(size, sys.byteorder)
        self._first[:count] = self._heads[:count]
        self._attribute[:count] = self._attributes[:count]
        self._value[:count] = memoryview(masked).cast("Q")[::2]


def _native(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)
