"""The proxy over HTTP, loaded only where there is one: what serves pages is much to load."""

from typing import TYPE_CHECKING

from natkit.server.log import Logger
from sip_proxy.administration import Administration
from sip_proxy.config import Config
from sip_proxy.watching import Watching

if TYPE_CHECKING:
    from sip_proxy.admin.serving import AdminHttp

__all__ = ["open_pages"]


async def open_pages(
    config: Config, administration: Administration, watching: Watching, logger: Logger
) -> "AdminHttp | None":
    """Listen where the configuration says, None if nowhere; ConfigError where that can't be."""
    address = config.admin.listen
    if address is None:
        return None
    from sip_proxy.admin.serving import AdminHttp  # noqa: PLC0415

    return await AdminHttp.open(config, administration, watching, address, logger)
