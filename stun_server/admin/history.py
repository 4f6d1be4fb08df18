"""What the server did in the last quarter of an hour, for the charts of the status page."""

from collections import deque
from dataclasses import dataclass

from stun_server.administration import Status

__all__ = ["INTERVAL", "KEPT", "History", "Sample"]

INTERVAL = 5.0
"""Seconds between two samples."""
KEPT = 180
"""Samples, the newest; a quarter of an hour."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters at one moment; ``time`` is in Unix seconds.

    Rates are the differences of two samples, taken by whoever draws them.
    """

    time: float
    sessions: int
    packets_to_peers: int
    bytes_to_peers: int
    packets_to_clients: int
    bytes_to_clients: int
    bindings: int
    refused: int

    @classmethod
    def of(cls, status: Status, time: float) -> "Sample":
        """What of a status is drawn over time."""
        relayed = status.relayed
        return cls(
            time=round(time, 3),
            sessions=status.sessions,
            packets_to_peers=relayed.packets_to_peers,
            bytes_to_peers=relayed.bytes_to_peers,
            packets_to_clients=relayed.packets_to_clients,
            bytes_to_clients=relayed.bytes_to_clients,
            bindings=status.bindings,
            refused=sum(status.refusals.values()) + status.peers_refused,
        )


class History:
    """A ring of samples."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=KEPT)

    def add(self, sample: Sample) -> None:
        """Keep a sample, and let go of the oldest if there are too many."""
        self._samples.append(sample)

    def samples(self) -> tuple[Sample, ...]:
        """The oldest first."""
        return tuple(self._samples)
