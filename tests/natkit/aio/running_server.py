"""Our server machine on loopback, run by the library's own driver; and servers that misbehave."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import cast

from natkit.address import Address
from natkit.aio.driver import Driver
from natkit.aio.tcp import StreamConnections, bind_tcp
from natkit.aio.udp import DatagramSockets, bind_udp
from natkit.errors import UnreachableError
from natkit.stun.attributes import Attribute, Nonce, Realm, Username
from natkit.stun.credentials import long_term_key, user_hash
from natkit.stun.framing import StunFraming
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import PasswordAlgorithmNumber
from stun_server.authentication import Credential
from stun_server.events import FindCredential, ServerEvent
from stun_server.service import Server, ServerResult
from stun_server.settings import Settings

REALM = "example.org"
USER = "ann"
PASSWORD = "secret"
LOOPBACK = ("127.0.0.0/8", "::1/128")


class RunningServer:
    """A server with one user; ``address`` takes UDP and TCP."""

    def __init__(self, address: Address, connections: StreamConnections) -> None:
        self.address = address
        self.events: list[ServerEvent] = []
        self._connections = connections

    @property
    def uri(self) -> str:
        return f"turn:{self.address}"

    def cut_connections(self) -> None:
        """End every client's connection."""
        for path in self._connections.last_messages():
            self._connections.close_path(path)


@asynccontextmanager
async def running_server(
    host: str = "127.0.0.1",
    *,
    allow: tuple[str, ...] = LOOPBACK,
    allocations_per_user: int = 100,
) -> AsyncIterator[RunningServer]:
    """Serve until the context ends."""
    datagrams = DatagramSockets()
    connections = StreamConnections(StunFraming)
    address, listener = _open_both(datagrams, host)
    machine = Server(
        Settings(
            realm=REALM,
            nonce_key=os.urandom(32),
            listeners=(address,),
            allowed_peers=tuple(map(ip_network, allow)),
            allocations_per_user=allocations_per_user,
        ),
        random=os.urandom,
        unix_offset=0.0,
    )
    server = RunningServer(address, connections)
    credential = Credential(
        USER,
        long_term_key(USER, REALM, PASSWORD),
        long_term_key(USER, REALM, PASSWORD, PasswordAlgorithmNumber.SHA_256),
    )

    def on_event(event: ServerEvent) -> None:
        server.events.append(event)
        if isinstance(event, FindCredential):
            known = event.username == USER or event.userhash == user_hash(USER, REALM)
            driver.answer(event.request_id, credential if known else None)

    driver: Driver[ServerEvent, ServerResult] = Driver(
        machine, on_event, datagrams=datagrams, streams=connections
    )
    try:
        await connections.listen(listener)
        yield server
    finally:
        await driver.aclose()


def _open_both(datagrams: DatagramSockets, host: str) -> tuple[Address, socket.socket]:
    """A port that is free for UDP and for TCP, which may take some tries on a busy machine."""
    for _ in range(20):
        address = datagrams.open(Address(host, 0))
        try:
            return address, bind_tcp(address)
        except UnreachableError:
            datagrams.close_socket(address)
    raise AssertionError(f"no port of {host} is free for UDP and TCP")


class _Responder(asyncio.DatagramProtocol):
    def __init__(self, respond: Callable[[bytes], bytes | None]) -> None:
        self._respond = respond
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._respond(data)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def responder(respond: Callable[[bytes], bytes | None]) -> AsyncIterator[Address]:
    """A UDP port that answers each datagram as ``respond`` says, None being silence."""
    sock = bind_udp(Address("127.0.0.1", 0))
    address = Address(*sock.getsockname())
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Responder(respond), sock=sock
    )
    try:
        yield address
    finally:
        transport.close()


def refusing(code: int, *attributes: Attribute) -> Callable[[bytes], bytes]:
    """Challenge first; then refuse whoever knows the password, in so many words."""
    key = IntegrityKey(long_term_key(USER, REALM, PASSWORD))

    def respond(data: bytes) -> bytes:
        request = Message.parse(data)
        if request.get(Username) is None:
            return request.error(401, Realm(REALM), Nonce(b"nonce")).encode()
        return request.error(code, *attributes).encode(integrity=key)

    return respond
