"""One address for a team: two ring together, then the next, and at last the mailbox."""

from sip_proxy.hooks import Answer, AskedRequest, FailedBranch, ForkTo, Hooks, Target

SUPPORT = "sip:support@example.org"
MAILBOX = "sip:mailbox@example.org"
TEAM = (
    (Target("sip:ann@example.org", ring_for=20), Target("sip:bob@example.org", ring_for=20)),
    (Target("sip:carol@example.org", ring_for=15),),
)


class HuntGroup(Hooks):
    """Whoever is busy or does not answer in time leaves the call to the next."""

    async def on_request(self, asked: AskedRequest) -> ForkTo | None:
        """The team in its order, and then the mailbox."""
        if asked.request.method == "INVITE" and asked.called == SUPPORT:
            return ForkTo((*TEAM, (Target(MAILBOX),)))
        return None

    async def on_branch_failure(self, failed: FailedBranch) -> Answer | None:
        """One of the team who declines for all (6xx) declines for one: the next is asked."""
        if failed.called == SUPPORT and failed.response.status >= 600:
            return Answer(486)
        return None


hooks = HuntGroup()
