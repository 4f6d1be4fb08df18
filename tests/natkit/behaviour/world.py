"""A host behind something, and a STUN server of two addresses: ours, or one that lies."""

from dataclasses import replace
from typing import Final, TypeVar

from natkit.address import Address
from natkit.behaviour.asking import ScriptEnded, Scripts, ScriptsEvent
from natkit.behaviour.steps import Script
from natkit.machine import Path, Transport
from natkit.stun.framing import StunFraming
from natkit.stun.transaction import Timing
from stun_server.events import ServerEvent
from stun_server.service import Server, ServerResult
from stun_server.settings import Settings
from tests.simnet import Conditions, NatBehaviour, Network, Router, Shell

PRIMARY: Final = Address("203.0.113.10", 3478)
OTHER: Final = Address("203.0.113.11", 3479)
FOUR: Final = tuple(
    Address(host, port) for host in (PRIMARY.host, OTHER.host) for port in (3478, 3479)
)
OUTSIDE: Final = "198.51.100.7"
INSIDE: Final = "192.168.1.2"
SECOND: Final = "192.168.1.3"
"""Another address of the host, where it is behind a NAT."""
# A dead question costs a minute of virtual time; ten packets get through any loss that is tried.
PATIENT: Final = Timing(rto=0.25, request_count=10, last_wait=4)

T = TypeVar("T")


def others() -> tuple[tuple[Transport, Address, Address], ...]:
    """Each of the four listeners with the one that differs in both."""
    hosts, ports = {PRIMARY.host, OTHER.host}, {3478, 3479}
    return tuple(
        (
            transport,
            here,
            Address((hosts - {here.host}).pop(), (ports - {here.port}).pop()),
        )
        for transport in (Transport.UDP, Transport.TCP)
        for here in FOUR
    )


SETTINGS: Final = Settings(
    realm="example.org",
    nonce_key=bytes(32),
    listeners=FOUR,
    others=others(),
    packets_per_source=100_000,
)


class World:
    """The host, its NAT, and the server."""

    def __init__(
        self,
        behaviour: NatBehaviour | None,
        *,
        seed: int = 1,
        loss: float = 0.0,
        settings: Settings = SETTINGS,
        firewalled: bool = False,
        carrier: NatBehaviour | None = None,
        pool: tuple[str, ...] = (),
    ) -> None:
        self.network = Network(seed)
        self.behind: Router | None = None
        if carrier is not None:
            self.behind = self.network.nat("carrier", OUTSIDE, behaviour=carrier)
        if behaviour is not None:
            home = (OUTSIDE,) if carrier is None else ("100.64.0.9",)
            self.behind = self.network.nat(
                "home", *(pool or home), behaviour=behaviour, behind=self.behind
            )
        elif firewalled:
            self.behind = self.network.firewall("firewall")
        address = INSIDE if behaviour is not None else OUTSIDE
        link = Conditions(loss=loss, delay=0.02)
        addresses = (address, SECOND) if behaviour is not None else (address,)
        host = self.network.host("host", *addresses, behind=self.behind, link=link)
        self.local = address
        self.machine: Scripts[object] = Scripts(
            random=self.network.random_bytes("scripts"), timing=PATIENT
        )
        self.shell: Shell[ScriptsEvent[object], Address | Path] = Shell(
            host, self.machine, framing=StunFraming
        )
        server = self.network.host("server", PRIMARY.host, OTHER.host)
        self.server: Shell[ServerEvent, ServerResult] = Shell(
            server,
            Server(settings, random=self.network.random_bytes("server"), unix_offset=0.0),
            framing=StunFraming,
        )
        for listener in settings.listeners:
            self.server.bind(listener)
            self.server.listen(listener)

    def find(self, script: Script[T], limit: float = 10_000.0) -> T:
        """Run one test to its end."""
        self.shell.call(lambda now: self.machine.start("test", script, now))
        self.network.run_until(lambda: bool(self._ended()), limit)
        (ended,) = self.shell.take(ScriptEnded)
        assert self.shell.host.sockets == ()
        assert self.shell.paths == ()
        finding: T = ended.finding
        return finding

    def _ended(self) -> list[object]:
        return [event for event in self.shell.events if isinstance(event, ScriptEnded)]


def lying(**changes: object) -> Settings:
    """The same server with other settings."""
    return replace(SETTINGS, **changes)  # type: ignore[arg-type]
