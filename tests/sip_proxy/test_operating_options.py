"""What is configured for operators is at work: HTTPS, tokens, the service manager, shared keys."""

import json
import os
import socket
import ssl
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from natkit.errors import ConfigError
from sip_proxy.config import Config, load
from sip_proxy.shell.state import load_keys
from tests.certificates import Authority
from tests.peering.ports import free_port
from tests.server_process import LIMIT
from tests.sip_proxy.watched import WatchedProxy, watched_proxy

HOST = "127.0.0.1"
TOKEN = "of sixteen or more"


def read(directory: Path, text: str) -> Config:
    file = directory / "sip-proxy.toml"
    file.write_text(text)
    return load(file)


def test_operators_come_by_https_and_show_their_token(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("localhost")
    port = free_port(HOST)
    file = tmp_path / "sip-proxy.toml"
    file.write_text(
        'domains = ["example.org"]\n'
        f'[listeners]\ncertificate = "{issued.chain}"\nkey = "{issued.key}"\n'
        f'[admin]\nlisten = "{HOST}:{port}"\ntoken = "{TOKEN}"\ntls = true\n'
    )
    context = ssl.create_default_context(cafile=str(authority.file))
    page = f"https://localhost:{port}"
    with watched_proxy(tmp_path, "--config", str(file)) as proxy:
        with pytest.raises(HTTPError) as refused:
            urlopen(f"{page}/metrics", context=context, timeout=LIMIT)
        assert refused.value.code == 401
        refused.value.close()
        shown = Request(f"{page}/api/status", headers={"Authorization": f"Bearer {TOKEN}"})
        with urlopen(shown, context=context, timeout=LIMIT) as answer:
            status = json.load(answer)["status"]
        assert status["certificates"][0]["names"] == ["localhost"]
        with urlopen(f"{page}/healthz", context=context, timeout=LIMIT) as answer:
            assert answer.status == 200
    assert TOKEN not in proxy.log


def test_the_service_manager_hears_that_it_serves_and_that_it_ends(tmp_path: Path) -> None:
    name = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(name))
        manager.settimeout(LIMIT)
        proxy = WatchedProxy(
            tmp_path,
            *("--domain", "example.org", "--listen", "udp:127.0.0.1:0", "--log-json"),
            *("--data-dir", str(tmp_path / "state")),
            env={**os.environ, "NOTIFY_SOCKET": str(name)},
        )
        try:
            assert manager.recv(1000).splitlines() == [b"READY=1", b"STATUS=serving"]
            proxy.process.terminate()
            told = manager.recv(1000).splitlines()
            assert told[:2] == [b"STOPPING=1", b"STATUS=draining, 0 transactions left"]
            assert proxy.process.wait(LIMIT) == 0
        finally:
            proxy.kill()


def test_proxies_share_the_key_of_their_configuration(tmp_path: Path) -> None:
    config = read(tmp_path, f'[keys]\nmain = "{"0f" * 32}"\n')
    first, second = (load_keys(tmp_path / name, config.keys.main) for name in ("a", "b"))
    assert first == second
    assert load_keys(tmp_path / "a") != load_keys(tmp_path / "b")
    assert "0f0f" not in repr(first)


@pytest.mark.parametrize("key", ["", "0f", "no digits"])
def test_a_key_that_is_none_is_named_without_it(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f'[keys]\nmain = {{ file = "{tmp_path}/key" }}\n')
    assert "keys.main: cannot read the secret" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f'[keys]\nmain = "{key}"\n')
    assert "keys.main: " in str(caught.value)
    assert not key or key not in str(caught.value).partition("keys.main: ")[2].split("`")[0]


def test_admin_and_log_and_drain_are_read(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        f'[admin]\nlisten = "192.0.2.1:80"\ntoken = "{TOKEN}"\nhosts = ["SIP.example.org"]\n'
        '[log]\nlevel = "debug"\njson = true\n[limits]\ndrain = 7\n',
    )
    assert (str(config.admin.listen), config.admin.token) == ("192.0.2.1:80", TOKEN)
    assert config.admin.hosts == ("sip.example.org",)
    assert (config.log.level, config.log.as_json, config.limits.drain) == ("debug", True, 7)
    with pytest.raises(ConfigError, match=r"admin\.tls needs a certificate"):
        read(tmp_path, "[admin]\ntls = true\n")
