"""Has senders prove who they are: challenges, credentials, and what wrong ones lead to.

A nonce is good for the address that it was sent to.  So whoever answers it right is no forged
source, and whoever answers it wrong is not somebody else's (:mod:`sip_proxy.guesses`); credentials
with another nonce cost no look-up.
"""

from collections.abc import Callable, Mapping
from typing import Final

from natkit.machine import Failure, Transport
from natkit.sip import SipUri
from natkit.sip.digest import Credentials
from sip_proxy.authentication import Authentication, Role
from sip_proxy.desk import Desk, Incoming, stateless_response
from sip_proxy.events import FindCredential, GuessesStopped, ProxyResult
from sip_proxy.guesses import Guesses
from sip_proxy.rejection import Rejection
from sip_proxy.sources import Sources
from sip_proxy.unavailable import unavailable

__all__ = ["Prover"]

Then = Callable[[float], None]

_FORBIDDEN: Final = 403


class Prover:
    """Challenges requests, and lets go on what brings the right credentials."""

    def __init__(
        self, desk: Desk, authentication: Authentication, sources: Sources, guesses: Guesses
    ) -> None:
        self._desk = desk
        self._authentication = authentication
        self._sources = sources
        self._guesses = guesses

    def require(
        self, incoming: Incoming, claimed: SipUri, role: Role, then: Then, now: float
    ) -> None:
        """Go on by ``then`` once the request is proved to be of the user ``claimed``.

        MalformedMessage when its credentials cannot be read.
        """
        authentication = self._authentication
        if authentication.is_proved(incoming.path, claimed):
            self._sources.has_proven_itself(incoming.path, incoming.size, now)
            then(now)
            return
        realm = claimed.host.lower()
        credentials = authentication.credentials_of(incoming.request, realm, role)
        if credentials is None or not authentication.asked(credentials, incoming.path):
            self._challenge(incoming, realm, role, now, stale=credentials is not None)
            return
        if not authentication.protects_enough(credentials):
            self._challenge(incoming, realm, role, now)
            return
        host = incoming.path.remote.packed
        if self._guesses.wait(host, credentials.username, now) > 0:
            fault = Rejection(_FORBIDDEN, "Too many wrong passwords; wait")
            self._desk.refuse(incoming, fault, now)
            return
        found = credentials

        def judge(secrets: ProxyResult | Failure, at: float) -> None:
            self._judge(incoming, found, secrets, claimed, role, then, at)

        self._desk.ask(lambda number: FindCredential(number, found.username, realm), judge, now)

    def _judge(
        self,
        incoming: Incoming,
        credentials: Credentials,
        secrets: ProxyResult | Failure,
        claimed: SipUri,
        role: Role,
        then: Then,
        now: float,
    ) -> None:
        if isinstance(secrets, Failure):
            fault = unavailable("The store of users", secrets, self._desk.random)
            self._desk.reject(incoming, fault.status, now, reason=fault.reason, fields=fault.fields)
            return
        assert isinstance(secrets, Mapping)  # noqa: S101 - the contract of FindCredential
        path, username, realm = incoming.path, credentials.username, credentials.realm
        authentication = self._authentication
        if not authentication.proves(incoming.request, credentials, secrets):
            if self._guesses.was_wrong(path.remote.packed, username, now):
                wait = self._guesses.wait(path.remote.packed, username, now)
                self._desk.events.append(GuessesStopped(path, username, wait))
            self._challenge(incoming, realm, role, now)
        elif not authentication.is_fresh(credentials, path, now):
            self._challenge(incoming, realm, role, now, stale=True)
        else:
            self._guesses.was_right(path.remote.packed, username, now)
            self._sources.has_proven_itself(path, incoming.size, now)
            if username == claimed.user_text:
                then(now)
            else:
                reason = "These credentials are another user's"
                self._desk.reject(incoming, _FORBIDDEN, now, reason=reason)

    def _challenge(
        self, incoming: Incoming, realm: str, role: Role, now: float, *, stale: bool = False
    ) -> None:
        path = incoming.path
        asked = self._authentication.challenge(realm, role, path, now, stale=stale)
        if path.transport is Transport.UDP:
            sent = len(bytes(stateless_response(incoming, asked)))
            if not self._sources.may_challenge(path, incoming.size, sent, now):
                self._desk.transactions.abandon(incoming.transaction)
                return
        self._desk.refuse(incoming, asked, now)
