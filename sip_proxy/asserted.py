"""Who a caller is, asserted among those who trust each other (RFC 3325), and withheld (RFC 3323).

What somebody we do not trust says of an identity is taken off.  By option the identity of a user
who proved it is put on.  It leaves to somebody that we do not trust unless the caller withholds it.
"""

from dataclasses import replace
from typing import Final

from natkit.errors import MalformedMessage
from natkit.machine import Path
from natkit.sip import Headers, NameAddress, Request, Response
from natkit.sip.headers import Plural
from natkit.sip.kinds import FROM
from sip_proxy.admission import Admitted
from sip_proxy.authentication import Authentication
from sip_proxy.desk import Desk
from sip_proxy.gateways import Gateways
from sip_proxy.routing import with_headers
from sip_proxy.standing import Standing
from sip_proxy.targets import Contact

__all__ = ["Asserted"]

ASSERTED: Final = Plural("P-Asserted-Identity", NameAddress.parse)
"""RFC 3325 §9.1."""

PREFERRED: Final = Plural("P-Preferred-Identity", NameAddress.parse)
"""RFC 3325 §9.2."""

PRIVACY: Final = "Privacy"
"""RFC 3323 §4.2."""

ID: Final = "id"
"""RFC 3325 §9.3."""


class Asserted:
    """Looks after identities at the borders of the domain of trust (RFC 3325 §2.3)."""

    def __init__(self, desk: Desk, authentication: Authentication, gateways: Gateways) -> None:
        self._desk = desk
        self._authentication = authentication
        self._gateways = gateways

    def admitted(self, one: Admitted) -> Admitted:
        """A request as it goes on: without identities that its sender cannot assert (§5)."""
        headers = one.request.headers
        asserts = self._desk.settings.assert_identity and one.standing is Standing.USER
        if not (asserts or headers.has(ASSERTED) or headers.has(PREFERRED)):
            return one
        if self._is_trusted_sender(one.incoming.path):
            return one
        headers = headers.remove(ASSERTED).remove(PREFERRED)
        if asserts and one.user is not None:
            identity = NameAddress(one.user.address_of_record(), _display_name(headers))
            headers = headers.append(ASSERTED, identity)
        return replace(one, request=with_headers(one.request, headers))

    def leaving(self, request: Request, contact: Contact, path: Path) -> Request:
        """A request as it leaves: without an identity that is withheld, to the untrusted (§7)."""
        if not self._is_withheld(request.headers) or self._is_trusted_target(contact, path):
            return request
        return with_headers(request, request.headers.remove(ASSERTED))

    def returning(self, response: Response, contact: Contact, path: Path | None) -> Response:
        """A response without an identity that its sender cannot assert."""
        if not response.headers.has(ASSERTED):
            return response
        if path is not None and self._is_trusted_target(contact, path):
            return response
        headers = response.headers.remove(ASSERTED)
        return Response(response.status, response.reason, headers, response.body, response.version)

    def _is_trusted_sender(self, path: Path) -> bool:
        if not self._authentication.is_needed(path):
            return True
        return self._gateways.are_trusted_at(path.remote)

    def _is_trusted_target(self, contact: Contact, path: Path) -> bool:
        if contact.gateway is not None:
            return self._gateways.state(contact.gateway).gateway.is_trusted
        networks = self._desk.settings.trusted
        return any(path.remote.ip in network for network in networks)

    @staticmethod
    def _is_withheld(headers: Headers) -> bool:
        if not headers.has(ASSERTED):
            return False
        wishes = ";".join([field.text for field in headers.fields(PRIVACY)])
        return ID in {wish.strip().lower() for wish in wishes.split(";")}


def _display_name(headers: Headers) -> str | None:
    try:
        sender = headers.get(FROM)
    except MalformedMessage:
        return None
    return None if sender is None else sender.display_name
