"""Nameservers on loopback, several at one port: 127.0.0.1 resolves, the others have zones.

They run in threads, because a command under test has the main thread's event loop to itself.
"""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone

from natkit.address import Address

Handler = Callable[[dns.message.QueryMessage, bool], dns.message.Message | None]
"""Answers a query, over TCP or not; None is silence."""

RESOLVER = "127.0.0.1"


def zones_of(texts: Mapping[str, str]) -> dict[dns.name.Name, dns.zone.Zone]:
    """Zones by name; a zone without SOA gets one."""
    found = {}
    for name, text in texts.items():
        soa = "" if "IN SOA" in text else "@ 60 IN SOA ns1 hostmaster 1 3600 600 86400 60\n"
        zone = dns.zone.from_text(soa + text, f"{name}.", relativize=False, check_origin=False)
        assert zone.origin is not None
        found[zone.origin] = zone
    return found


def authority(texts: Mapping[str, str]) -> Handler:
    """An authoritative server: answers, referrals, REFUSED for what it does not serve."""
    zones = zones_of(texts)

    def handle(query: dns.message.QueryMessage, over_tcp: bool) -> dns.message.Message:
        response = _response(query)
        name, wanted = query.question[0].name, query.question[0].rdtype
        zone = _zone_for(zones, name)
        if zone is None:
            response.set_rcode(dns.rcode.REFUSED)
            return response
        cut = _cut(zone, name)
        if cut is not None:
            response.authority.append(_rrset(zone, cut, dns.rdatatype.NS))
            return response
        response.flags |= dns.flags.AA
        _fill(response, {zone.origin: zone}, name, wanted)
        return response

    return handle


def resolver(texts: Mapping[str, str], broken: Sequence[str] = ()) -> Handler:
    """A recursive resolver that knows all zones; SERVFAIL for questions that ``broken`` has."""
    zones = zones_of(texts)

    def handle(query: dns.message.QueryMessage, over_tcp: bool) -> dns.message.Message:
        response = _response(query)
        response.flags |= dns.flags.RA
        name, wanted = query.question[0].name, query.question[0].rdtype
        checked = not query.flags & dns.flags.CD
        asked = f"{name.to_text(omit_final_dot=True)} {dns.rdatatype.to_text(wanted)}"
        if checked and asked in broken:
            response.set_rcode(dns.rcode.SERVFAIL)
        else:
            _fill(response, zones, name, wanted)
        return response

    return handle


def _response(query: dns.message.QueryMessage) -> dns.message.Message:
    response = dns.message.make_response(query)
    if query.ednsflags & dns.flags.DO:
        response.want_dnssec()
    return response


def _zone_for(
    zones: Mapping[dns.name.Name, dns.zone.Zone], name: dns.name.Name
) -> dns.zone.Zone | None:
    fitting = [one for one in zones if name.is_subdomain(one)]
    return zones[max(fitting, key=len)] if fitting else None


def _cut(zone: dns.zone.Zone, name: dns.name.Name) -> dns.name.Name | None:
    while name != zone.origin:
        if zone.get_rdataset(name, dns.rdatatype.NS) is not None:
            return name
        name = name.parent()
    return None


def _rrset(
    zone: dns.zone.Zone, name: dns.name.Name, type_: dns.rdatatype.RdataType
) -> dns.rrset.RRset:
    found = zone.find_rdataset(name, type_)
    return dns.rrset.from_rdata_list(name, found.ttl, list(found))


def _fill(
    response: dns.message.Message,
    zones: Mapping[dns.name.Name | None, dns.zone.Zone] | Mapping[dns.name.Name, dns.zone.Zone],
    name: dns.name.Name,
    wanted: dns.rdatatype.RdataType,
) -> None:
    zone = _zone_for({key: one for key, one in zones.items() if key is not None}, name)
    if zone is None or zone.origin is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
        return
    found = zone.get_rdataset(name, wanted)
    if found is not None:
        response.answer.append(dns.rrset.from_rdata_list(name, found.ttl, list(found)))
        signed = zone.get_rdataset(name, dns.rdatatype.RRSIG, wanted)
        if signed is not None and response.ednsflags & dns.flags.DO:
            response.answer.append(dns.rrset.from_rdata_list(name, signed.ttl, list(signed)))
        return
    if not any(one.is_subdomain(name) for one in zone):
        response.set_rcode(dns.rcode.NXDOMAIN)
    response.authority.append(_rrset(zone, zone.origin, dns.rdatatype.SOA))


@dataclass(frozen=True, slots=True)
class Network:
    """The running servers: each address has the same port."""

    port: int
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Server, question, ``udp`` or ``tcp``, in the order received."""

    @property
    def resolver(self) -> str:
        """What --resolver takes."""
        return str(Address(RESOLVER, self.port))


@contextmanager
def running(
    handlers: Mapping[str, Handler], *, without_tcp: Sequence[str] = ()
) -> Iterator[Network]:
    """Run a server at each address; those of ``without_tcp`` refuse connections."""
    with ExitStack() as stack:
        port = _free_port(list(handlers))
        network = Network(port)
        for host, handler in handlers.items():
            servers: list[socketserver.BaseServer] = [_udp((host, port), handler, network)]
            if host not in without_tcp:
                servers.append(_tcp((host, port), handler, network))
            for server in servers:
                stack.callback(server.server_close)
                thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
                thread.start()
                stack.callback(thread.join)
                stack.callback(server.shutdown)
        yield network


def _free_port(hosts: Sequence[str]) -> int:
    """A port that is free at all hosts, for UDP and TCP."""
    for _ in range(100):
        with ExitStack() as stack:
            first = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            first.bind((hosts[0], 0))
            port: int = first.getsockname()[1]
            try:
                for host in hosts:
                    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                        if (host, kind) != (hosts[0], socket.SOCK_DGRAM):
                            other = stack.enter_context(socket.socket(socket.AF_INET, kind))
                            other.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free at all hosts")


def _reply(
    data: bytes, handler: Handler, network: Network, host: str, over_tcp: bool
) -> bytes | None:
    query = dns.message.from_wire(data)
    assert isinstance(query, dns.message.QueryMessage)
    question = query.question[0]
    text = f"{question.name.to_text(omit_final_dot=True)} {dns.rdatatype.to_text(question.rdtype)}"
    network.asked.append((host, text, "tcp" if over_tcp else "udp"))
    response = handler(query, over_tcp)
    if response is None:
        return None
    if over_tcp:
        return response.to_wire(max_size=65535)
    data = response.to_wire(max_size=65535)
    if len(data) <= 1232:
        return data
    short = dns.message.make_response(query)
    short.flags |= dns.flags.TC | (response.flags & (dns.flags.AA | dns.flags.RA))
    return short.to_wire()


def _udp(address: tuple[str, int], handler: Handler, network: Network) -> socketserver.BaseServer:
    class Datagram(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, sender = self.request
            reply = _reply(data, handler, network, address[0], over_tcp=False)
            if reply is not None:
                sender.sendto(reply, self.client_address)

    return socketserver.UDPServer(address, Datagram)


def _tcp(address: tuple[str, int], handler: Handler, network: Network) -> socketserver.BaseServer:
    class Stream(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while length := self.rfile.read(2):
                data = self.rfile.read(int.from_bytes(length, "big"))
                reply = _reply(data, handler, network, address[0], over_tcp=True)
                if reply is None:
                    return
                self.wfile.write(len(reply).to_bytes(2, "big") + reply)

    server = socketserver.ThreadingTCPServer(address, Stream)
    server.daemon_threads = True
    return server
