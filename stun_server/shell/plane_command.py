"""``stun-server plane``: what relays here, and what the kernel's plane needs.

With ``--json`` the object has ``"schema": 1``.  Nothing is loaded, attached or bound.
"""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from natkit.cli.entry import JsonOption, console, print_json, version_line
from natkit.net.links import NetworkLink
from natkit.relay.kernel_ability import Requirement, requirements
from stun_server.config import load
from stun_server.shell import planes
from stun_server.shell.accounts import ConfigOption

__all__ = ["VersionOption", "plane"]


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        lacking = planes.missing()
        kernel = "kernel" if lacking is None else f"not kernel: {lacking}"
        typer.echo(f"{version_line()}; relay planes: userspace, {kernel}")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version",
        callback=_print_version,
        is_eager=True,
        help="Show the versions of natkit, Python and the platform, and the relay planes here.",
    ),
]


def plane(*, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Explain which relay plane serves here, and what the one in the kernel needs."""
    options = load(config)
    needed = requirements()
    links = planes.links_for(planes.configured_hosts(options))
    asked = options.listeners.relay_plane
    lacking = _lacking(needed, links)
    used = "userspace" if asked == "userspace" or lacking is not None else "kernel"
    if as_json:
        print_json(
            {
                "asked": asked,
                "plane": used if asked != "kernel" or lacking is None else None,
                "lacking": lacking,
                "requirements": [
                    {"name": each.name, "found": each.found, "met": each.is_met} for each in needed
                ],
                "interfaces": [{"name": each.name, "kind": each.kind} for each in links],
            }
        )
        return
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for each in needed:
        facts.add_row(each.name, each.found if each.is_met else f"{each.found}: {_remedy(each)}")
    names = ", ".join(f"{each.name} ({each.kind or 'card'})" for each in links)
    facts.add_row("interfaces", names or planes.NO_INTERFACE)
    out = console()
    out.print(facts)
    out.print(_conclusion(asked, lacking), highlight=False)


def _lacking(needed: Sequence[Requirement], links: Sequence[NetworkLink]) -> str | None:
    """The first thing that keeps the plane in the kernel from running."""
    for each in needed:
        if not each.is_met:
            return f"{each.name}: {each.found}"
    return None if links else planes.NO_INTERFACE


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
