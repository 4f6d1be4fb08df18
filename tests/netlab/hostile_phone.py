"""Sends hostile messages to a proxy by UDP, TCP and to its WebSocket; then asks it something.

``python -m tests.netlab.hostile_phone HOST PORT WEB-PORT COUNT``
"""

import json
import socket
import sys
from itertools import islice

from tests.fuzz.sip_messages import HostileSip
from tests.fuzz.sip_seeds import SEEDS

SEED = 5118
LARGEST_DATAGRAM = 65_507
PATIENCE = 60
QUESTION = (
    b"OPTIONS sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bK%d;rport\r\n"
    b"Max-Forwards: 70\r\nFrom: <sip:x@example.net>;tag=1\r\nTo: <sip:example.org>\r\n"
    b"Call-ID: question\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


def main() -> None:
    host, port, web_port, count = sys.argv[1], *map(int, sys.argv[2:])
    messages = list(islice(HostileSip(SEED, SEEDS), count))
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        for data in messages:
            sock.sendto(data[:LARGEST_DATAGRAM], (host, port))
    for part in range(0, count, 20):
        for where in (port, web_port):
            send_on_a_stream(host, where, messages[part : part + 20])
    print(json.dumps({"answered": ask(host, port)}), flush=True)


def send_on_a_stream(host: str, port: int, messages: list[bytes]) -> None:
    """Until the other side has had enough."""
    with socket.create_connection((host, port), 10) as stream:
        try:
            for data in messages:
                stream.sendall(data)
        except OSError:
            return


def ask(host: str, port: int) -> str:
    """The first line of its answer; asked again and again, for it may have heard enough of us."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(1.0)
        for number in range(PATIENCE):
            sock.sendto(QUESTION % number, (host, port))
            try:
                return sock.recv(1 << 16).partition(b"\r\n")[0].decode()
            except TimeoutError:
                continue
    return "silence"


if __name__ == "__main__":
    main()
