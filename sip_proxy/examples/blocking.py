"""Callers who reach nobody here, and numbers that nobody here reaches."""

from sip_proxy.dialled import dialled
from sip_proxy.hooks import Answer, AskedRequest, Hooks

CALLERS = frozenset({"sip:spam@example.net"})
CALLERS_DOMAINS = ("@robocalls.example",)
NUMBERS = ("+4990", "+1900")
"""The beginnings of what costs too much."""


class Blocking(Hooks):
    """Declines the calls and messages of some, and those to some."""

    async def on_request(self, asked: AskedRequest) -> Answer | None:
        """603 for callers: no other phone of the called is to be tried; 403 for numbers."""
        if asked.caller in CALLERS or asked.caller.endswith(CALLERS_DOMAINS):
            return Answer(603)
        if dialled(asked.request.uri).user.startswith(NUMBERS):
            return Answer(403, "This number is blocked")
        return None


hooks = Blocking()
