"""Data between clients and peers, as far as permissions and bandwidth let it pass."""

from natkit.machine import Path, RandomBytes, Transmit
from natkit.relay.rates import pass_through
from natkit.stun.attributes import Icmp
from natkit.stun.message import Message
from natkit.turn.channel_data import ChannelData
from stun_server.allocation import Allocation
from stun_server.allocations import Allocations
from stun_server.icmp import from_icmp
from stun_server.send import from_channel_data, from_peer, from_send
from stun_server.settings import Settings

__all__ = ["Relaying"]


class Relaying:
    """Makes of what arrives what is to be sent; None where it may not pass."""

    def __init__(self, allocations: Allocations, random: RandomBytes) -> None:
        self._allocations = allocations
        self._random = random

    def peer_data(self, data: bytes, path: Path, now: float) -> Transmit | None:
        """A datagram came to a relayed address; or late, or early, where there is none."""
        allocation = self._allocations.of_relayed(path.local)
        if allocation is None:
            return None
        sent = from_peer(data, path, allocation, self._allocations, self._random, now)
        rates = allocation.rates
        if sent is None or rates is None or pass_through(rates.to_clients, len(data), now):
            return sent
        return None

    def icmp(self, icmp: Icmp, path: Path, now: float) -> Transmit | None:
        """An ICMP error met what left a relayed address, ``path.local``, for ``path.remote``."""
        allocation = self._allocations.of_relayed(path.local)
        if allocation is None:
            return None
        return from_icmp(icmp, path, allocation, self._allocations, self._random, now)

    def channel_data(
        self, data: ChannelData, allocation: Allocation, now: float
    ) -> Transmit | None:
        """A client's data on a channel."""
        return _limited(
            from_channel_data(data, allocation, self._allocations, now), allocation, now
        )

    def send(
        self, message: Message, allocation: Allocation, settings: Settings, now: float
    ) -> Transmit | None:
        """A client's Send indication."""
        return _limited(
            from_send(message, allocation, self._allocations, settings, now), allocation, now
        )


def _limited(transmit: Transmit | None, allocation: Allocation, now: float) -> Transmit | None:
    """What is for a peer, if the bandwidth is there."""
    rates = allocation.rates
    if transmit is None or rates is None or pass_through(rates.to_peers, len(transmit.data), now):
        return transmit
    return None
