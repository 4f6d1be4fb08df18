"""Realms: which of them a request belongs to, and what holds in each.

One server may serve several, each with its own users, policy and limits.  A realm is chosen by the
listener that the client came to, and by the ORIGIN that a browser sends for the page it shows
(draft-johnston-tram-stun-origin); both may be made up of by anybody, and what is chosen decides
only whose password is asked for.
"""

from natkit.machine import Path
from natkit.stun.attributes import Origin
from natkit.stun.attributes import Realm as RealmAttribute
from natkit.stun.message import Message
from stun_server.authentication import Authentication
from stun_server.policy import PeerPolicy
from stun_server.settings import RealmChoice, Settings

__all__ = ["Realm", "Realms"]


class Realm:
    """One realm: whom it lets in, and what its users may do."""

    __slots__ = ("authentication", "name", "policy", "settings")

    def __init__(self, settings: Settings, unix_offset: float) -> None:
        self.name = settings.realm
        self.settings = settings
        self.authentication = Authentication(settings, unix_offset)
        self.policy = PeerPolicy.of(settings)


class Realms:
    """All realms; the first is whose requests belong to no other."""

    def __init__(self, settings: Settings, unix_offset: float) -> None:
        self.default = Realm(settings, unix_offset)
        self._chosen = tuple(
            (choice, Realm(choice.settings, unix_offset)) for choice in settings.realms
        )
        self._by_name = {realm.name: realm for _, realm in self._chosen}

    @property
    def is_one(self) -> bool:
        """Whether every request belongs to the default realm."""
        return not self._chosen

    def named(self, name: str) -> Realm:
        """The realm of an allocation; the default one when there is no such realm any more."""
        return self._by_name.get(name, self.default)

    def of_request(self, request: Message, path: Path) -> Realm:
        """The realm of a request that belongs to no allocation.

        The first whose listeners and origins suit it.  A client that was challenged for a realm
        and sends ORIGIN no more says by REALM which one it was.
        """
        if not self._chosen:
            return self.default
        origins = {each.value for each in request.get_all(Origin)}
        claimed = request.get(RealmAttribute)
        for choice, realm in self._chosen:
            if not _comes_to(choice, path):
                continue
            if not choice.origins or not origins.isdisjoint(choice.origins):
                return realm
            if not origins and claimed is not None and claimed.value == realm.name:
                return realm
        return self.default


def _comes_to(choice: RealmChoice, path: Path) -> bool:
    return not choice.listeners or (path.transport, path.local) in choice.listeners
