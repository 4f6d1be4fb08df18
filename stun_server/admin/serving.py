"""The administrative listeners of a running server, opened and closed together."""

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from natkit.address import Address
from natkit.errors import ConfigError, UnreachableError
from natkit.server.admin.entrance import OPEN_PATHS, SHARED_FILES, SIGN_IN
from natkit.server.admin.files import Files
from natkit.server.admin.guard import Access, Guard
from natkit.server.admin.listener import HttpListener
from natkit.server.admin.operators import https_context, open_for_operators, renew
from natkit.server.admin.rules import Rules
from natkit.server.admin.sessions import Sessions
from natkit.server.log import Logger
from stun_server.admin import credentials
from stun_server.admin.connectivity import ConnectivityTest
from stun_server.admin.credentials import CredentialEndpoint
from stun_server.admin.history import INTERVAL, History, Sample
from stun_server.admin.issuing import Issuer, uris_of
from stun_server.admin.pages import OperatorPages, public_application
from stun_server.administration import Administration, CertificateStatus
from stun_server.config import Config
from stun_server.shell.users import Signing

__all__ = ["AdminHttp"]

SESSION_KEY_LENGTH = 32


@dataclass(frozen=True, slots=True)
class _Parts:
    """What both listeners' applications are made of."""

    config: Config
    administration: Administration
    issuer: Issuer
    files: Files
    sessions: Sessions
    test: ConnectivityTest

    @classmethod
    def of(
        cls, config: Config, administration: Administration, signing: Callable[[], Signing]
    ) -> "_Parts":
        issuer = Issuer(signing, time.time)

        async def uris() -> Sequence[str]:
            return config.credentials.uris or uris_of(await administration.status())

        return cls(
            config,
            administration,
            issuer,
            Files(SHARED_FILES, ("stun_server.admin", "static")),
            Sessions(os.urandom(SESSION_KEY_LENGTH)),
            ConnectivityTest(issuer, uris),
        )

    def guard(self, token: str | None, names: frozenset[str] | None, access: Access) -> Guard:
        rules = Rules(token, names, secure=self.config.admin.tls)
        return Guard(rules, access, self.sessions, time.time)

    def credentials(self, names: frozenset[str] | None) -> CredentialEndpoint | None:
        table = self.config.credentials
        if table.token is None:
            return None
        return CredentialEndpoint(
            self.guard(table.token, names, Access()),
            self.issuer,
            table.lifetime,
            frozenset(table.origins),
            self.test.uris,
        )


class AdminHttp:
    """Made by :meth:`open`; ``operators`` and ``public`` are where it listens."""

    def __init__(self, parts: _Parts, logger: Logger) -> None:
        self.operators: Address | None = None
        self.public: Address | None = None
        self._parts = parts
        self._logger = logger
        self._history = History()
        self._listeners: list[HttpListener] = []
        self._context: ssl.SSLContext | None = None
        self._certificates: tuple[CertificateStatus, ...] = ()
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        config: Config,
        administration: Administration,
        signing: Callable[[], Signing],
        logger: Logger,
    ) -> Self:
        """Listen where the configuration says, if it does; ConfigError where that can't be.

        ``signing`` tells what time-limited credentials are made with at that moment.
        """
        made = cls(_Parts.of(config, administration, signing), logger)
        try:
            await made._start()
        except BaseException:
            await made.aclose()
            raise
        return made

    @property
    def url(self) -> str | None:
        """Where an operator finds the status page."""
        if self.operators is None:
            return None
        return f"{'https' if self._context is not None else 'http'}://{self.operators}/"

    async def aclose(self) -> None:
        """Close the listeners."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for listener in self._listeners:
            await listener.aclose()

    async def _start(self) -> None:
        admin = self._parts.config.admin
        if admin.listen is None and admin.public is None:
            return
        status = await self._parts.administration.status()
        self._certificates = status.certificates
        if admin.tls:
            self._context = https_context(self._files())
        if admin.listen is not None:
            self.operators = await self._open_for_operators(admin.listen)
            self._watch = asyncio.get_running_loop().create_task(self._keep_watching())
        if admin.public is not None:
            self.public = await self._open_for_everybody(admin.public)

    async def _open_for_operators(self, address: Address) -> Address:
        parts, admin = self._parts, self._parts.config.admin
        names = frozenset(admin.hosts)
        access = Access(OPEN_PATHS, frozenset({credentials.PATH}), SIGN_IN)
        pages = OperatorPages(
            parts.administration,
            parts.guard(admin.token, names, access),
            parts.files,
            self._history,
            parts.test,
            time.time,
        )
        listener = await open_for_operators(
            lambda: pages.application(parts.credentials(names)),
            address,
            self._context,
            self._logger,
        )
        self._listeners.append(listener)
        return listener.address

    async def _open_for_everybody(self, address: Address) -> Address:
        parts = self._parts
        # Nothing here is for some alone, so it is all the same by which name they come.
        access = Access(own=frozenset({credentials.PATH}))
        application = public_application(
            parts.guard(None, None, access), parts.files, parts.test, parts.credentials(None)
        )
        listener = await HttpListener.open(
            application, address, self._context, option="admin.public"
        )
        self._listeners.append(listener)
        self._logger.info("connectivity test", address=str(listener.address))
        return listener.address

    async def _keep_watching(self) -> None:
        """Sample the server for its charts, and follow it to a new certificate."""
        while True:
            # There is nothing to see while no worker serves.
            with contextlib.suppress(UnreachableError):
                await self._look()
            await asyncio.sleep(INTERVAL)

    async def _look(self) -> None:
        status = await self._parts.administration.status()
        self._history.add(Sample.of(status, time.time()))
        if status.certificates != self._certificates and self._context is not None:
            self._certificates = status.certificates
            renew(self._context, self._files(), self._logger)

    def _files(self) -> tuple[Path, Path]:
        listeners = self._parts.config.listeners
        if listeners.certificate is None or listeners.key is None:
            raise ConfigError("admin.tls needs a certificate and its key (--certificate, --key)")
        return listeners.certificate, listeners.key
