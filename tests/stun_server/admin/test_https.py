"""The listeners by HTTPS, with the certificate of the server, and its successor."""

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from aiohttp import ClientSession, TCPConnector

from natkit.address import Address
from stun_server.admin import serving
from stun_server.admin.serving import AdminHttp
from stun_server.administration import CertificateStatus
from stun_server.config import Config
from stun_server.shell.users import Signing
from tests.certificates import Authority, Issued
from tests.peering.ports import free_port
from tests.stun_server.admin.world import TOKEN, Told

LIMIT = 30.0


async def serial_number(address: Address, root: Path) -> int:
    """That of the certificate that a client is shown."""
    context = ssl.create_default_context(cafile=str(root))
    reader, writer = await asyncio.open_connection(*address, ssl=context)
    shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
    certificate = shown.getpeercert()
    assert certificate is not None
    writer.close()
    await reader.read()
    return int(str(certificate["serialNumber"]), 16)


async def test_both_listeners_speak_https_and_follow_the_server_to_a_new_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "INTERVAL", 0.05)
    authority = Authority(tmp_path)
    first = authority.issue("127.0.0.1")
    ports = [free_port("127.0.0.1"), free_port("127.0.0.1")]
    config = Config.model_validate(
        {
            "listeners": {"certificate": str(first.chain), "key": str(first.key)},
            "admin": {
                "listen": f"127.0.0.1:{ports[0]}",
                "public": f"127.0.0.1:{ports[1]}",
                "token": TOKEN,
                "tls": True,
            },
        }
    )
    told = Told()

    def use(issued: Issued) -> None:
        until = issued.certificate.not_valid_after_utc.timestamp()
        told.now = replace(told.now, certificates=(CertificateStatus(("127.0.0.1",), until),))

    use(first)
    no_secrets = Signing((), config.users.secret_digest)
    http = await AdminHttp.open(config, told, lambda: no_secrets, structlog.get_logger())
    try:
        assert http.url == f"https://127.0.0.1:{ports[0]}/"
        assert http.operators is not None
        assert http.public is not None
        context = ssl.create_default_context(cafile=str(authority.file))
        async with ClientSession(connector=TCPConnector(ssl=context)) as session:
            url = f"{http.url}sign-in"
            async with session.post(url, json={"token": TOKEN}) as answer:
                assert answer.status == 204
                assert "Secure" in answer.headers["Set-Cookie"]
            async with session.post(
                url, json={}, headers={"Origin": url.removesuffix("/sign-in")}
            ) as answer:
                assert answer.status == 401
            plain = {"Origin": http.url.replace("https", "http").rstrip("/")}
            async with session.post(url, json={}, headers=plain) as answer:
                assert answer.status == 403
        for address in (http.operators, http.public):
            assert await serial_number(address, authority.file) == first.certificate.serial_number
        second = authority.issue("127.0.0.1", days=(-1, 60))
        use(second)
        async with asyncio.timeout(LIMIT):
            shown = first.certificate.serial_number
            while shown == first.certificate.serial_number:
                shown = await serial_number(http.operators, authority.file)
        assert shown == second.certificate.serial_number
        assert await serial_number(http.public, authority.file) == second.certificate.serial_number
    finally:
        await http.aclose()
