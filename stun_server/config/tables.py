"""The machine's own defaults, which are stated once, in Settings."""

from stun_server.settings import Settings

__all__ = ["DEFAULT"]

DEFAULT = Settings(realm="natkit", nonce_key=bytes(32), listeners=())
