"""The machine's own defaults, which are stated once, in Settings."""

from natkit.address import Address
from natkit.machine import Transport
from sip_proxy.settings import Listener, Settings

__all__ = ["DEFAULT"]

DEFAULT = Settings((Listener(Transport.UDP, Address("127.0.0.1", 5060)),))
