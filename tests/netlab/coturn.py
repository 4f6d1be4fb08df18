"""coturn in the lab's internet: a TURN server, and a STUN server of two addresses (RFC 5780)."""

import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from tests.netlab.namespaces import Host, Lab, run
from tests.peering.process import PeerFailed, PeerProcess
from tests.peering.roster import program_path

USERNAME: Final = "alice"
PASSWORD: Final = "correct horse battery"
REALM: Final = "example.org"


def start_coturn(lab: Lab, host: Host, *addresses: str) -> None:
    """Run it on this host until the lab's end, on ports 3478 and 3479 of each of its addresses."""
    program = program_path("turnserver")
    if program is None:
        raise PeerFailed("turnserver is not installed")
    directory = Path(mkdtemp(prefix="natkit-coturn-"))
    lab.at_the_end(lambda: shutil.rmtree(directory))
    process = PeerProcess(
        "coturn",
        [
            *host.prefix,
            *(program, "-n", "--no-tls", "--no-dtls", "--no-cli", "--lt-cred-mech"),
            *(f"--listening-ip={address}" for address in addresses),
            *("--listening-port=3478", "--alt-listening-port=3479"),
            *(f"--user={USERNAME}:{PASSWORD}", f"--realm={REALM}"),
            *("--log-file=stdout", "--simple-log"),
            f"--pidfile={directory / 'turnserver.pid'}",
            f"--userdb={directory / 'turndb'}",
        ],
        directory,
    )
    lab.at_the_end(process.stop)
    wanted = [
        f"{f'[{address}]' if ':' in address else address}:{port}"
        for address in addresses
        for port in (3478, 3479)
    ]

    def listens() -> bool:
        sockets = run(host, "ss", "-ulnH").split()
        return all(each in sockets for each in wanted)

    process.wait_until(listens)
