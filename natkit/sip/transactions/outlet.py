"""What a transaction has around it: where its messages, timers and news go."""

from typing import Protocol

from natkit.machine import Path
from natkit.sip.transactions.events import TransactionEvent, TransactionId
from natkit.sip.transactions.timing import Timer

__all__ = ["Outlet"]


class Outlet(Protocol):
    """Implemented by the layer, which queues all of it for its shell."""

    def transmit(self, data: bytes, path: Path) -> None:
        """Have a message sent."""
        ...

    def set_timer(self, transaction: TransactionId, timer: Timer, deadline: float) -> None:
        """Arm a timer of a transaction, in place of the same one."""
        ...

    def cancel_timer(self, transaction: TransactionId, timer: Timer) -> None:
        """Disarm a timer; one that is not armed is no error."""
        ...

    def emit(self, event: TransactionEvent) -> None:
        """Tell the user of the transactions."""
        ...

    def end(self, transaction: TransactionId) -> None:
        """Forget a transaction and its timers."""
        ...
