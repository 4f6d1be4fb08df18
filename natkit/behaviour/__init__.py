"""What NATs and firewalls on the way do, found by asking STUN servers (RFC 5780); no I/O.

Each test is a script (:mod:`natkit.behaviour.asking`) that yields what to ask and returns what it
found (:mod:`natkit.behaviour.findings`); :class:`Scripts` is the machine that runs them.
"""

from natkit.behaviour.asking import Script, ScriptEnded, Scripts
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
from natkit.behaviour.ports import port_behaviour

__all__ = [
    "Filtering",
    "FilteringFinding",
    "HairpinFinding",
    "LifetimeFinding",
    "Mapping",
    "MappingFinding",
    "PortFinding",
    "PortRule",
    "Script",
    "ScriptEnded",
    "Scripts",
    "binding_lifetime",
    "filtering_behaviour",
    "hairpin_behaviour",
    "map_by_plain_servers",
    "mapping_behaviour",
    "port_behaviour",
]
