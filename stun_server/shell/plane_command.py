"""``stun-server plane``: what relays here, and what the kernel's plane needs.

With ``--json`` the object has ``"schema": 1``.  Nothing is loaded, attached or bound.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from natkit.cli.entry import console, print_json, version_line
from natkit.net.links import NetworkLink, read_links
from natkit.relay.attaching import Mode
from natkit.relay.kernel_ability import Foreseen, Requirement, foresee, requirements
from stun_server.config import load
from stun_server.shell import planes

__all__ = ["explain", "version"]


def version() -> str:
    """What ``stun-server --version`` says: of every command, and the relay planes here."""
    lacking = planes.missing()
    kernel = "kernel" if lacking is None else f"not kernel: {lacking}"
    return f"{version_line()}; relay planes: userspace, {kernel}"


def explain(config: Path | None, *, as_json: bool) -> None:
    """Print which relay plane serves here, and what the one in the kernel needs."""
    options = load(config)
    needed = requirements()
    hosts = planes.configured_hosts(options)
    links = read_links()
    foreseen = [foresee(each, links) for each in planes.links_for(options, hosts)]
    asked = options.listeners.relay_plane
    lacking = _lacking(needed, foreseen, hosts)
    if as_json:
        used = "userspace" if asked == "userspace" or lacking is not None else "kernel"
        print_json(
            {
                "asked": asked,
                "plane": used if asked != "kernel" or lacking is None else None,
                "lacking": lacking,
                "requirements": [
                    {"name": each.name, "found": each.found, "met": each.is_met} for each in needed
                ],
                "interfaces": [
                    {
                        "name": each.interface.name,
                        "kind": "loopback" if each.interface.is_loopback else each.interface.kind,
                        "mode": each.mode,
                        "reasons": each.reasons,
                    }
                    for each in foreseen
                ],
            }
        )
        return
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for requirement in needed:
        found, remedy = requirement.found, _remedy(requirement)
        facts.add_row(requirement.name, found if requirement.is_met else f"{found}: {remedy}")
    for each in foreseen:
        facts.add_row(_named(each.interface), _told(each))
    if not foreseen:
        facts.add_row("interfaces", planes.nowhere(hosts))
    out = console()
    out.print(facts)
    out.print(_conclusion(asked, lacking), highlight=False)


def _lacking(
    needed: Sequence[Requirement], foreseen: Sequence[Foreseen], hosts: Sequence[str]
) -> str | None:
    """The first thing that keeps the plane in the kernel from running."""
    for each in needed:
        if not each.is_met:
            return f"{each.name}: {each.found}"
    if not foreseen:
        return planes.nowhere(hosts)
    # It must be on all of them, but on loopback where that is not the only one.
    for one in [each for each in foreseen if not each.interface.is_loopback] or foreseen:
        if one.mode is None:
            return f"{one.interface.name}: {'; '.join(one.reasons)}"
    return None


def _named(interface: NetworkLink) -> str:
    kind = "loopback" if interface.is_loopback else interface.kind or "card"
    return f"{interface.name} ({kind})"


_WAYS = {
    Mode.NATIVE: "native: XDP in its driver",
    Mode.TC: "tc: as packets come in",
    Mode.GENERIC: "generic: XDP after its driver",
    None: "in user space",
}


def _told(foreseen: Foreseen) -> str:
    way = _WAYS[foreseen.mode]
    return f"{way} ({'; '.join(foreseen.reasons)})" if foreseen.reasons else way


def _remedy(requirement: Requirement) -> str:
    return requirement.remedy or "no plane in the kernel on this system"


def _conclusion(asked: str, lacking: str | None) -> str:
    if asked == "userspace":
        can = "could not" if lacking is not None else "could"
        return f"relay_plane = 'userspace': as asked for; the kernel {can} relay here"
    if lacking is None:
        return f"relay_plane = '{asked}': the kernel relays"
    if asked == "kernel":
        return f"relay_plane = 'kernel': the server does not start ({lacking})"
    return f"relay_plane = 'auto': user space relays ({lacking})"
