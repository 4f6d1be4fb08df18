"""Telephones as plain as can be, run on a host of the lab: sockets, and text.

``sip_phone.py phone NAME TRANSPORT HOST PORT …`` registers each once and then says nothing by
itself; it answers every request with 200, and prints a line for each registration and each INVITE.
``sip_phone.py caller HOST PORT …`` calls each name that it reads at each port, and prints who
answers.  Programs of the standard library alone, so that many of them start at once.
"""

import asyncio
import json
import re
import sys
from collections.abc import Callable, Coroutine
from typing import Final

DOMAIN: Final = "example.org"
AGAIN: Final = 0.5
"""Seconds until a request over UDP is sent again, and a connection tried again."""

Send = Callable[[bytes], None]


def told(**what: object) -> None:
    """Say something to the test."""
    print(json.dumps(what), flush=True)


def fields(message: bytes, *names: str) -> list[str]:
    """The fields of these names, as they came."""
    wanted = {f"{name.lower()}" for name in names}
    lines = message.decode().split("\r\n")[1:]
    return [line for line in lines if line.partition(":")[0].lower() in wanted]


def answer(request: bytes, contact: str) -> bytes:
    """200 for a request."""
    kept = fields(request, "Via", "From", "Call-ID", "CSeq", "Record-Route")
    (to,) = fields(request, "To")
    to += "" if ";tag=" in to else ";tag=phone"
    return written("SIP/2.0 200 OK", [*kept, to, f"Contact: <{contact}>"])


def request(method: str, uri: str, via: str, name: str, to: str, *more: str) -> bytes:
    """A request in a transaction of that name."""
    return written(
        f"{method} {uri} SIP/2.0",
        [
            f"Via: SIP/2.0/{via};branch=z9hG4bK{name};rport",
            "Max-Forwards: 70",
            f"From: <sip:{name}@{DOMAIN}>;tag={name}",
            f"To: <{to}>",
            f"Call-ID: {name}",
            f"CSeq: 1 {method}",
            *more,
        ],
    )


def written(first: str, lines: list[str]) -> bytes:
    """A message without a body."""
    return "\r\n".join([first, *lines, "Content-Length: 0", "", ""]).encode()


def bracketed(host: str) -> str:
    """A host as URIs have it."""
    return f"[{host}]" if ":" in host else host


class Phone:
    """One phone, whatever its transport."""

    def __init__(self, name: str, transport: str) -> None:
        self.name = name
        self.transport = transport
        self.contact = ""
        self.is_registered = asyncio.Event()

    def register(self, local: tuple[str, int]) -> bytes:
        """Its only request."""
        host, port = bracketed(local[0]), local[1]
        suffix = ";transport=tcp" if self.transport == "tcp" else ""
        self.contact = f"sip:{self.name}@{host}:{port}{suffix}"
        via = f"{self.transport.upper()} {host}:{port}"
        uri, contact = f"sip:{self.name}@{DOMAIN}", f"Contact: <{self.contact}>"
        return request("REGISTER", f"sip:{DOMAIN}", via, self.name, uri, contact)

    def receive(self, message: bytes, send: Send) -> None:
        """A message came."""
        if message.startswith(b"SIP/2.0 200") and not self.is_registered.is_set():
            self.is_registered.set()
            told(registered=self.name)
        elif not message.startswith((b"SIP/2.0", b"ACK")):
            if message.startswith(b"INVITE"):
                told(invited=self.name)
            send(answer(message, self.contact))


class Datagrams(asyncio.DatagramProtocol):
    """Gives what comes to ``receive``."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: object) -> None:
        """A datagram that is no keep-alive."""
        del addr
        if data.strip():
            self._receive(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody is there yet."""


async def over_udp(phone: Phone, host: str, port: int) -> None:
    """Register, and answer for ever."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Datagrams(lambda data: phone.receive(data, transport.sendto)),
        remote_addr=(host, port),
    )
    sent = phone.register(transport.get_extra_info("sockname")[:2])
    while not phone.is_registered.is_set():
        transport.sendto(sent)
        await asyncio.wait([asyncio.create_task(phone.is_registered.wait())], timeout=AGAIN)
    await asyncio.Event().wait()


async def over_tcp(phone: Phone, host: str, port: int) -> None:
    """Register, and answer until the connection ends."""
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, port)
            break
        except OSError:
            await asyncio.sleep(AGAIN)
    writer.write(phone.register(writer.get_extra_info("sockname")[:2]))
    while not reader.at_eof():
        try:
            message = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError):
            return
        # No message here has a body; blank lines before one are keep-alives.
        if message.strip():
            phone.receive(message.lstrip(b"\r\n"), writer.write)


async def phones(arguments: list[str]) -> None:
    """All phones of a host."""
    work: list[Coroutine[object, object, None]] = []
    for position in range(0, len(arguments), 4):
        name, transport, host, port = arguments[position : position + 4]
        speak = over_udp if transport == "udp" else over_tcp
        work.append(speak(Phone(name, transport), host, int(port)))
    await asyncio.gather(*work)


class Calls:
    """Calls names at one proxy."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._transport: asyncio.DatagramTransport | None = None
        self._count = 0

    async def begin(self) -> None:
        """Open a socket."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: Datagrams(self._receive), remote_addr=(self._host, self._port)
        )

    def call(self, name: str) -> None:
        """Send an INVITE once: the way to the proxy loses nothing."""
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")[:2]
        via, uri = f"UDP {host}:{port}", f"sip:{name}@{DOMAIN}"
        contact = f"Contact: <sip:caller@{host}:{port}>"
        self._count += 1
        caller = f"call-{self._count}-to-{name}"
        self._transport.sendto(request("INVITE", uri, via, caller, uri, contact))

    def _receive(self, data: bytes) -> None:
        found = re.match(rb"SIP/2\.0 ([2-6]\d\d)", data)
        if found is not None:
            (call_id,) = fields(data, "Call-ID")
            name = call_id.partition("-to-")[2]
            told(called=name, status=int(found[1]), port=self._port)


async def caller(arguments: list[str]) -> None:
    """Call each name that is read, at each port."""
    host, *ports = arguments
    lines = [Calls(host, int(port)) for port in ports]
    for line in lines:
        await line.begin()
    loop = asyncio.get_running_loop()
    while name := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        for line in lines:
            line.call(name)


if __name__ == "__main__":
    asyncio.run((phones if sys.argv[1] == "phone" else caller)(sys.argv[2:]))
