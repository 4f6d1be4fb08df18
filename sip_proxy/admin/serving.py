"""The listener for operators of a running proxy."""

import asyncio
import os
import ssl
import time
from pathlib import Path
from typing import Self

from natkit.address import Address
from natkit.errors import ConfigError
from natkit.server.admin.entrance import OPEN_PATHS, SHARED_FILES, SIGN_IN, Entrance
from natkit.server.admin.files import Files
from natkit.server.admin.guard import Access, Guard
from natkit.server.admin.listener import HttpListener
from natkit.server.admin.operators import https_context, open_for_operators, renew
from natkit.server.admin.rules import Rules
from natkit.server.admin.sessions import Sessions
from natkit.server.config.operating import Admin
from natkit.server.log import Logger
from sip_proxy.admin.call_pages import CallPages
from sip_proxy.admin.pages import OperatorPages
from sip_proxy.administration import Administration
from sip_proxy.config import Config
from sip_proxy.watching import Watching

__all__ = ["AdminHttp"]

OWN_FILES = ("sip_proxy.admin", "static")
SESSION_KEY_LENGTH = 32
RENEWAL_INTERVAL = 10.0
"""Seconds between two looks whether a reload brought another certificate."""


class AdminHttp:
    """Made by :meth:`open`."""

    def __init__(
        self,
        config: Config,
        administration: Administration,
        watching: Watching,
        address: Address,
        logger: Logger,
    ) -> None:
        self.address = address
        """Where it listens; the port is the one in use where 0 was asked for."""
        self._config = config
        self._administration = administration
        self._watching = watching
        self._logger = logger
        self._listener: HttpListener | None = None
        self._context: ssl.SSLContext | None = None
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        config: Config,
        administration: Administration,
        watching: Watching,
        address: Address,
        logger: Logger,
    ) -> Self:
        """Listen at ``address``; ConfigError where that can't be."""
        made = cls(config, administration, watching, address, logger)
        await made._start()
        return made

    @property
    def url(self) -> str:
        """Where an operator finds it."""
        return f"{'https' if self._context is not None else 'http'}://{self.address}/"

    async def aclose(self) -> None:
        """Close the listener."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._listener is not None:
            await self._listener.aclose()

    async def _start(self) -> None:
        admin = self._config.admin
        if admin.tls:
            files = self._config.listeners.files()
            if files is None:
                raise ConfigError("admin.tls needs a certificate and its key")
            pair = files.chain, files.key
            self._context = https_context(pair)
            self._watch = asyncio.get_running_loop().create_task(self._follow(self._context, pair))
        pages = self._pages(admin)
        try:
            self._listener = await open_for_operators(
                pages.application, self.address, self._context, self._logger
            )
        except BaseException:
            await self.aclose()
            raise
        self.address = self._listener.address

    def _pages(self, admin: Admin) -> OperatorPages:
        rules = Rules(admin.token, frozenset(admin.hosts), secure=admin.tls)
        sessions = Sessions(os.urandom(SESSION_KEY_LENGTH))
        guard = Guard(rules, Access(OPEN_PATHS, frozenset(), SIGN_IN), sessions, time.time)
        entrance = Entrance(guard, Files(SHARED_FILES, OWN_FILES), time.time)
        calls = CallPages(self._watching, time.time)
        return OperatorPages(self._administration, entrance, calls, time.time)

    async def _follow(self, context: ssl.SSLContext, files: tuple[Path, Path]) -> None:
        """Show the certificate that the phones are shown."""
        known = (await self._administration.status()).certificates
        while True:
            await asyncio.sleep(RENEWAL_INTERVAL)
            now = (await self._administration.status()).certificates
            if now != known:
                known = now
                renew(context, files, self._logger)
