"""Our clients against coturn over TLS and DTLS, IPv4 and IPv6."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from natkit.aio.secure import Trust
from natkit.aio.stun import examine
from natkit.aio.turn import allocate
from natkit.errors import Unauthenticated, UnreachableError
from tests.certificates import Authority
from tests.natkit.cli.command import natkit
from tests.peering import coturn
from tests.peering.coturn import Coturn
from tests.peers.test_coturn import LIMIT, exchange

pytestmark = pytest.mark.peer("coturn")

# coturn on ::1 alone relays no IPv4, which is what a client gets that asks for no family; and the
# host's localhost may be 127.0.0.1 alone.
on_ipv4 = pytest.mark.parametrize("server", ["127.0.0.1"], indirect=True)
secured = pytest.mark.parametrize("transport", ["tls", "dtls"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module", params=["127.0.0.1", "::1"])
def server(
    request: pytest.FixtureRequest, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Coturn]:
    files = authority.issue("localhost", "127.0.0.1", "::1").files
    host = str(request.param)
    started = coturn.start(tmp_path_factory.mktemp("coturn"), host=host, certificate=files)
    try:
        yield started
    finally:
        started.process.stop()


def uri(server: Coturn, transport: str) -> str:
    wanted = {"tls": "tcp", "dtls": "udp"}[transport]
    return f"turns:{server.secure}?transport={wanted}"


@secured
async def test_coturn_relays_between_two_of_our_allocations(
    server: Coturn, authority: Authority, transport: str
) -> None:
    ends = [
        allocate(
            uri(server, transport),
            username=server.username,
            password=server.password,
            trust=Trust(authority.file),
            family=server.address.family,
            timeout=LIMIT,
        )
        for _ in range(2)
    ]
    async with ends[0] as one, ends[1] as other:
        assert one.server.transport == transport
        await one.permit(other.relayed_address)
        await other.permit(one.relayed_address)
        await exchange(one, other)
        await one.bind_channel(other.relayed_address)
        await exchange(one, other)
        await other.bind_channel(one.relayed_address)
        await exchange(one, other)


@secured
async def test_a_wrong_password_is_unauthenticated_at_coturn(
    server: Coturn, authority: Authority, transport: str
) -> None:
    with pytest.raises(Unauthenticated):
        async with allocate(
            uri(server, transport),
            username=server.username,
            password="wrong",
            trust=Trust(authority.file),
            timeout=LIMIT,
        ):
            pass


@on_ipv4
@secured
async def test_binding_by_name(server: Coturn, authority: Authority, transport: str) -> None:
    assert server.secure is not None
    found = await examine(
        f"stuns:localhost:{server.secure.port}",
        dtls=transport == "dtls",
        trust=Trust(authority.file),
        timeout=LIMIT,
    )
    assert found.mapped.host == server.address.host


@secured
async def test_a_certificate_of_nobody_we_trust_is_refused(
    server: Coturn, tmp_path: Path, transport: str
) -> None:
    stranger = Authority(tmp_path, "Another Root")
    with pytest.raises(UnreachableError, match="its certificate is not trusted"):
        async with allocate(
            uri(server, transport),
            username=server.username,
            password=server.password,
            trust=Trust(stranger.file),
            timeout=LIMIT,
        ):
            pass


@on_ipv4
@secured
async def test_our_command_relays_through_coturn(
    server: Coturn, authority: Authority, transport: str
) -> None:
    ended = await natkit(
        *("turn", uri(server, transport), "--user", server.username),
        *("--password", server.password, "--ca-file", str(authority.file), "--json"),
    )
    assert ended.status == 0, ended.errors
    assert ended.result["relay"] == "works"
