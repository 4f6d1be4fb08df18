"""``sipdns check`` where parent and child are served by BIND 9, well and not so well.

One named listens at 127.0.0.1, where it is the resolver, and has a view for each other server: the
parent's at .2, the domain's own two at .3 and .4.  What comes to these is passed on to it from that
host, by which it chooses the view.
"""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from io import BufferedIOBase
from pathlib import Path

import pytest

from natkit.address import Address
from tests.peering.plugin import StartNamed
from tests.sipdns.diagnosis.checking import GOOD, Checked, check, edited

pytestmark = pytest.mark.peer("bind9")

SOA = "$TTL 3600\n@ 3600 IN SOA ns1 hostmaster 1 3600 600 86400 60\n"
CHILD = f"""\
{SOA}@ 3600 IN NS ns1
@ 3600 IN NS ns2
ns1 3600 IN A 127.0.0.3
ns2 3600 IN A 127.0.0.4
{GOOD}"""
PARENT = """\
$TTL 3600
@ 3600 IN SOA ns hostmaster 1 3600 600 86400 60
@ 3600 IN NS ns
ns 3600 IN A 127.0.0.2
corp 3600 IN NS ns1.corp
corp 3600 IN NS ns2.corp
ns1.corp 3600 IN A 127.0.0.3
ns2.corp 3600 IN A 127.0.0.4
"""
TIME_LIMIT = 20.0


class UdpFront(socketserver.ThreadingUDPServer):
    """Passes each query on from its own host, and what named answers back."""

    named: Address
    daemon_threads = True


class TcpFront(socketserver.ThreadingTCPServer):
    """The same over TCP, for one query a connection."""

    named: Address
    daemon_threads = True
    allow_reuse_address = True


class UdpQuery(socketserver.BaseRequestHandler):
    """One datagram."""

    def handle(self) -> None:
        """Pass it on and the answer back."""
        query, listening = self.request
        assert isinstance(self.server, UdpFront)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(TIME_LIMIT)
            asking.bind((self.server.server_address[0], 0))
            asking.connect(self.server.named)
            asking.send(query)
            listening.sendto(asking.recv(65535), self.client_address)


class TcpQuery(socketserver.StreamRequestHandler):
    """One connection."""

    timeout = TIME_LIMIT

    def handle(self) -> None:
        """Pass its query on and the answer back."""
        assert isinstance(self.server, TcpFront)
        source = (str(self.server.server_address[0]), 0)
        with socket.create_connection(self.server.named, TIME_LIMIT, source) as asking:
            answers = asking.makefile("rb")
            asking.sendall(framed(self.rfile))
            self.wfile.write(framed(answers))
            answers.close()


def framed(stream: BufferedIOBase) -> bytes:
    """A DNS message with its length in front (RFC 1035 §4.2.2)."""
    length = stream.read(2)
    return length + stream.read(int.from_bytes(length, "big"))


class Hierarchy:
    """The views of one named, and what stands before them."""

    def __init__(self, start_named: StartNamed, directory: Path, opened: ExitStack) -> None:
        self._start = start_named
        self._directory = directory
        self._opened = opened

    def start(
        self,
        *,
        parent: str = PARENT,
        child: str = CHILD,
        second: str | None = CHILD,
        without_tcp: str = "",
    ) -> Address:
        """Start it; ``second`` is what the domain's second server has, None for nothing."""
        zones = {
            "127.0.0.2": {"example": parent},
            "127.0.0.3": {"corp.example": child},
            "127.0.0.4": {} if second is None else {"corp.example": second},
            "any": {"example": parent, "corp.example": child},
        }
        views = "".join(self._view(client, served) for client, served in zones.items())
        named = self._start({}, "", views, ["example", "corp.example"])
        for host in zones.keys() - {"any"}:
            self._stand_before(named, host, tcp=host != without_tcp)
        return named

    def _view(self, client: str, zones: dict[str, str]) -> str:
        blocks = []
        for name, text in zones.items():
            file = self._directory / f"{client}-{name}.zone"
            file.write_text(text)
            blocks.append(f'zone "{name}" {{ type primary; file "{file}"; }};')
        return f'view "{client}" {{ match-clients {{ {client}; }}; {" ".join(blocks)} }};\n'

    def _stand_before(self, named: Address, host: str, *, tcp: bool) -> None:
        fronts: list[UdpFront | TcpFront] = [UdpFront((host, named.port), UdpQuery)]
        if tcp:
            fronts.append(TcpFront((host, named.port), TcpQuery))
        for front in fronts:
            front.named = named
            self._opened.callback(front.server_close)
            thread = threading.Thread(target=front.serve_forever, args=(0.05,))
            thread.start()
            self._opened.callback(thread.join)
            self._opened.callback(front.shutdown)


@pytest.fixture
def hierarchy(start_named: StartNamed, tmp_path: Path) -> Iterator[Hierarchy]:
    with ExitStack() as opened:
        yield Hierarchy(start_named, tmp_path, opened)


def checked_at(capsys: pytest.CaptureFixture[str], named: Address) -> Checked:
    options = ["--resolver", str(named), "--authority-port", str(named.port)]
    return check(capsys, ["corp.example", *options])


def test_a_delegation_that_is_in_order_has_no_finding(
    hierarchy: Hierarchy, capsys: pytest.CaptureFixture[str]
) -> None:
    checked = checked_at(capsys, hierarchy.start())
    assert checked.findings == ()
    for rule in ("delegation-mismatch", "lame-delegation", "nameservers-disagree", "tcp-refused"):
        assert checked.checks[rule][0] == "passed", rule


def test_a_parent_that_names_an_old_nameserver_is_told_with_the_lines_to_change(
    hierarchy: Hierarchy, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = edited(PARENT, ("corp 3600 IN NS ns2.corp\n", "corp 3600 IN NS old.corp\n"))
    parent += "old.corp 3600 IN A 127.0.0.4\n"
    found = checked_at(capsys, hierarchy.start(parent=parent)).of("delegation-mismatch")
    assert found.publish == ("corp.example. IN NS ns2.corp.example.",)
    assert found.remove == ("corp.example. IN NS old.corp.example.",)


def test_a_nameserver_that_never_heard_of_the_zone_is_lame(
    hierarchy: Hierarchy, capsys: pytest.CaptureFixture[str]
) -> None:
    named = hierarchy.start(second=None)
    checked = checked_at(capsys, named)
    found = checked.of("lame-delegation")
    assert found.subject == "ns2.corp.example"
    assert f"127.0.0.4:{named.port} says REFUSED" in found.evidence
    assert checked.exit_status == 1


def test_a_nameserver_with_an_older_zone_is_told_by_its_serial(
    hierarchy: Hierarchy, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = edited(CHILD, ("hostmaster 1 ", "hostmaster 2 "))
    found = checked_at(capsys, hierarchy.start(second=newer)).of("nameservers-disagree")
    assert "ns1.corp.example (127.0.0.3" in found.evidence
    assert "serial 1" in found.evidence
    assert "serial 2" in found.evidence


def test_a_nameserver_that_refuses_tcp_is_a_fault(
    hierarchy: Hierarchy, capsys: pytest.CaptureFixture[str]
) -> None:
    checked = checked_at(capsys, hierarchy.start(without_tcp="127.0.0.4"))
    found = checked.of("tcp-refused")
    assert (found.subject, found.severity) == ("ns2.corp.example", "fault")
    assert "connection refused" in found.evidence
    assert checked.checks["lame-delegation"][0] == "passed"


def test_a_nameserver_that_is_silent_beside_one_that_answers_is_told(
    hierarchy: Hierarchy, capsys: pytest.CaptureFixture[str]
) -> None:
    child = edited(CHILD, ("ns2 3600 IN A 127.0.0.4", "ns2 3600 IN A 127.0.0.5"))
    named = hierarchy.start(child=child, second=child)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.5", named.port))
        checked = checked_at(capsys, named)
    found = checked.of("nameserver-silent")
    assert (found.subject, found.severity) == ("ns2.corp.example", "warning")
    assert "no answer within 3 s" in found.evidence
    assert checked.checks["lame-delegation"][0] == "passed"
