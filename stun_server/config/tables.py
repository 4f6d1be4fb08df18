"""What all tables of the configuration have in common."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from stun_server.settings import Settings

__all__ = ["DEFAULT", "Table"]

# The machine's own defaults, which are stated once, in Settings.
DEFAULT = Settings(realm="natkit", nonce_key=bytes(32), listeners=())


class Table(BaseModel):
    """A table; keys that it does not know are refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
    )
