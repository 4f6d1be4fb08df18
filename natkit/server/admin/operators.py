"""The listener for operators, opened as ``[admin]`` says, by HTTP or HTTPS."""

import ssl
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from natkit.address import Address
from natkit.aio.tls import server_context
from natkit.errors import ConfigError, MisuseError
from natkit.server.admin.listener import HttpListener
from natkit.server.admin.rules import is_loopback
from natkit.server.log import Logger

__all__ = ["https_context", "open_for_operators", "renew"]

ALPN = ("http/1.1",)

CertificateFiles = tuple[Path, Path]
"""A certificate with those above it, and its key, both PEM."""


def https_context(files: CertificateFiles) -> ssl.SSLContext:
    """What a listener speaks HTTPS with; ConfigError for files of no use."""
    try:
        return server_context(files, alpn=ALPN)
    except MisuseError as error:
        raise ConfigError(str(error)) from error


def renew(context: ssl.SSLContext, files: CertificateFiles, logger: Logger) -> None:
    """Have handshakes that begin from now on use the certificate that is in the files now."""
    try:
        context.load_cert_chain(*files)
    except OSError as error:
        logger.warning("certificate of administration not reloaded", reason=str(error))


async def open_for_operators(
    make: Callable[[], web.Application],
    address: Address,
    context: ssl.SSLContext | None,
    logger: Logger,
) -> HttpListener:
    """Listen; ConfigError where that can't be.  Without a ``context`` it is HTTP."""
    listener = await HttpListener.open(make(), address, context, option="--admin")
    tls = context is not None
    logger.info("administration", address=str(listener.address), tls=tls)
    if not tls and not is_loopback(address):
        logger.warning(
            "administration without TLS",
            to_do="admin.tls = true, or let nobody else listen to that network: "
            "the token crosses it as it is",
        )
    return listener
