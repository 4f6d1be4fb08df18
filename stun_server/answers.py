"""Answers already given, so that a retransmitted request is answered identically (RFC 8489 §6.3.1).

Only authenticated requests over datagrams are remembered: others are idempotent, or cannot be
retransmitted.
"""

from typing import NamedTuple

from natkit.machine import Path

ANSWER_LIFETIME = 40.0
"""Seconds after which no retransmission arrives any more (RFC 8489 §6.3.1)."""

# Of each allocation: its Allocate's answer and the latest ones.  A client that went on has finished
# the rest, and processing one again would only extend what it extended before.
ANSWERS_PER_ALLOCATION = 4

# Of refused Allocates and closed allocations, in all: about 400 KB.  What is pushed out is
# processed again: 437 to a deletion, which clients take for success (RFC 8656 §8.2).
ANSWERS_WITHOUT_ALLOCATION = 1024


class Answer(NamedTuple):
    """The bytes that answered the request of ``transaction_id``."""

    transaction_id: bytes
    data: bytes
    until: float


class Answers:
    """The answers of all clients; an allocation keeps its own in a list that belongs to it."""

    def __init__(self) -> None:
        # An id is 96 random bits: two clients do not have the same, unless they mean to.
        self._without_allocation: dict[bytes, tuple[Path, Answer]] = {}

    def __len__(self) -> int:
        return len(self._without_allocation)

    def find(
        self, path: Path, transaction_id: bytes, kept: list[Answer] | None, now: float
    ) -> bytes | None:
        """What answered this request before, if it is remembered."""
        for answer in kept or ():
            if answer.transaction_id == transaction_id and now < answer.until:
                return answer.data
        whose, found = self._without_allocation.get(transaction_id, (None, None))
        return found.data if found is not None and whose == path and now < found.until else None

    def may_have_been(self, transaction_id: bytes) -> bool:
        """Whether a client without an allocation may have been answered before; False is sure."""
        return transaction_id in self._without_allocation

    def remember(self, path: Path, answer: Answer, kept: list[Answer] | None) -> None:
        """Keep an answer with its allocation's, or among those without one."""
        if kept is None:
            self._without_allocation[answer.transaction_id] = path, answer
            if len(self._without_allocation) > ANSWERS_WITHOUT_ALLOCATION:
                del self._without_allocation[next(iter(self._without_allocation))]
            return
        if len(kept) == ANSWERS_PER_ALLOCATION:
            # The first is Allocate's: repeating that one would give 437.
            del kept[1]
        kept.append(answer)

    def outlive(self, path: Path, kept: list[Answer], now: float) -> None:
        """The allocation is closed: what its requests were answered still holds."""
        for answer in kept:
            if now < answer.until:
                self.remember(path, answer, None)
