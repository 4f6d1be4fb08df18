"""Calls that nobody vouches for go to the front desk, which may put them through."""

from ipaddress import ip_network

from sip_proxy.hooks import AskedRequest, ForkTo, Hooks, Proceed
from sip_proxy.standing import Standing

FRONT_DESK = "sip:desk@example.org"
SCREENED = frozenset({"sip:boss@example.org"})
PARTNER = ip_network("198.51.100.0/24")


class CallScreening(Hooks):
    """What a stranger's From says proves nothing; where the request comes from says more."""

    async def on_request(self, asked: AskedRequest) -> ForkTo | Proceed | None:
        """Strangers who call the boss reach the desk, but for a partner's servers."""
        request = asked.request
        if request.method != "INVITE" or asked.called not in SCREENED:
            return None
        if asked.sender is not Standing.STRANGER:
            return None
        if asked.path.remote.ip in PARTNER:
            return Proceed(add=(("Subject", "a partner"),), remove=("Subject",))
        return ForkTo.at_once(FRONT_DESK)


hooks = CallScreening()
