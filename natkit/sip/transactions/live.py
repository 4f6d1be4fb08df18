"""A transaction as somebody sees it who looks at all that are under way."""

from dataclasses import dataclass

from natkit.machine import Path
from natkit.sip.headers import Headers
from natkit.sip.kinds import CALL_ID
from natkit.sip.transactions.client import ClientTransaction
from natkit.sip.transactions.matching import branch_of
from natkit.sip.transactions.server import ServerTransaction

__all__ = ["LiveTransaction", "described"]


@dataclass(frozen=True, slots=True)
class LiveTransaction:
    """``is_client``: the request is ours, and went by ``path``; else it came, and is answered so.

    ``state`` is called as in RFC 3261 §17 and RFC 6026.  ``began`` is in monotonic seconds.
    ``branch`` is empty where that of RFC 2543 names nothing.  ``path`` is None once its stream has
    ended, ``call_id`` where a request of ours has none.
    """

    method: str
    branch: str
    is_client: bool
    state: str
    began: float
    path: Path | None
    call_id: str | None


def described(transaction: ClientTransaction | ServerTransaction) -> LiveTransaction:
    """What there is to see of one."""
    raws = list(transaction.call_id)
    call_id = Headers.of_raw([CALL_ID.key] * len(raws), raws).get(CALL_ID)
    if isinstance(transaction, ClientTransaction):
        branch, method = transaction.key
    else:
        branch, method = branch_of(transaction.key), str(transaction.key[0])
    return LiveTransaction(
        method,
        branch,
        isinstance(transaction, ClientTransaction),
        transaction.state.name.lower(),
        transaction.began,
        transaction.path,
        call_id,
    )
