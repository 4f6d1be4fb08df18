"""A simulated network for machines of natkit's contract: virtual time, loss, NATs, streams.

::

    with Network(seed=7) as network:                       # prints its trace when the test fails
        home = network.nat("home", "198.51.100.7")
        phone = network.host("phone", "192.168.1.2", behind=home, link=Conditions(loss=0.1))
        server = network.host("server", "203.0.113.1", "2001:db8::1")
        shell = Shell(phone, machine)                      # runs any machine as a real shell would
        local = shell.bind(phone.address())
        shell.call(lambda now: machine.start(local, now))  # one input of the machine's own
        network.run_until(lambda: shell.events != [], limit=60.0)

Time is float seconds.  All chance comes from the seed, through a source for each part, so that two
runs with one seed are equal.  Real time does not pass; hours take milliseconds.
"""

from tests.simnet.alg import Gateway
from tests.simnet.behaviour import (
    Dependence,
    Hairpinning,
    NatBehaviour,
    Pooling,
    PortAssignment,
)
from tests.simnet.endpoint import Endpoint
from tests.simnet.firewall import Firewall
from tests.simnet.host import AddressUnavailable, Host
from tests.simnet.link import Conditions, Direction, Link
from tests.simnet.nat import Mapping, Nat
from tests.simnet.network import Network
from tests.simnet.packet import Packet, Protocol
from tests.simnet.realm import AddressRealm, Router
from tests.simnet.shell import Shell
from tests.simnet.simulation import LimitReached, Livelock, Simulation, SimulationError
from tests.simnet.trace import Record, Trace

__all__ = [
    "AddressRealm",
    "AddressUnavailable",
    "Conditions",
    "Dependence",
    "Direction",
    "Endpoint",
    "Firewall",
    "Gateway",
    "Hairpinning",
    "Host",
    "LimitReached",
    "Link",
    "Livelock",
    "Mapping",
    "Nat",
    "NatBehaviour",
    "Network",
    "Packet",
    "Pooling",
    "PortAssignment",
    "Protocol",
    "Record",
    "Router",
    "Shell",
    "Simulation",
    "SimulationError",
    "Trace",
]
