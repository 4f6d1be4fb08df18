"""The listener for operators: who gets in, what is shown, what can be done."""

import re
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from natkit.errors import ConfigError
from natkit.server.admin.entrance import OPEN_PATHS
from natkit.server.admin.guard import GUESSES
from natkit.server.admin.sessions import COOKIE
from stun_server.admin import serving
from stun_server.administration import StoreStatus
from stun_server.config import load
from tests.stun_server.admin.world import ANYWHERE, SESSION, TOKEN, Asked, asking

WITH_TOKEN = {"listen": ANYWHERE, "token": TOKEN}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATHS = ("/", "/test", "/metrics", "/api/status", "/api/history", "/api/sessions")
ACTIONS = ("/api/disconnect", "/api/drain", "/api/reload", "/test/credentials")


# Who gets in.


async def test_on_loopback_nobody_needs_a_token() -> None:
    async with asking() as asked:
        for path in PATHS:
            answer, _ = await asked.get(path)
            assert answer.status == 200, path


async def test_with_a_token_nothing_but_the_open_paths_is_there_without_it() -> None:
    async with asking(admin=WITH_TOKEN) as asked:
        for path in (*PATHS, "/static/status.js", "/nowhere"):
            answer, text = await asked.get(path)
            assert (answer.status, TOKEN in text) == (401, False), path
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        for path in ACTIONS:
            answer, _ = await asked.post(path, {})
            assert answer.status == 401, path
        for path in OPEN_PATHS:
            answer, _ = await asked.get(path)
            assert answer.status == 200, path
        for path in PATHS:
            answer, _ = await asked.get(path, BEARER)
            assert answer.status == 200, path
    assert asked.administration.drained == []
    assert asked.administration.reloaded == 0


async def test_a_browser_is_sent_to_sign_in_and_its_cookie_lets_it_in() -> None:
    async with asking(admin=WITH_TOKEN) as asked:
        answer, _ = await asked.get("/", Accept="text/html,*/*")
        assert (answer.status, answer.headers["Location"]) == (303, "/sign-in")
        answer, _ = await asked.post("/sign-in", {"token": TOKEN})
        assert answer.status == 204
        set_cookie = answer.headers["Set-Cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(set_cookie.split("; "))
        assert TOKEN not in set_cookie
        cookie = answer.cookies[COOKIE].value
        answer, _ = await asked.get("/", Cookie=f"{COOKIE}={cookie}")
        assert answer.status == 200
        answer, _ = await asked.get("/", Cookie=f"{COOKIE}={cookie}0")
        assert answer.status == 401
        answer, _ = await asked.post("/sign-out", {}, Cookie=f"{COOKIE}={cookie}")
        assert answer.cookies[COOKIE].value == ""


async def test_guessing_is_slow_even_for_who_guesses_right_in_the_end() -> None:
    async with asking(admin=WITH_TOKEN) as asked:
        for _ in range(GUESSES):
            answer, _ = await asked.post("/sign-in", {"token": "wrong"})
            assert answer.status == 401
        for headers in ({"Authorization": "Bearer wrong"}, BEARER):
            answer, _ = await asked.get("/api/status", headers)
            assert answer.status == 429
            assert int(answer.headers["Retry-After"]) >= 1
        answer, _ = await asked.post("/sign-in", {"token": TOKEN})
        assert answer.status == 429


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example"])
async def test_a_page_whose_name_was_made_to_point_here_gets_nothing(host: str) -> None:
    async with asking(admin={"listen": ANYWHERE, "hosts": ["Turn.Example.org"]}) as asked:
        for path in (*PATHS, *OPEN_PATHS):
            answer, text = await asked.get(path, Host=host)
            assert (answer.status, "admin.hosts" in text) == (421, True), path
        answer, _ = await asked.get("/api/status", Host="turn.example.org:9")
        assert answer.status == 200


async def test_pages_of_other_sites_neither_read_nor_act() -> None:
    async with asking() as asked:
        for origin in ("https://evil.example", "null"):
            answer, _ = await asked.get("/api/status", Origin=origin)
            assert answer.status == 403
            for path in ACTIONS:
                answer, _ = await asked.post(path, {}, Origin=origin)
                assert answer.status == 403
                answer, _ = await asked.send("OPTIONS", path, Origin=origin)
                assert "Access-Control-Allow-Origin" not in answer.headers
        # What a form can send, with or without an Origin.
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            answer, _ = await asked.send("POST", "/api/drain", Content_Type=kind)
            assert answer.status == 403
        answer, _ = await asked.post("/api/drain", {}, Sec_Fetch_Site="cross-site")
        assert answer.status == 403
        assert asked.administration.drained == []
        own = f"http://{asked.address()}"
        answer, _ = await asked.post("/api/drain", {}, Origin=own, Sec_Fetch_Site="same-origin")
        assert answer.status == 200


async def test_every_answer_forbids_what_pages_do_not_need() -> None:
    async with asking(admin=WITH_TOKEN) as asked:
        for path in ("/", "/sign-in", "/nowhere", "/healthz", "/static/style.css"):
            for headers in ({}, BEARER, {"Host": "evil.example"}):
                answer, _ = await asked.get(path, headers)
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["X-Frame-Options"] == "DENY"
                assert "no-" in answer.headers["Cache-Control"]


async def test_pages_take_nothing_from_elsewhere_and_have_no_code_in_their_text() -> None:
    async with asking() as asked:
        for path in ("/", "/test", "/sign-in"):
            _, text = await asked.get(path)
            for link in re.findall(r"(?:src|href)=\"([^\"]+)\"", text):
                assert link.startswith(("/", "#")), link
                if link.startswith("/static/"):
                    answer, _ = await asked.get(link)
                    assert answer.status == 200, link
            assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|\bon\w+=", text)


async def test_a_file_that_is_known_is_not_sent_again() -> None:
    async with asking() as asked:
        answer, _ = await asked.get("/static/style.css")
        again, text = await asked.get("/static/style.css", If_None_Match=answer.headers["ETag"])
        assert (again.status, text) == (304, "")
        for name in ("../answers.py", "..%2fanswers.py", "nothing.js", "__init__.py"):
            answer, _ = await asked.get(f"/static/{name}")
            assert answer.status == 404


# What is shown.


async def test_the_status_and_the_sessions_are_those_of_the_moment() -> None:
    async with asking() as asked:
        first = await asked.json("/api/status")
        assert first["schema"] == 1
        assert (first["ready"], first["test"], first["signed_in"]) == (True, True, False)
        asked.administration.now = replace(asked.administration.now, sessions=17)
        second = await asked.json("/api/status")
        assert isinstance(second["status"], dict)
        assert second["status"]["sessions"] == 17
        listed = await asked.json("/api/sessions")
        assert listed["sessions"] == [
            {
                "id": "0-1",
                "user": "ann",
                "realm": "example.org",
                "client": "198.51.100.9:4000",
                "transport": "udp",
                "relayed": ["192.0.2.1:50000"],
                "since": 1000.0,
                "expires": 1600.0,
                "permissions": 1,
                "channels": 1,
                "traffic": {
                    "packets_to_peers": 1,
                    "bytes_to_peers": 2,
                    "packets_to_clients": 3,
                    "bytes_to_clients": 4,
                },
            }
        ]


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1e9", "5001", "²", "9" * 400, "0000000019999"])
async def test_a_limit_that_is_none_is_one_line(limit: str) -> None:
    async with asking() as asked:
        answer, text = await asked.get(f"/api/sessions?limit={limit}")
        assert (answer.status, text.count("\n")) == (400, 1)


async def test_health_and_readiness_need_no_token_and_tell_nothing_else() -> None:
    async with asking(admin=WITH_TOKEN) as asked:
        for path in ("/healthz", "/readyz"):
            answer, _ = await asked.get(path)
            assert answer.status == 200
        down = replace(asked.administration.now, store=StoreStatus("redis", "of a secret kind"))
        asked.administration.now = down
        answer, _ = await asked.get("/readyz")
        assert answer.status == 200
        answer, text = await asked.get("/readyz?store")
        assert (answer.status, text) == (503, "not ready: the store of users is down\n")
        asked.administration.now = replace(down, listeners=())
        answer, text = await asked.get("/readyz")
        assert (answer.status, text) == (503, "not ready: no listener is open\n")
        await asked.administration.drain()
        answer, text = await asked.get("/readyz")
        assert (answer.status, "it drains" in text) == (503, True)
        answer, _ = await asked.get("/healthz")
        assert answer.status == 200


async def test_while_no_worker_serves_it_says_so_and_watches_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "INTERVAL", 0.01)
    async with asking() as asked:
        asked.administration.is_gone = True
        for path in ("/readyz", "/metrics", "/api/status"):
            answer, text = await asked.get(path)
            assert (answer.status, text) == (503, "no worker serves at the moment\n"), path
        answer, _ = await asked.get("/healthz")
        assert answer.status == 200
        asked.administration.is_gone = False
        asked.administration.now = replace(asked.administration.now, sessions=99)
        while True:
            samples = (await asked.json("/api/history"))["samples"]
            assert isinstance(samples, list)
            if any(each["sessions"] == 99 for each in samples):
                break


async def test_prometheus_reads_the_metrics_in_both_of_its_formats() -> None:
    async with asking() as asked:
        for accept, kind in (
            ("", "text/plain"),
            ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
        ):
            answer, text = await asked.get("/metrics", Accept=accept)
            assert answer.content_type == kind
            assert 'stun_server_allocations{family="4",transport="udp"} 2.0' in text.replace(
                'transport="udp",family="4"', 'family="4",transport="udp"'
            )
        _, text = await asked.get("/metrics")
        assert list(text_string_to_metric_families(text))


# What can be done.


async def test_a_session_is_disconnected_once() -> None:
    async with asking() as asked:
        answer, _ = await asked.post("/api/disconnect", {"session": SESSION.id})
        assert answer.status == 200
        answer, _ = await asked.post("/api/disconnect", {"session": SESSION.id})
        assert answer.status == 404
        assert asked.administration.live == []


async def test_drain_and_reload_reach_the_server_and_report() -> None:
    async with asking() as asked:
        for content in ({}, {"limit": 30}):
            answer, _ = await asked.post("/api/drain", content)
            assert (await answer.json())["drain"] == {"since": 1.0, "until": 2.0, "sessions": 1}
        answer, _ = await asked.post("/api/reload", {})
        assert (await answer.json())["reload"]["changed"] == ["limits.allocations"]
        assert asked.administration.drained == [None, 30.0]
        assert asked.administration.reloaded == 1


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/api/disconnect", {}),
        ("/api/disconnect", {"session": 1}),
        ("/api/drain", {"limit": "soon"}),
        ("/api/drain", {"limit": -1}),
        ("/api/drain", {"limit": 1e300}),
    ],
)
async def test_what_is_wrong_is_one_line_and_does_nothing(
    path: str, content: dict[str, object]
) -> None:
    async with asking() as asked:
        answer, text = await asked.post(path, content)
        assert (answer.status, text.count("\n")) == (400, 1)
        assert asked.administration.live
        assert asked.administration.drained == []


@pytest.mark.parametrize(("body", "status"), [(b"[]", 400), (b"{", 400), (b"x" * 20_000, 413)])
async def test_a_body_that_is_no_object_is_refused(body: bytes, status: int) -> None:
    async with asking() as asked:
        url = f"http://{asked.address()}/api/drain"
        headers = {"Content-Type": "application/json"}
        async with asked.session.post(url, data=body, headers=headers) as answer:
            assert answer.status == status
        assert asked.administration.drained == []


# The configuration.


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[admin]\nlisten = "0.0.0.0:9000"', "token"),
        ('[admin]\nlisten = "192.0.2.1:9000"', "token"),
        ('[admin]\nlisten = "[::]:9000"', "token"),
        ('[admin]\nlisten = "9000"', "admin.listen"),
        ('[admin]\nlisten = "127.0.0.1:0"', "port"),
        ('[admin]\ntoken = "short"', "16"),
        ('[admin]\ntoken = "a token with ümlauts"', "ASCII"),
        ("[admin]\ntls = true", "certificate"),
        ('[admin]\nhosts = ["https://turn.example.org"]', "host name"),
        ('[credentials]\norigins = ["www.example.org"]', "origin"),
        ('[credentials]\nuris = ["turn.example.org"]', "URI"),
        ("[credentials]\nlifetime = 1", "60"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(
    tmp_path_factory: pytest.TempPathFactory, text: str, named: str
) -> None:
    file = tmp_path_factory.mktemp("configuration") / "server.toml"
    file.write_text(text + "\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "short" not in str(caught.value)


async def test_a_token_lets_the_listener_off_loopback() -> None:
    async with asking(admin={"listen": "0.0.0.0:?", "token": TOKEN}) as asked:
        assert isinstance(asked, Asked)
        assert asked.http.url is not None
