"""The servers of the lab's internet, each with two addresses: ours, and coturn."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.netlab.coturn import start_coturn
from tests.netlab.namespaces import Lab
from tests.netlab.nat64 import DOMAIN, PREFIX
from tests.netlab.nats import (
    ALTERNATE,
    ALTERNATE_IPV6,
    COTURN,
    PRIMARY,
    PRIMARY_IPV6,
    Behind,
    Internet,
    Kind,
)
from tests.stun_server.process import PASSWORD, USER, stun_server

_CONFIG: Final = f"""
[listeners]
listen = ["{PRIMARY}:3478", "[{PRIMARY_IPV6}]:3478"]
alternate = {{ "{PRIMARY}:3478" = "{ALTERNATE}:3479", \
"[{PRIMARY_IPV6}]:3478" = "[{ALTERNATE_IPV6}]:3479" }}
"""


class Server(StrEnum):
    """Whom to ask, on port 3478."""

    OURS = "stun-server"
    COTURN = "coturn"

    @property
    def ipv4(self) -> str:
        """Its first address."""
        return PRIMARY if self is Server.OURS else COTURN[0]

    def address(self, behind: Behind) -> str:
        """Where a host behind that reaches it."""
        match behind.kind:
            case Kind.FIREWALL_IPV6:
                return PRIMARY_IPV6 if self is Server.OURS else COTURN[2]
            case Kind.NAT64:
                return PREFIX + self.ipv4
            case _:
                return self.ipv4

    def flags(self, behind: Behind) -> tuple[str, ...]:
        """How to name it to ``natkit``; a NAT64's DNS knows it by its name."""
        if behind.kind is Kind.NAT64:
            name = "stun" if self is Server.OURS else "coturn"
            return (f"{name}.{DOMAIN}", "--resolver", behind.gateway_ipv6)
        address = self.address(behind)
        return (f"[{address}]:3478" if ":" in address else f"{address}:3478",)


def ice_servers(behind: Behind) -> tuple[str, ...]:
    """Our server's URIs for an ICE agent there: STUN, and TURN over UDP and TCP."""
    address = Server.OURS.address(behind)
    host = f"[{address}]" if ":" in address else address
    return (f"stun:{host}", f"turn:{host}", f"turn:{host}?transport=tcp")


@contextmanager
def serving(lab: Lab) -> Iterator[Internet]:
    """An internet with both of them, which are there until the end."""
    with TemporaryDirectory(prefix="natkit-lab-") as name:
        directory = Path(name)
        config = directory / "config.toml"
        config.write_text(_CONFIG)
        net = Internet(lab)
        start_coturn(lab, net.servers, *COTURN)
        listen = ("--listen", f"{PRIMARY}:3478", "--listen", f"[{PRIMARY_IPV6}]:3478")
        # The lab's addresses are reserved ones, which a relay refuses unless it is told otherwise.
        relay = (
            "--user",
            f"{USER}:{PASSWORD}",
            "--allow-peer",
            "0.0.0.0/0",
            "--allow-peer",
            "::/0",
        )
        arguments = ("--config", str(config), *listen, *relay)
        with stun_server(directory, *arguments, prefix=net.servers.prefix):
            yield net
