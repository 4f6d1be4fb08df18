"""Whether a store answers, as those who ask it found out."""

from collections import Counter
from collections.abc import Callable

from natkit.errors import StoreFailure

__all__ = ["Condition"]


class Condition:
    """What is known of a store: its last answer, and how it fared until now.

    ``on_change`` is called with the failure when the store goes down, and with None when it is
    back.
    """

    def __init__(self, on_change: Callable[[StoreFailure | None], None]) -> None:
        self.failure: StoreFailure | None = None
        self.counts: Counter[str] = Counter()
        self._on_change = on_change

    def answered(self) -> None:
        """The store gave an answer."""
        if self.failure is not None:
            self.failure = None
            self._on_change(None)

    def failed(self, failure: StoreFailure) -> None:
        """The store gave none."""
        self.counts["store failures"] += 1
        was_up = self.failure is None
        self.failure = failure
        if was_up:
            self._on_change(failure)
