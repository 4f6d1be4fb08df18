"""What NATs and firewalls on the way do, found by asking STUN servers (RFC 5780); no I/O.

Each test is a script (:mod:`natkit.behaviour.asking`) that yields what to ask and returns what it
found (:mod:`natkit.behaviour.findings`); :class:`Scripts` is the machine that runs them, and
:class:`Discovery` the one that runs them all, as often as it takes, and makes a :class:`Report`.
"""

from natkit.behaviour.asking import ScriptEnded, Scripts
from natkit.behaviour.discovery import Discovered, Discovery, DiscoveryEvent, Progress
from natkit.behaviour.dns64 import WELL_KNOWN_NAME, embed, prefixes_of
from natkit.behaviour.filtering import filtering_behaviour
from natkit.behaviour.findings import (
    Fact,
    Filtering,
    FilteringFinding,
    HairpinFinding,
    LifetimeFinding,
    Mapping,
    MappingFinding,
    PortFinding,
    PortRule,
)
from natkit.behaviour.fragments import FragmentFinding, fragment_handling
from natkit.behaviour.hairpinning import hairpin_behaviour
from natkit.behaviour.lifetime import binding_lifetime
from natkit.behaviour.mapping import map_by_plain_servers, mapping_behaviour
from natkit.behaviour.neighbours import contiguity, overloading
from natkit.behaviour.path_mtu import PathMtuFinding, path_mtu
from natkit.behaviour.pinhole import MappedPortFinding, mapped_port_works
from natkit.behaviour.plan import LifetimeSearch, Plan
from natkit.behaviour.ports import port_behaviour
from natkit.behaviour.reach import ReachFinding, reach
from natkit.behaviour.report import LayerFinding, Report, layers
from natkit.behaviour.sip_alg import SipAlgFinding, sip_alg
from natkit.behaviour.steps import Script
from natkit.behaviour.verdict import PEERS, Peer, Way, way_to
from natkit.behaviour.votes import vote_on_filtering, vote_on_mapping

__all__ = [
    "PEERS",
    "WELL_KNOWN_NAME",
    "Discovered",
    "Discovery",
    "DiscoveryEvent",
    "Fact",
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
    "PathMtuFinding",
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
    "SipAlgFinding",
    "Way",
    "binding_lifetime",
    "contiguity",
    "embed",
    "filtering_behaviour",
    "fragment_handling",
    "hairpin_behaviour",
    "layers",
    "map_by_plain_servers",
    "mapped_port_works",
    "mapping_behaviour",
    "overloading",
    "path_mtu",
    "port_behaviour",
    "prefixes_of",
    "reach",
    "sip_alg",
    "vote_on_filtering",
    "vote_on_mapping",
    "way_to",
]
