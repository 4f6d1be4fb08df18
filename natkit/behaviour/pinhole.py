"""Whether a port that a gateway maps is truly reached from outside."""

from dataclasses import dataclass

from natkit.address import Address
from natkit.behaviour.steps import Answer, Ask, Open, Script

__all__ = ["MappedPortFinding", "mapped_port_works"]


@dataclass(frozen=True, slots=True)
class MappedPortFinding:
    """``works`` is None when it could not be told."""

    works: bool | None
    evidence: str


def mapped_port_works(
    local: Address, external: Address, server: Address
) -> Script[MappedPortFinding]:
    """Have ``server`` answer from its other address to ``local``, which sent nothing there.

    Where strangers get in without any mapping, the outcome says nothing about the mapping: ask only
    behind what filters.
    """
    opened = yield Open(local)
    if not isinstance(opened, Address):
        return MappedPortFinding(None, f"{local} is taken")
    first = yield Ask(opened, server)
    if not isinstance(first, Answer) or first.mapped is None:
        return MappedPortFinding(None, f"{server} does not answer {local}")
    if first.mapped.host != external.host:
        return MappedPortFinding(False, f"it is on {external.host}, behind {first.mapped.host}")
    # What goes out may leave by another port than the mapped one.
    port = external.port if first.mapped.port != external.port else None
    answer = yield Ask(opened, server, change_ip=True, change_port=True, response_port=port)
    if isinstance(answer, Answer) and answer.refused is None and answer.source.host != server.host:
        return MappedPortFinding(True, f"{answer.source} got in by {external}, unasked")
    return MappedPortFinding(False, f"nothing that was not asked for gets in by {external}")
