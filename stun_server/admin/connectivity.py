"""The connectivity test: a page that tries the server from a visitor's browser.

It gets credentials that live for two minutes and end with what they opened, all of one name, whose
quota is that of the test.  The page does the rest: see ``static/test.js``.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from natkit.server.admin.answers import json_answer
from natkit.server.admin.guard import problem
from natkit.server.admin.throttle import Throttle
from stun_server.admin.issuing import Issuer
from stun_server.connectivity_test import LIFETIME, NAME

__all__ = ["ConnectivityTest"]

BURST = 5
INTERVAL = 10.0
"""One visitor's tests: five at once, then one every ten seconds."""
BURST_OF_ALL = 30
INTERVAL_OF_ALL = 1.0
"""And everybody's together."""


@dataclass(frozen=True, slots=True)
class ConnectivityTest:
    """What the page asks for."""

    issuer: Issuer
    uris: Callable[[], Awaitable[Sequence[str]]]
    by_source: Throttle = field(default_factory=lambda: Throttle(BURST, INTERVAL))
    of_all: Throttle = field(default_factory=lambda: Throttle(BURST_OF_ALL, INTERVAL_OF_ALL))

    async def credentials(self, request: web.Request) -> web.Response:
        """Give a visitor what one test needs; 503 when the server can't, 429 when it is enough."""
        if not self.issuer.is_able:
            return problem(503, "the server has no secret to make credentials with")
        now = asyncio.get_running_loop().time()
        source = request.remote or _NOWHERE
        for throttle, whose in ((self.by_source, source), (self.of_all, _NOWHERE)):
            if not throttle.allows(whose, now):
                answer = problem(429, "too many tests; wait a little")
                answer.headers["Retry-After"] = str(math.ceil(throttle.wait(whose, now)))
                return answer
        made = self.issuer.issue(NAME, LIFETIME)
        assert made is not None  # noqa: S101 - there is a secret, and the name is one
        return json_answer(
            {
                "username": made.username,
                "password": made.password,
                "ttl": LIFETIME,
                "uris": list(await self.uris()),
            }
        )


_NOWHERE = "0.0.0.0"  # noqa: S104 - stands for all visitors; nothing is bound to it
