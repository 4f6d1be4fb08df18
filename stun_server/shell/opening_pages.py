"""The server over HTTP, loaded only where there is one: what serves pages is much to load."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from natkit.server.log import Logger
from stun_server.administration import Administration
from stun_server.config import Config
from stun_server.shell.users import Signing

if TYPE_CHECKING:
    from stun_server.admin.serving import AdminHttp

__all__ = ["open_pages"]


async def open_pages(
    config: Config, administration: Administration, signing: Callable[[], Signing], logger: Logger
) -> "AdminHttp | None":
    """Listen where the configuration says, None if nowhere; ConfigError where that can't be.

    ``signing`` tells what time-limited credentials are made with at that moment.
    """
    if config.admin.listen is None and config.admin.public is None:
        return None
    from stun_server.admin.serving import AdminHttp  # noqa: PLC0415

    return await AdminHttp.open(config, administration, signing, logger)
