"""The cheapest carrier for each number, and the next cheapest where that one fails.

Prices could come from a file or a database: a hook is a coroutine, and may wait for an answer.
"""

from sip_proxy.dialled import dialled
from sip_proxy.hooks import AskedRequest, ForkTo, Hooks
from sip_proxy.standing import Standing

PRICES = {
    "+49": {"sip:carrier-a.example": 2, "sip:carrier-b.example": 1},
    "+4915": {"sip:carrier-a.example": 7, "sip:carrier-b.example": 9},
    "+": {"sip:carrier-a.example": 30},
}
"""Cents a minute of each carrier, by the beginning of the number; the longest beginning counts."""

PAYING = frozenset({Standing.USER, Standing.TRUSTED})


class LeastCost(Hooks):
    """Never for strangers: somebody pays for these calls."""

    async def on_request(self, asked: AskedRequest) -> ForkTo | None:
        """The carriers that have a price for the number, the cheapest first."""
        number = dialled(asked.request.uri)
        if asked.sender not in PAYING or not number.is_global:
            return None
        beginnings = [one for one in PRICES if number.user.startswith(one)]
        prices = PRICES[max(beginnings, key=len)]
        carriers = sorted(prices, key=lambda carrier: prices[carrier])
        return ForkTo.in_turn(*(_at(carrier, number.user) for carrier in carriers))


def _at(carrier: str, number: str) -> str:
    return f"sip:{number}@{carrier.removeprefix('sip:')};user=phone"


hooks = LeastCost()
