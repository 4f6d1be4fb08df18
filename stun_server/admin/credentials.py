"""``GET /credentials?user=NAME``: time-limited credentials for the programs of a service.

The form of the answer is the one that is known as the TURN REST API.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiohttp import web

from natkit.errors import MisuseError
from natkit.server.admin.answers import json_answer
from natkit.server.admin.guard import Guard, problem
from stun_server.admin.issuing import Issuer

__all__ = ["PATH", "CredentialEndpoint"]

PATH = "/credentials"
LONGEST_NAME = 256
"""Characters of a user; the username has to fit USERNAME, 509 bytes (RFC 8489 §14.3)."""
PREFLIGHT_LIFETIME = 600


@dataclass(frozen=True, slots=True)
class CredentialEndpoint:
    """The handlers.

    ``guard`` has this endpoint's own token in its rules.  ``origins`` are the other sites whose
    pages may read the answer.
    """

    guard: Guard
    issuer: Issuer
    lifetime: int
    origins: frozenset[str]
    uris: Callable[[], Awaitable[Sequence[str]]]

    def register(self, application: web.Application) -> None:
        """Add the path."""
        application.router.add_get(PATH, self.get, allow_head=False)
        application.router.add_options(PATH, self.preflight)

    async def preflight(self, request: web.Request) -> web.Response:
        """Tell a browser what another site's page may send (Fetch §3.3)."""
        answer = self._allow(request, web.Response(status=204))
        if "Access-Control-Allow-Origin" in answer.headers:
            answer.headers["Access-Control-Allow-Methods"] = "GET"
            answer.headers["Access-Control-Allow-Headers"] = "authorization"
            answer.headers["Access-Control-Max-Age"] = str(PREFLIGHT_LIFETIME)
        return answer

    async def get(self, request: web.Request) -> web.Response:
        """Give a credential to who shows the token."""
        return self._allow(request, await self._answer(request))

    async def _answer(self, request: web.Request) -> web.Response:
        shown = self.guard.rules.bears_token(request.headers.get("Authorization"))
        refused = self.guard.judge_guess(request, is_right=bool(shown))
        if refused is not None:
            return refused
        user = request.query.get("user", "")
        if not user or len(user) > LONGEST_NAME:
            return problem(
                400, f"say whose they are: ?user=NAME, {LONGEST_NAME} characters or less"
            )
        try:
            made = self.issuer.issue(user, self.lifetime)
        except MisuseError as error:
            return problem(400, str(error))
        if made is None:
            return problem(503, "the server has no secret: `stun-server secret add`")
        return json_answer(
            {
                "username": made.username,
                "password": made.password,
                "ttl": self.lifetime,
                "uris": list(await self.uris()),
            }
        )

    def _allow(self, request: web.Request, answer: web.Response) -> web.Response:
        """Let pages of the origins that were named read it."""
        answer.headers["Vary"] = "Origin"
        origin = request.headers.get("Origin", "").lower()
        if origin in self.origins:
            answer.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return answer
