"""RFC 4787's terms for what a NAT does, each as data."""

from dataclasses import dataclass
from enum import Enum, auto

from natkit.address import Address
from tests.simnet.alg import Gateway


class Dependence(Enum):
    """How much of the remote endpoint counts: for mapping (RFC 4787 §4.1) and filtering (§5)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"

    def key(self, remote: Address) -> Address:
        """``remote`` without the fields that do not count: remotes of one key are treated alike."""
        match self:
            case Dependence.ENDPOINT_INDEPENDENT:
                return Address("", 0)
            case Dependence.ADDRESS_DEPENDENT:
                return Address(remote.host, 0)
            case Dependence.ADDRESS_AND_PORT_DEPENDENT:
                return remote


class PortAssignment(Enum):
    """Which external port a new mapping gets (RFC 4787 §4.2.1)."""

    PRESERVED = auto()  # the internal one, or a random one when that is taken
    SEQUENTIAL = auto()
    RANDOM = auto()


class Hairpinning(Enum):
    """What becomes of a packet from inside to an external address of the NAT (RFC 4787 §6)."""

    OFF = auto()
    EXTERNAL_SOURCE = auto()  # the receiver sees the sender's mapping, as REQ-9 demands
    INTERNAL_SOURCE = auto()


class Pooling(Enum):
    """Which of several external addresses a new mapping gets (RFC 4787 §4.1)."""

    PAIRED = auto()  # one and the same for all mappings of an internal address
    ARBITRARY = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class NatBehaviour:
    """Everything by which NATs differ here; the defaults are what RFC 4787 recommends.

    ``lifetime`` and ``tcp_lifetime`` are seconds that a mapping, and the permission of a remote,
    lives after the last packet out; with ``refresh_inbound`` a packet in renews them as well
    (§4.3).  ``parity`` keeps even ports even and odd ones odd (§4.2.2); ``contiguity`` gives the
    port after that of an internal neighbour's mapping, if it is free (§4.2.3).
    """

    mapping: Dependence = Dependence.ENDPOINT_INDEPENDENT
    filtering: Dependence = Dependence.ADDRESS_DEPENDENT
    ports: PortAssignment = PortAssignment.PRESERVED
    parity: bool = False
    contiguity: bool = False
    lifetime: float = 300.0
    tcp_lifetime: float = 7440.0
    refresh_inbound: bool = False
    hairpinning: Hairpinning = Hairpinning.EXTERNAL_SOURCE
    pooling: Pooling = Pooling.PAIRED
    gateway: Gateway = Gateway.OFF
    first_port: int = 1024
    last_port: int = 65535
