"""Calls that nobody vouches for go to the front desk, which may put them through."""

from sip_proxy.hooks import AskedRequest, ForkTo, Hooks, Proceed
from sip_proxy.standing import Standing

FRONT_DESK = "sip:desk@example.org"
SCREENED = frozenset({"sip:boss@example.org"})
KNOWN = frozenset({"sip:partner@example.net"})


class CallScreening(Hooks):
    """What From says is not proved for strangers: it opens no door to our own users' names."""

    async def on_request(self, asked: AskedRequest) -> ForkTo | Proceed | None:
        """Strangers who call the boss reach the desk; the boss sees who is known."""
        request = asked.request
        if request.method != "INVITE" or asked.called not in SCREENED:
            return None
        if asked.sender is not Standing.STRANGER:
            return None
        if asked.caller in KNOWN:
            return Proceed(add=(("Subject", "a partner"),), remove=("Subject",))
        return ForkTo.at_once(FRONT_DESK)


hooks = CallScreening()
