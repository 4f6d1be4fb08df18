"""Credentials over HTTP, for programs and for the connectivity test."""

from dataclasses import replace

import pytest

from natkit.machine import Transport
from natkit.stun.uri import ServerUri
from natkit.turn.credentials import Digest, TimeLimitedName, time_limited_password
from stun_server import connectivity_test
from stun_server.admin.connectivity import BURST, BURST_OF_ALL, ConnectivityTest
from stun_server.admin.issuing import Issuer, uris_of
from stun_server.administration import CertificateStatus, ListenerStatus
from stun_server.shell.users import Signing
from tests.stun_server.admin.world import ANYWHERE, API_TOKEN, SECRET, TOKEN, asking
from tests.stun_server.test_administration import FIRST

SERVICE = {"token": API_TOKEN}
BEARER = {"Authorization": f"Bearer {API_TOKEN}"}
BOTH = {"listen": ANYWHERE, "token": TOKEN, "public": ANYWHERE}
ELSEWHERE = "https://www.example.org"


async def test_there_is_no_such_thing_until_it_has_a_token() -> None:
    async with asking(admin=BOTH) as asked:
        for public, headers in ((False, {"Authorization": f"Bearer {TOKEN}"}), (True, {})):
            answer, _ = await asked.get("/credentials?user=ann", headers, public=public)
            assert answer.status == 404


@pytest.mark.parametrize("public", [False, True])
async def test_a_program_gets_what_a_client_needs(public: bool) -> None:
    uris = ["turn:turn.example.org:3478?transport=udp"]
    service = {**SERVICE, "lifetime": 600, "uris": uris}
    async with asking(admin=BOTH, credentials=service) as asked:
        answer, _ = await asked.get("/credentials?user=ann", BEARER, public=public)
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in answer.headers
        given = await answer.json()
        assert (given["ttl"], given["uris"]) == (600, uris)
        name = TimeLimitedName.parse(given["username"])
        assert name is not None
        assert name.name == "ann"
        assert given["password"] == time_limited_password(SECRET, given["username"])


async def test_the_digest_is_that_of_the_configuration() -> None:
    async with asking(credentials=SERVICE, users={"secret_digest": "sha256"}) as asked:
        answer, _ = await asked.get("/credentials?user=ann", BEARER)
        given = await answer.json()
        right = time_limited_password(SECRET, given["username"], Digest.SHA256)
        assert given["password"] == right


async def test_neither_token_opens_what_the_other_is_for() -> None:
    async with asking(admin=BOTH, credentials=SERVICE) as asked:
        operator = {"Authorization": f"Bearer {TOKEN}"}
        for headers in ({}, operator, {"Authorization": "Bearer wrong"}):
            answer, text = await asked.get("/credentials?user=ann", headers, public=True)
            assert (answer.status, "password" in text) == (401, False)
        answer, _ = await asked.get("/api/status", BEARER)
        assert answer.status == 401


@pytest.mark.parametrize("query", ["", "?user=", "?user=" + "x" * 257, "?user=%00", "?name=ann"])
async def test_a_name_that_is_none_is_one_line(query: str) -> None:
    async with asking(credentials=SERVICE) as asked:
        answer, text = await asked.get(f"/credentials{query}", BEARER)
        assert (answer.status, text.count("\n")) == (400, 1)


async def test_without_a_secret_it_says_what_to_do() -> None:
    async with asking(credentials=SERVICE) as asked:
        asked.secrets.clear()
        answer, text = await asked.get("/credentials?user=ann", BEARER)
        assert (answer.status, "secret add" in text) == (503, True)
        answer, _ = await asked.post("/test/credentials", {})
        assert answer.status == 503
        assert not (await asked.json("/api/status"))["test"]


async def test_a_secret_that_was_added_counts_at_once() -> None:
    async with asking(credentials=SERVICE) as asked:
        asked.secrets.insert(0, "a newer one")
        answer, _ = await asked.get("/credentials?user=ann", BEARER)
        given = await answer.json()
        assert given["password"] == time_limited_password("a newer one", given["username"])


async def test_pages_of_the_origins_that_are_named_may_ask_and_others_may_not() -> None:
    async with asking(credentials={**SERVICE, "origins": [ELSEWHERE]}) as asked:
        for origin, allowed in ((ELSEWHERE, ELSEWHERE), ("https://evil.example", None)):
            asks = {"Origin": origin, "Access-Control-Request-Method": "GET"}
            answer, _ = await asked.send("OPTIONS", "/credentials", None, asks)
            assert answer.status == 204
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed
            assert ("Access-Control-Allow-Headers" in answer.headers) == (allowed is not None)
            answer, _ = await asked.get("/credentials?user=ann", BEARER, Origin=origin)
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed
            assert answer.headers["Vary"] == "Origin"
            assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_a_test_gets_credentials_that_soon_end() -> None:
    async with asking() as asked:
        answer, _ = await asked.post("/test/credentials", {})
        given = await answer.json()
        name = TimeLimitedName.parse(given["username"])
        assert name is not None
        assert name.name == connectivity_test.NAME
        assert given["ttl"] == connectivity_test.LIFETIME
        assert given["uris"] == ["stun:192.0.2.1:3478", "turn:192.0.2.1:3478?transport=udp"]


async def test_a_visitor_cannot_have_one_after_the_other() -> None:
    async with asking(admin=BOTH) as asked:
        for _ in range(BURST):
            answer, _ = await asked.post("/test/credentials", {}, public=True)
            assert answer.status == 200
        answer, text = await asked.post("/test/credentials", {}, public=True)
        assert (answer.status, "password" in text) == (429, False)
        assert int(answer.headers["Retry-After"]) >= 1
        answer, _ = await asked.post("/test/credentials", {}, public=True, Origin="null")
        assert answer.status == 403


async def test_all_visitors_together_are_bounded_too() -> None:
    async def none() -> tuple[str, ...]:
        return ()

    issuer = Issuer(lambda: Signing((SECRET,), Digest.SHA1), lambda: 1e9)
    everybody = ConnectivityTest(issuer, none).of_all
    assert sum(everybody.allows("192.0.2.1", 0.0) for _ in range(1000)) == BURST_OF_ALL


async def test_the_public_listener_has_the_test_and_nothing_of_the_operators() -> None:
    async with asking(admin=BOTH) as asked:
        for path in ("/", "/test", "/static/test.js", "/static/style.css", "/healthz"):
            answer, _ = await asked.get(path, public=True, Host="any.example")
            assert answer.status == 200, path
        for path in (
            *("/metrics", "/api/status", "/api/sessions", "/readyz", "/sign-in"),
            "/static/status.js",
        ):
            answer, _ = await asked.get(path, public=True)
            assert answer.status == 404, path
        for path in ("/api/drain", "/api/reload", "/api/disconnect"):
            answer, _ = await asked.post(path, {}, public=True)
            assert answer.status == 404, path


def listeners(*texts: str) -> tuple[ListenerStatus, ...]:
    split = (text.partition(":") for text in texts)
    return tuple(ListenerStatus(Transport(name), address) for name, _, address in split)


@pytest.mark.parametrize(
    ("own", "names", "uris"),
    [
        (
            ("tls:192.0.2.1:5349", "udp:192.0.2.1:3478", "tcp:192.0.2.1:3478"),
            (),
            (
                *("stun:192.0.2.1:3478", "turn:192.0.2.1:3478?transport=udp"),
                "turn:192.0.2.1:3478?transport=tcp",
                "turns:192.0.2.1:5349?transport=tcp",
            ),
        ),
        (
            ("tls:192.0.2.1:5349", "dtls:192.0.2.1:5349"),
            ("*.example.org", "192.0.2.1", "turn.example.org", "other.example.org"),
            (
                "turns:turn.example.org:5349?transport=tcp",
                "turns:turn.example.org:5349?transport=udp",
            ),
        ),
        (
            ("udp:127.0.0.1:1", "udp:[::1]:1", "udp:[2001:db8::1]:1", "udp:[fe80::1]:1"),
            (),
            ("stun:[2001:db8::1]:1", "turn:[2001:db8::1]:1?transport=udp"),
        ),
        (("udp:127.0.0.1:1",), (), ("stun:127.0.0.1:1", "turn:127.0.0.1:1?transport=udp")),
    ],
)
def test_the_uris_are_those_of_the_listeners(
    own: tuple[str, ...], names: tuple[str, ...], uris: tuple[str, ...]
) -> None:
    certificates = (CertificateStatus(names, 2e9),) if names else ()
    status = replace(FIRST, listeners=listeners(*own), certificates=certificates)
    assert uris_of(status) == uris
    assert all(ServerUri.parse(uri) for uri in uris_of(status))
