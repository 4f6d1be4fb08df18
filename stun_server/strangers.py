"""Those who have no allocation: which of them are heard, and how much they are answered.

The networks of clients are checked before anything else, on every transport.  Only over UDP can a
source be forged, so only there packets and bytes are limited by source
(:mod:`natkit.server.limits`).
"""

from natkit.address import IPNetwork
from natkit.machine import Path, RandomBytes, Transport
from natkit.relay.source_memory import Clients, SourceMemory, State
from natkit.server.limits import SourceLimits, SourceRates
from natkit.server.networks import NetworkTable
from stun_server.settings import Settings


class ClientPolicy:
    """From which networks clients may come.

    The narrowest network that was named decides, of two alike the one that is denied.  If any was
    allowed, those that nothing names are denied.
    """

    def __init__(self, allowed: tuple[IPNetwork, ...], denied: tuple[IPNetwork, ...]) -> None:
        self.named = dict.fromkeys(allowed, True) | dict.fromkeys(denied, False)
        """The networks that were named, and whether clients in them are served."""
        self.serves_others = not allowed
        self._networks = NetworkTable(self.named.items())

    def __bool__(self) -> bool:
        return bool(self._networks)

    def admits(self, host: bytes) -> bool:
        """Whether a client at ``host``, an IP address in network order, is served."""
        return next(self._networks.around(host), self.serves_others)


class Strangers:
    """Judges the messages of clients without an allocation.

    Also a :class:`~natkit.relay.plane.Gate`, so that a plane and the machine behind it count the
    packets of a source together.  ``denied`` counts the messages of clients that policy denies.
    """

    def __init__(self, settings: Settings, random: RandomBytes) -> None:
        self.denied = 0
        self.limits = SourceLimits(_rates(settings), random)
        self._policy = _policy(settings)

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self.limits.rates = _rates(settings)
        self._policy = _policy(settings)
        self._tell_policy()

    def _tell_policy(self) -> None:
        """To who answers by the memory alone."""
        state, networks = self.limits.memory.state, self.limits.memory.networks
        if not self._policy:
            state[State.CLIENTS] = Clients.ALL
            return
        # The machine is asked while the networks change, and where they do not fit.
        state[State.CLIENTS] = Clients.ASK_ABOVE
        if networks is not None and networks.replace(self._policy.named):
            others = Clients.OTHERS_TOO if self._policy.serves_others else Clients.NO_OTHERS
            state[State.CLIENTS] = others

    def hears(self, path: Path, now: float) -> bool:
        """Whether a message that came on ``path`` is looked at."""
        if path.transport is Transport.UDP:
            return self.hears_host(path.remote.packed, now)
        return self._admits(path.remote.packed)

    def hears_host(self, host: bytes, now: float) -> bool:
        """Whether a datagram from ``host``, an IP address in network order, is looked at."""
        return self._admits(host) and self.limits.admits(host, now)

    def may_be_answered(self, path: Path, received: int, sent: int, now: float) -> bool:
        """Whether ``sent`` bytes may go to the source of ``received``, which has proven nothing."""
        return path.transport is not Transport.UDP or self.limits.may_answer(
            path.remote.packed, received, sent, now
        )

    def has_proven_itself(self, path: Path, received: int, now: float) -> None:
        """``received`` bytes came from an unforged source: they pay for the challenge before."""
        if path.transport is Transport.UDP:
            self.limits.earn(path.remote.packed, received, now)

    # For a plane.

    def count_in(self, memory: SourceMemory) -> None:
        """Count in memory that others count in who answer plain Binding requests."""
        self.limits.keep_in(memory)
        self._tell_policy()

    def pass_all(self, count: int, now: float, *, answers_fit: bool) -> bool:
        """Whether ``count`` packets may be answered without a look at each.

        ``answers_fit``: their answers stay within what the requests pay for.
        """
        return self.limits.admits_all(count, now) and answers_fit and not self._policy

    def passes(self, host: bytes, received: int, sent: int, now: float) -> bool:
        """Whether one of the packets that :meth:`pass_all` just counted may be answered."""
        return (
            self._admits(host)
            and self.limits.admits_counted(host)
            and self.limits.may_answer(host, received, sent, now)
        )

    def _admits(self, host: bytes) -> bool:
        if self._policy and not self._policy.admits(host):
            self.denied += 1
            return False
        return True


def _rates(settings: Settings) -> SourceRates:
    return SourceRates(settings.packets_per_source, settings.answer_burst)


def _policy(settings: Settings) -> ClientPolicy:
    return ClientPolicy(settings.allowed_clients, settings.denied_clients)
