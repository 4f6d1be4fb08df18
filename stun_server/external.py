"""Addresses behind a one-to-one NAT: what clients are told, and what they mean by it.

The relayed addresses of a server in such a network are bound to a local host, and reached at
another.  Clients learn the latter, and name it when they mean one of these relayed addresses: what
they say is turned into local addresses before anything looks at it, and back when they are told.
"""

from collections.abc import Callable, Sequence

from natkit.address import Address
from natkit.stun.attributes import Attribute, XorPeerAddress, XorRelayedAddress
from natkit.stun.message import Message

__all__ = ["External"]


class External:
    """Translates hosts; ``pairs`` are local ones and what stands for them outside."""

    def __init__(
        self, pairs: Sequence[tuple[str, str]], is_relayed: Callable[[Address], bool]
    ) -> None:
        self._outside = dict(pairs)
        self._inside = {outside: local for local, outside in pairs}
        self._is_relayed = is_relayed

    def __bool__(self) -> bool:
        return bool(self._outside)

    def relayed(self, local: Address) -> Address:
        """What clients know one of our relayed addresses by."""
        return local._replace(host=self._outside.get(local.host, local.host))

    def peer(self, peer: Address) -> Address:
        """What a client knows a peer by that sent it something."""
        if self._outside and self._is_relayed(peer):
            return self.relayed(peer)
        return peer

    def meant(self, message: Message) -> Message:
        """A client's message with the peers that it means."""
        if not self._inside:
            return message
        return message.reading(self._meant)

    def shown(self, attributes: tuple[Attribute, ...]) -> tuple[Attribute, ...]:
        """The attributes of an answer as clients are to see them."""
        if not self._outside:
            return attributes
        return tuple(
            XorRelayedAddress(self.relayed(each.address))
            if isinstance(each, XorRelayedAddress)
            else each
            for each in attributes
        )

    def _meant(self, attribute: Attribute) -> Attribute:
        if isinstance(attribute, XorPeerAddress):
            local = self._inside.get(attribute.address.host)
            if local is not None:
                return XorPeerAddress(attribute.address._replace(host=local))
        return attribute
