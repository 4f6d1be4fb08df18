"""DTLS associations under the driver, on the real loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path as FilePath

import pytest
from OpenSSL import SSL

from natkit.address import Address
from natkit.aio import dtls_association, dtls_listener
from natkit.aio.driver import Driver
from natkit.aio.dtls import (
    DtlsAssociations,
    DtlsClient,
    dtls_client_context,
    dtls_server_context,
)
from natkit.aio.dtls_association import MTU, datagrams
from natkit.aio.udp import bind_udp
from natkit.errors import MisuseError, TlsFailed, UnreachableError
from natkit.machine import ClosePath, Path, Transmit, Transport
from tests.certificates import Authority
from tests.natkit.aio.machines import Ended, Event, Heard, Inbox, Result, Scripted

LIMIT = 20.0
NAME = "turn.example.org"


class Guests:
    """An Admission that admits up to a number."""

    def __init__(self) -> None:
        self.most = 1_000_000
        self.inside: list[Path] = []

    def admit(self, path: Path) -> bool:
        if len(self.inside) >= self.most:
            return False
        self.inside.append(path)
        return True

    def release(self, path: Path) -> None:
        self.inside.remove(path)


class Server:
    """A machine that sends every message back in capitals."""

    def __init__(self, context: SSL.Context, host: str) -> None:
        self.inbox = Inbox()
        self.guests = Guests()
        self.context = context
        self.associations = DtlsAssociations()
        self.driver: Driver[Event, Result] = Driver(
            Scripted(reply=bytes.upper), self.inbox, streams=self.associations
        )
        self.listener = self.associations.listen(
            bind_udp(Address(host, 0)), lambda: self.context, self.guests
        )
        self.address = self.listener.local


class Client:
    """A machine that keeps what it hears."""

    def __init__(self, client: DtlsClient) -> None:
        self.inbox = Inbox()
        self.machine = Scripted()
        self.associations = DtlsAssociations(client=client)
        self.driver: Driver[Event, Result] = Driver(
            self.machine, self.inbox, streams=self.associations
        )

    async def connect(self, remote: Address, local: Address | None = None) -> Path:
        path = await self.associations.connect(Transport.DTLS, local, remote)
        self.associations.start(path)
        return path

    async def ask(self, path: Path, data: bytes) -> bytes:
        heard = len(self.inbox.events)
        self.driver.run(self.machine.send(Transmit(data, path)))
        event = (await self.inbox.wait(heard + 1))[heard]
        assert isinstance(event, Heard)
        return event.data


@pytest.fixture
def authority(tmp_path: FilePath) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def serving(
    authority: Authority,
    *,
    host: str = "127.0.0.1",
    name: str = NAME,
    days: tuple[float, float] = (-1, 30),
    alpn: tuple[str, ...] = (),
) -> AsyncIterator[Server]:
    issued = authority.issue(name, days=days)
    server = Server(dtls_server_context(issued.files, alpn=alpn), host)
    try:
        yield server
    finally:
        await server.driver.aclose()


@asynccontextmanager
async def client_of(
    authority: Authority | None, name: str = NAME, alpn: tuple[str, ...] = ()
) -> AsyncIterator[Client]:
    context = (
        dtls_client_context(verify=False, alpn=alpn)
        if authority is None
        else dtls_client_context(trust=authority.file, alpn=alpn)
    )
    client = Client(DtlsClient(name, context))
    try:
        yield client
    finally:
        await client.driver.aclose()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 - a counter has no event to wait for
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_two_machines_talk_over_dtls(authority: Authority, host: str) -> None:
    async with serving(authority, host=host) as server, client_of(authority) as client:
        path = await client.connect(server.address)
        assert path.transport is Transport.DTLS
        assert await client.ask(path, b"hello") == b"HELLO"
        # Longer than any MTU: one record all the same, as over UDP.
        assert await client.ask(path, b"x" * 9000) == b"X" * 9000
        session = client.associations.session(path)
        assert session.version == "DTLSv1.2"
        assert server.inbox.events[0] == Heard(
            b"hello", Path(Transport.DTLS, server.address, path.local)
        )
        client.driver.run(client.machine.emit(ClosePath(path)))
        assert (await client.inbox.wait(3))[-1] == Ended(path)
        assert isinstance((await server.inbox.wait(3))[-1], Ended)
        assert not server.guests.inside
        assert not len(server.listener)
        assert not len(client.associations)


async def test_the_machines_close_tells_the_client(authority: Authority) -> None:
    async with serving(authority) as server, client_of(authority) as client:
        path = await client.connect(server.address)
        await client.ask(path, b"hello")
        theirs = next(iter(server.associations.last_messages()))
        server.associations.close_path(theirs)
        assert (await client.inbox.wait(2))[-1] == Ended(path)
        assert (await server.inbox.wait(2))[-1] == Ended(theirs)
        assert not server.guests.inside


async def test_alpn_is_agreed_upon_or_the_handshake_refused(authority: Authority) -> None:
    async with serving(authority, alpn=("stun.turn", "stun.nat-discovery")) as server:
        async with client_of(authority, alpn=("stun.nat-discovery",)) as client:
            path = await client.connect(server.address)
            assert client.associations.session(path).alpn == "stun.nat-discovery"
        async with client_of(authority) as client:
            path = await client.connect(server.address)
            assert client.associations.session(path).alpn is None
        async with client_of(authority, alpn=("h2",)) as client:
            with pytest.raises(TlsFailed, match="no application protocol"):
                await client.connect(server.address)
        await until(lambda: not server.guests.inside)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("other.example.org", "its certificate is for turn.example.org, not for other.example.org"),
        ("127.0.0.1", "its certificate is for turn.example.org, not for 127.0.0.1"),
    ],
)
async def test_a_certificate_for_another_name_is_refused_before_anything_is_sent(
    authority: Authority, asked: str, reason: str
) -> None:
    async with serving(authority) as server, client_of(authority, asked) as client:
        with pytest.raises(TlsFailed, match=reason):
            await client.connect(server.address)
        await until(lambda: not server.guests.inside)
        assert not any(isinstance(event, Heard) for event in server.inbox.events)


async def test_an_address_and_a_wildcard_are_names_too(authority: Authority) -> None:
    async with (
        serving(authority, name="127.0.0.1") as server,
        client_of(authority, "127.0.0.1") as client,
    ):
        assert await client.ask(await client.connect(server.address), b"a") == b"A"
    async with (
        serving(authority, name="*.example.org") as server,
        client_of(authority, "turn.Example.org") as client,
    ):
        assert await client.ask(await client.connect(server.address), b"a") == b"A"


async def test_an_expired_certificate_and_an_unknown_root_are_refused(
    authority: Authority, tmp_path: FilePath
) -> None:
    async with serving(authority, days=(-9, -1)) as server, client_of(authority) as client:
        with pytest.raises(TlsFailed, match="not trusted: it has expired"):
            await client.connect(server.address)
    stranger = Authority(tmp_path, "Another Root")
    async with serving(authority) as server, client_of(stranger) as client:
        with pytest.raises(TlsFailed, match="not trusted: who signed it is not trusted"):
            await client.connect(server.address)
    issued = authority.issue(NAME, self_signed=True)
    server = Server(dtls_server_context(issued.files), "127.0.0.1")
    try:
        async with client_of(authority) as client:
            with pytest.raises(TlsFailed, match="not trusted: it is self-signed"):
                await client.connect(server.address)
        async with client_of(None) as client:
            assert await client.ask(await client.connect(server.address), b"a") == b"A"
    finally:
        await server.driver.aclose()


async def test_nobody_there_is_told_at_once(authority: Authority) -> None:
    sock = bind_udp(Address("127.0.0.1", 0))
    address = Address(*sock.getsockname())
    sock.close()
    async with client_of(authority) as client:
        with pytest.raises(UnreachableError, match=r"cannot connect to .*: connection refused"):
            await client.connect(address)


async def test_a_server_that_is_silent_ends_the_handshake_in_time(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dtls_association, "HANDSHAKE_TIME", 0.2)
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with client_of(authority) as client:
            with pytest.raises(UnreachableError, match="no answer in the DTLS handshake"):
                await client.connect(Address(*silent.getsockname()))


async def test_lost_flights_are_sent_again(authority: Authority) -> None:
    """The first datagram of each flight is lost on a path in between."""
    async with (
        serving(authority) as server,
        client_of(authority) as client,
        _lossy(server.address, {0, 2}, {1}) as (path_address, seen),
    ):
        path = await client.connect(path_address)
        assert await client.ask(path, b"hello") == b"HELLO"
        assert max(map(len, seen)) <= MTU


@asynccontextmanager
async def _lossy(
    server: Address, lost_up: set[int], lost_down: set[int]
) -> AsyncIterator[tuple[Address, list[bytes]]]:
    """A UDP forwarder that loses the datagrams of these numbers, and shows what the server sent."""
    loop = asyncio.get_running_loop()
    near, far = bind_udp(Address("127.0.0.1", 0)), bind_udp(Address("127.0.0.1", 0))
    far.connect(server)
    seen: list[bytes] = []
    counts = {"up": 0, "down": 0}
    client: list[tuple[str, int]] = []

    def up() -> None:
        data, source = near.recvfrom(65535)
        client[:] = [source]
        if counts["up"] not in lost_up:
            far.send(data)
        counts["up"] += 1

    def down() -> None:
        data = far.recv(65535)
        seen.append(data)
        if counts["down"] not in lost_down:
            near.sendto(data, client[0])
        counts["down"] += 1

    loop.add_reader(near.fileno(), up)
    loop.add_reader(far.fileno(), down)
    try:
        yield Address(*near.getsockname()), seen
    finally:
        for sock in (near, far):
            loop.remove_reader(sock.fileno())
            sock.close()


# ── a listener and strangers ────────────────────────────────────────────────────────────────────


class Stranger:
    """A DTLS client by hand, on a socket of its own."""

    def __init__(self, server: Address) -> None:
        self.sock = bind_udp(Address("127.0.0.1", 0))
        self.sock.connect(server)
        context = dtls_client_context(verify=False)
        self.connection = SSL.Connection(context, None)
        self.connection.set_connect_state()
        self.connection.set_ciphertext_mtu(MTU)

    def step(self, datagram: bytes = b"") -> bytes:
        """Take one, and give what is to be sent."""
        if datagram:
            self.connection.bio_write(datagram)
        with pytest.raises(SSL.WantReadError):
            self.connection.do_handshake()
        try:
            return self.connection.bio_read(65535)
        except SSL.WantReadError:
            return b""

    async def hello(self) -> bytes:
        """Get a cookie, and give the ClientHello that has it."""
        loop = asyncio.get_running_loop()
        self.sock.send(self.step())
        async with asyncio.timeout(LIMIT):
            return self.step(await loop.sock_recv(self.sock, 65535))


async def test_strangers_without_a_cookie_leave_nothing_behind(authority: Authority) -> None:
    async with serving(authority) as server:
        loop = asyncio.get_running_loop()
        with bind_udp(Address("127.0.0.1", 0)) as sock:
            sock.connect(server.address)
            hello = Stranger(server.address)
            first = hello.step()
            hello.sock.close()
            for number in range(200):
                sock.send(first)
                async with asyncio.timeout(LIMIT):
                    verify = await loop.sock_recv(sock, 65535)
                # HelloVerifyRequest (RFC 6347 §4.2.1): never more than was asked with.
                assert verify[13] == 3
                assert len(verify) < len(first), number
        assert not len(server.listener)
        assert server.listener.half_open == 0
        assert not server.guests.inside


async def test_a_cookie_is_good_at_one_address_only(authority: Authority) -> None:
    async with serving(authority) as server:
        loop = asyncio.get_running_loop()
        honest = Stranger(server.address)
        hello = await honest.hello()
        with bind_udp(Address("127.0.0.1", 0)) as thief:
            thief.connect(server.address)
            thief.send(hello)
            async with asyncio.timeout(LIMIT):
                # Another HelloVerifyRequest instead of a ServerHello.
                assert (await loop.sock_recv(thief, 65535))[13] == 3
        assert not len(server.listener)
        honest.sock.send(hello)
        async with asyncio.timeout(LIMIT):
            assert (await loop.sock_recv(honest.sock, 65535))[13] == 2
        assert len(server.listener) == server.listener.half_open == 1
        honest.sock.close()


async def test_garbage_of_every_kind_leaves_the_listener_serving(authority: Authority) -> None:
    async with serving(authority) as server, client_of(authority) as client:
        stranger = Stranger(server.address)
        hello = stranger.step()
        for cut in range(len(hello)):
            stranger.sock.send(hello[:cut] or b"\0")
        for place in range(len(hello)):
            changed = bytearray(hello)
            changed[place] ^= 0xFF
            stranger.sock.send(changed)
        stranger.sock.close()
        path = await client.connect(server.address)
        assert await client.ask(path, b"hello") == b"HELLO"
        assert len(server.listener) == 1


async def test_half_open_handshakes_are_bounded_and_forgotten(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dtls_listener, "HALF_OPEN", 5)
    monkeypatch.setattr(dtls_association, "HANDSHAKE_TIME", 1.0)
    async with serving(authority) as server, client_of(authority) as client:
        path = await client.connect(server.address)
        strangers = [Stranger(server.address) for _ in range(8)]
        for stranger in strangers:
            stranger.sock.send(await stranger.hello())
        await until(lambda: server.listener.crowded_out == 3)
        assert server.listener.half_open == 5
        # Who was in before is served meanwhile.
        assert await client.ask(path, b"hello") == b"HELLO"
        await until(lambda: not server.listener.half_open)
        assert len(server.guests.inside) == len(server.listener) == 1
        async with client_of(authority) as late:
            assert await late.ask(await late.connect(server.address), b"hello") == b"HELLO"
        for stranger in strangers:
            stranger.sock.close()


async def test_who_is_not_admitted_gets_no_association(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dtls_association, "HANDSHAKE_TIME", 0.5)
    async with serving(authority) as server, client_of(authority) as client:
        server.guests.most = 0
        with pytest.raises(UnreachableError):
            await client.connect(server.address)
        assert not len(server.listener)


async def test_a_client_that_starts_anew_from_its_port_replaces_what_it_had(
    authority: Authority,
) -> None:
    """RFC 6347 §4.2.8."""
    async with serving(authority) as server, client_of(authority) as lost:
        path = await lost.connect(server.address)
        await lost.ask(path, b"hello")
        # It is gone without a word; only its socket's port comes again.
        home = lost.associations._homes.pop(path)
        lost.associations._associations.clear()
        home.association.abandon()  # type: ignore[union-attr]
        home.close()
        async with client_of(authority) as again:
            assert await again.connect(server.address, path.local) == path
            assert await again.ask(path, b"again") == b"AGAIN"
            theirs = Path(Transport.DTLS, server.address, path.local)
            assert server.inbox.events == [
                Heard(b"hello", theirs),
                Ended(theirs),
                Heard(b"again", theirs),
            ]
            assert len(server.listener) == len(server.guests.inside) == 1


async def test_a_handshake_that_was_given_up_does_not_keep_the_next_client_of_its_port_out(
    authority: Authority,
) -> None:
    """A NAT gives a port to somebody else; the system to the next socket."""
    async with serving(authority) as server:
        stranger = Stranger(server.address)
        loop = asyncio.get_running_loop()
        stranger.sock.send(await stranger.hello())
        async with asyncio.timeout(LIMIT):
            assert (await loop.sock_recv(stranger.sock, 65535))[13] == 2
        local = Address(*stranger.sock.getsockname())
        stranger.sock.close()
        async with client_of(authority) as client:
            path = await client.connect(server.address, local)
            assert await client.ask(path, b"hello") == b"HELLO"
            assert len(server.listener) == len(server.guests.inside) == 1
            assert server.listener.half_open == 0


async def test_hellos_in_another_clients_name_do_not_end_its_association(
    authority: Authority,
) -> None:
    async with serving(authority) as server, client_of(authority) as client:
        path = await client.connect(server.address)
        await client.ask(path, b"hello")
        forger = Stranger(server.address)
        first = forger.step()
        server.listener._route(first, path.local)
        server.listener._route(b"\x16\xfe\xfd" + bytes(60), path.local)
        server.listener._route(b"\x15\xfe\xfd" + bytes(8) + b"\0\x02\x02\x28", path.local)
        assert await client.ask(path, b"still") == b"STILL"
        forger.sock.close()


async def test_a_new_certificate_is_for_the_handshakes_to_come(authority: Authority) -> None:
    async with serving(authority) as server, client_of(authority) as client:
        path = await client.connect(server.address)
        server.context = dtls_server_context(authority.issue("new.example.org", file="new").files)
        assert await client.ask(path, b"hello") == b"HELLO"
        async with client_of(authority, "new.example.org") as second:
            assert await second.ask(await second.connect(server.address), b"a") == b"A"


def test_files_that_are_no_certificate_and_key_are_refused(
    authority: Authority, tmp_path: FilePath
) -> None:
    one, other = authority.issue("a", file="a"), authority.issue("b", file="b")
    for files in ((one.chain, other.key), (one.key, one.chain), (tmp_path / "none", one.key)):
        with pytest.raises(MisuseError, match="cannot use"):
            dtls_server_context(files)
    with pytest.raises(MisuseError, match="cannot read the trusted certificates"):
        dtls_client_context(trust=tmp_path / "none")


def test_records_are_packed_into_datagrams_at_their_boundaries() -> None:
    def record(size: int) -> bytes:
        return b"\x16\xfe\xfd" + bytes(8) + size.to_bytes(2, "big") + bytes(size)

    small, large = record(87), record(1487)
    assert datagrams(b"") == ()
    assert datagrams(small * 3, 300) == (small * 3,)
    assert datagrams(small * 5, 300) == [small * 3, small * 2]
    assert datagrams(small + large + small, 300) == [small, large, small]
