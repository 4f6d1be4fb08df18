"""``[[gateways]]``, ``[probing]`` and ``[failover]``: other servers, and what when they fail."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from natkit.errors import MisuseError
from natkit.server.config.tables import Table
from natkit.server.config.values import Count, Network, Seconds, Switch
from sip_proxy.config.tables import DEFAULT
from sip_proxy.config.values import SipServer
from sip_proxy.gateways import Gateway, Probing
from sipdns.outliers import OutlierLimits

__all__ = ["Failover", "GatewayOptions", "ProbingOptions"]

_PROBING = Probing()
_OUTLIERS = DEFAULT.outliers

Number = Annotated[int, Field(ge=0, le=65_535, strict=True)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Time = Annotated[float, Field(ge=0.1, le=86_400)]


class GatewayOptions(Table):
    """One gateway, for the routes that name its group."""

    name: Name
    """What it is called in logs and metrics; no other has the name."""
    group: Name
    """The group that it belongs to, which routes name."""
    uri: SipServer
    """Where it is, like ``sip:gw1.example.net;transport=tcp``; calls go to their number there."""
    priority: Number = 0
    """Of a group the lowest is tried first."""
    weight: Number = 1
    """Its share of the calls among gateways of one priority."""
    networks: tuple[Network, ...] = ()
    """Where its own requests come from: those reach users without credentials."""
    calls: Count | None = None
    """Calls at once that it may carry; none: any number."""
    trusted: Switch = True
    """Whether it is told the identity of callers who withhold it from others (RFC 3325)."""

    def gateway(self) -> Gateway:
        """What the machine is told."""
        return Gateway(
            self.name,
            self.group,
            self.uri,
            self.priority,
            self.weight,
            self.networks,
            self.calls,
            self.trusted,
        )


class ProbingOptions(Table):
    """How gateways are asked after by OPTIONS."""

    enabled: Switch = True
    """Whether they are asked at all; a gateway that is not never counts as down."""
    interval: Time = _PROBING.interval
    """Seconds between two OPTIONS to a gateway, a tenth more or less."""
    patience: Annotated[float, Field(ge=0.1, le=32)] = _PROBING.patience
    """Seconds in which it answers, or is silent."""
    down_after: Count = _PROBING.down_after
    """Failures in a row, of OPTIONS or of calls, after which it is down and gets no calls."""
    up_after: Count = _PROBING.up_after
    """OPTIONS in a row that it answers until it is up again."""
    longest_call: Seconds = int(DEFAULT.gateways.longest_call)
    """Seconds after which a call no longer counts among a gateway's: its end may go unseen."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.patience > self.interval:
            raise MisuseError("patience is longer than the interval")
        return self

    def probing(self) -> Probing | None:
        """What the machine is told."""
        if not self.enabled:
            return None
        return Probing(self.interval, self.patience, self.down_after, self.up_after)


class Failover(Table):
    """What when a server of a next hop fails (RFC 3263 §4.3)."""

    after: Annotated[float, Field(ge=0, le=32)] = DEFAULT.failover_after or 0
    """Seconds for which a server may say nothing while there is another to try; 0: as long as a
    transaction lasts, 32 seconds."""
    avoid: Time = _OUTLIERS.grey
    """Seconds for which a server that failed is tried last; each further failure doubles them."""
    avoid_at_most: Time = _OUTLIERS.longest_grey
    """Seconds that this comes to at the most."""
    rest_at_most: Time = _OUTLIERS.longest_black
    """Seconds for which a server that asks for rest (503 with Retry-After) is left alone at the
    most."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.avoid > self.avoid_at_most:
            raise MisuseError("avoid is above avoid_at_most")
        return self

    def outliers(self) -> OutlierLimits:
        """What the machine is told."""
        return OutlierLimits(self.avoid, self.avoid_at_most, self.rest_at_most)
