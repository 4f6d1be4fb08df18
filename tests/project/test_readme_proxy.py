"""Two phones reach each other through the proxy that README and guide start, as they say it."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.machine import Transport
from natkit.sip import HeaderField, NameAddress, Response
from natkit.sip.digest import (
    AUTHORIZATION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    WWW_AUTHENTICATE,
    Challenge,
)
from natkit.sip.kinds import CONTACT, CSEQ
from tests.peering.ports import free_port
from tests.project.tree import ROOT
from tests.sip_proxy.shell.world import DOMAIN, Agent, Pending, agent
from tests.sip_proxy.watched import WatchedProxy

PAGES = ("README.md", "docs/sip-proxy.md")
HOST = "127.0.0.1"


@pytest.fixture(params=PAGES)
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Address]:
    """The command of a page, on a port that is free, with a state of its own."""
    page = ROOT / str(request.param)
    (line,) = re.findall(r"^\$ sip-proxy (--domain .*)$", page.read_text(), re.MULTILINE)
    address = Address(HOST, free_port(HOST))
    arguments = shlex.split(line.replace(f"{HOST}:5060", str(address)))
    assert str(address) in " ".join(arguments)
    started = WatchedProxy(tmp_path, *arguments, "--data-dir", str(tmp_path / "state"))
    try:
        started.wait_until(lambda: "serving example.org" in started.output)
        yield address
    finally:
        started.kill()


def passwords(page: str) -> dict[str, str]:
    return dict(re.findall(r"--user (\w+):(\w+)", (ROOT / page).read_text()))


@pytest.mark.parametrize("page", PAGES)
def test_the_page_has_both_users(page: str) -> None:
    assert passwords(page)["alice"] == passwords(page)["bob"] == "secret"


Send = Callable[[HeaderField | None], Pending]


async def proven(phone: Agent, send: Send) -> Response:
    """The answer to what ``send`` sends, once more with the password where that is asked for."""
    response = await send(None).final()
    for asked, answered in (
        (WWW_AUTHENTICATE, AUTHORIZATION),
        (PROXY_AUTHENTICATE, PROXY_AUTHORIZATION),
    ):
        for challenge in response.headers.get_all(asked):
            assert isinstance(challenge, Challenge)
            credentials = challenge.answer(
                phone.name, "secret", method_of(response), f"sip:{DOMAIN}", cnonce="any"
            )
            return await send(HeaderField.of(answered, credentials)).final()
    return response


def method_of(response: Response) -> str:
    cseq = response.headers.get(CSEQ)
    assert cseq is not None
    return cseq.method


def given(*fields: HeaderField | None) -> list[HeaderField]:
    return [field for field in fields if field is not None]


def registering(phone: Agent) -> Send:
    contact = HeaderField.of(CONTACT, NameAddress.parse(f"<{phone.contact}>"))

    def send(field: HeaderField | None) -> Pending:
        fields = given(contact, field)
        return phone.send("REGISTER", f"sip:{DOMAIN}", *fields, to=f"<{phone.uri}>")

    return send


async def test_two_phones_register_and_call_each_other(proxy: Address) -> None:
    async with (
        agent("alice", Transport.UDP, proxy) as alice,
        agent("bob", Transport.UDP, proxy) as bob,
    ):
        for phone in (alice, bob):
            assert (await proven(phone, registering(phone))).status == 200
        for caller, called in ((alice, bob), (bob, alice)):
            uri = called.uri
            answered = await proven(caller, lambda field: caller.call(uri, *given(field)))  # noqa: B023 - it is called within
            assert answered.status == 200
            assert (await called.got("INVITE")).request.method == "INVITE"
