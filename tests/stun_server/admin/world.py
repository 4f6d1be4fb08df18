"""An administration that says what the test says, and a browser or program that asks."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import cast

import structlog
from aiohttp import ClientResponse, ClientSession, DummyCookieJar, TCPConnector

from natkit.address import Address
from natkit.errors import UnreachableError
from natkit.machine import Transport
from natkit.server.reports import Drain, Reload
from stun_server.admin.serving import AdminHttp
from stun_server.administration import Phase, Session, Status, Traffic
from stun_server.config import Config
from stun_server.shell.users import Signing
from tests.peering.ports import free_port
from tests.stun_server.test_administration import FIRST

TOKEN = "0123456789abcdef0123"
API_TOKEN = "fedcba98765432100000"
SECRET = "the secret of the credentials"
ANYWHERE = "127.0.0.1:?"
"""A free port."""
SESSION = Session(
    id="0-1",
    user="ann",
    realm="example.org",
    client="198.51.100.9:4000",
    transport=Transport.UDP,
    relayed=("192.0.2.1:50000",),
    since=1000.0,
    expires=1600.0,
    permissions=1,
    channels=1,
    traffic=Traffic(1, 2, 3, 4),
)


@dataclass
class Told:
    """An Administration that keeps what it was told."""

    now: Status = FIRST
    live: list[Session] = field(default_factory=lambda: [SESSION])
    drained: list[float | None] = field(default_factory=list)
    reloaded: int = 0
    is_gone: bool = False

    async def status(self) -> Status:
        if self.is_gone:
            raise UnreachableError("no worker serves at the moment")
        return self.now

    async def sessions(self, limit: int) -> tuple[Session, ...]:
        return tuple(self.live[:limit])

    async def disconnect(self, session: str) -> bool:
        before = len(self.live)
        self.live = [each for each in self.live if each.id != session]
        return len(self.live) < before

    async def drain(self, limit: float | None = None) -> Drain:
        self.drained.append(limit)
        self.now = replace(self.now, phase=Phase.DRAINING, drain=Drain(1.0, 2.0, 1))
        return Drain(1.0, 2.0, 1)

    async def reload(self) -> Reload:
        self.reloaded += 1
        return Reload(changed=("limits.allocations",))


@dataclass
class Asked:
    """The listener under test; each request is a new connection without cookies."""

    administration: Told
    http: AdminHttp
    session: ClientSession
    secrets: list[str]

    def address(self, *, public: bool = False) -> Address:
        address = self.http.public if public else self.http.operators
        assert address is not None
        return address

    async def get(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        public: bool = False,
        **named: str,
    ) -> tuple[ClientResponse, str]:
        return await self.send("GET", path, None, headers, public=public, **named)

    async def post(
        self,
        path: str,
        content: Mapping[str, object],
        headers: Mapping[str, str] | None = None,
        *,
        public: bool = False,
        **named: str,
    ) -> tuple[ClientResponse, str]:
        return await self.send("POST", path, content, headers, public=public, **named)

    async def send(
        self,
        method: str,
        path: str,
        content: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        public: bool = False,
        **named: str,
    ) -> tuple[ClientResponse, str]:
        """Ask; headers by a mapping, and by name with underscores for the dashes."""
        every = dict(headers or {}) | {name.replace("_", "-"): text for name, text in named.items()}
        url = f"http://{self.address(public=public)}{path}"
        async with self.session.request(
            method, url, json=content, headers=every, allow_redirects=False
        ) as answer:
            return answer, await answer.text()

    async def json(self, path: str) -> Mapping[str, object]:
        answer, _ = await self.get(path)
        assert answer.status == 200
        return cast("Mapping[str, object]", await answer.json())


@asynccontextmanager
async def asking(**tables: Mapping[str, object]) -> AsyncIterator[Asked]:
    """Listeners of a configuration's tables; without any, one on loopback."""
    admin = dict(tables.get("admin", {"listen": ANYWHERE}))
    for key, value in admin.items():
        if str(value).endswith(":?"):
            admin[key] = f"{str(value)[:-1]}{free_port('127.0.0.1')}"
    config = Config.model_validate({**tables, "admin": admin})
    told, secrets = Told(), [SECRET]
    http = await AdminHttp.open(
        config,
        told,
        lambda: Signing(secrets, config.users.secret_digest),
        structlog.get_logger(),
    )
    try:
        connector = TCPConnector(force_close=True)
        async with ClientSession(connector=connector, cookie_jar=DummyCookieJar()) as session:
            yield Asked(told, http, session, secrets)
    finally:
        await http.aclose()
