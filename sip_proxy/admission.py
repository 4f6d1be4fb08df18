"""Who may send a request where: the one place where relaying is decided (RFC 3261 §16.3 step 6).

By default the proxy is no open relay.  In this order:

1. Of a trusted network, or where no credentials are asked for, a request may go anywhere.
2. From a gateway of ours, told by its address, it reaches our users, and where the route rules for
   gateways lead.
3. Who claims in From to be one of our users proves it, and then may send anywhere.
4. Who claims to be a user of a domain that we are an edge for reaches the proxy of that domain.
5. Everybody reaches our users, and nobody else.

Requests that follow a route that we recorded were let in when their dialog began.
"""

from dataclasses import dataclass, replace

from natkit.machine import Path
from natkit.sip import AbsoluteUri, Request, SipUri, TelUri
from natkit.sip.kinds import FROM, ROUTE, TO
from natkit.sip.parties import tag_of
from sip_proxy.authentication import Authentication
from sip_proxy.desk import Incoming
from sip_proxy.gateways import Gateways
from sip_proxy.homes import Homes
from sip_proxy.rejection import Rejection
from sip_proxy.routing import with_uri
from sip_proxy.settings import Settings
from sip_proxy.standing import Standing

__all__ = ["Admission", "Admitted"]


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may go on; ``request`` is it without the Routes that led to us.

    ``flow`` is what it is to go on by, where its route says so; ``user`` is who was proved to have
    sent it.  ``is_hop_by_hop``: it is a CANCEL or an ACK that goes where its INVITE went.
    """

    incoming: Incoming
    request: Request
    standing: Standing
    flow: Path | None = None
    user: SipUri | None = None
    is_hop_by_hop: bool = False

    @property
    def method(self) -> str:
        """The method by which its way is found."""
        return "INVITE" if self.is_hop_by_hop else self.request.method

    @property
    def is_within_dialog(self) -> bool:
        """Whether its way was found before: it has a tag in To, and is no ACK to a failure."""
        if self.is_hop_by_hop:
            return False
        return tag_of(self.incoming.request.headers, TO) is not None

    def to(self, uri: SipUri | TelUri | AbsoluteUri) -> "Admitted":
        """The same to another URI."""
        return replace(self, request=with_uri(self.request, uri))


class Admission:
    """Judges what no route of ours brings."""

    def __init__(
        self, settings: Settings, authentication: Authentication, gateways: Gateways
    ) -> None:
        self._settings = settings
        self._authentication = authentication
        self._gateways = gateways
        self._homes = Homes(settings.homes)

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings
        self._homes = Homes(settings.homes)

    def judge(self, path: Path, request: Request) -> Standing | SipUri | Rejection:
        """Where the sender stands, or the user of ours that it is to prove to be.

        ``request`` has none of our own Routes any more.
        """
        if not self._authentication.is_needed(path):
            return Standing.TRUSTED
        if self._gateways.are_at(path.remote):
            return Standing.GATEWAY
        sender = request.headers.get(FROM)
        claimed = None if sender is None else sender.uri
        if isinstance(claimed, SipUri) and self._settings.serves(claimed.host):
            return claimed
        if self._homes.leads_home(request):
            return Standing.VISITOR
        if self._is_for_a_user(request):
            return Standing.STRANGER
        return Rejection(403, "This proxy relays for its own users only")

    def judge_unchallenged(
        self, path: Path, request: Request, unproved: Standing
    ) -> Standing | Rejection:
        """The same of a CANCEL or an ACK, which cannot be challenged (RFC 3261 §22.1).

        Who claims to be one of our users and has no certificate for it stands as ``unproved``.
        """
        verdict = self.judge(path, request)
        if not isinstance(verdict, SipUri):
            return verdict
        if self._authentication.is_proved(path, verdict):
            return Standing.USER
        if unproved is Standing.STRANGER and not self._is_for_a_user(request):
            return Rejection(403)
        return unproved

    def _is_for_a_user(self, request: Request) -> bool:
        uri = request.uri
        if request.headers.has(ROUTE) or not isinstance(uri, SipUri):
            return False
        return self._settings.answers_for(uri)
