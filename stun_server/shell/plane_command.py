"""``stun-server plane``: what relays here, and what the kernel's plane needs.

With ``--json`` the object has ``"schema": 1``.  Nothing is loaded, attached or bound.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from natkit.cli.entry import console, print_json, version_line
from natkit.net.links import read_links
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
    out = console()
    out.print(_facts(needed))
    out.print(_ways(foreseen) if foreseen else planes.nowhere(hosts), highlight=False)
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
    required = planes.required([each.interface for each in foreseen])
    for one in foreseen:
        if one.mode is None and one.interface in required:
            return f"{one.interface.name}: {'; '.join(one.reasons)}"
    return None


def _facts(needed: Sequence[Requirement]) -> Table:
    table = _table("needed", "here")
    for each in needed:
        found = each.found if each.is_met else f"{each.found}: {_remedy(each)}"
        table.add_row(each.name, Text(found, style="" if each.is_met else "red"))
    return table


_WAYS = {
    Mode.NATIVE: "native: XDP in its driver",
    Mode.TC: "tc: as packets come in",
    Mode.GENERIC: "generic: XDP after its driver",
    None: "in user space",
}


def _ways(foreseen: Sequence[Foreseen]) -> Table:
    table = _table("interface", "kind", "way")
    for each in foreseen:
        link, way = each.interface, _WAYS[each.mode]
        kind = "loopback" if link.is_loopback else link.kind or "card"
        told = f"{way} ({'; '.join(each.reasons)})" if each.reasons else way
        table.add_row(link.name, kind, Text(told, style="" if each.mode else "red"))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        is_last = column == columns[-1]
        table.add_column(column, no_wrap=not is_last, overflow="fold" if is_last else "ellipsis")
    return table


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
