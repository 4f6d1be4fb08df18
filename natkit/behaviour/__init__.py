"""What NATs and firewalls on the way do, found by asking STUN servers (RFC 5780); no I/O.

Each test is a script (:mod:`natkit.behaviour.asking`) that yields what to ask and returns what it
found (:mod:`natkit.behaviour.findings`); :class:`Scripts` is the machine that runs them, and
:class:`Discovery` the one that runs them all, as often as it takes, and makes a :class:`Report`.
"""

from natkit.behaviour.asking import Script, ScriptEnded, Scripts
from natkit.behaviour.discovery import (
    Discovered,
    Discovery,
    DiscoveryEvent,
    LifetimeSearch,
    Plan,
    Progress,
)
from natkit.behaviour.filtering import filtering_behaviour
from natkit.behaviour.findings import (
    Filtering,
    FilteringFinding,
    HairpinFinding,
    LifetimeFinding,
    Mapping,
    MappingFinding,
    PortFinding,
    PortRule,
)
from natkit.behaviour.hairpinning import hairpin_behaviour
from natkit.behaviour.lifetime import binding_lifetime
from natkit.behaviour.mapping import map_by_plain_servers, mapping_behaviour
from natkit.behaviour.pinhole import MappedPortFinding, mapped_port_works
from natkit.behaviour.ports import port_behaviour
from natkit.behaviour.reach import FragmentFinding, ReachFinding, fragment_handling, reach
from natkit.behaviour.report import LayerFinding, Report, layers
from natkit.behaviour.verdict import PEERS, Peer, Way, way_to
from natkit.behaviour.votes import vote_on_filtering, vote_on_mapping

__all__ = [
    "PEERS",
    "Discovered",
    "Discovery",
    "DiscoveryEvent",
    "Filtering",
    "FilteringFinding",
    "FragmentFinding",
    "HairpinFinding",
    "LayerFinding",
    "LifetimeFinding",
    "LifetimeSearch",
    "MappedPortFinding",
    "Mapping",
    "MappingFinding",
    "Peer",
    "Plan",
    "PortFinding",
    "PortRule",
    "Progress",
    "ReachFinding",
    "Report",
    "Script",
    "ScriptEnded",
    "Scripts",
    "Way",
    "binding_lifetime",
    "filtering_behaviour",
    "fragment_handling",
    "hairpin_behaviour",
    "layers",
    "map_by_plain_servers",
    "mapped_port_works",
    "mapping_behaviour",
    "port_behaviour",
    "reach",
    "vote_on_filtering",
    "vote_on_mapping",
    "way_to",
]
