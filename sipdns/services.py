"""Which NAPTR service, SRV name and default port belong to which transport."""

from dataclasses import dataclass
from typing import Final

from natkit.machine import Transport

__all__ = ["DEFAULT_TRANSPORTS", "SIP_SERVICES", "STUN_SERVICES", "TURN_SERVICES", "Service"]


@dataclass(frozen=True, slots=True)
class Service:
    """A way to reach a server.

    ``srv`` is the prefix of its SRV records' name, None when none is defined; ``naptr`` what a
    NAPTR record calls it, application and protocol.
    """

    transport: Transport
    srv: str | None
    naptr: tuple[str, str] | None
    default_port: int

    @property
    def naptr_text(self) -> str:
        """The service as one writes it in a zone."""
        return "".join(self.naptr or ())


def _services(*rows: Service) -> dict[Transport, Service]:
    return {row.transport: row for row in rows}


# NAPTR services: IANA's SIP table (RFC 3263 §9, RFC 4168 §5, RFC 7118 §8).  Ports: RFC 3261
# §19.1.2, RFC 4168 §4, RFC 7118 §5.  WebSocket has no SRV name of its own.
SIP_SERVICES: Final = _services(
    Service(Transport.UDP, "_sip._udp", ("SIP", "+D2U"), 5060),
    Service(Transport.TCP, "_sip._tcp", ("SIP", "+D2T"), 5060),
    Service(Transport.TLS, "_sips._tcp", ("SIPS", "+D2T"), 5061),
    Service(Transport.SCTP, "_sip._sctp", ("SIP", "+D2S"), 5060),
    Service(Transport.TLS_SCTP, "_sips._sctp", ("SIPS", "+D2S"), 5061),
    Service(Transport.WS, None, ("SIP", "+D2W"), 80),
    Service(Transport.WSS, None, ("SIPS", "+D2W"), 443),
)

# RFC 8489 §8.1, §18.6.
STUN_SERVICES: Final = _services(
    Service(Transport.UDP, "_stun._udp", None, 3478),
    Service(Transport.TCP, "_stun._tcp", None, 3478),
    Service(Transport.TLS, "_stuns._tcp", None, 5349),
    Service(Transport.DTLS, "_stuns._udp", None, 5349),
)

# RFC 5928 §3, RFC 8656 §6, RFC 7350 §4.5.
TURN_SERVICES: Final = _services(
    Service(Transport.UDP, "_turn._udp", ("RELAY", ":turn.udp"), 3478),
    Service(Transport.TCP, "_turn._tcp", ("RELAY", ":turn.tcp"), 3478),
    Service(Transport.TLS, "_turns._tcp", ("RELAY", ":turn.tls"), 5349),
    Service(Transport.DTLS, "_turns._udp", ("RELAY", ":turn.dtls"), 5349),
)

DEFAULT_TRANSPORTS: Final = (Transport.UDP, Transport.TCP, Transport.TLS)
"""What every SIP element of RFC 3261 §18 speaks, in the order to prefer where the DNS is silent."""
