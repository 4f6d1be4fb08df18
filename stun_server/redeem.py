"""A reserved port that another worker keeps: the token's first byte says which (RFC 8656 §7.2)."""

from dataclasses import dataclass

from natkit.address import Address
from natkit.machine import Path
from natkit.stun.message import Message
from stun_server.allocations import Allocations
from stun_server.authentication import Account, Proof


@dataclass(slots=True, eq=False)
class Redeeming:
    """An Allocate with a reservation token, while the worker that keeps the port is asked for it.

    ``may_count``: the account's quota has room for one more.  It needs none where the account has
    reserved the port itself, which counts already; only the owner knows.
    """

    request: Message
    path: Path
    proof: Proof
    owner: int
    token: bytes
    may_count: bool


def give_reservation(
    token: bytes, account: Account, allocations: Allocations, *, may_count: bool
) -> Address | None:
    """Let another worker have the port that is kept for ``token``, counted here no more.

    None where none is kept, or the port would be one too many for ``account``.
    """
    reservation = allocations.reservation(token)
    if reservation is None or not (may_count or reservation.account == account):
        return None
    return allocations.redeem(token)
