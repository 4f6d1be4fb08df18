"""Kamailio on loopback: a SIP server that answers OPTIONS over UDP, TCP, TLS, WS and WSS.

It answers the keep-alives of each as well: STUN, double CRLF, WebSocket pings.
"""

import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from natkit.address import Address
from tests.certificates import Issued
from tests.peering.ports import free_port
from tests.peering.process import PeerFailed, PeerProcess
from tests.peering.roster import program_path

MEMORY = 32
"""Megabytes of shared memory; the default is twice that."""

SETTINGS = """\
#!KAMAILIO
debug=2
log_stderror=yes
fork=yes
children=1
tcp_children=1
disable_core_dump=yes
dns=no
rev_dns=no
auto_aliases=no
tcp_accept_no_cl=yes
enable_tls=yes
listen=udp:{host}:{port}
listen=tcp:{host}:{port}
listen=tls:{host}:{tls_port}
{others}

loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "xhttp.so"
loadmodule "websocket.so"
loadmodule "stun.so"
loadmodule "tls.so"
modparam("tls", "certificate", "{certificate}")
modparam("tls", "private_key", "{key}")
modparam("tls", "tls_method", "TLSv1.2+")
"""

ANSWERING = """
request_route {
    if (is_method("OPTIONS")) {
        append_to_reply("Allow: INVITE, ACK, CANCEL, OPTIONS, BYE\\r\\nSupported: path\\r\\n");
        sl_send_reply("@STATUS@", "@REASON@");
        exit;
    }
    sl_send_reply("501", "Not Implemented");
}
"""
"""What is done with requests, unless a test has a script of its own."""

WEBSOCKETS = """
event_route[xhttp:request] {
    if ($hdr(Upgrade) =~ "websocket" && ws_handle_handshake()) {
        exit;
    }
    xhttp_reply("404", "Not Found", "", "");
}
"""


@dataclass(frozen=True, slots=True)
class Kamailio:
    """A running Kamailio: ``plain`` for UDP, TCP and WS, ``secure`` for TLS and WSS."""

    plain: Address
    secure: Address
    process: PeerProcess

    def log(self) -> str:
        """What it wrote so far."""
        return self.process.log()


def start(
    directory: Path,
    certificate: Issued,
    *,
    status: int = 200,
    reason: str = "Alive",
    script: str = ANSWERING,
    host: str = "127.0.0.1",
    port: int | None = None,
    also: int | None = None,
    prefix: Sequence[str] = (),
) -> Kamailio:
    """Start one that answers OPTIONS with ``status``, and wait until it does.

    ``script`` is what it does with requests, OPTIONS to itself among them.
    ``port`` and ``also`` are for UDP; ``prefix`` runs it elsewhere, as a namespace's does.
    """
    program = program_path("kamailio")
    if program is None:
        raise PeerFailed("kamailio is not installed")
    # Elsewhere every port is free.
    port = port or free_port(host)
    tls_port = port + 1 if prefix else free_port(host)
    shown = f"[{host}]" if ":" in host else host
    configuration = directory / "kamailio.cfg"
    answering = script.replace("@STATUS@", str(status)).replace("@REASON@", reason)
    settings = SETTINGS.format(
        host=shown,
        port=port,
        tls_port=tls_port,
        others="" if also is None else f"listen=udp:{shown}:{also}",
        certificate=certificate.chain,
        key=certificate.key,
    )
    configuration.write_text(settings + answering + WEBSOCKETS)
    process = PeerProcess(
        "kamailio",
        [*prefix, program, "-f", configuration, "-DD", "-E", "-m", str(MEMORY), "-Y", directory],
        directory,
    )
    server = Kamailio(Address(host, port), Address(host, tls_port), process)
    try:
        process.wait_until(
            lambda: _is_bound(server.plain, prefix) if prefix else _answers(server.plain)
        )
    except BaseException:
        process.stop()
        raise
    return server


def _is_bound(address: Address, prefix: Sequence[str]) -> bool:
    """Whether it will answer there: what comes from now on waits for it."""
    listed = subprocess.run(
        [*prefix, "ss", "-Hlun"], capture_output=True, text=True, timeout=30, check=True
    )
    return f"{address} " in listed.stdout


def _answers(address: Address) -> bool:
    """Whether OPTIONS gets a response over UDP."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        try:
            sock.connect((address.host, address.port))
            own = Address(*sock.getsockname()[:2])
            sock.send(
                f"OPTIONS sip:{address} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKready\r\n"
                "From: <sip:ready@invalid.invalid>;tag=1\r\nTo: <sip:invalid.invalid>\r\n"
                "Call-ID: ready\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n".encode()
            )
            return sock.recv(2000).startswith(b"SIP/2.0 ")
        except OSError:
            return False
