"""The reference page of the configuration, made from its model.

``python -m sip_proxy.reference > docs/reference/sip-proxy.md`` writes it anew.
"""

import sys

from natkit.server.config.reference import Reference
from sip_proxy.config import Config

__all__ = ["page"]


def page() -> str:
    """The whole page, in Markdown."""
    return Reference("sip-proxy", "sip_proxy.reference", Config).page()


if __name__ == "__main__":
    sys.stdout.write(page())
