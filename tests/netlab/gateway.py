"""A home network behind a real gateway: miniupnpd, which speaks PCP, NAT-PMP and UPnP IGD."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.netlab.namespaces import Host, Lab
from tests.peering.process import PeerFailed, PeerProcess
from tests.peering.roster import program_path

HOME = "192.168.77.2"
ROUTER = "192.168.77.1"
# miniupnpd does not serve a network whose outside is reserved, documentation's addresses too; this
# one exists in the test's namespaces alone.
OUTSIDE = "11.0.0.1"
STRANGER = "11.0.0.2"

RULES = """
table inet filter {
    chain forward { type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "lan" accept
        jump miniupnpd
    }
    chain miniupnpd { }
    chain prerouting { type nat hook prerouting priority -100; policy accept;
        jump prerouting_miniupnpd
    }
    chain postrouting { type nat hook postrouting priority 100; policy accept;
        jump postrouting_miniupnpd
        oifname "wan" masquerade
    }
    chain prerouting_miniupnpd { }
    chain postrouting_miniupnpd { }
}
"""

CONFIGURATION = """\
ext_ifname=wan
listening_ip=lan
http_port=0
enable_natpmp={natpmp}
enable_upnp={upnp}
secure_mode=yes
system_uptime=no
notify_interval=60
uuid={uuid}
serial=1
model_number=1
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
upnp_table_name=filter
upnp_nat_table_name=filter
lease_file={directory}/leases
min_lifetime=60
max_lifetime=86400
allow 1024-65535 192.168.77.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


class Home:
    """A host behind a router, and a stranger outside; the router's daemon can be restarted."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.host, self.router = lab.host("home"), lab.host("router")
        self.stranger = lab.host("stranger")
        lab.cable((self.host, "eth0", f"{HOME}/24"), (self.router, "lan", f"{ROUTER}/24"))
        lab.cable((self.stranger, "eth0", f"{STRANGER}/24"), (self.router, "wan", f"{OUTSIDE}/24"))
        self.host.configure("route", "add", "default", "via", ROUTER)
        _run(self.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        _run(self.router, "nft", "-f", "-", text=RULES)
        self._directory = directory
        self._daemon: PeerProcess | None = None

    def start(self, *, upnp: bool = True, natpmp: bool = True, extra: str = "") -> None:
        """Start the daemon and wait until it listens; ``extra`` lines are last, and win."""
        self._directory.mkdir(exist_ok=True)
        file = self._directory / "miniupnpd.conf"
        file.write_text(
            CONFIGURATION.format(
                upnp="yes" if upnp else "no",
                natpmp="yes" if natpmp else "no",
                uuid=uuid4(),
                directory=self._directory,
            )
            + extra
        )
        program = program_path("miniupnpd")
        if program is None:
            raise PeerFailed("miniupnpd is not installed")
        pid_file = self._directory / "miniupnpd.pid"
        self._daemon = PeerProcess(
            "miniupnpd",
            [*self.router.prefix, program, "-d", "-f", file, "-P", pid_file],
            self._directory,
        )
        port = "5351" if natpmp else "1900"
        self._daemon.wait_until(lambda: f":{port} " in _run(self.router, "ss", "-uln"))

    def stop(self) -> None:
        """End the daemon."""
        if self._daemon is not None:
            self._daemon.stop()
            self._daemon = None

    def log(self) -> str:
        """What the daemon wrote."""
        return "" if self._daemon is None else self._daemon.log()

    def forget(self) -> None:
        """Lose every mapping, as a router does that was switched off and on."""
        self.stop()
        for chain in ("miniupnpd", "prerouting_miniupnpd", "postrouting_miniupnpd"):
            _run(self.router, "nft", "flush", "chain", "inet", "filter", chain)
        (self._directory / "leases").unlink(missing_ok=True)

    def pinholes(self) -> str:
        """The router's rules for whom to let in."""
        return _run(self.router, "nft", "list", "chain", "inet", "filter", "miniupnpd")

    def rules(self) -> str:
        """The router's rules for mappings."""
        return _run(self.router, "nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd")


def _run(host: Host, program: str, *arguments: str, text: str | None = None) -> str:
    found = program_path(program)
    if found is None:
        raise PeerFailed(f"{program} is not installed")
    done = subprocess.run(
        [*host.prefix, found, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        raise PeerFailed(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def run_on(
    host: Host, command: Sequence[str], limit: float = 60.0, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command on a host, to its end, with ``text`` as its input."""
    return subprocess.run(
        [*host.prefix, *command],
        input=text,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )


@contextmanager
def home(lab: Lab, directory: Path) -> Iterator[Home]:
    """The network, its daemon not yet started."""
    made = Home(lab, directory)
    try:
        yield made
    finally:
        made.stop()
