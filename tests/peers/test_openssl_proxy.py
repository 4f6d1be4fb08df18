"""openssl s_client at our proxy: which certificate it sees, and whether its own will do."""

import asyncio
from pathlib import Path

import pytest

from natkit.machine import Transport
from natkit.server.certificates import CertificateFiles
from sip_proxy.shell.securing import TlsSettings
from sip_proxy.shell.streams import StreamSettings
from tests.certificates import Authority, Issued
from tests.peering.roster import program_path
from tests.sip_proxy.shell.world import DOMAIN, LIMIT, Served, serving

pytestmark = pytest.mark.peer("openssl")

OTHER = "example.net"
OPTIONS = (
    f"OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/TLS a.invalid;branch=z9hG4bKopenssl\r\n"
    f"From: <sip:a@a.invalid>;tag=a\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: openssl\r\n"
    "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
).encode()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def settings(
    authority: Authority, *, require: bool = False, revoked: Path | None = None
) -> StreamSettings:
    issued = [authority.issue(name, file=name) for name in (DOMAIN, OTHER)]
    certificates = tuple([CertificateFiles(each.chain, each.key) for each in issued])
    trust = authority.file if require else None
    return StreamSettings(
        TlsSettings(
            certificates, client_trust=trust, client_revoked=revoked, require_client=require
        )
    )


async def asked(
    served: Served, authority: Authority, *options: str, request: bytes = OPTIONS
) -> str:
    """What it prints when it is given a request, until it has an answer or ends."""
    process = await asyncio.create_subprocess_exec(
        program_path("openssl") or "openssl",
        *("s_client", "-quiet", "-connect", str(served.addresses[Transport.TLS])),
        *("-CAfile", str(authority.file), "-verify_return_error", *options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(request)
    printed = b""
    async with asyncio.timeout(LIMIT):
        while b"SIP/2.0 " not in printed and (line := await process.stdout.readline()):
            printed += line
    if process.returncode is None:
        process.kill()
    await process.wait()
    return printed.decode()


@pytest.mark.parametrize(
    ("named", "wanted", "good"),
    [(DOMAIN, DOMAIN, True), (OTHER, OTHER, True), (OTHER, DOMAIN, False)],
)
async def test_it_sees_the_certificate_of_the_domain_that_it_names(
    authority: Authority, named: str, wanted: str, good: bool
) -> None:
    async with serving("tls:127.0.0.1:0", streams=settings(authority)) as served:
        options = ("-servername", named, "-verify_hostname", wanted)
        printed = await asked(served, authority, *options)
        assert ("SIP/2.0 200 OK" in printed) == good
        assert ("ostname mismatch" in printed) == (not good)


@pytest.mark.parametrize("shows", ["a good one", "an expired one", "a revoked one", "none"])
async def test_it_gets_an_answer_only_with_a_good_certificate_where_one_is_required(
    authority: Authority, shows: str
) -> None:
    issued: Issued | None = None
    if shows != "none":
        days = (-9.0, -1.0) if shows == "an expired one" else (-1.0, 30.0)
        issued = authority.issue("peer.example", days=days, file="peer")
    own = () if issued is None else ("-cert", str(issued.chain), "-key", str(issued.key))
    taken_back = [issued] if issued is not None and shows == "a revoked one" else []
    revoked = authority.revocation_list(*taken_back)
    streams = settings(authority, require=True, revoked=revoked)
    async with serving("tls:127.0.0.1:0", streams=streams) as served:
        printed = await asked(served, authority, *own)
        assert ("SIP/2.0 200 OK" in printed) == (shows == "a good one")
        alert = {
            "an expired one": "alert certificate expired",
            "a revoked one": "alert certificate revoked",
            "none": "alert certificate required",
        }
        assert shows not in alert or alert[shows] in printed


@pytest.mark.parametrize(("user", "status"), [("alice", 200), ("bob", 401)])
async def test_it_registers_the_user_of_its_certificate_without_a_password(
    authority: Authority, user: str, status: int
) -> None:
    own = authority.issue(uris=[f"sip:{user}@{DOMAIN}"], file="user")
    streams = settings(authority, require=True)
    async with serving(
        "tls:127.0.0.1:0", streams=streams, authenticate=True, user_certificates=True
    ) as served:
        printed = await asked(
            served,
            authority,
            *("-cert", str(own.chain), "-key", str(own.key)),
            request=OPTIONS.replace(b"OPTIONS", b"REGISTER")
            .replace(f"To: <sip:{DOMAIN}>".encode(), f"To: <sip:alice@{DOMAIN}>".encode())
            .replace(b"Max-F", b"Contact: <sip:alice@a.invalid>\r\nMax-F"),
        )
    assert f"SIP/2.0 {status} " in printed
