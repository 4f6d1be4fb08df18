"""The configuration: what a file may say, how flags beat it, and what a mistake's line says."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.errors import ConfigError
from natkit.machine import Transport
from natkit.server.certificates import CertificateFiles
from natkit.server.stores.store import UserKeys
from natkit.sip import SipUri
from natkit.sip.digest import Algorithm, Qop, ha1
from natkit.sip.flows import ConnectionReuse
from natkit.sip.transactions import SipTiming
from sip_proxy.calls import CallSettings
from sip_proxy.config import Config, Flag, load
from sip_proxy.guesses import GuessSettings
from sip_proxy.homes import Home
from sip_proxy.keeping import KeepAliveSettings
from sip_proxy.location import RegistrationLimits
from sip_proxy.message_bounds import MessageBounds
from sip_proxy.nat import Ask, NatSettings
from sip_proxy.outbound import OutboundSettings
from sip_proxy.settings import Listener, Settings
from sip_proxy.shell.call_records import recording_at
from sip_proxy.shell.listening import ListenAddress
from sip_proxy.shell.securing import TlsSettings
from sip_proxy.shell.stores import MemoryLocation
from sip_proxy.shell.stores.configured import configured_location, configured_users
from sip_proxy.shell.streams import StreamSettings
from sip_proxy.shell.users import keys_of
from sip_proxy.sources import SourceSettings
from sip_proxy.trace import RecorderSettings

WHOLE = """
data_dir = "/var/lib/sip"
domains = ["Example.ORG.", "example.net", "192.0.2.1"]

[listeners]
listen = ["udp:192.0.2.1:5060", "[2001:db8::1]:5062"]
certificate = "/etc/sip/chain.pem"
key = "/etc/sip/key.pem"
name = "sip1.example.org"

[tls]
certificates = [{certificate = "/etc/sip/net.pem", key = "/etc/sip/net.key"}]
trust = "/etc/sip/roots.pem"
verify = false
client_trust = "/etc/sip/clients.pem"
client_revoked = "/etc/sip/revoked.pem"
require_client = true
trusted_domains = ["Peer.example"]
user_certificates = true

[connections]
connect_timeout = 3
handshake_timeout = 4
message_timeout = 5
idle = 6
idle_made = 7
made = 8
keep_alive = 60
websocket_ping = 0
websocket_origins = ["https://Phone.example.org"]
reuse = false
reuse_tcp = true

[users]
passwords = {ann = "secret", bob = {env = "NATKIT_TEST_SECRET"}}
store = "mysql://natkit:secret@db/natkit"
cache_fresh = 2
cache_lifetime = 20
authenticate = false
algorithms = ["md5", "SHA-256"]
qop = ["Auth-Int", "auth"]

[policy]
trusted = ["192.0.2.0/24", "2001:db8::/32"]
record_route = false
redirect = true
assert_identity = true
stateless = true
recurse = true

[registrations]
store = {env = "NATKIT_TEST_STORE"}
addresses = 70
default_expires = 600
min_expires = 30
max_expires = 900
contacts = 3

[flows]
edge = "sip:10.0.0.5:5080;transport=tcp"
flow_timer = 60
service_route = ["sip:sip1.example.org;lr"]
path_needs_support = true

[[homes]]
domain = "Home.example"
proxy = "sip:10.0.0.9;transport=tcp"

[nat]
keep_alive = "crlf"
interval = 20
connection_interval = 100
misses = 2
everybody = true
phones = 9
rewrite_contacts = true

[timers]
t1 = 0.25
t2 = 2
t4 = 3.5
timer_c = 200

[limits]
transactions = 1
pending = 2
branches = 3
connections = 4
connections_per_source = 5
message_size = 4000
body_size = 2000
field_size = 1000
fields = 50

[sources]
messages = 6
strangers = 60
unlimited = ["198.51.100.0/24"]
challenge_burst = 7
scanners = ["SIPVicious"]

[guesses]
per_user = 8
per_source = 9
window = 10
blocked_for = 11

[calls]
records = {env = "NATKIT_TEST_RECORDS"}
longest = 12
per_user = 13
per_user_minute = 14
followed = 15

[trace]
memory = 16
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sip.toml"


def read(file: Path, text: str, *flags: Flag) -> Config:
    file.write_text(text)
    return load(file, flags)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATKIT_TEST_SECRET", "from the environment")
    monkeypatch.setenv("NATKIT_TEST_STORE", "redis://:secret@db:6379/1")
    monkeypatch.setenv("NATKIT_TEST_RECORDS", "postgresql://natkit:secret@db/calls")


def test_every_option_reaches_the_machine_or_the_shell(file: Path) -> None:
    config = read(file, WHOLE)
    bound = Listener(Transport.UDP, Address("192.0.2.1", 5060))
    assert config.settings([bound]) == Settings(
        listeners=(Listener(Transport.UDP, Address("192.0.2.1", 5060), "sip1.example.org"),),
        domains=frozenset({"example.org", "example.net", "192.0.2.1"}),
        timing=SipTiming(0.25, 2, 3.5),
        registration=RegistrationLimits(600, 30, 900, 3),
        outbound=OutboundSettings(
            edge=SipUri.parse("sip:10.0.0.5:5080;transport=tcp"),
            flow_timer=60,
            service_route=(SipUri.parse("sip:sip1.example.org;lr"),),
            path_needs_support=True,
        ),
        homes=(Home("home.example", SipUri.parse("sip:10.0.0.9;transport=tcp")),),
        nat=NatSettings(
            Ask.CRLF, 20, 100, 2, everybody=True, largest_count=9, rewrite_contacts=True
        ),
        authenticate=False,
        algorithms=(Algorithm.MD5, Algorithm.SHA_256),
        qop=(Qop.AUTH_INT, Qop.AUTH),
        trusted=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
        trusted_domains=frozenset({"peer.example"}),
        user_certificates=True,
        reuse=ConnectionReuse(secure=False, tcp=True),
        keep_alive=KeepAliveSettings(60, 0),
        record_route=False,
        redirect=True,
        assert_identity=True,
        stateless=True,
        recurse=True,
        timer_c=200,
        max_breadth=3,
        sources=SourceSettings(6, 60, (ip_network("198.51.100.0/24"),), 7, ("SIPVicious",)),
        guesses=GuessSettings(8, 9, 10, 11),
        calls=CallSettings(12, 13, 14, 15),
        bounds=MessageBounds(4000, 2000, 1000, 50),
        recorder=RecorderSettings(16 << 20),
        largest_transactions=1,
        largest_pending=2,
    )
    assert config.listeners.listen == (
        ListenAddress((Transport.UDP,), Address("192.0.2.1", 5060)),
        ListenAddress((Transport.UDP, Transport.TCP), Address("2001:db8::1", 5062)),
    )
    assert config.streams() == StreamSettings(
        TlsSettings(
            (
                CertificateFiles(Path("/etc/sip/chain.pem"), Path("/etc/sip/key.pem")),
                CertificateFiles(Path("/etc/sip/net.pem"), Path("/etc/sip/net.key")),
            ),
            trust=Path("/etc/sip/roots.pem"),
            verify=False,
            client_trust=Path("/etc/sip/clients.pem"),
            client_revoked=Path("/etc/sip/revoked.pem"),
            require_client=True,
        ),
        origins=("https://phone.example.org",),
        connect_timeout=3,
        handshake_timeout=4,
        message_timeout=5,
        idle=6,
        idle_made=7,
        largest_made=8,
    )
    assert config.data_dir == Path("/var/lib/sip")
    assert dict(config.users.passwords) == {"ann": "secret", "bob": "from the environment"}
    users = config.users
    assert (users.cache_fresh, users.cache_lifetime) == (2, 20)
    assert configured_users(config, None).store_name == "mysql://natkit:***@db/natkit"
    recording = recording_at(config.calls.records)
    assert recording is not None
    assert recording.name == "postgresql://natkit:***@db/calls"
    assert config.registrations.addresses == 70
    assert configured_location(config, None).name == "redis://db:6379/1"
    assert (config.limits.connections, config.limits.connections_per_source) == (4, 5)


def test_defaults_are_those_of_the_machine(file: Path) -> None:
    bound = Listener(Transport.UDP, Address("192.0.2.1", 5060))
    assert load(None).settings([bound]) == Settings((bound,))
    assert read(file, "") == load(None)
    assert load(None).listeners.listen is None
    # Without a directory there is nowhere to keep anything.
    assert configured_users(load(None), None).store_name is None
    assert isinstance(configured_location(load(None), None), MemoryLocation)


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def test_users_and_registrations_are_kept_in_the_data_directory(tmp_path: Path) -> None:
    users, location = (
        configured_users(load(None), tmp_path),
        configured_location(load(None), tmp_path),
    )
    await users.open()
    await location.open()
    assert names_in(tmp_path) >= {"users.sqlite3", "bindings.sqlite3"}
    await users.aclose()
    await location.aclose()


def test_a_flag_beats_the_file_and_adds_users(file: Path) -> None:
    config = read(
        file,
        WHOLE,
        Flag("--domain", ("domains",), ["other.example"]),
        Flag("--user", ("users", "passwords", "ann"), "changed"),
        Flag("--user", ("users", "passwords", "eve"), "new"),
    )
    assert config.domains == ("other.example",)
    assert dict(config.users.passwords) == {
        "ann": "changed",
        "bob": "from the environment",
        "eve": "new",
    }


def test_a_user_is_of_every_domain_or_of_the_one_that_is_named(file: Path) -> None:
    config = read(
        file,
        'domains = ["a.example", "b.example"]\n[users.passwords]\n'
        '"ann@a.example" = "special"\nann = "general"\n"bob@B.example" = "his"\n',
    )
    keys = config.users.accounts(config.domains)
    assert set(keys) == {("ann", "a.example"), ("ann", "b.example"), ("bob", "b.example")}
    assert keys["ann", "a.example"] == keys_of("ann", "a.example", "special")
    assert keys["ann", "b.example"] == keys_of("ann", "b.example", "general")


def test_a_user_may_have_keys_in_place_of_a_password(file: Path) -> None:
    md5 = ha1("ann", "example.org", "secret", Algorithm.MD5)
    long = ha1("ann", "example.org", "secret", Algorithm.SHA_512_256)
    config = read(
        file,
        'domains = ["example.org"]\n[users.passwords]\n'
        f'"ann@example.org" = {{ md5 = "{md5.upper()}", sha-512-256 = "{long}" }}\n',
    )
    assert config.users.accounts(config.domains) == {
        ("ann", "example.org"): UserKeys("ann", bytes.fromhex(md5), None, bytes.fromhex(long))
    }
    assert md5 not in repr(config.users)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("domain = 1", "domain: there is no such key; do you mean domains?"),
        ("xyz = 1", "xyz: there is no such key; known are data_dir, domains, "),
        ('[listeners]\nlisten = ["quic:127.0.0.1:1"]', "quic is not served, but udp, "),
        ('domains = ["no domain"]', "domains.0: 'no domain' is no host name"),
        ("[listeners]\nlisten = []", "listeners.listen: "),
        ('[listeners]\nlisten = ["127.0.0.1"]', "listeners.listen.0: "),
        ('[listeners]\nlisten = ["dtls:127.0.0.1:1"]', "dtls is not served"),
        (
            '[listeners]\nlisten = ["127.0.0.1:1", "tcp:127.0.0.1:1"]',
            "listeners: listen has tcp:127.0.0.1:1 twice",
        ),
        ('[listeners]\nkey = "a"', "listeners: certificate and key go together"),
        ('[listeners]\nlisten = ["wss:127.0.0.1:1"]', "needs a certificate and its key"),
        ("[tls]\nrequire_client = true", "tls: require_client needs client_trust"),
        (
            '[tls]\nverify = false\ntrusted_domains = ["a.example"]',
            "tls: trusted_domains needs verify or client_trust",
        ),
        ('[tls]\nclient_revoked = "a"', "tls: client_revoked needs client_trust"),
        ("[tls]\nuser_certificates = true", "tls: user_certificates needs client_trust"),
        ('[tls]\ncertificates = [{key = "a"}]', "tls.certificates.0.certificate: "),
        ("[connections]\nconnect_timeout = 10", "connections.connect_timeout: "),
        ("[connections]\nkeep_alive = -1", "connections.keep_alive: "),
        ('[connections]\nwebsocket_origins = ["a.example"]', "'a.example' is no origin like"),
        ('[users]\nalgorithms = ["sha"]', "known are sha-512-256, sha-256, md5"),
        ('[users]\nqop = ["int"]', "known are auth, auth-int"),
        ("[users]\nqop = []", "users.qop: "),
        ('[users.passwords]\nann = { md5 = "12" }', "md5 is not written with 32 hexadecimal"),
        (f'[users.passwords]\nann = {{ md5 = "{"0" * 32}" }}', "name the user NAME@DOMAIN"),
        ('[users.passwords]\n"a\\u0000" = "x"', "users: "),
        ("[users.passwords]\nann = { sha1 = '' }", "a password is a text"),
        ('[users.passwords]\n"@a" = "x"', "'@a' is written NAME or NAME@DOMAIN"),
        ('[users.passwords]\n"a@b" = "x"', "'a@b' is of no domain that is served"),
        ('[policy]\ntrusted = ["10.0.0.1/8"]', "a network is written like"),
        ('[calls]\nrecords = "mysql:hush"', "calls.records: call records are kept in file:"),
        ('[sources]\nscanners = [" "]', "sources.scanners.0: the name of a scanner"),
        ("[limits]\nfields = 0", "limits.fields: "),
        ("[guesses]\nwindow = 0", "guesses.window: "),
        ("[trace]\nmemory = -1", "trace.memory: "),
        ('[users]\nstore = "oracle:hush"', "users.store: a store is sqlite, "),
        (
            '[registrations]\nstore = "mysql:hush"',
            "registrations.store: registrations are kept in ",
        ),
        ("[registrations]\nmin_expires = 4000", "default_expires is not between"),
        ('[flows]\nedge = "10.0.0.5"', "flows.edge: "),
        ('[flows]\nedge = "sip:ann@10.0.0.5"', "has more than a host, a port and a transport"),
        ("[flows]\nflow_timer = -1", "flows.flow_timer: "),
        ('[flows]\nservice_route = ["sip:a.example"]', "lacks ;lr"),
        ('[flows]\nservice_route = ["a.example"]', "flows.service_route.0: "),
        (
            'domains = ["a.example"]\n[[homes]]\ndomain = "a.example"',
            "homes: a.example is a domain of this proxy itself",
        ),
        ('[nat]\nkeep_alive = "stun"', "nat.keep_alive: "),
        ("[nat]\ninterval = 0.5", "nat.interval: "),
        ("[nat]\nmisses = 0", "nat.misses: "),
        ("[timers]\nt1 = 5", "t1 is above t2"),
        ("[timers]\ntimer_c = 180", "timers: timer C of 180 s is not longer than three minutes"),
        ("[limits]\nbranches = 0", "limits.branches: "),
    ],
)
def test_a_mistake_is_one_line_that_says_where(file: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(file, text)
    line = str(caught.value)
    assert line.startswith(f"{file}: ")
    assert ": :" not in line
    assert said in line
    assert "\n" not in line


def test_a_wrong_flag_is_named_in_place_of_the_file(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--domain: "):
        read(file, WHOLE, Flag("--domain", ("domains",), ["no domain"]))


def test_no_mistake_shows_a_secret(file: Path) -> None:
    for text in (
        '[users.passwords]\nann = { md5 = "hush" }',
        '[users.passwords]\nann = { sha1 = "hush" }',
        '[users]\nstore = "oracle://ann:hush@db"',
        '[registrations]\nstore = "mysql://ann:hush@db"',
    ):
        with pytest.raises(ConfigError) as caught:
            read(file, f"{text}\n")
        assert "hush" not in str(caught.value)
