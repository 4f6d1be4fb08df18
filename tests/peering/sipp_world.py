"""A proxy, and the sipps that call each other through it."""

from collections.abc import Callable
from pathlib import Path

from natkit.address import Address
from natkit.machine import Transport
from natkit.sip.digest import Algorithm
from sip_proxy.settings import Settings
from sip_proxy.shell.listening import ListenAddress, open_listeners
from sip_proxy.shell.running import RunningProxy
from sip_proxy.shell.users import Users
from sipdns import Locator
from tests.peering.sipp import Sipp

__all__ = ["CALLS", "DOMAIN", "LOOPBACK", "Served"]

DOMAIN = "example.org"
LOOPBACK = "127.0.0.1"
# sipp 3.6 knows MD5 alone, and looks at the first challenge only.
ALGORITHMS = (Algorithm.MD5,)
CALLS = 20


def _unchanged(settings: Settings) -> Settings:
    return settings


class Served:
    """A proxy on a free port of loopback, and sipps that use it."""

    def __init__(
        self,
        directory: Path,
        *,
        authenticate: bool,
        redirect: bool = False,
        change: Callable[[Settings], Settings] = _unchanged,
    ) -> None:
        bound = open_listeners([ListenAddress.parse(f"{LOOPBACK}:0")])
        self.address = bound[0].listener.address
        self._directory = directory
        self._sipps: list[Sipp] = []
        settings = Settings(
            tuple(each.listener for each in bound),
            frozenset({DOMAIN, LOOPBACK}),
            authenticate=authenticate,
            redirect=redirect,
            algorithms=ALGORITHMS,
        )
        self._proxy = RunningProxy(
            change(settings),
            bound,
            Users.of_passwords({"alice": "secret", "bob": "secret"}, [DOMAIN]),
            Locator(transports=(Transport.UDP, Transport.TCP)),
        )

    async def sipp(
        self,
        name: str,
        scenario: str,
        *options: str,
        port: int,
        transport: Transport = Transport.UDP,
        calls: int = CALLS,
        through: Address | None = None,
    ) -> Sipp:
        """Start one that plays a scenario, with the proxy or ``through`` as its remote."""
        started = await Sipp.start(
            self._directory,
            name,
            Address(LOOPBACK, port),
            through or self.address,
            scenario,
            *("-m", str(calls)),
            *options,
            transport=transport,
        )
        self._sipps.append(started)
        return started

    async def aclose(self) -> None:
        """End all."""
        for each in self._sipps:
            await each.stop()
        await self._proxy.aclose()
