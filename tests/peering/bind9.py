"""BIND 9's named on loopback, authoritative for the zones of a test."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from natkit.address import Address
from tests.peering.ports import free_port
from tests.peering.process import PeerFailed, PeerProcess
from tests.peering.roster import program_path

HOST = "127.0.0.1"
PROBE_TIMEOUT = 0.5
APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
APEX = """\
$TTL 60
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 127.0.0.1
"""
"""Put before the text of a zone that has no SOA."""


def start(
    directory: Path,
    zones: Mapping[str, str],
    options: str = "",
    statements: str = "",
    served: Sequence[str] = (),
) -> tuple[Address, PeerProcess]:
    """Start named with ``zones`` and wait until it has answered for each over UDP and TCP.

    ``statements`` stand beside the options: ``tls`` and ``http``, for example; ``@PORT@`` in both
    is the port.  ``served`` are zones that they bring along, to be waited for like the others.
    """
    address = Address(HOST, free_port(HOST))
    process = PeerProcess(
        "named",
        [
            executable(directory),
            *("-g", "-n", "1", "-c"),
            _write(directory, address, zones, options, statements),
        ],
        directory,
    )

    def answers() -> bool:
        if "not loaded due to errors" in process.log():
            raise PeerFailed(f"named refuses a zone:\n{process.log()}")
        return all(_answers(address, zone) for zone in (*zones, *served))

    try:
        process.wait_until(answers)
    except BaseException:
        process.stop()
        raise
    return address, process


def executable(directory: Path) -> Path:
    """Where to start named from.

    Debian's AppArmor profile goes by the path /usr/sbin/named and keeps it out of the directories
    of tests, so where AppArmor is on a copy is started.
    """
    found = program_path("named")
    if found is None:
        raise PeerFailed("named is not installed")
    if APPARMOR.exists() and APPARMOR.read_text().strip() == "Y":
        return Path(shutil.copy(found, directory / "named"))
    return Path(found)


def _write(
    directory: Path, address: Address, zones: Mapping[str, str], options: str, statements: str
) -> Path:
    blocks = [
        "controls {};",
        "options {",
        f'  directory "{directory}";',
        f"  listen-on port {address.port} {{ {address.host}; }};",
        "  listen-on-v6 { none; };",
        "  pid-file none;",
        "  session-keyfile none;",
        "  recursion no;",
        "  notify no;",
        "  dnssec-validation no;",
        "  empty-zones-enable no;",
        "  allow-transfer { any; };",
        options.replace("@PORT@", str(address.port)),
        "};",
        statements.replace("@PORT@", str(address.port)),
    ]
    for number, (zone, text) in enumerate(zones.items()):
        file = directory / f"zone{number}.db"
        file.write_text(text if " SOA " in text else APEX + text)
        blocks.append(f'zone "{zone}" {{ type primary; file "{file}"; }};')
    configuration = directory / "named.conf"
    configuration.write_text("\n".join(blocks) + "\n")
    return configuration


def _answers(address: Address, zone: str) -> bool:
    query = dns.message.make_query(zone, dns.rdatatype.SOA)
    try:
        for ask in (dns.query.udp, dns.query.tcp):
            answer = ask(query, address.host, PROBE_TIMEOUT, address.port)
            if answer.rcode() != dns.rcode.NOERROR or not answer.answer:
                return False
    except (OSError, EOFError, dns.exception.DNSException):
        return False
    return True
