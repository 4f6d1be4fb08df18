"""The reference page of the configuration, made from its model.

``python -m stun_server.reference > docs/reference/stun-server.md`` writes it anew.
"""

import sys

from natkit.server.config.reference import Reference
from natkit.stun.registry import PasswordAlgorithmNumber
from stun_server.config import Config
from stun_server.settings import PortRange

__all__ = ["page"]

_ALGORITHMS = {PasswordAlgorithmNumber.SHA_256: "sha-256", PasswordAlgorithmNumber.MD5: "md5"}


def page() -> str:
    """The whole page, in Markdown."""
    return Reference("stun-server", "stun_server.reference", Config, _spelled).page()


def _spelled(value: object) -> str | None:
    match value:
        case PasswordAlgorithmNumber():
            return _ALGORITHMS[value]
        case PortRange(first, last):
            return f"{first}-{last}"
        case _:
            return None


if __name__ == "__main__":
    sys.stdout.write(page())
