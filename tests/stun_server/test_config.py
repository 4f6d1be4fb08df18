"""The configuration: what a file may say, how flags beat it, and what a mistake's line says."""

from base64 import b64encode
from ipaddress import ip_network
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.errors import ConfigError, NatkitError
from natkit.machine import Transport
from natkit.stun.registry import PasswordAlgorithmNumber
from natkit.stun.tokens import TokenKey
from natkit.turn.credentials import Digest
from stun_server.config import Config, Flag, ReadyKeys, load
from stun_server.policy import PeerPolicy
from stun_server.settings import PeerRange, PortRange, Settings
from stun_server.shell.listening import ListenAddress

WHOLE = """
data_dir = "/var/lib/stun"

[listeners]
listen = ["udp:192.0.2.1:3478", "[2001:db8::1]:3479"]
relay_ports = "50000-50999"
relay_ipv4 = "192.0.2.7"
relay_ipv6 = "2001:db8::7"
relay_plane = "userspace"

[users]
realm = "example.org"
passwords = {ann = "secret"}
password_algorithms = ["SHA-256"]
username_anonymity = false
nonce_lifetime = 60
store = "sqlite:/srv/users"
cache_fresh = 1
cache_lifetime = 2
secrets = ["north", {env = "NATKIT_TEST_SECRET"}]
secret_digest = "sha256"
strict_expiry = true

[policy]
allow_peer = ["10.0.0.0/8", "fd00::/8"]
default_lifetime = 300
maximum_lifetime = 900
strict_channels = true
strict_permissions = true

[limits]
allocations = 1
allocations_per_user = 2
permissions_per_allocation = 3
channels_per_allocation = 4
connections = 5
connections_per_source = 6
connection_idle = 7

[log]
level = "debug"
json = true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "stun.toml"


def read(file: Path, text: str, *flags: Flag) -> Config:
    file.write_text(text)
    return load(file, flags)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATKIT_TEST_SECRET", "from the environment")


def test_every_option_reaches_the_machine_or_the_shell(file: Path) -> None:
    config = read(file, WHOLE)
    listeners = (Address("192.0.2.1", 3478),)
    assert config.settings(listeners, bytes(32), dont_fragment=True) == Settings(
        realm="example.org",
        nonce_key=bytes(32),
        listeners=listeners,
        relay_ipv4="192.0.2.7",
        relay_ipv6="2001:db8::7",
        relay_ports=PortRange(50000, 50999),
        dont_fragment=True,
        allowed_peers=tuple(PeerRange(ip_network(each)) for each in ("10.0.0.0/8", "fd00::/8")),
        password_algorithms=(PasswordAlgorithmNumber.SHA_256,),
        username_anonymity=False,
        nonce_lifetime=60.0,
        strict_expiry=True,
        default_lifetime=300,
        maximum_lifetime=900,
        strict_channels=True,
        strict_permissions=True,
        allocations=1,
        allocations_per_user=2,
        permissions_per_allocation=3,
        channels_per_allocation=4,
    )
    assert config.listeners.listen == (
        ListenAddress((Transport.UDP,), Address("192.0.2.1", 3478)),
        ListenAddress((Transport.UDP, Transport.TCP), Address("2001:db8::1", 3479)),
    )
    limits = config.connection_limits()
    assert (limits.total, limits.per_source, limits.idle) == (5, 6, 7.0)
    assert config.data_dir == Path("/var/lib/stun")
    users = config.users
    assert dict(users.passwords) == {"ann": "secret"}
    assert (users.store, users.cache_fresh, users.cache_lifetime) == ("sqlite:/srv/users", 1, 2)
    assert users.secrets == ("north", "from the environment")
    assert users.secret_digest is Digest.SHA256
    assert (config.log.level, config.log.as_json) == ("debug", True)
    assert config.listeners.relay_plane == "userspace"


def test_defaults_are_those_of_the_machine(file: Path) -> None:
    plain = Settings(realm="natkit", nonce_key=bytes(32), listeners=())
    assert load(None).settings((), bytes(32), dont_fragment=False) == plain
    assert read(file, "") == load(None)
    assert load(None).listeners.listen is None


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(None).users.realm = "other"  # type: ignore[misc]


def test_a_flag_beats_the_file_and_adds_users(file: Path) -> None:
    config = read(
        file,
        WHOLE,
        Flag("--realm", ("users", "realm"), "other.example"),
        Flag("--allow-peer", ("policy", "allow_peer"), ["127.0.0.0/8"]),
        Flag("--user", ("users", "passwords", "ann"), "changed"),
        Flag("--user", ("users", "passwords", "bob"), "new"),
    )
    assert config.users.realm == "other.example"
    assert config.policy.allow_peer == (PeerRange(ip_network("127.0.0.0/8")),)
    assert dict(config.users.passwords) == {"ann": "changed", "bob": "new"}


def test_a_secret_may_be_in_the_environment_or_in_a_file(file: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    config = read(
        file,
        f"""
        [users.passwords]
        ann = {{env = "NATKIT_TEST_SECRET"}}
        bob = {{file = "{secret}"}}
        """,
    )
    assert dict(config.users.passwords) == {
        "ann": "from the environment",
        "bob": "from a file",
    }


def test_keys_may_stand_in_place_of_a_password(file: Path) -> None:
    config = read(
        file,
        f"""
        [users.passwords]
        ann = {{md5 = "{"0A" * 16}", sha256 = "{"0b" * 32}"}}
        bob = {{sha256 = "{"0c" * 32}"}}
        eve = {{md5 = "{"0d" * 16}"}}
        """,
    )
    assert dict(config.users.passwords) == {
        "ann": ReadyKeys(b"\x0a" * 16, b"\x0b" * 32),
        "bob": ReadyKeys(None, b"\x0c" * 32),
        "eve": ReadyKeys(b"\x0d" * 16, None),
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[users.passwords]\nann = {md5 = 'ab'}", "md5 is not written with 32 hexadecimal digits"),
        ("[users.passwords]\nann = {sha256 = 'x'}", "sha256 is not written with 64 hexadecimal "),
        ("[users.passwords]\nann = {md5 = 'ab', x = 1}", "ann: a password is a text, {env = "),
        ("[users]\nstore = 'oracle://db'", "users.store: a store is sqlite, sqlite:FILE, postgr"),
        ("[users]\nsecrets = 'x'", "users.secrets: input should be a valid tuple"),
        ("[users]\nsecrets = ['']", "users.secrets.0: a secret is a text, "),
        ("[users]\nsecret_digest = 'md5'", "users.secret_digest: input should be 'sha1' or 'sha2"),
        ("[users]\ncache_fresh = 0", "users.cache_fresh: input should be greater than or equal to"),
        ("listen = 3", "listen: there is no such key; do you mean listeners?"),
        ("[listeners]\nlisen = []", "listeners.lisen: there is no such key; do you mean listen?"),
        ("[log]\nfile = 1", "log.file: there is no such key; known are level, json"),
        ("[log]\nas_json = true", "log.as_json: there is no such key; do you mean json?"),
        ("[listeners]\nlisten = []", "listeners.listen: "),
        ("[listeners]\nlisten = ['x']", "listeners.listen.0: 'x' has no port"),
        ("[listeners]\nlisten = [3]", "listeners.listen.0: 3 is no text; "),
        (
            "[listeners]\nlisten = ['tls:[::]:1']",
            "listeners: tls:[::]:1 needs a certificate and its key (--certificate, --key)",
        ),
        (
            "[listeners]\nlisten = ['dtls:[::]:1']\nkey = 'k'",
            "listeners: certificate and key go together",
        ),
        (
            "[listeners]\nproxy_protocol = { 'tcp:127.0.0.1:1' = ['10.0.0.0/8'] }",
            "listeners: proxy_protocol names tcp:127.0.0.1:1, which listen does not",
        ),
        (
            "[listeners]\nlisten = ['udp:[::]:1']\nproxy_protocol = { 'udp:[::]:1' = ['::/8'] }",
            "listeners: proxy_protocol names udp:[::]:1, which has no connections",
        ),
        (
            "[listeners]\nlisten = ['tcp:[::]:1']\nproxy_protocol = { 'tcp:[::]:1' = [] }",
            "should have at least 1 item",
        ),
        (
            "[listeners]\nalternate = { '[::]:1' = '[::2]:2' }",
            "listeners: alternate names [::]:1 and [::2]:2: each must be one address",
        ),
        (
            "[listeners]\nalternate = { '127.0.0.1:1' = '[::2]:2' }",
            "listeners: alternate names 127.0.0.1:1 and [::2]:2, of different families",
        ),
        (
            "[listeners]\nalternate = { '127.0.0.1:1' = '127.0.0.1:2' }",
            "the address and the port must both differ",
        ),
        (
            "[listeners]\nalternate = { '127.0.0.1:1' = '127.0.0.2:1' }",
            "the address and the port must both differ",
        ),
        (
            "[listeners]\nalternate = { 'tls:127.0.0.1:1' = '127.0.0.2:2' }",
            "listeners: tls:127.0.0.1:1 needs a certificate and its key",
        ),
        ("[listeners]\nrelay_ports = '9'", "listeners.relay_ports: '9' is no range of ports like"),
        ("[listeners]\nrelay_ports = '9-1'", "'9-1' is no range within 1 to 65535"),
        ("[listeners]\nrelay_ipv4 = '::1'", "listeners.relay_ipv4: '::1' is no IPv4 address"),
        ("[listeners]\nrelay_ipv6 = '::'", "listeners.relay_ipv6: '::' is no IPv6 address"),
        ("[listeners]\ndscp = 64", "listeners.dscp: "),
        ("[listeners]\nrelay_plane = 'fast'", "listeners.relay_plane: input should be 'auto', "),
        ("[users]\nrealm = ''", "users.realm: a realm has 1 to 127 characters, not 0"),
        ('[users]\nrealm = "x\\ny"', "users.realm: text that OpaqueString forbids"),
        ("[users]\npassword_algorithms = ['md4']", "'md4' is no password algorithm; known are sha"),
        ("[users.passwords]\nann = ''", "users.passwords.ann: a secret is a text, {env = "),
        ("[users.passwords]\nann = {env = 'NATKIT_NO'}", "environment variable NATKIT_NO is not"),
        ("[users.passwords]\nann = {file = '/no'}", "cannot read the secret in /no: No such file"),
        ("[users.passwords]\nann = {file = '/no', env = 'X'}", "a secret is a text, {env = "),
        ("[users]\npasswords = 3", "users.passwords: input should be a valid "),
        ("users = 3", "users: input should be a valid dictionary"),
        ("[policy]\nallow_peer = ['10/8']", "policy.allow_peer.0: '10/8' does not appear to be"),
        ("[policy]\nallow_peer = ['10.0.0.1/8']", "10.0.0.1/8 has host bits set; a network is"),
        ("[policy]\ndeny_peer = ['10.0.0.0/8 port']", "policy.deny_peer.0: '10.0.0.0/8 port' does"),
        ("[policy]\ndeny_peer = ['10.0.0.0/8 port x']", "ends in no ports like 5060 or 5000-6000"),
        ("[policy]\ndeny_peer = ['10.0.0.0/8 port 9-1']", "ends in no ports like 5060 or 5000-"),
        ("[policy]\ndeny_peer = ['10.0.0.0/8 port 65536']", "ends in no ports like 5060 or 5000"),
        ("[policy]\nallow_client = ['10/8']", "policy.allow_client.0: '10/8' does not appear"),
        ("[limits]\nanswer_burst = 0", "limits.answer_burst: input should be greater than or"),
        ("[policy]\nstrict_channels = 'no'", "policy.strict_channels: input should be a valid bo"),
        ("[policy]\ndefault_lifetime = 7200", "policy: default_lifetime is above maximum_lifetime"),
        ("[limits]\nallocations = 0", "limits.allocations: input should be greater than or equal"),
        ("[limits]\nallocations = '9'", "limits.allocations: input should be a valid integer"),
        ("[log]\nlevel = 'loud'", "log.level: input should be 'debug', 'info', 'warning' or 'err"),
        ("[log", "is no TOML: "),
    ],
)
def test_a_mistake_is_one_line_with_file_key_and_what_is_allowed(
    file: Path, text: str, line: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(file, text)
    assert line in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert len(str(caught.value).splitlines()) == 1


def test_a_mistake_in_a_flag_names_the_flag(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--listen: 'x' has no port$"):
        read(file, WHOLE, Flag("--listen", ("listeners", "listen"), ["x"]))
    with pytest.raises(ConfigError, match=r"^--realm: a realm has 1 to 127 characters, not 0$"):
        load(None, [Flag("--realm", ("users", "realm"), "")])


def test_a_mistake_never_shows_a_secret(file: Path) -> None:
    for text in (
        '[users]\npasswords = "hunter2"',
        "[users.passwords]\nann = {hunter2 = 'hunter2'}",
        "[users.passwords]\nann = {md5 = 'hunter2'}",
        "[users]\nstore = 'oracle://ann:hunter2@db'",
    ):
        with pytest.raises(ConfigError) as caught:
            read(file, text)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_one_line(file: Path, content: bytes | None) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(NatkitError, match=str(file)):
        load(file)


def test_where_operators_come_in_is_no_peer_in_any_realm() -> None:
    config = Config.model_validate(
        {
            "listeners": {"listen": ["127.0.0.1:3478"]},
            "admin": {"listen": "127.0.0.1:9478", "public": "0.0.0.0:8080"},
            "policy": {"allow_peer": ["127.0.0.0/8"]},
            "realms": {"shop": {"origins": ["https://shop.example"]}},
        }
    )
    server = config.settings((), bytes(32), dont_fragment=False)
    for settings in (server, config.settings_of("shop", server)):
        policy = PeerPolicy.of(settings)
        for refused in (Address("127.0.0.1", 9478), Address("127.0.0.1", 8080)):
            assert policy.refusal(refused) is not None
        assert policy.refusal(Address("127.0.0.1", 9479)) is None


def test_the_keys_of_access_tokens_are_secrets_with_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOUTH", b64encode(b"s" * 32).decode())
    file = tmp_path / "server.toml"
    file.write_text(
        "[users]\n"
        'oauth_server_name = "turn.example.org"\n'
        f'oauth_keys.north = "{b64encode(b"n" * 32).decode()}"\n'
        'oauth_keys.south = { key = { env = "SOUTH" }, not_before = 2027-01-01T00:00:00Z, '
        "until = 2028-01-01T00:00:00Z }\n"
    )
    users = load(file).users
    assert users.token_keys == (
        TokenKey("north", b"n" * 32),
        TokenKey("south", b"s" * 32, 1_798_761_600.0, 1_830_297_600.0),
    )
    assert users.oauth_server_name == "turn.example.org"


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ('"c2hvcnQ="', "a key of access tokens is the base64 of 32 bytes"),
        ('"not base64"', "a key of access tokens is the base64 of 32 bytes"),
        ("7", "a key of access tokens is a secret, or"),
        ('{ key = "c2hvcnQ=", since = 7 }', "a key of access tokens is a secret, or"),
        (f'{{ key = "{"A" * 43}=", until = 7 }}', "not_before and until are times like"),
    ],
)
def test_a_wrong_key_of_access_tokens_is_told_without_the_key(
    tmp_path: Path, key: str, complaint: str
) -> None:
    file = tmp_path / "server.toml"
    file.write_text(f"[users]\noauth_keys.north = {key}\n")
    with pytest.raises(ConfigError, match=r"users\.oauth_keys\.north") as raised:
        load(file)
    assert complaint in str(raised.value)
    assert "c2hvcnQ" not in str(raised.value)
